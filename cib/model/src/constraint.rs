//! Location, colocation, order and ticket constraints.

use cib_xml::Node;
use regex::{Regex, RegexBuilder};

use crate::attrs::Str;
use crate::model::Reader;
use crate::rule::{Combine, Rule, Submatches};
use crate::score::parse_score;
use crate::text::{eq_ci, parse_bool};

/// What a pattern may take once it is compiled, in bytes. A larger one matches nothing, as one that is
/// not a regular expression.
const PATTERN_MAX: usize = 1 << 20;

/// A constraint of any kind, in the order of the configuration.
#[derive(Clone, Debug)]
pub enum Constraint {
    /// Where a resource may run.
    Location(Location),
    /// With what a resource is to run.
    Colocation(Colocation),
    /// In which order actions are to happen.
    Order(Order),
    /// On which ticket a resource depends.
    Ticket(TicketConstraint),
}

/// A set of resources within a constraint.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceSet {
    /// Its id.
    pub id: Option<Str>,
    /// Whether members depend on one another, where that is said.
    pub sequential: Option<bool>,
    /// Whether all members are needed, where that is said.
    pub require_all: Option<bool>,
    /// The action meant, where that is said.
    pub action: Option<Str>,
    /// The role meant, as written.
    pub role: Option<Str>,
    /// A score of its own, as written.
    pub score: Option<Str>,
    /// A kind of order of its own.
    pub kind: Option<OrderKind>,
    /// Whether the order holds in reverse too, where that is said.
    pub symmetrical: Option<bool>,
    /// Whether each member goes with the one before it (rather than after it).
    pub with_previous: bool,
    /// Ids of the members.
    pub members: Vec<Str>,
}

/// To what a location constraint applies.
#[derive(Clone, Debug)]
pub enum LocationTarget {
    /// To one resource or tag.
    Resource(Str),
    /// To resources whose id matches (or, if inverted, does not match).
    Pattern {
        /// The expression, `None` if it is not valid.
        regex: Option<Regex>,
        /// Whether it is to fail.
        inverted: bool,
    },
    /// To nothing that could be made out, or to the constraint's sets.
    None,
}

impl LocationTarget {
    /// Whether a pattern applies to `id`, and what its groups matched.
    pub fn matches(&self, id: &str) -> Option<Option<Submatches>> {
        let LocationTarget::Pattern { regex: Some(regex), inverted } = self else { return None };
        match (Submatches::of(regex, id), inverted) {
            (Some(found), false) => Some(Some(found)),
            (None, true) => Some(None),
            _ => None,
        }
    }
}

/// `<rsc_location>`
#[derive(Clone, Debug)]
pub struct Location {
    /// Its id.
    pub id: Str,
    /// To what it applies.
    pub target: LocationTarget,
    /// The node, where it is not given by a rule.
    pub node: Option<Str>,
    /// The score, as written.
    pub score: Option<Str>,
    /// The role, as written.
    pub role: Option<Str>,
    /// Whether probes are made there, as written.
    pub discovery: Option<Str>,
    /// The rule that says where.
    pub rule: Option<Rule>,
    /// Sets that it applies to.
    pub sets: Vec<ResourceSet>,
}

/// `<rsc_colocation>`
#[derive(Clone, Debug)]
pub struct Colocation {
    /// Its id.
    pub id: Str,
    /// The score, as written.
    pub score: Option<Str>,
    /// The resource that depends.
    pub dependent: Option<Str>,
    /// The resource that it depends on.
    pub primary: Option<Str>,
    /// Role of the first, as written.
    pub dependent_role: Option<Str>,
    /// Role of the second, as written.
    pub primary_role: Option<Str>,
    /// The node attribute whose value has to be equal, instead of the node.
    pub node_attribute: Option<Str>,
    /// Whether the dependent resource has a say in where the other is placed.
    pub influence: Option<Str>,
    /// Sets.
    pub sets: Vec<ResourceSet>,
}

/// How binding an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderKind {
    /// Only when both actions happen anyway.
    Optional,
    /// Always.
    Mandatory,
    /// Never at the same time.
    Serialize,
}

/// `<rsc_order>`
#[derive(Clone, Debug)]
pub struct Order {
    /// Its id.
    pub id: Str,
    /// How binding it is.
    pub kind: OrderKind,
    /// Whether that was said.
    pub kind_given: bool,
    /// Whether it holds in reverse too, where that is said.
    pub symmetrical: Option<bool>,
    /// The resource to act on first.
    pub first: Option<Str>,
    /// The resource to act on then.
    pub then: Option<Str>,
    /// The first action.
    pub first_action: Option<Str>,
    /// The second action.
    pub then_action: Option<Str>,
    /// Whether all instances of the first are needed, where that is said.
    pub require_all: Option<bool>,
    /// Sets.
    pub sets: Vec<ResourceSet>,
}

/// `<rsc_ticket>`
#[derive(Clone, Debug)]
pub struct TicketConstraint {
    /// Its id.
    pub id: Str,
    /// The ticket.
    pub ticket: Option<Str>,
    /// What to do when it is lost, as written.
    pub loss_policy: Option<Str>,
    /// The resource.
    pub rsc: Option<Str>,
    /// Its role, as written.
    pub role: Option<Str>,
    /// Sets.
    pub sets: Vec<ResourceSet>,
}

impl ResourceSet {
    fn read(node: Node<'_>) -> ResourceSet {
        let owned = |name: &str| node.attr(name).map(Str::from);
        ResourceSet {
            id: owned("id"),
            sequential: node.attr("sequential").and_then(parse_bool),
            require_all: node.attr("require-all").and_then(parse_bool),
            action: owned("action"),
            role: owned("role"),
            score: owned("score"),
            kind: order_kind(node),
            symmetrical: node.attr("symmetrical").and_then(parse_bool),
            with_previous: node.attr("ordering").is_none_or(|o| eq_ci(o, "group")),
            members: node
                .children_named("resource_ref")
                .filter_map(|r| r.attr("id"))
                .map(Str::from)
                .collect(),
        }
    }

