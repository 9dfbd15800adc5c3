//! What the actions do, over any device and clock. The one rule: success is what was read back
//! from the device, never what was sent to it.

use std::fmt;
use std::time::Duration;

use crate::chassis::ChassisControl;
use crate::error::Error;

/// A switch for a host's power.
pub(super) trait Device {
    fn is_on(&mut self) -> Result<bool, Error>;
    fn control(&mut self, control: ChassisControl) -> Result<(), Error>;
}

/// Time, so that tests need none.
pub(super) trait Clock {
    fn now(&self) -> Duration;
    fn sleep(&self, time: Duration);
}

/// How an action ended well.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Done {
    AlreadyOn,
    AlreadyOff,
    On,
    Off,
    Rebooted,
    /// Fenced: the host is confirmed off, but did not come back on.
    OffButNotOn(Failure),
    Interrupted,
}

/// How an action failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Device(Error),
    /// The command was taken, but the state did not become what it should.
    NotReached {
        command: ChassisControl,
        wanted_on: bool,
        waited: Duration,
        /// What the last attempt to read the state came to, if it failed.
        last_error: Option<Error>,
    },
    /// The power cycle was taken, but the power was never seen off.
    NeverSeenOff {
        waited: Duration,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(error) => error.fmt(f),
            Self::NotReached { command, waited, last_error: Some(error), .. } => write!(
                f,
                "the BMC took \"{}\", but the power state could not be read back within {} s: \
                 {error}",
                command.name(),
                waited.as_secs_f32()
            ),
            Self::NotReached { command, wanted_on, waited, last_error: None } => write!(
                f,
                "the BMC took \"{}\", but says after {} s that the power is still {}",
                command.name(),
                waited.as_secs_f32(),
                if *wanted_on { "off" } else { "on" }
            ),
            Self::NeverSeenOff { waited } => write!(
                f,
                "the BMC took \"power cycle\", but the power was not seen off within {} s, so \
                 nothing is confirmed; use method=onoff",
                waited.as_secs_f32()
            ),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Device(error)
    }
}

/// One run of the agent against one device.
pub(super) struct Fencing<D, C> {
    pub(super) device: D,
    pub(super) clock: C,
    /// How long the state may take to follow a command.
    pub(super) power_timeout: Duration,
    /// Pause after each command.
    pub(super) power_wait: Duration,
    /// Pause between two looks at the state.
    pub(super) status_sleep: Duration,
    /// How many times power on is tried.
    pub(super) retry_on: u32,
}

impl<D: Device, C: Clock> Fencing<D, C> {
    pub(super) fn status(&mut self) -> Result<bool, Failure> {
        Ok(self.device.is_on()?)
    }

    pub(super) fn on(&mut self) -> Result<Done, Failure> {
        if self.device.is_on()? {
            return Ok(Done::AlreadyOn);
        }
        self.power_on().map(|()| Done::On)
    }

    pub(super) fn off(&mut self) -> Result<Done, Failure> {
        if !self.device.is_on()? {
            return Ok(Done::AlreadyOff);
        }
        self.switch(ChassisControl::PowerDown, false).map(|()| Done::Off)
    }

    pub(super) fn reboot(&mut self) -> Result<Done, Failure> {
        if self.device.is_on()? {
            self.switch(ChassisControl::PowerDown, false)?;
        }
        Ok(match self.power_on() {
            Ok(()) => Done::Rebooted,
            Err(failure) => Done::OffButNotOn(failure),
        })
    }

    /// Reboot by the BMC's own power cycle.
    pub(super) fn cycle(&mut self) -> Result<Done, Failure> {
        if !self.device.is_on()? {
            return self.reboot();
        }
        self.device.control(ChassisControl::PowerCycle)?;
        match self.read_back(false) {
            Ok(()) => {}
            Err((waited, _)) => return Err(Failure::NeverSeenOff { waited }),
        }
        Ok(match self.read_back(true) {
            Ok(()) => Done::Rebooted,
            Err(_) => match self.power_on() {
                Ok(()) => Done::Rebooted,
                Err(failure) => Done::OffButNotOn(failure),
            },
        })
    }

    pub(super) fn diagnostic(&mut self) -> Result<Done, Failure> {
        self.device.control(ChassisControl::Diagnostic)?;
        Ok(Done::Interrupted)
    }

    fn power_on(&mut self) -> Result<(), Failure> {
        let mut result = self.switch(ChassisControl::PowerUp, true);
        for _ in 1..self.retry_on {
            if result.is_ok() {
                break;
            }
            result = self.switch(ChassisControl::PowerUp, true);
        }
        result
    }

    fn switch(&mut self, command: ChassisControl, wanted_on: bool) -> Result<(), Failure> {
        self.device.control(command)?;
        self.clock.sleep(self.power_wait);
        self.read_back(wanted_on).map_err(|(waited, last_error)| Failure::NotReached {
            command,
            wanted_on,
            waited,
            last_error,
        })
    }

    /// Reads the state until it is the wanted one. A failure to read is not the end before the
    /// time is up, since some BMCs go silent while they switch.
    fn read_back(&mut self, wanted_on: bool) -> Result<(), (Duration, Option<Error>)> {
        let began = self.clock.now();
        loop {
            let state = self.device.is_on();
            if state == Ok(wanted_on) {
                return Ok(());
            }
            let waited = self.clock.now() - began;
            if waited >= self.power_timeout {
                return Err((waited, state.err()));
            }
            self.clock.sleep(self.status_sleep.max(Duration::from_millis(10)));
        }
    }
}

#[cfg(test)]
mod tests;
