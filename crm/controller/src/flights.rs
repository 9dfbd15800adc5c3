//! What nodes have been told to do and have not answered, whichever transition asked for it.
//!
//! A transition that is given up leaves its operations under way. The next one is made at once:
//! an action of it that is the same as such an operation is answered by it (it is *adopted*),
//! every other one that concerns the same resource waits until it has ended.

use std::collections::{BTreeMap, BTreeSet};

use crm_graph::{Action, Transition};
use membership_base::mutant::{Mutant, mutant};
use membership_base::{Instant, NodeId};

use crate::Underway;
use crate::history::Tag;

/// Something under way, as the DC keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    /// Who carries it out.
    pub(crate) to: NodeId,
    pub(crate) what: Underway,
    /// When it is taken to be lost.
    pub(crate) deadline: Instant,
    /// The action of the transition in force that it answers.
    pub(crate) action: Option<u32>,
    /// An earlier transition, or another DC, has asked for it.
    carried: bool,
}

/// Everything under way, by transition key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flights(BTreeMap<String, Flight>);

impl Flights {
    /// The transition in force has asked for something.
    pub(crate) fn begin(&mut self, to: NodeId, what: Underway, deadline: Instant, action: u32) {
        let tag = what.tag.clone();
        self.0.insert(tag, Flight { to, what, deadline, action: Some(action), carried: false });
    }

    /// A member tells of something that it is doing; what is known stays as it is.
    pub(crate) fn learn(&mut self, to: NodeId, what: Underway, deadline: Instant) {
        let tag = what.tag.clone();
        let flight = Flight { to, what, deadline, action: None, carried: true };
        self.0.entry(tag).or_insert(flight);
    }

    /// It has ended.
    pub(crate) fn end(&mut self, tag: &str) -> Option<Flight> {
        self.0.remove(tag)
    }

    /// What nodes were doing will not be answered.
    pub(crate) fn lost(&mut self, nodes: &[NodeId]) -> Vec<Flight> {
        self.0.extract_if(.., |_, flight| nodes.contains(&flight.to)).map(|f| f.1).collect()
    }

    /// In a new view each member has said what it is doing. Everything else that it was told it has
    /// done where nobody else heard of it, or will not do: returns that.
    pub(crate) fn forgotten<'a>(
        &mut self,
        busy: impl Fn(NodeId) -> Option<&'a [Underway]>,
    ) -> Vec<Flight> {
        let unknown = |tag: &str, flight: &Flight| {
            busy(flight.to).is_some_and(|all| all.iter().all(|what| what.tag != tag))
        };
        self.0.extract_if(.., |tag, flight| unknown(tag, flight)).map(|f| f.1).collect()
    }

    /// What should have been answered by now; it is no longer waited for.
    pub(crate) fn late(&mut self, now: Instant) -> Vec<Flight> {
        self.0.extract_if(.., |_, flight| flight.deadline <= now).map(|f| f.1).collect()
    }

    /// The transition in force is no longer: what it has begun goes on without it.
    pub(crate) fn release(&mut self) {
        for flight in self.0.values_mut() {
            flight.action = None;
            flight.carried = true;
        }
    }

    /// Finds the actions of a new transition that are under way already. An action that comes
    /// after another one for the same resource is none of them: it is to be done again.
    pub(crate) fn adopt(&mut self, transition: &Transition) -> Vec<u32> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let index = Index::new(transition);
        let mut adopted = Vec::new();
        for flight in self.0.values_mut() {
            let candidates = index.by_resource.get(flight.what.resource.as_str());
            let fits = |ix: &&usize| {
                let action = &transition.synapses[**ix].action;
                is_same(&flight.what, action) && index.comes_first(**ix, &flight.what)
            };
            let Some(ix) = candidates.and_then(|list| list.iter().find(fits)) else { continue };
            let id = transition.synapses[*ix].action.id;
            if !adopted.contains(&id) {
                flight.action = Some(id);
                adopted.push(id);
            }
        }
        adopted
    }

    /// Whether something of before is under way that an action has to wait for.
    pub(crate) fn holds(&self, action: &Action) -> bool {
        let waits_for =
            |f: &Flight| f.carried && f.action != Some(action.id) && concerns(&f.what, action);
        !mutant(Mutant::NoLanes) && self.0.values().any(waits_for)
    }

    /// How much is under way that the transition in force does not count itself.
    pub(crate) fn apart(&self) -> usize {
        self.0.values().filter(|f| f.action.is_none()).count()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.0.values().map(|f| f.deadline).min()
    }
}

/// A transition, by what is looked for in it.
struct Index<'a> {
    transition: &'a Transition,
    by_resource: BTreeMap<&'a str, Vec<usize>>,
    by_action: BTreeMap<u32, usize>,
}

