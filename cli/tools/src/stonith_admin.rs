//! `stonith_admin`: fencing by hand, devices, history.

use crm_api::{Request, Response};
use crm_fencer::{Record, State};

use crate::args::{Given, Opt, flag, value};
use crate::devices;
use crate::exit;
use crate::live::ask;
use crate::output::{Element, Out};
use crate::show::time_text;

pub(crate) const OPTIONS: &[Opt] = &[
    value("reboot", 'B', "Reboot a node"),
    value("fence", 'F', "Switch a node off"),
    value("unfence", 'U', "Switch a node on"),
    value("confirm", 'C', "Vouch for a node being down"),
    value("history", 'H', "What was done to a node, * for all"),
    value("last", 'h', "When a node was fenced last, seconds since 1970"),
    flag("cleanup", 'c', "With --history: forget it"),
    flag("broadcast", 'b', "With --history: ask all nodes"),
    flag("list-registered", 'L', "All devices"),
    value("list", 'l', "Devices that can fence a node"),
    flag("list-installed", 'I', "Agents that are installed here"),
    value("list-targets", 's', "Nodes that a device can fence"),
    value("query", 'Q', "Ask a device whether it is there"),
    flag("metadata", 'M', "What --agent says about itself"),
    flag("validate", 'K', "Have --agent check its --option values"),
    value("agent", 'a', "A fence agent, as fence_ipmilan"),
    value("option", 'o', "A parameter NAME=VALUE"),
    value("env-option", 'e', "A parameter with the value of OCF_RESKEY_NAME"),
    value("device", 'v', "With --validate: the device whose secrets are used"),
    value("timeout", 't', "How long one agent may take"),
    value("tolerance", ' ', "Do nothing if it was done within this time"),
    value("tag", 'T', ""),
    value("delay", 'y', ""),
    value("register", 'R', ""),
    value("deregister", 'D', ""),
    value("register-level", 'r', ""),
    value("deregister-level", 'd', ""),
    value("index", 'i', ""),
    flag("as-node-id", 'n', "With --last: the node is named by its id"),
];

const COMMANDS: [&str; 17] = [
    "reboot",
    "fence",
    "unfence",
    "confirm",
    "history",
    "last",
    "list-registered",
    "list",
    "list-installed",
    "list-targets",
    "query",
    "metadata",
    "validate",
    "register",
    "deregister",
    "register-level",
    "deregister-level",
];

type Fail = (i32, String);

pub(crate) fn run(given: &Given, out: &mut Out) -> i32 {
    match perform(given, out) {
        Ok(()) => exit::OK,
        Err((code, text)) => {
            if !text.is_empty() {
                out.fail(&text);
            }
            code
        }
    }
}

fn perform(given: &Given, out: &mut Out) -> Result<(), Fail> {
    let Some(command) = given.last_of(&COMMANDS) else {
        return Err((exit::USAGE, "No command specified".into()));
    };
    let target = given.get(command).unwrap_or_default().to_string();
    match command {
        "reboot" => fence(given, target, "reboot", out),
        "fence" => fence(given, target, "off", out),
        "unfence" => fence(given, target, "on", out),
        "confirm" => {
            ask(&Request::ConfirmFenced { target: target.clone() })?;
            out.line(&format!("Confirmed that node {target} is down"));
            Ok(())
        }
        "history" | "last" => {
            let target = if given.has("as-node-id") { name_of(target)? } else { target };
            history(given, command, &target, out)
        }
        "list-installed" => devices::list_installed(out),
        "list-targets" => devices::list_targets(&target, out),
        "query" => devices::query(&target, out),
        "metadata" => devices::metadata(given, out),
        "validate" => devices::validate(given, out),
        "register" | "deregister" | "register-level" | "deregister-level" => {
            let text = "devices and levels are those of the CIB: configure them there, as with \
                        'pcs stonith', 'crm configure' or 'systole stonith'";
            Err((exit::ERROR, text.into()))
        }
        _ => registered((command == "list").then_some(target), out),
    }
}

fn fence(given: &Given, target: String, action: &str, out: &mut Out) -> Result<(), Fail> {
    if let Some(tolerance) = given.get("tolerance") {
        let within_s = u64::from(cib_model::parse_interval_ms(Some(tolerance))) / 1000;
        if was_fenced(&target, action, within_s)? {
            return Ok(());
        }
    }
    let timeout = given.get("timeout").map(|t| cib_model::parse_interval_ms(Some(t)));
    let timeout_ms = u64::from(timeout.unwrap_or(120_000));
    ask(&Request::Fence { target: target.clone(), action: action.into(), timeout_ms })?;
    let action = Element::new("last-fenced").attr("target", target).attr("action", action);
    out.xml(action.attr("status", "success"));
    Ok(())
}

