//! The end of a node that the others take to be down, or that cannot hold the CIB that they hold.
//!
//! It leaves the ring at once: the others fence it, or have done so, and recover what it ran. That
//! must not go on here, so all of it is stopped, by what each start was given. The daemon ends after
//! that and is not started again by itself: an operator has to see why.

use crm_api::exit;
use crm_controller::Level;
use membership_base::Instant;

use crate::{Effect, Input, Node};

impl Node {
    /// Begins the end, for this reason.
    pub(crate) fn end(&mut self, now: Instant, reason: &str) {
        if std::mem::replace(&mut self.ending, true) {
            return;
        }
        let text = format!("{reason}: leaving the cluster at once, and stopping what runs here");
        self.effects.push_back(Effect::Log(Level::Error, text));
        self.effects.push_back(Effect::LeaveRing);
        let added = vec![
            ("CRM_meta_on_node".to_owned(), self.name().to_owned()),
            ("CRM_meta_on_node_uuid".to_owned(), self.setup.local.to_string()),
        ];
        self.executor.handle(now, crm_executor::Input::StopAll { added });
    }

    /// Only the agents still count.
    pub(crate) fn handle_ending(&mut self, now: Instant, input: Input) {
        match input {
            Input::AgentFinished { run, outcome } => {
                self.executor.handle(now, crm_executor::Input::Finished { run, outcome });
            }
            Input::Client { id, .. } => {
                let reason = "this node has left the cluster and stops what runs here; see its log";
                self.fail(id, exit::DISCONNECT, reason);
            }
            _ => {}
        }
        self.settle_ending(now);
    }

    pub(crate) fn settle_ending(&mut self, now: Instant) {
        use crm_executor::Effect as E;
        while let Some(effect) = self.executor.poll_effect() {
            match effect {
                E::AllStopped { left } => self.ended(left),
                // Nobody plans with results any more, but somebody may have to clean up.
                E::Report(report) if report.outcome.code != crm_executor::code::OK => {
                    let crm_executor::Operation { action, resource, .. } = report.operation;
                    let crm_executor::Outcome { code, reason, .. } = report.outcome;
                    let text = format!("{action} of {resource} failed with code {code}: {reason}");
                    self.effects.push_back(Effect::Log(Level::Warning, text));
                }
                E::Report(_) | E::Cancelled { .. } => {}
                effect => self.executor_effect(now, effect),
            }
        }
    }

    fn ended(&mut self, left: Vec<String>) {
        let (level, text) = match &left[..] {
            [] => (Level::Notice, "all that this node had started is stopped".to_owned()),
            left => (
                Level::Error,
                format!(
                    "{} could not be stopped and may still run here, beside what the other nodes \
                     start: restart this host",
                    left.join(", ")
                ),
            ),
        };
        self.effects.push_back(Effect::Log(level, text));
        self.effects.push_back(Effect::Ended { left });
    }
}