impl<'a> Index<'a> {
    fn new(transition: &'a Transition) -> Index<'a> {
        let mut by_resource: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut by_action = BTreeMap::new();
        for (ix, synapse) in transition.synapses.iter().enumerate() {
            by_action.insert(synapse.action.id, ix);
            if let Some(resource) = &synapse.action.resource {
                by_resource.entry(&resource.id).or_default().push(ix);
            }
        }
        Index { transition, by_resource, by_action }
    }

    /// Whether nothing that changes the same resource comes before the action.
    fn comes_first(&self, ix: usize, what: &Underway) -> bool {
        let (mut seen, mut todo) = (BTreeSet::new(), vec![ix]);
        while let Some(at) = todo.pop() {
            for input in &self.transition.synapses[at].inputs {
                let Some(before) = self.by_action.get(input).filter(|b| seen.insert(**b)) else {
                    continue;
                };
                let action = &self.transition.synapses[*before].action;
                if concerns(what, action) && changes(action) {
                    return false;
                }
                todo.push(*before);
            }
        }
        true
    }
}

/// Whether the resource, or what is known of it, is another after the action.
fn changes(action: &Action) -> bool {
    !matches!(&*action.operation, "monitor" | "notify" | "cancel" | "clear_failcount")
}

/// Whether an action does what is under way already, with the same expectation.
fn is_same(what: &Underway, action: &Action) -> bool {
    // Notifications differ by what they tell, which changes with the plan.
    let kind = match &*action.operation {
        "notify" => return false,
        "lrm_delete" => "delete",
        kind => kind,
    };
    let there = action.on_node.as_deref() == Some(&*what.node);
    let expected = action.attribute("CRM_meta_op_target_rc").and_then(|rc| rc.parse().ok());
    let target_rc = Tag::parse(&what.tag).map(|tag| tag.target_rc);
    kind == what.action
        && there
        && target_rc == Some(expected.unwrap_or(0))
        && Underway::of_action(action, String::new())
            .is_some_and(|new| new.interval_ms == what.interval_ms && new.digest == what.digest)
}

/// Whether an action is about the resource that something under way is about. The instances of an
/// anonymous clone are apart, except that only so many of them may be promoted.
fn concerns(what: &Underway, action: &Action) -> bool {
    let Some(resource) = action.resource.as_ref().filter(|r| *r.id == *what.resource) else {
        return false;
    };
    let there = action.on_node.as_deref() == Some(&*what.node);
    let both_promote = what.action == "promote" && *action.operation == *"promote";
    let apart = what.instance && resource.long_id.is_some();
    there || both_promote || !(apart || what.is_local())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crm_graph::{ActionKind, Resource, Synapse};

    /// An action for `r` on a node, or for an instance of it.
    fn action(id: u32, operation: &str, node: &str, instance: bool) -> Action {
        Action {
            id,
            kind: ActionKind::Resource,
            operation: operation.into(),
            key: String::new(),
            internal_key: None,
            on_node: Some(node.into()),
            on_node_uuid: None,
            router_node: None,
            resource: Some(Arc::new(Resource {
                id: "r".into(),
                long_id: instance.then(|| "r:0".into()),
                class: "ocf".into(),
                provider: None,
                agent: "x".into(),
            })),
            attributes: vec![],
            downed: vec![],
            params: vec![],
            maintenance: vec![],
            shutdown_lock: None,
            reason: None,
        }
    }

    fn plan(actions: &[(&Action, &[u32])]) -> Transition {
        let synapse = |(action, inputs): &(&Action, &[u32])| Synapse {
            id: action.id,
            priority: 0,
            action: (*action).clone(),
            inputs: inputs.to_vec(),
        };
        Transition { synapses: actions.iter().map(synapse).collect(), ..Transition::default() }
    }

    fn under_way(action: &Action) -> Flights {
        let mut flights = Flights::default();
        let what = Underway::of_action(action, "1:1:0:dc".into()).unwrap();
        flights.begin(NodeId(1), what, Instant(1), action.id);
        flights.release();
        flights
    }

    #[test]
    fn the_same_action_is_answered_by_what_is_under_way_and_others_wait() {
        let start = action(7, "start", "n1", false);
        let monitor = action(8, "monitor", "n1", false);
        let mut flights = under_way(&action(1, "start", "n1", false));
        assert_eq!(flights.adopt(&plan(&[(&start, &[]), (&monitor, &[7])])), [7]);
        assert!(!flights.holds(&start) && flights.holds(&monitor));
        assert!(flights.holds(&action(9, "start", "n2", false)), "elsewhere as well");
        assert_eq!(flights.end("1:1:0:dc").and_then(|f| f.action), Some(7));
        assert!(!flights.holds(&monitor));
    }

    #[test]
    fn what_comes_after_another_change_or_has_other_parameters_is_done_again() {
        let (stop, start) = (action(6, "stop", "n1", false), action(7, "start", "n1", false));
        let mut flights = under_way(&start);
        assert!(flights.adopt(&plan(&[(&stop, &[]), (&start, &[6])])).is_empty());
        let mut other = start.clone();
        other.attributes.push(("ip".into(), "2".into()));
        assert!(flights.adopt(&plan(&[(&other, &[])])).is_empty());
        assert!(flights.holds(&stop) && flights.holds(&other));
        assert_eq!(flights.apart(), 1);
    }

    #[test]
    fn instances_are_apart_but_for_promotions() {
        let flights = under_way(&action(1, "start", "n1", true));
        assert!(!flights.holds(&action(2, "start", "n2", true)));
        assert!(flights.holds(&action(3, "promote", "n1", true)));
        assert!(flights.holds(&action(4, "start", "n2", false)), "it is no clone any more");
        let flights = under_way(&action(1, "promote", "n1", true));
        assert!(flights.holds(&action(2, "promote", "n2", true)));
        assert!(!flights.holds(&action(3, "start", "n2", true)));
    }
}
