use std::cell::Cell;

use super::*;

struct TestClock(Cell<Duration>);

impl Clock for &TestClock {
    fn now(&self) -> Duration {
        self.0.get()
    }

    fn sleep(&self, time: Duration) {
        self.0.set(self.0.get() + time);
    }
}

/// A host whose power follows a command after `delay`, unless it never does.
struct TestHost<'a> {
    clock: &'a TestClock,
    on: bool,
    delay: Option<Duration>,
    change: Option<(Duration, bool)>,
    /// Answers nothing from the first time to the second.
    silent: (Duration, Duration),
    refuses_on: bool,
    log: Vec<ChassisControl>,
}

impl TestHost<'_> {
    fn settle(&mut self) {
        if let Some((at, on)) = self.change
            && self.clock.now() >= at
        {
            self.on = on;
            self.change = None;
        }
    }

    fn speak(&self) -> Result<(), Error> {
        let now = self.clock.now();
        if (self.silent.0..self.silent.1).contains(&now) {
            return Err(Error::NoAnswer { during: "asking", waited: Duration::ZERO });
        }
        Ok(())
    }
}

impl Device for TestHost<'_> {
    fn is_on(&mut self) -> Result<bool, Error> {
        self.speak()?;
        self.settle();
        Ok(self.on)
    }

    fn control(&mut self, control: ChassisControl) -> Result<(), Error> {
        self.speak()?;
        self.log.push(control);
        let on = control == ChassisControl::PowerUp;
        if on && self.refuses_on {
            return Err(Error::Completion { command: "Chassis Control", code: 0xff });
        }
        self.change = self.delay.map(|delay| (self.clock.now() + delay, on));
        Ok(())
    }
}

const S: Duration = Duration::from_secs(1);

fn fencing<'a>(clock: &'a TestClock, on: bool) -> Fencing<TestHost<'a>, &'a TestClock> {
    Fencing {
        device: TestHost {
            clock,
            on,
            delay: Some(S * 2),
            change: None,
            silent: (Duration::ZERO, Duration::ZERO),
            refuses_on: false,
            log: Vec::new(),
        },
        clock,
        power_timeout: S * 20,
        power_wait: Duration::ZERO,
        status_sleep: S / 10,
        retry_on: 1,
    }
}

fn clock() -> TestClock {
    TestClock(Cell::new(Duration::ZERO))
}

#[test]
fn off_is_read_back() {
    let clock = clock();
    assert_eq!(fencing(&clock, true).off(), Ok(Done::Off));
    assert!(clock.0.get() >= S * 2 && clock.0.get() < S * 3);
}

#[test]
fn what_is_so_already_is_left_alone() {
    let clock = clock();
    let mut off = fencing(&clock, false);
    assert_eq!(off.off(), Ok(Done::AlreadyOff));
    assert!(off.device.log.is_empty());
    let mut on = fencing(&clock, true);
    assert_eq!(on.on(), Ok(Done::AlreadyOn));
    assert!(on.device.log.is_empty());
}

#[test]
fn a_lying_bmc_confirms_nothing() {
    let clock = clock();
    for act in [Fencing::off, Fencing::reboot] {
        let mut fencing = fencing(&clock, true);
        fencing.device.delay = None;
        let failure = act(&mut fencing).unwrap_err();
        assert_eq!(fencing.device.log, [ChassisControl::PowerDown]);
        let text = failure.to_string();
        assert!(text.contains("says after 20") && text.contains("still on"), "{text}");
    }
}

#[test]
fn silence_confirms_nothing() {
    let clock = clock();
    let mut fencing = fencing(&clock, true);
    fencing.device.silent = (S / 20, S * 100);
    let text = fencing.off().unwrap_err().to_string();
    assert!(text.contains("could not be read back"), "{text}");
}

#[test]
fn a_short_silence_is_waited_out() {
    let clock = clock();
    let mut fencing = fencing(&clock, true);
    fencing.device.silent = (S / 20, S * 5);
    assert_eq!(fencing.off(), Ok(Done::Off));
}

#[test]
fn reboot_is_off_then_on() {
    let clock = clock();
    let mut fencing = fencing(&clock, true);
    assert_eq!(fencing.reboot(), Ok(Done::Rebooted));
    assert_eq!(fencing.device.log, [ChassisControl::PowerDown, ChassisControl::PowerUp]);
    assert!(fencing.device.on);
}

#[test]
fn a_host_that_stays_off_is_fenced_all_the_same() {
    let clock = clock();
    let mut fencing = fencing(&clock, true);
    fencing.device.refuses_on = true;
    fencing.retry_on = 3;
    assert!(matches!(fencing.reboot(), Ok(Done::OffButNotOn(_))));
    assert_eq!(fencing.device.log.len(), 4);
    assert!(!fencing.device.on);
}

#[test]
fn a_cycle_counts_only_if_seen_off() {
    let clock = clock();
    let mut seen = fencing(&clock, true);
    // This host stays off after the cycle and must be powered on.
    assert_eq!(seen.cycle(), Ok(Done::Rebooted));
    assert_eq!(seen.device.log, [ChassisControl::PowerCycle, ChassisControl::PowerUp]);
    let mut unseen = fencing(&clock, true);
    unseen.device.delay = None;
    assert!(matches!(unseen.cycle(), Err(Failure::NeverSeenOff { .. })));
}
