//! The finished plan, and the ways to show it.

mod dot;
mod summary;

use crm_graph::Transition;

use crate::base::Ws;
use crate::reasons::Reasons;

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
    summary: Vec<String>,
    ws: Ws,
}

/// The changes in words. Actions that nobody gave a node yet get that of their resource by it, so
/// it comes before the graph.
pub(crate) fn summarize(ws: &mut Ws) -> Vec<String> {
    summary::Summary::new(ws).lines()
}

impl Plan {
    pub(crate) fn new(transition: Transition, summary: Vec<String>, ws: Ws) -> Plan {
        Plan { transition, summary, ws }
    }

    pub(crate) fn into_ws(self) -> Ws {
        self.ws
    }

    /// Scores as lines of text, if they were asked for.
    pub fn scores(&self) -> &[String] {
        &self.ws.scores
    }

    /// Messages for whoever asked for the plan.
    pub fn notices(&self) -> &[String] {
        &self.ws.notices
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
    pub fn dot(&self) -> String {
        dot::write(&self.ws)
    }

    /// One line for each change, with its reason.
    pub fn summary(&self) -> &[String] {
        &self.summary
    }
}
