//! Changes that would alter a decision: tried out on a copy of the model, and told in words.

use std::sync::Arc;

use cib_model::{
    Attrs, Block, Blocks, Constraint, Location, LocationTarget, Model, NodeState, Nvpair, Options,
    ResourceDef, Str,
};

/// One change, smallest first: the order is that in which they are proposed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// Failures of a resource on a node are forgotten.
    Cleanup { rsc: Str, node: Str },
    /// The constraints that moves and bans of a resource left behind are removed.
    Clear { rsc: Str, id: Str },
    /// A resource is started.
    Enable(Str),
    /// A resource is managed again.
    Manage(Str),
    /// A node takes resources again.
    Unstandby(Str),
    /// A node is taken care of again.
    Unmaintenance(Str),
    /// A cluster option is set.
    Option { name: &'static str, value: &'static str },
    /// A ticket is granted to this site.
    Grant(Str),
    /// A node that is down comes back.
    NodeUp(Str),
    /// Somebody says that a lost node is down.
    ConfirmDown(Str),
    /// The partition gets quorum back.
    Quorum,
    /// A resource may move freely.
    NoStickiness(Str),
    /// A constraint is removed.
    RemoveConstraint(Str),
    /// A resource is told to prefer a node.
    Prefer { rsc: Str, node: Str },
}

impl Change {
    /// What it is, as half a sentence.
    pub(super) fn text(&self) -> String {
        match self {
            Change::Cleanup { rsc, node } => format!("forget the failures of {rsc} on {node}"),
            Change::Clear { rsc, id } => {
                format!("clear what a move or ban of {rsc} left behind ({id})")
            }
            Change::Enable(rsc) => format!("let {rsc} run"),
            Change::Manage(rsc) => format!("let the cluster manage {rsc} again"),
            Change::Unstandby(node) => format!("take {node} out of standby"),
            Change::Unmaintenance(node) => format!("take {node} out of maintenance"),
            Change::Option { name, value } => format!("set the option {name} to {value}"),
            Change::Grant(ticket) => format!("grant the ticket {ticket} to this site"),
            Change::NodeUp(node) => format!("bring {node} back"),
            Change::ConfirmDown(node) => {
                format!("make sure by hand that {node} is powered off, and say so")
            }
            Change::Quorum => "bring nodes back until there is quorum".to_owned(),
            Change::NoStickiness(rsc) => format!("set resource-stickiness of {rsc} to 0"),
            Change::RemoveConstraint(id) => format!("remove the constraint {id}"),
            Change::Prefer { rsc, node } => format!("move {rsc} to {node}"),
        }
    }

    /// The command that does it, where there is one.
    pub(super) fn command(&self) -> Option<String> {
        Some(match self {
            Change::Cleanup { rsc, node } => {
                format!("systole resource cleanup {rsc} --node {node}")
            }
            Change::Clear { rsc, .. } => format!("systole resource clear {rsc}"),
            Change::Enable(rsc) => format!("systole resource enable {rsc}"),
            Change::Manage(rsc) => format!("systole resource manage {rsc}"),
            Change::Unstandby(node) => format!("systole node unstandby {node}"),
            Change::Unmaintenance(node) => format!("systole node unmaintenance {node}"),
            Change::Option { name, value } => format!("systole property set {name}={value}"),
            Change::Grant(ticket) => format!("crm_ticket --ticket {ticket} --grant --force"),
            Change::NodeUp(_) | Change::Quorum => return None,
            Change::ConfirmDown(node) => format!("systole stonith confirm {node}"),
            Change::NoStickiness(rsc) => {
                format!("systole resource meta {rsc} resource-stickiness=0")
            }
            Change::RemoveConstraint(id) => format!("systole constraint delete {id}"),
            Change::Prefer { rsc, node } => format!("systole resource move {rsc} {node}"),
        })
    }

    /// Does it to a model.
    pub(super) fn apply(&self, model: &mut Model) {
        match self {
            Change::Cleanup { rsc, node } => forget_failures(model, rsc, node),
            Change::Clear { id, .. } | Change::RemoveConstraint(id) => {
                model.constraints.retain(|c| !is_of(c, id));
            }
            Change::Enable(rsc) => set_meta(model, rsc, "target-role", "Started"),
            Change::Manage(rsc) => {
                set_meta(model, rsc, "is-managed", "true");
                set_meta(model, rsc, "maintenance", "false");
            }
            Change::Unstandby(node) => set_node_attr(model, node, "standby", "off"),
            Change::Unmaintenance(node) => set_node_attr(model, node, "maintenance", "off"),
            Change::Option { name, value } => set_option(model, name, value),
            Change::Grant(ticket) => {
                for state in model.tickets.iter_mut().filter(|t| t.id == *ticket) {
                    (state.granted, state.standby) = (true, false);
                }
                if !model.tickets.iter().any(|t| t.id == *ticket) {
                    model.tickets.push(cib_model::TicketState {
                        id: ticket.clone(),
                        granted: true,
                        standby: false,
                        last_granted: None,
                        attrs: Vec::new(),
                    });
                }
            }
            Change::NodeUp(node) => set_state(model, node, ["true", "online", "member", "member"]),
            Change::ConfirmDown(node) => {
                set_state(model, node, ["false", "offline", "down", "down"]);
                let state = model.node_states.iter_mut().find(|s| s.name.as_ref() == Some(node));
                if let Some(state) = state {
                    (state.history, state.transient) = (None, None);
                }
            }
            Change::Quorum => model.have_quorum = true,
            Change::NoStickiness(rsc) => set_meta(model, rsc, "resource-stickiness", "0"),
            Change::Prefer { rsc, node } => model.constraints.push(prefer(rsc, node)),
        }
    }
}

