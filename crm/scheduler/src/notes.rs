//! What planning writes down on request, for people who want to see how it came to its result.

use cib_model::{Str, numeric_cmp, readable_score};

use crate::base::{NodeIx, RscIx, Ws, rf};

/// One thing that planning noted, in the order of time. As text it is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A score of a resource on a node, after one step of the assignment.
    Score {
        /// The step.
        step: String,
        /// The resource.
        resource: Str,
        /// The node.
        node: Str,
        /// The score.
        score: i32,
    },
    /// The score by which the instance to promote is chosen.
    Promotion {
        /// The instance.
        resource: Str,
        /// Where it will be.
        node: Option<Str>,
        /// The score.
        score: i32,
    },
    /// What a node has to offer.
    Capacity {
        /// When: before or after the assignment.
        when: &'static str,
        /// The node.
        node: Str,
        /// Amounts by name.
        amounts: Vec<(Str, i32)>,
    },
    /// What a resource takes from the node that it was assigned to.
    Utilization {
        /// The step.
        step: &'static str,
        /// The resource.
        resource: Str,
        /// The node.
        node: Str,
        /// Amounts by name.
        amounts: Vec<(Str, i32)>,
    },
    /// A remark.
    Remark(String),
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = |f: &mut std::fmt::Formatter<'_>, amounts: &[(Str, i32)]| {
            amounts.iter().try_for_each(|(name, amount)| write!(f, " {name}={amount}"))
        };
        match self {
            Note::Score { step, resource, node, score } => {
                let score = readable_score(*score);
                write!(f, "{step}: {resource} allocation score on {node}: {score}")
            }
            Note::Promotion { resource, node: Some(node), score } => {
                write!(f, "{resource} promotion score on {node}: {}", readable_score(*score))
            }
            Note::Promotion { resource, node: None, score } => {
                write!(f, "{resource} promotion score (inactive): {}", readable_score(*score))
            }
            Note::Capacity { when, node, amounts } => {
                write!(f, "{when}: {node} capacity:")?;
                all(f, amounts)
            }
            Note::Utilization { step, resource, node, amounts } => {
                write!(f, "{step}: {resource} utilization on {node}:")?;
                all(f, amounts)
            }
            Note::Remark(text) => f.write_str(text),
        }
    }
}

impl Ws {
    /// Notes a resource's row, and those of its parts.
    pub(crate) fn show_scores(&mut self, rsc: RscIx, step: &str) {
        if !self.config.show_scores || self[rsc].is(rf::REMOVED) {
            return;
        }
        let mut nodes: Vec<NodeIx> = self[rsc].allowed.nodes().collect();
        nodes.sort_by(|a, b| numeric_cmp(&self[*a].name, &self[*b].name));
        for node in nodes {
            let note = Note::Score {
                step: format!("pcmk__{step}_assign"),
                resource: self[rsc].id.clone(),
                node: self[node].name.clone(),
                score: self[rsc].allowed.score(node).unwrap_or(0),
            };
            self.notes.push(note);
        }
        for child in self[rsc].children.clone() {
            self.show_scores(child, step);
        }
    }

    /// Notes what the nodes have to offer. Guests offer nothing of their own.
    pub(crate) fn show_capacities(&mut self, when: &'static str) {
        if !self.config.show_utilization {
            return;
        }
        for node in self.node_order.clone() {
            if !self.is_guest(node) {
                let (node, amounts) = (&self[node].name, &self[node].utilization);
                let (node, amounts) = (node.clone(), amounts.clone());
                self.notes.push(Note::Capacity { when, node, amounts });
            }
        }
    }

    /// Notes what a resource takes from its node.
    pub(crate) fn show_use(&mut self, rsc: RscIx, node: NodeIx) {
        if self.config.show_utilization {
            let note = Note::Utilization {
                step: "pcmk__assign_resource",
                resource: self[rsc].id.clone(),
                node: self[node].name.clone(),
                amounts: self[rsc].utilization.clone(),
            };
            self.notes.push(note);
        }
    }
}
