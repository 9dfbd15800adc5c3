//! Options from the command line or standard input, under `fence_ipmilan`'s names.

use std::process::{Command, Stdio};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::crypto::CipherSuite;
use crate::rakp::Privilege;
use crate::secret::Secret;

/// How an option's value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Seconds,
    Switch,
    Choice(&'static [&'static str]),
}

/// One option.
pub(super) struct Spec {
    /// Name on standard input and in the cluster's configuration.
    pub(super) name: &'static str,
    /// The older name of the same option.
    pub(super) old_name: Option<&'static str>,
    pub(super) short: Option<char>,
    pub(super) long: &'static str,
    /// What stands for the value in the help.
    pub(super) value: &'static str,
    pub(super) kind: Kind,
    pub(super) default: Option<&'static str>,
    pub(super) required: bool,
    pub(super) text: &'static str,
}

const fn spec(
    name: &'static str,
    short: Option<char>,
    long: &'static str,
    value: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    text: &'static str,
) -> Spec {
    Spec { name, old_name: None, short, long, value, kind, default, required: false, text }
}

impl Spec {
    const fn formerly(mut self, old_name: &'static str) -> Self {
        self.old_name = Some(old_name);
        self
    }

    const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub(super) fn takes_value(&self) -> bool {
        self.kind != Kind::Switch
    }
}

use Kind::{Choice, Integer, Seconds, Switch, Text};

/// All options, in the order of the metadata.
pub(super) const SPECS: &[Spec] = &[
    spec("action", Some('o'), "action", "action", Text, Some("reboot"), "What to do").required(),
    spec(
        "auth",
        Some('A'),
        "auth",
        "auth",
        Choice(&["md5", "password", "none"]),
        None,
        "IPMI 1.5 authentication; ignored, IPMI 2.0 is always used",
    ),
    spec(
        "cipher",
        Some('C'),
        "cipher",
        "cipher",
        Text,
        None,
        "Cipher suite, 3 or 17. Without it 17 is tried and then 3",
    ),
    spec(
        "hexadecimal_kg",
        None,
        "hexadecimal-kg",
        "key",
        Text,
        None,
        "The BMC's own key (Kg) in hexadecimal",
    ),
    spec("ip", Some('a'), "ip", "ip", Text, None, "Address or name of the BMC").formerly("ipaddr"),
    spec("ipport", Some('u'), "ipport", "port", Integer, Some("623"), "UDP port of the BMC"),
    spec(
        "lanplus",
        Some('P'),
        "lanplus",
        "",
        Switch,
        Some("1"),
        "Use IPMI 2.0; always so, whatever is given",
    ),
    spec(
        "method",
        Some('m'),
        "method",
        "method",
        Choice(&["onoff", "cycle"]),
        Some("onoff"),
        "How to reboot. cycle counts only if the power was seen off",
    ),
    spec("password", Some('p'), "password", "password", Text, None, "Password of the user")
        .formerly("passwd"),
    spec(
        "password_script",
        Some('S'),
        "password-script",
        "script",
        Text,
        None,
        "Program that prints the password",
    )
    .formerly("passwd_script"),
    spec(
        "plug",
        Some('n'),
        "plug",
        "ip",
        Text,
        None,
        "Name of the host; ignored, except as the BMC's address with port_as_ip",
    )
    .formerly("port"),
    spec(
        "privlvl",
        Some('L'),
        "privlvl",
        "level",
        Choice(&["callback", "user", "operator", "administrator"]),
        Some("administrator"),
        "Privilege level to log in with; operator suffices for fencing",
    ),
    spec("target", None, "target", "address", Text, None, "Bridging; not supported"),
    spec("username", Some('l'), "username", "name", Text, None, "Name of the user")
        .formerly("login"),
    spec("quiet", Some('q'), "quiet", "", Switch, None, "Ignored"),
    spec("verbose", Some('v'), "verbose", "", Switch, None, "Ignored"),
    spec("verbose_level", None, "verbose-level", "level", Integer, None, "Ignored"),
    spec("debug_file", Some('D'), "debug-file", "file", Text, None, "Ignored").formerly("debug"),
    spec("version", Some('V'), "version", "", Switch, None, "Print the version"),
    spec("help", Some('h'), "help", "", Switch, None, "Print this help"),
    spec("plug_separator", None, "plug-separator", "char", Text, Some(","), "Ignored"),
    spec("delay", None, "delay", "seconds", Seconds, Some("0"), "Wait before fencing is started"),
    spec("disable_timeout", None, "disable-timeout", "true/false", Text, None, "Ignored"),
    spec("ipmitool_path", None, "ipmitool-path", "path", Text, None, "Ignored, no tool is used"),
    spec(
        "login_timeout",
        None,
        "login-timeout",
        "seconds",
        Seconds,
        Some("5"),
        "Time for the whole log-in",
    ),
    spec("port_as_ip", None, "port-as-ip", "", Switch, None, "The plug is the BMC's address"),
    spec(
        "power_timeout",
        None,
        "power-timeout",
        "seconds",
        Seconds,
        Some("20"),
        "Time for the power state to follow a command",
    ),
    spec("power_wait", None, "power-wait", "seconds", Seconds, Some("0"), "Pause after a command"),
    spec(
        "shell_timeout",
        None,
        "shell-timeout",
        "seconds",
        Seconds,
        Some("3"),
        "Time for the answer to one command",
    ),
    spec(
        "stonith_status_sleep",
        None,
        "stonith-status-sleep",
        "seconds",
        Seconds,
        Some("0.1"),
        "Pause between two looks at the power state",
    ),
    spec("ipmitool_timeout", None, "ipmitool-timeout", "timeout", Text, None, "Ignored"),
    spec(
        "retry_on",
        None,
        "retry-on",
        "attempts",
        Integer,
        Some("1"),
        "How many times power on is tried",
    ),
    spec("use_sudo", None, "use-sudo", "", Switch, None, "Ignored, no tool is used")
        .formerly("sudo"),
    spec("sudo_path", None, "sudo-path", "path", Text, None, "Ignored, no tool is used"),
];

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    On,
    Off,
    Reboot,
    Status,
    Monitor,
    List,
    Metadata,
    ValidateAll,
    Diag,
    Help,
    Version,
}