/// Whether it was done within the last seconds.
fn was_fenced(target: &str, action: &str, within_s: u64) -> Result<bool, Fail> {
    let Response::Fencing(all) = ask(&Request::FencingHistory)? else {
        return Err((exit::ERROR, "the daemon answers something else".into()));
    };
    let since = u64::try_from(crate::dates::Date::now().epoch()).unwrap_or(0);
    let since = since.saturating_sub(within_s);
    Ok(all.iter().any(|(r, at)| {
        r.target == target && r.action == action && r.state == State::Done && *at >= since
    }))
}

/// The name of the node with this id.
fn name_of(id: String) -> Result<String, Fail> {
    let Response::Info(info) = ask(&Request::Info)? else {
        return Err((exit::ERROR, "the daemon answers something else".into()));
    };
    let node = info.nodes.iter().find(|(node, ..)| node.0.to_string() == id);
    let unknown = || (exit::NOSUCH, format!("no node has the id {id}"));
    node.map(|(_, name, _)| name.clone()).ok_or_else(unknown)
}

fn registered(target: Option<String>, out: &mut Out) -> Result<(), Fail> {
    let Response::Devices(list) = ask(&Request::FencingDevices { target })? else {
        return Err((exit::ERROR, "the daemon answers something else".into()));
    };
    let mut xml = Element::new("list").attr("name", "Registered fence devices");
    for device in &list {
        out.line(&format!(" {device}"));
        xml.push(Element::new("item").text(device));
    }
    let plural = if list.len() == 1 { "" } else { "s" };
    if list.is_empty() {
        out.line("No fence devices found");
    } else {
        out.line(&format!("{} fence device{plural} found", list.len()));
    }
    out.xml(xml.attr("count", list.len()));
    Ok(())
}

fn history(given: &Given, command: &str, target: &str, out: &mut Out) -> Result<(), Fail> {
    let everybody = target.is_empty() || target == "*";
    if command == "history" && given.has("cleanup") {
        let target = (!everybody).then(|| target.to_string());
        ask(&Request::ClearFencingHistory { target })?;
        return Ok(());
    }
    let Response::Fencing(mut all) = ask(&Request::FencingHistory)? else {
        return Err((exit::ERROR, "the daemon answers something else".into()));
    };
    all.retain(|(record, _)| everybody || record.target == target);
    if command == "last" {
        let last = all.iter().rev().find(|(r, _)| matches!(r.state, State::Done));
        let when = last.map_or(0, |(_, at)| *at);
        if out.quiet {
            out.line(&when.to_string());
        } else if last.is_some() {
            out.line(&format!("Node {target} last fenced at: {}", time_text(when as i64)));
        } else {
            out.line(&format!("Node {target} has never been fenced"));
        }
        let element = Element::new("last-fenced").attr("target", target);
        out.xml(element.attr("when", when));
        return Ok(());
    }
    let mut xml = Element::new("fence_history").attr("target", target);
    for (record, at) in all.iter().rev() {
        out.line(&describe(record, *at));
        let status = match &record.state {
            State::Done => "success",
            State::Failed(_) => "failed",
            _ => "pending",
        };
        xml.push(
            Element::new("fence_event")
                .attr("status", status)
                .attr("action", &record.action)
                .attr("target", &record.target)
                .attr("client", &record.client)
                .maybe("device", record.device.as_ref())
                .maybe("delegate", record.executor.as_ref())
                .attr("completed", time_text(*at as i64)),
        );
    }
    let plural = if all.len() == 1 { "" } else { "s" };
    out.line(&format!("{} event{plural} found", all.len()));
    out.xml(xml);
    Ok(())
}

fn describe(record: &Record, at: u64) -> String {
    let Record { target, action, client, executor, .. } = record;
    let by = executor.as_ref().map(|e| format!("{e} ")).unwrap_or_default();
    let at = time_text(at as i64);
    let verb = match action.as_str() {
        "off" => "turn off".to_string(),
        "on" => "turn on".to_string(),
        other => other.to_string(),
    };
    match &record.state {
        State::Done => {
            format!("{by}was able to {verb} node {target} on behalf of {client} at {at}")
        }
        State::Failed(why) => format!(
            "{by}was not able to {verb} node {target} on behalf of {client} at {at} ({why})"
        ),
        _ => format!("{client} wishes to {verb} node {target}, begun at {at}"),
    }
}
