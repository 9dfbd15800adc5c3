//! The moments of a failover, told as they come.

use crm_api::EventKind;

use super::Seen;

/// Which moments have been seen, and which are still to come.
pub(super) struct Steps {
    cut_ms: u64,
    lost: String,
    seen: Vec<Step>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Detected,
    Membership,
    Fenced,
    Started,
    Answers,
}

/// All that a failover has; it is over when each was seen.
const STEPS: usize = 5;

impl Steps {
    /// The power of the host `lost` was cut at `cut_ms`.
    pub(super) fn new(cut_ms: u64, lost: &str) -> Steps {
        Steps { cut_ms, lost: lost.to_owned(), seen: Vec::new() }
    }

    /// The line for a moment that is seen for the first time.
    pub(super) fn note(&mut self, seen: &Seen) -> Option<String> {
        let (at_ms, step, text) = self.step(seen)?;
        if self.seen.contains(&step) {
            return None;
        }
        self.seen.push(step);
        Some(line(at_ms.saturating_sub(self.cut_ms), &text))
    }

    fn step(&self, seen: &Seen) -> Option<(u64, Step, String)> {
        let event = match seen {
            Seen::Answer { at_ms, by } if *by != self.lost => {
                return Some((*at_ms, Step::Answers, format!("VIP answers again, from {by}")));
            }
            Seen::Answer { .. } => return None,
            Seen::Event(event) => event,
        };
        let (step, text) = match &event.kind {
            EventKind::Gathering { .. } => (Step::Detected, "loss detected"),
            EventKind::Membership { lost, .. } if lost.contains(&self.lost) => {
                (Step::Membership, "new membership formed")
            }
            EventKind::FencingEnded { target, error: None, .. } if *target == self.lost => {
                (Step::Fenced, "fence confirmed by the BMC (IPMI)")
            }
            EventKind::Operation { resource, action, code: 0, .. }
                if action == "start" && resource == "server" =>
            {
                (Step::Started, "resources started elsewhere")
            }
            _ => return None,
        };
        Some((event.at_ms, step, text.to_owned()))
    }

    pub(super) fn complete(&self) -> bool {
        self.seen.len() == STEPS
    }
}

/// A moment, and what happened then.
pub(super) fn line(ms: u64, what: &str) -> String {
    format!("  {:>6.3} s  {what}", ms as f64 / 1000.0)
}