impl Action {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "on" => Self::On,
            "off" => Self::Off,
            "reboot" => Self::Reboot,
            "status" => Self::Status,
            "monitor" => Self::Monitor,
            "list" | "list-status" => Self::List,
            "metadata" => Self::Metadata,
            "validate-all" => Self::ValidateAll,
            "diag" => Self::Diag,
            "manpage" => Self::Help,
            _ => return None,
        })
    }
}

/// All options, read.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) action: Action,
    pub(super) ip: String,
    pub(super) port: u16,
    pub(super) username: String,
    password: Option<Secret>,
    password_script: Option<String>,
    pub(super) bmc_key: Secret,
    pub(super) suites: Vec<CipherSuite>,
    pub(super) privilege: Privilege,
    pub(super) cycle: bool,
    pub(super) login_timeout: Duration,
    pub(super) shell_timeout: Duration,
    pub(super) power_timeout: Duration,
    pub(super) power_wait: Duration,
    pub(super) status_sleep: Duration,
    pub(super) delay: Duration,
    pub(super) retry_on: u32,
    target: Option<String>,
    /// What was ignored.
    pub(super) warnings: Vec<String>,
}

/// Options as they come, before their values are read. Wiped afterwards.
type Raw = Vec<(&'static Spec, Zeroizing<String>)>;

fn last<'a>(raw: &'a Raw, name: &str) -> Option<&'a str> {
    raw.iter().rev().find(|(spec, _)| spec.name == name).map(|(_, value)| value.as_str())
}

fn is_true(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "1" | "yes" | "on" | "true")
}

