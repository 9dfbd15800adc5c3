//! Fence agents and devices, asked on this machine.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crm_api::secret::{MARK, Place};
use crm_fencer::{Configuration, Device, HostCheck};

use crate::args::Given;
use crate::exit;
use crate::output::{Element, Out};

type Fail = (i32, String);
type Options = Vec<(String, String)>;

/// Where fence agents are.
const FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// Agents that are part of this program, for where no other of the name is installed.
const OWN: [&str; 2] = ["fence_ipmilan", "fence_systole_ipmi"];

/// Agents that can be run here.
pub(crate) fn installed() -> Vec<String> {
    let mut names: Vec<String> = OWN.map(str::to_string).to_vec();
    for entry in FOLDERS.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("fence_") {
            names.push(name);
        }
    }
    names.sort();
    names.dedup();
    names
}

pub(crate) fn list_installed(out: &mut Out) -> Result<(), Fail> {
    let names = installed();
    let mut xml = Element::new("list").attr("name", "Installed fence devices");
    for name in &names {
        out.line(&format!(" {name}"));
        xml.push(Element::new("item").text(name));
    }
    let plural = if names.len() == 1 { "" } else { "s" };
    out.line(&format!("{} fence device{plural} found", names.len()));
    out.xml(xml.attr("count", names.len()));
    Ok(())
}

pub(crate) fn command(agent: &str) -> Result<Command, Fail> {
    let plain = agent.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    if !agent.starts_with("fence_") || !plain {
        return Err((exit::USAGE, format!("'{agent}' is no name of a fence agent")));
    }
    let found = FOLDERS.iter().map(|dir| Path::new(dir).join(agent)).find(|path| path.exists());
    match found {
        Some(path) => Ok(Command::new(path)),
        None if OWN.contains(&agent) => {
            let mut command = Command::new("/proc/self/exe");
            command.arg(agent);
            Ok(command)
        }
        None => Err((exit::NOSUCH, format!("the fence agent {agent} is not installed here"))),
    }
}

/// Runs the agent with options on its standard input, as the fencer does.
fn call(agent: &str, options: &Options) -> Result<Output, Fail> {
    let failed = |e: std::io::Error| (exit::ERROR, format!("the fence agent {agent}: {e}"));
    let mut command = command(agent)?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        for (name, value) in options {
            // An agent that does not read its input closes the pipe; that is its right.
            let _ = writeln!(stdin, "{name}={}", value.replace(['\n', '\r'], " "));
        }
    }
    child.wait_with_output().map_err(failed)
}

/// The parameters of a resource with its secrets in place of what marks them.
pub(crate) fn filled(device: &str, options: Options) -> Result<Options, Fail> {
    let fill = |(name, value): (String, String)| {
        if value != MARK {
            return Ok((name, value));
        }
        let place = Place::new(device, &name).map_err(|e| (exit::CONFIG, e))?;
        Ok((name, crate::cibsecret::read(&place)?.expose().to_string()))
    };
    options.into_iter().map(fill).collect()
}

fn named(given: &Given) -> Result<&str, Fail> {
    given.get("agent").ok_or_else(|| (exit::USAGE, "--agent is needed".into()))
}

pub(crate) fn metadata(given: &Given, out: &mut Out) -> Result<(), Fail> {
    let agent = named(given)?;
    let done = call(agent, &vec![("action".into(), "metadata".into())])?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.success() || text.trim().is_empty() {
        return Err((exit::ERROR, format!("{agent} does not say what it is")));
    }
    out.print(&text);
    out.xml(Element::new("metadata").raw(text));
    Ok(())
}

pub(crate) fn validate(given: &Given, out: &mut Out) -> Result<(), Fail> {
    let agent = named(given)?;
    let mut options = vec![("action".to_string(), "validate-all".to_string())];
    for text in given.all("option") {
        let bad = || (exit::INVALID_PARAM, format!("'{text}' is no NAME=VALUE"));
        let (name, value) = text.split_once('=').filter(|(n, _)| !n.is_empty()).ok_or_else(bad)?;
        options.push((name.into(), value.into()));
    }
    for name in given.all("env-option") {
        let bad = |_| (exit::INVALID_PARAM, format!("OCF_RESKEY_{name} is not set"));
        let value = std::env::var(format!("OCF_RESKEY_{name}")).map_err(bad)?;
        options.push((name.into(), value));
    }
    let device = given.get("device").unwrap_or_default();
    let done = call(agent, &filled(device, options)?)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&done.stdout), text(&done.stderr));
    let valid = done.status.success();
    if !out.quiet {
        let word = if valid { "succeeded" } else { "failed" };
        out.line(&format!("Validation of {agent} {word}"));
        out.print(&stdout);
        out.print(&stderr);
    }
    let mut xml = Element::new("validate").attr("agent", agent).attr("valid", valid);
    let mut command = Element::new("command").attr("code", done.status.code().unwrap_or(1));
    for (source, text) in [("stdout", stdout), ("stderr", stderr)] {
        if !text.is_empty() {
            command.push(Element::new("output").attr("source", source).raw(text));
        }
    }
    xml.push(command);
    out.xml(xml);
    if valid { Ok(()) } else { Err((exit::ERROR, String::new())) }
}

/// The device as the CIB describes it.
fn device(id: &str) -> Result<Device, Fail> {
    let failed = |e: cib_store::StoreError| (e.exit_code(), e.to_string());
    let doc = crate::cib::connect().and_then(|mut cib| cib.read()).map_err(failed)?;
    let now = cib_model::Time::from_epoch(crate::dates::Date::now().epoch());
    let mut devices = Configuration::from_cib(doc.root(), now).devices;
    devices.remove(id).ok_or_else(|| (exit::NOSUCH, format!("there is no fence device '{id}'")))
}

/// What a device answers.
fn asked(device: &Device, action: &str) -> Result<String, Fail> {
    let done = call(&device.agent, &filled(&device.id, device.options(action, None))?)?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
    let why = stderr.lines().rfind(|l| !l.trim().is_empty()).unwrap_or("it says nothing");
    Err((exit::ERROR, format!("the device {} does not answer '{action}': {why}", device.id)))
}

pub(crate) fn query(id: &str, out: &mut Out) -> Result<(), Fail> {
    let device = device(id)?;
    asked(&device, "monitor")?;
    out.line(&format!("The device {id} answers"));
    Ok(())
}

pub(crate) fn list_targets(id: &str, out: &mut Out) -> Result<(), Fail> {
    let device = device(id)?;
    let names = match device.host_check() {
        HostCheck::StaticList => device.hosts(),
        HostCheck::DynamicList => {
            let names = asked(&device, "list")?;
            let first = |line: &str| line.split([',', ' ', '\t']).next().map(str::to_string);
            names.lines().filter_map(first).filter(|name| !name.is_empty()).collect()
        }
        HostCheck::None => {
            let text = format!("the device {id} is asked for every node (pcmk_host_check=none)");
            return Err((exit::ERROR, text));
        }
    };
    let mut xml = Element::new("list").attr("name", "Fence Targets");
    for name in &names {
        out.line(&format!(" {name}"));
        xml.push(Element::new("item").text(name));
    }
    let plural = if names.len() == 1 { "" } else { "s" };
    out.line(&format!("{} fence target{plural} found", names.len()));
    out.xml(xml.attr("count", names.len()));
    Ok(())
}
