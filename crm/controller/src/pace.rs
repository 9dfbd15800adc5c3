//! When the DC makes a plan, and whether what was planned still counts.
//!
//! What happens in the cluster is planned for at once. Changes of the configuration that follow one
//! another closely share plans. A plan that took its time while the cluster went on is thrown away,
//! but not for ever: under a stream of changes it would otherwise never come to an action.

use std::time::Duration;

use membership_base::Instant;
use membership_base::mutant::{Mutant, mutant};

/// How long changes of the configuration wait for more of them, after a plan.
const GATHERING: Duration = Duration::from_millis(25);

/// How long changes alone may keep any plan from being carried out.
const STARVING: Duration = Duration::from_secs(1);

/// What asks for a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Somebody has changed the configuration.
    Configuration,
    /// Somebody, an agent say, has changed a node attribute.
    Attribute,
    /// Something has happened. What was planned without it may be wrong to do.
    Event,
}

#[derive(Debug)]
pub(crate) struct Pace {
    /// A plan is wanted, for this reason.
    wanted: Option<String>,
    /// Not for the configuration only.
    urgent: bool,
    /// A plan is being computed since then, and whether that was urgent.
    planning: Option<(Instant, bool)>,
    /// What has happened meanwhile makes it old.
    outdated: bool,
    /// What was changed meanwhile does.
    changed: bool,
    /// Since when changes have made every plan old.
    starving: Option<Instant>,
    /// Until when changes wait for more of them.
    gathering_until: Instant,
    /// A plan waits for that.
    timer: Option<Instant>,
}

impl Pace {
    pub(crate) fn new() -> Pace {
        Pace {
            wanted: None,
            urgent: false,
            planning: None,
            outdated: false,
            changed: false,
            starving: None,
            gathering_until: Instant(0),
            timer: None,
        }
    }

    pub(crate) fn want(&mut self, reason: &str, cause: Cause) {
        self.wanted.get_or_insert_with(|| reason.to_owned());
        self.urgent |= cause != Cause::Configuration;
        if self.planning.is_some() {
            self.outdated |= cause == Cause::Event;
            self.changed |= cause != Cause::Event;
        }
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.is_some()
    }

    pub(crate) fn is_planning(&self) -> bool {
        self.planning.is_some()
    }

    /// When a plan that is wanted can be made, if nothing but that keeps it.
    pub(crate) fn timer(&self) -> Option<Instant> {
        self.timer
    }

    /// Something else keeps a plan from being made: time alone does not help.
    pub(crate) fn hold(&mut self) {
        self.timer = None;
    }

    /// Nothing else keeps a plan from being made: why one is made now, if it is.
    pub(crate) fn begin(&mut self, now: Instant) -> Option<String> {
        self.timer = None;
        if self.planning.is_some() || self.wanted.is_none() {
            return None;
        }
        if !self.urgent && now < self.gathering_until {
            self.timer = Some(self.gathering_until);
            return None;
        }
        self.planning = Some((now, self.urgent));
        (self.urgent, self.outdated, self.changed) = (false, false, false);
        self.wanted.take()
    }

    /// The plan is there: whether it is carried out.
    pub(crate) fn end(&mut self, now: Instant) -> bool {
        let Some((since, urgent)) = self.planning.take() else { return false };
        // At most half of the time goes into plans for changes.
        self.gathering_until = now + GATHERING.max(now - since);
        let starves = |since| now - since >= STARVING;
        let counts = !self.outdated && (!self.changed || self.starving.is_some_and(starves));
        if !counts {
            self.urgent |= urgent;
            self.starving.get_or_insert(now);
        } else if !self.changed {
            self.starving = None;
        }
        counts || mutant(Mutant::OutdatedPlan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Instant {
        Instant(n * 1_000_000)
    }

    #[test]
    fn the_first_change_is_planned_for_at_once_and_those_after_it_share_a_plan() {
        let mut pace = Pace::new();
        pace.want("a", Cause::Configuration);
        assert_eq!(pace.begin(ms(0)).as_deref(), Some("a"));
        assert!(pace.end(ms(2)));
        for (n, reason) in ["b", "c", "d"].into_iter().enumerate() {
            pace.want(reason, Cause::Configuration);
            assert_eq!(pace.begin(ms(3 + n as u64)), None);
        }
        assert_eq!(pace.timer(), Some(ms(27)));
        pace.hold();
        assert_eq!((pace.timer(), pace.begin(ms(26))), (None, None));
        assert_eq!(pace.begin(ms(27)).as_deref(), Some("b"));
        assert_eq!(pace.timer(), None);
        assert!(pace.end(ms(127)));
        pace.want("e", Cause::Configuration);
        assert_eq!(pace.begin(ms(200)), None, "a plan takes 100 ms: as long again");
        assert_eq!(pace.begin(ms(227)).as_deref(), Some("e"));
    }

    #[test]
    fn what_happens_does_not_wait() {
        for cause in [Cause::Event, Cause::Attribute] {
            let mut pace = Pace::new();
            pace.want("a", Cause::Configuration);
            assert!(pace.begin(ms(0)).is_some() && pace.end(ms(1)));
            pace.want("b", Cause::Configuration);
            pace.want("c", cause);
            assert_eq!(pace.begin(ms(2)).as_deref(), Some("b"));
            pace.want("d", Cause::Configuration);
            assert!(!pace.end(ms(3)), "a change made it old");
            assert_eq!(pace.begin(ms(4)).as_deref(), Some("d"), "it is as urgent");
        }
    }

    /// Plans of 10 ms from a time on, with a change in each, until one is carried out; when that is.
    fn under_changes(pace: &mut Pace, from: u64, cause: Cause) -> Option<u64> {
        let mut now = from;
        while now < from + 5000 {
            pace.want("a change", Cause::Configuration);
            now += 50;
            assert!(pace.begin(ms(now)).is_some());
            pace.want("another", cause);
            now += 10;
            if pace.end(ms(now)) {
                return Some(now);
            }
        }
        None
    }

    #[test]
    fn changes_alone_do_not_keep_plans_from_being_carried_out_for_ever() {
        let mut pace = Pace::new();
        let first = under_changes(&mut pace, 0, Cause::Configuration).expect("one is carried out");
        assert!((1000..1200).contains(&first), "{first}");
        assert!(pace.is_wanted(), "it did not go by the last change");
        let next = under_changes(&mut pace, first, Cause::Configuration);
        assert_eq!(next, Some(first + 60), "while they go on");
        assert_eq!(under_changes(&mut Pace::new(), 0, Cause::Event), None);
    }
}
