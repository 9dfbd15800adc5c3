//! The fence agent: `fence_ipmilan`'s options, actions, output and exit codes, over our own
//! session instead of a tool's.
//!
//! What differs from `fence_ipmilan`, and why:
//! - IPMI 2.0 is always spoken; `lanplus=0` and `auth` (IPMI 1.5) are taken and ignored.
//! - `power_wait` is 0 and `stonith_status_sleep` 0.1 s by default: the power state is read back
//!   until it is what was asked for, so waiting first confirms nothing. Both take fractions.
//! - `method=cycle` counts only if the power was seen off, since the BMC's "done" to a power
//!   cycle proves nothing.
//! - Bridging (`target`) is refused rather than ignored, because ignoring it would fence the
//!   wrong machine.
//!
//! As there: a reboot whose "off" was confirmed is a success even if "on" then fails, because
//! the host is fenced; the failure to power it on is reported on standard error.

mod metadata;
mod options;
mod power;

use std::io::Read;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::chassis::ChassisControl;
use crate::client::{ClientConfig, Timing};
use crate::connection::Connection;
use crate::error::Error;
use options::{Action, Options};
use power::{Clock, Device, Done, Fencing};

/// Names the agent is installed under.
pub const NAMES: &[&str] = &["fence_ipmilan", "fence_systole_ipmi"];

const SUCCESS: i32 = 0;
const FAILURE: i32 = 1;
const STATUS_OFF: i32 = 2;

/// Standard input longer than this is not a list of options.
const INPUT_BYTES_MAX: u64 = 64 * 1024;

/// Runs the agent as `name` with the command line `args` (without the name); with no arguments,
/// options are read from standard input. Returns the exit code: 0 success, 1 failure, and for
/// the action status 0 on, 2 off.
pub fn run(name: &str, args: &[String]) -> i32 {
    let parsed = if args.is_empty() {
        let mut input = Zeroizing::new(String::new());
        let read = std::io::stdin().take(INPUT_BYTES_MAX).read_to_string(&mut input);
        match read {
            Ok(_) => Options::from_lines(&input),
            Err(error) => Err(format!("cannot read options from standard input: {error}")),
        }
    } else {
        Options::from_arguments(args)
    };
    let result = parsed.and_then(|options| {
        for warning in &options.warnings {
            eprintln!("{name}: {warning}");
        }
        act(name, options)
    });
    result.unwrap_or_else(|reason| {
        eprintln!("{name}: Failed: {reason}");
        FAILURE
    })
}

fn act(name: &str, options: Options) -> Result<i32, String> {
    match options.action {
        Action::Help => {
            say(&options::usage(name));
            Ok(SUCCESS)
        }
        Action::Version => {
            say(&format!("{name} {}", env!("CARGO_PKG_VERSION")));
            Ok(SUCCESS)
        }
        Action::Metadata => {
            say(&metadata::xml(name));
            Ok(SUCCESS)
        }
        Action::ValidateAll => options.check().map(|()| SUCCESS),
        Action::List => {
            // One BMC serves one host: there are no outlets to list.
            say("N/A");
            Ok(SUCCESS)
        }
        _ => {
            options.check()?;
            let password = options.password()?;
            fence(&options, password).map_err(|failure| failure.to_string())
        }
    }
}

/// A reader that went away is no reason to fail.
fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn fence(options: &Options, password: crate::Secret) -> Result<i32, power::Failure> {
    let clock = SystemClock(Instant::now());
    let config = ClientConfig {
        user: options.username.clone(),
        password,
        bmc_key: options.bmc_key.clone(),
        suites: options.suites.clone(),
        privilege: options.privilege,
        timing: Timing {
            login_timeout: options.login_timeout,
            command_timeout: options.shell_timeout,
            ..Timing::default()
        },
    };
    let device =
        RemoteBmc { host: options.ip.clone(), port: options.port, config, connection: None };
    let mut fencing = Fencing {
        device,
        clock,
        power_timeout: options.power_timeout,
        power_wait: options.power_wait,
        status_sleep: options.status_sleep,
        retry_on: options.retry_on,
    };
    if matches!(options.action, Action::On | Action::Off | Action::Reboot | Action::Diag) {
        std::thread::sleep(options.delay);
    }
    let done = match options.action {
        Action::On => fencing.on()?,
        Action::Off => fencing.off()?,
        Action::Reboot if options.cycle => fencing.cycle()?,
        Action::Reboot => fencing.reboot()?,
        Action::Diag => fencing.diagnostic()?,
        // Monitor and status both ask for the power state; only status tells it.
        _ => {
            let is_on = fencing.status()?;
            if options.action == Action::Status {
                say(if is_on { "Status: ON" } else { "Status: OFF" });
                return Ok(if is_on { SUCCESS } else { STATUS_OFF });
            }
            return Ok(SUCCESS);
        }
    };
    say(match done {
        Done::AlreadyOn => "Success: Already ON",
        Done::AlreadyOff => "Success: Already OFF",
        Done::On => "Success: Powered ON",
        Done::Off => "Success: Powered OFF",
        Done::Rebooted => "Success: Rebooted",
        Done::OffButNotOn(failure) => {
            eprintln!("The host is off, but could not be powered on again: {failure}");
            "Success: Rebooted"
        }
        Done::Interrupted => "Success: Diagnostic interrupt sent",
    });
    Ok(SUCCESS)
}

struct SystemClock(Instant);

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// The real BMC, logged in when first needed, and again when the session got lost.
struct RemoteBmc {
    host: String,
    port: u16,
    config: ClientConfig,
    connection: Option<Connection>,
}

impl RemoteBmc {
    fn with<T>(
        &mut self,
        repeatable: bool,
        use_it: impl Fn(&mut Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if let Some(connection) = &mut self.connection {
            match use_it(connection) {
                // An old session may have ended behind our back: log in anew and ask again.
                Err(error) if error.is_transient() && repeatable => self.connection = None,
                other => return other,
            }
        }
        let mut connection = Connection::open(&self.host, self.port, self.config.clone())?;
        let result = use_it(&mut connection);
        self.connection = Some(connection);
        result
    }
}

impl Device for RemoteBmc {
    fn is_on(&mut self) -> Result<bool, Error> {
        Ok(self.with(true, Connection::chassis_status)?.power_on)
    }

    fn control(&mut self, control: ChassisControl) -> Result<(), Error> {
        let repeatable = matches!(control, ChassisControl::PowerDown | ChassisControl::PowerUp);
        self.with(repeatable, |connection| connection.chassis_control(control))
    }
}