impl Options {
    /// From standard input: `name=value` lines. Names nobody knows are ignored with a warning,
    /// for the cluster passes some of its own.
    pub(super) fn from_lines(input: &str) -> Result<Self, String> {
        let mut raw = Raw::new();
        let mut warnings = Vec::new();
        for line in input.lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = line.split_once('=').unwrap_or((line, "1"));
            let name = match name.trim() {
                "option" => "action",
                name => name,
            };
            let spec = SPECS.iter().find(|s| s.name == name || s.old_name == Some(name));
            match spec {
                Some(spec) => raw.push((spec, Zeroizing::new(value.trim().to_owned()))),
                // The cluster's way to tell the host's name.
                None if name == "nodename" => {}
                // Never the value: it may be a secret under a mistyped name.
                None => warnings.push(format!("ignoring unknown option \"{name}\"")),
            }
        }
        Self::read(&raw, warnings)
    }

    /// From the command line: `-a VALUE`, `-aVALUE`, `--ip VALUE`, `--ip=VALUE`.
    pub(super) fn from_arguments(args: &[String]) -> Result<Self, String> {
        let mut raw = Raw::new();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if let Some(long) = arg.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (long, None),
                };
                let spec = SPECS.iter().find(|spec| spec.long == name);
                let spec = spec.ok_or_else(|| format!("unknown option --{name}"))?;
                let value = match (spec.takes_value(), value) {
                    (false, None) => "1".to_owned(),
                    (false, Some(value)) => value,
                    (true, Some(value)) => value,
                    (true, None) => following(&mut args, &format!("--{name}"))?,
                };
                raw.push((spec, Zeroizing::new(value)));
            } else if let Some(letters) = arg.strip_prefix('-').filter(|rest| !rest.is_empty()) {
                read_letters(letters, &mut args, &mut raw)?;
            } else {
                return Err(format!("unexpected argument \"{arg}\""));
            }
        }
        Self::read(&raw, Vec::new())
    }

    fn read(raw: &Raw, warnings: Vec<String>) -> Result<Self, String> {
        let text = |name: &str| {
            last(raw, name).or_else(|| {
                SPECS.iter().find(|spec| spec.name == name).and_then(|spec| spec.default)
            })
        };
        let switch = |name: &str| last(raw, name).is_some_and(is_true);
        let seconds = |name: &str| {
            let value = text(name).unwrap_or("0");
            let number = value.strip_suffix('s').unwrap_or(value).parse::<f64>().ok();
            number
                .and_then(|number| Duration::try_from_secs_f64(number).ok())
                .ok_or_else(|| format!("{name}={value} is not a number of seconds"))
        };
        let action_name = text("action").unwrap_or_default();
        let action = match Action::from_name(action_name) {
            _ if switch("help") => Action::Help,
            _ if switch("version") => Action::Version,
            Some(action) => action,
            None => return Err(format!("unknown action \"{action_name}\"")),
        };
        let ip = if switch("port_as_ip") { text("plug") } else { text("ip") };
        let port = text("ipport").unwrap_or_default();
        let level = text("privlvl").unwrap_or_default();
        let retry_on = text("retry_on").unwrap_or_default();
        let method = text("method").unwrap_or_default();
        if !["onoff", "cycle"].contains(&method) {
            return Err(format!("unknown method \"{method}\""));
        }
        Ok(Self {
            action,
            ip: ip.unwrap_or_default().to_owned(),
            port: port.parse().map_err(|_| format!("ipport={port} is not a port"))?,
            username: text("username").unwrap_or_default().to_owned(),
            password: text("password").map(Secret::new),
            password_script: text("password_script").map(str::to_owned),
            bmc_key: hexadecimal(text("hexadecimal_kg").unwrap_or_default())?,
            suites: suites(text("cipher"))?,
            privilege: Privilege::from_name(&level.to_ascii_lowercase())
                .ok_or_else(|| format!("unknown privilege level \"{level}\""))?,
            cycle: method == "cycle",
            login_timeout: seconds("login_timeout")?,
            shell_timeout: seconds("shell_timeout")?,
            power_timeout: seconds("power_timeout")?,
            power_wait: seconds("power_wait")?,
            status_sleep: seconds("stonith_status_sleep")?,
            delay: seconds("delay")?,
            retry_on: retry_on
                .parse()
                .map_err(|_| format!("retry_on={retry_on} is not a number"))?,
            target: text("target").map(str::to_owned),
            warnings,
        })
    }

    /// Whether enough is given to reach a BMC.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.ip.is_empty() {
            return Err("no address of a BMC is given (ip)".into());
        }
        if self.target.is_some() {
            return Err("bridging (target) is not supported".into());
        }
        Ok(())
    }

    /// The password as given or as the script prints it; none given is an empty one.
    pub(super) fn password(&self) -> Result<Secret, String> {
        let Some(script) = &self.password_script else {
            return Ok(self.password.clone().unwrap_or_else(|| Secret::new([])));
        };
        let output = Command::new(script)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("cannot run password_script {script}: {error}"))?;
        let printed = Zeroizing::new(output.stdout);
        if !output.status.success() {
            return Err(format!("password_script {script} failed ({})", output.status));
        }
        let end = printed.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |at| at + 1);
        Ok(Secret::new(&printed[..end]))
    }
}