/// The constraint that a move makes.
fn prefer(rsc: &Str, node: &Str) -> Constraint {
    Constraint::Location(Location {
        id: format!("cli-prefer-{rsc}").into(),
        target: LocationTarget::Resource(rsc.clone()),
        node: Some(node.clone()),
        score: Some("INFINITY".into()),
        role: None,
        discovery: None,
        rule: None,
        sets: Vec::new(),
    })
}

/// Whether a constraint has this id, or is one of the several that one with this id counts as, or
/// has a set of this id.
pub(super) fn is_of(constraint: &Constraint, id: &str) -> bool {
    let (own, sets) = match constraint {
        Constraint::Location(c) => (&c.id, &c.sets),
        Constraint::Colocation(c) => (&c.id, &c.sets),
        Constraint::Order(c) => (&c.id, &c.sets),
        Constraint::Ticket(c) => (&c.id, &c.sets),
    };
    let numbered = own.strip_prefix(id).and_then(|rest| rest.strip_prefix('-'));
    let one_rule = matches!(constraint, Constraint::Location(_))
        && numbered.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    &**own == id || one_rule || sets.iter().any(|s| s.id.as_deref() == Some(id))
}

/// A block that goes before all others.
fn first_block(pairs: Vec<Nvpair>) -> Block {
    Block { id: "".into(), score: cib_model::INFINITY, rule: None, pairs }
}

fn override_pair(blocks: &mut Blocks, name: &str, value: &str) {
    let pair = Nvpair { name: name.into(), value: value.into() };
    blocks.0.insert(0, first_block(vec![pair]));
}

fn set_meta(model: &mut Model, id: &str, name: &str, value: &str) {
    fn walk(defs: &mut [Arc<ResourceDef>], id: &str, name: &str, value: &str) {
        for def in defs {
            let found = *def.id == *id;
            if found || !def.children.is_empty() {
                let def = Arc::make_mut(def);
                if found {
                    // Of the two places the element's own attribute would count first.
                    def.attrs.retain(|(n, _)| &**n != name);
                    override_pair(&mut def.meta, name, value);
                }
                walk(&mut def.children, id, name, value);
            }
        }
    }
    walk(&mut model.resources, id, name, value);
}

fn set_node_attr(model: &mut Model, node: &Str, name: &str, value: &str) {
    for def in model.nodes.iter_mut().filter(|n| n.name == *node) {
        override_pair(&mut def.attrs, name, value);
    }
    // A transient attribute of the name would go before the permanent one.
    for state in model.node_states.iter_mut().filter(|s| s.name.as_ref() == Some(node)) {
        for block in state.transient.iter_mut().flat_map(|t| &mut t.0) {
            block.pairs.retain(|p| &*p.name != name);
        }
    }
}

fn set_option(model: &mut Model, name: &str, value: &str) {
    let mut all = Attrs::new();
    model.options.iter().for_each(|(n, v)| all.set_str(n, v));
    all.set(name, value);
    model.options = Options::new(all);
}

fn set_state(model: &mut Model, node: &Str, [in_ccm, crmd, join, expected]: [&str; 4]) {
    let (some, none) = (|text: &str| Some(Str::from(text)), Blocks::default);
    let id = model.nodes.iter().find(|n| n.name == *node).map(|n| n.id.clone());
    if !model.node_states.iter().any(|s| s.name.as_ref() == Some(node)) {
        model.node_states.push(NodeState {
            id,
            name: Some(node.clone()),
            in_ccm: None,
            crmd: None,
            join: None,
            expected: None,
            in_maintenance: false,
            fenced: false,
            transient: None,
            utilization: none(),
            history: None,
        });
    }
    for state in model.node_states.iter_mut().filter(|s| s.name.as_ref() == Some(node)) {
        state.in_ccm = some(in_ccm);
        state.crmd = some(crmd);
        state.join = some(join);
        state.expected = some(expected);
    }
}

/// Removes fail counts and failed operations, as a cleanup does.
fn forget_failures(model: &mut Model, rsc: &str, node: &Str) {
    let counts = |name: &str| {
        let rest = name.strip_prefix("fail-count-").or(name.strip_prefix("last-failure-"));
        let of = rest.and_then(|r| r.rsplit_once('#')).map(|(of, _)| of);
        of.is_some_and(|of| of == rsc || cib_model::base_name(of) == rsc)
    };
    for state in model.node_states.iter_mut().filter(|s| s.name.as_ref() == Some(node)) {
        for block in state.transient.iter_mut().flat_map(|t| &mut t.0) {
            block.pairs.retain(|p| !counts(&p.name));
        }
        let own =
            |id: Option<&str>| id.is_some_and(|id| id == rsc || cib_model::base_name(id) == rsc);
        for history in state.history.iter_mut().flatten().filter(|h| own(h.id())) {
            history.ops.retain(|op| {
                let failed = op.target_rc >= 0 && op.rc.is_some_and(|rc| rc != op.target_rc);
                !failed && !op.id().is_some_and(|id| id.contains("_last_failure_"))
            });
        }
    }
}
