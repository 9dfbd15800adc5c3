//! The finished plan, and the ways to show it.

mod dot;
mod summary;

use crm_graph::Transition;

use crate::base::Ws;
use crate::notes::Note;
use crate::reasons::Reasons;

pub use summary::Change;

/// Something wrong with the configuration or the state that planning came upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether something was ignored because of it (rather than put up with).
    pub error: bool,
    /// What is wrong, in words.
    pub text: String,
}

/// A plan.
pub struct Plan {
    /// What has to be done, in which order.
    pub transition: Transition,
    summary: Vec<Change>,
    ws: Ws,
}

/// The changes in words. Actions that nobody gave a node yet get that of their resource by it, so
/// it comes before the graph.
pub(crate) fn summarize(ws: &mut Ws) -> Vec<Change> {
    summary::Summary::new(ws).changes()
}

impl Plan {
    pub(crate) fn new(transition: Transition, summary: Vec<Change>, ws: Ws) -> Plan {
        Plan { transition, summary, ws }
    }

    pub(crate) fn into_ws(self) -> Ws {
        self.ws
    }

    /// What has to be done alone: what it was made from is let go.
    pub fn into_transition(self) -> Transition {
        self.transition
    }

    /// What was noted on the way: remarks, and what the flags asked for.
    pub fn notes(&self) -> &[Note] {
        &self.ws.notes
    }

    /// What is wrong with the configuration.
    pub fn problems(&self) -> impl Iterator<Item = Problem> {
        self.ws.problems.iter().map(|(error, text)| Problem { error: *error, text: text.clone() })
    }

    /// Why scores are as they are.
    pub fn reasons(&self) -> &Reasons {
        &self.ws.reasons
    }

    /// Whether a resource of the working set has an id.
    pub fn has_resource(&self, id: &str) -> bool {
        self.ws.find_rsc(id).is_some()
    }

    /// Number of a node, for [`Plan::reasons`].
    pub fn node(&self, name: &str) -> Option<crate::NodeIx> {
        self.ws.find_node(name)
    }

    /// Number of a resource, for [`Plan::reasons`].
    pub fn resource(&self, id: &str) -> Option<crate::RscIx> {
        self.ws.find_rsc(id)
    }

    /// The graph in the language of Graphviz: what is done, and what would be but cannot.
    ///
    /// With `all` also what needs not be done; with `numbers` actions have their numbers.
    pub fn dot(&self, all: bool, numbers: bool) -> String {
        dot::write(&self.ws, all, numbers)
    }

    /// The changes, with their reasons.
    pub fn summary(&self) -> &[Change] {
        &self.summary
    }
}