fn following<'a>(args: &mut impl Iterator<Item = &'a String>, of: &str) -> Result<String, String> {
    args.next().cloned().ok_or_else(|| format!("option {of} needs a value"))
}

fn read_letters<'a>(
    letters: &str,
    args: &mut impl Iterator<Item = &'a String>,
    raw: &mut Raw,
) -> Result<(), String> {
    let mut rest = letters.chars();
    while let Some(letter) = rest.next() {
        let spec = SPECS.iter().find(|spec| spec.short == Some(letter));
        let spec = spec.ok_or_else(|| format!("unknown option -{letter}"))?;
        if !spec.takes_value() {
            raw.push((spec, Zeroizing::new("1".to_owned())));
            continue;
        }
        let value = match rest.as_str() {
            "" => following(args, &format!("-{letter}"))?,
            value => value.to_owned(),
        };
        raw.push((spec, Zeroizing::new(value)));
        return Ok(());
    }
    Ok(())
}

fn suites(cipher: Option<&str>) -> Result<Vec<CipherSuite>, String> {
    match cipher {
        None | Some("") => Ok(vec![CipherSuite::Suite17, CipherSuite::Suite3]),
        Some(text) => {
            let suite = text.parse().ok().and_then(CipherSuite::from_number);
            Ok(vec![suite.ok_or_else(|| format!("cipher suite {text} is neither 3 nor 17"))?])
        }
    }
}

fn hexadecimal(text: &str) -> Result<Secret, String> {
    const KEY_BYTES_MAX: usize = 20;
    let digits = text.strip_prefix("0x").unwrap_or(text);
    // The key itself never appears in a message.
    let wrong = || "hexadecimal_kg is not a key in hexadecimal of at most 20 bytes".to_owned();
    if !digits.len().is_multiple_of(2) || !digits.is_ascii() || digits.len() > 2 * KEY_BYTES_MAX {
        return Err(wrong());
    }
    let bytes = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16));
    Ok(Secret::new(bytes.collect::<Result<Vec<u8>, _>>().map_err(|_| wrong())?))
}

/// The help.
pub(super) fn usage(name: &str) -> String {
    let mut text = format!("Usage:\n\t{name} [options]\nOptions:\n");
    for spec in SPECS {
        let short = spec.short.map(|letter| format!("-{letter}, ")).unwrap_or_default();
        let value = if spec.takes_value() { format!("=[{}]", spec.value) } else { String::new() };
        let option = format!("{short}--{}{value}", spec.long);
        text.push_str(&format!("   {option:<34} {}\n", spec.text));
    }
    text.push_str(
        "Actions: on, off, reboot (default), status, monitor, list, list-status, metadata, \
         validate-all, diag\nWithout options they are read from standard input, one name=value \
         to a line.",
    );
    text
}

#[cfg(test)]
mod tests;