    /// A set of the given members.
    pub fn of(id: &str, members: Vec<Str>, sequential: Option<bool>) -> ResourceSet {
        ResourceSet {
            id: Some(id.into()),
            sequential,
            require_all: None,
            action: None,
            role: None,
            score: None,
            kind: None,
            symmetrical: None,
            with_previous: true,
            members,
        }
    }
}

fn order_kind(node: Node<'_>) -> Option<OrderKind> {
    match (node.attr("kind"), node.attr("score")) {
        (Some("Optional"), _) => Some(OrderKind::Optional),
        (Some("Serialize"), _) => Some(OrderKind::Serialize),
        (Some(_), _) => Some(OrderKind::Mandatory),
        (None, Some(score)) if parse_score(score).unwrap_or(0) == 0 => Some(OrderKind::Optional),
        (None, Some(_)) => Some(OrderKind::Mandatory),
        (None, None) => None,
    }
}

fn read_sets(reader: &Reader<'_>, node: Node<'_>) -> Vec<ResourceSet> {
    node.children_named("resource_set")
        .filter_map(|s| reader.resolve(s))
        .map(ResourceSet::read)
        .collect()
}

impl Constraint {
    /// Reads one child of `<constraints>` into `into`.
    pub(crate) fn read(reader: &Reader<'_>, node: Node<'_>, into: &mut Vec<Constraint>) {
        let Some(id) = node.attr("id") else {
            reader.error(format!("Ignoring <{}> constraint without id", node.name()));
            return;
        };
        let owned = |name: &str| node.attr(name).map(Str::from);
        match node.name() {
            "rsc_location" => read_locations(reader, node, id, into),
            "rsc_colocation" => into.push(Constraint::Colocation(Colocation {
                id: id.into(),
                score: owned("score"),
                dependent: owned("rsc"),
                primary: owned("with-rsc"),
                dependent_role: owned("rsc-role"),
                primary_role: owned("with-rsc-role"),
                node_attribute: owned("node-attribute"),
                influence: owned("influence"),
                sets: read_sets(reader, node),
            })),
            "rsc_order" => {
                let kind = order_kind(node);
                into.push(Constraint::Order(Order {
                    id: id.into(),
                    kind: kind.unwrap_or(OrderKind::Mandatory),
                    kind_given: kind.is_some(),
                    symmetrical: node.attr("symmetrical").and_then(parse_bool),
                    first: owned("first"),
                    then: owned("then"),
                    first_action: owned("first-action"),
                    then_action: owned("then-action"),
                    require_all: node.attr("require-all").and_then(parse_bool),
                    sets: read_sets(reader, node),
                }));
            }
            "rsc_ticket" => into.push(Constraint::Ticket(TicketConstraint {
                id: id.into(),
                ticket: owned("ticket"),
                loss_policy: owned("loss-policy"),
                rsc: owned("rsc"),
                role: owned("rsc-role"),
                sets: read_sets(reader, node),
            })),
            other => reader.error(format!("Unsupported constraint type: {other}")),
        }
    }
}

/// A location constraint with several rules counts as several constraints; a lifetime, of which
/// earlier releases knew, is a condition on top of all.
fn read_locations(reader: &Reader<'_>, node: Node<'_>, id: &str, into: &mut Vec<Constraint>) {
    let owned = |name: &str| node.attr(name).map(Str::from);
    let target = match (node.attr("rsc"), node.attr("rsc-pattern")) {
        (Some(rsc), _) => LocationTarget::Resource(rsc.into()),
        (None, Some(pattern)) => {
            let inverted = pattern.starts_with('!');
            let expression = pattern.strip_prefix('!').unwrap_or(pattern);
            let regex = RegexBuilder::new(expression).size_limit(PATTERN_MAX).build().ok();
            LocationTarget::Pattern { regex, inverted }
        }
        _ => LocationTarget::None,
    };
    let rules: Vec<Rule> = node.children_named("rule").map(|r| Rule::read(reader, r)).collect();
    let several = rules.len() > 1;
    let lifetime: Vec<Rule> = node
        .child("lifetime")
        .map(|l| l.children_named("rule").map(|r| Rule::read(reader, r)).collect())
        .unwrap_or_default();
    let mut rules: Vec<Option<Rule>> = rules.into_iter().map(Some).collect();
    if rules.is_empty() {
        rules.push(None);
    }
    for (at, rule) in rules.into_iter().enumerate() {
        let id = if several { format!("{id}-{}", at + 1) } else { id.to_owned() };
        into.push(Constraint::Location(Location {
            target: target.clone(),
            node: owned("node"),
            score: owned("score"),
            role: owned("role"),
            discovery: owned("resource-discovery"),
            rule: limited(&id, rule, &lifetime),
            sets: read_sets(reader, node),
            id: id.into(),
        }));
    }
}

fn limited(id: &str, rule: Option<Rule>, lifetime: &[Rule]) -> Option<Rule> {
    if lifetime.is_empty() {
        return rule;
    }
    let any = Rule::joined(&format!("{id}-lifetime-or"), Combine::Or, lifetime.to_vec());
    let rule = rule?;
    let (score, attribute, role) =
        (rule.score.clone(), rule.score_attribute.clone(), rule.role.clone());
    let mut both = Rule::joined(&format!("{id}-lifetime-and"), Combine::And, vec![rule, any]);
    (both.score, both.score_attribute, both.role) = (score, attribute, role);
    Some(both)
}
