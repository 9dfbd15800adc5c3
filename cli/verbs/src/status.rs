//! `systole status`: what runs where, what failed, and why.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use cib_model::{Model, Time};
use cib_xml::Doc;
use crm_api::{EventKind, Info, Request, Response};
use crm_fencer::{Record, State};
use crm_scheduler::overview::{Overview, RscView, overview};
use serde::Serialize;

use crate::print_json;
use crate::session::Session;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Show it again whenever something changes, until interrupted
    #[arg(long)]
    watch: bool,
}

/// Changes that follow each other faster than this are shown together.
const SETTLE: Duration = Duration::from_millis(100);

#[derive(Serialize)]
struct Shown {
    cluster: String,
    dc: Option<String>,
    quorate: bool,
    nodes: Vec<ShownNode>,
    resources: Vec<ShownResource>,
    failures: Vec<Failure>,
    fencing: Vec<Fencing>,
    attention: Vec<String>,
}

#[derive(Serialize)]
struct ShownNode {
    name: String,
    state: String,
    dc: bool,
}

#[derive(Serialize)]
struct ShownResource {
    id: String,
    agent: String,
    state: String,
    nodes: Vec<String>,
    notes: Vec<String>,
    members: Vec<ShownResource>,
}

#[derive(Serialize)]
struct Failure {
    operation: String,
    node: String,
    code: i32,
    reason: String,
}

#[derive(Serialize)]
struct Fencing {
    target: String,
    action: String,
    state: String,
    /// Why it failed, or why the attempt before one that is pending did.
    reason: Option<String>,
}

pub(crate) fn run(session: &mut Session, args: &Args) -> anyhow::Result<()> {
    if !args.watch {
        return show(session);
    }
    let mut events = Session::connect(session.json)?;
    events.ask(Request::Subscribe)?;
    loop {
        // Clear the screen and go to its top (ECMA-48, ED and CUP).
        out!("\x1b[2J\x1b[H");
        show(session)?;
        if cli_tools::print::reader_is_gone() {
            return Ok(());
        }
        loop {
            if let Response::Event(event) = events.next()?
                && !matches!(event.kind, EventKind::Log { .. })
            {
                break;
            }
        }
        std::thread::sleep(SETTLE);
    }
}

fn show(session: &mut Session) -> anyhow::Result<()> {
    let shown = ask(session)?;
    if session.json {
        print_json(&shown);
    } else {
        out!("{}", text(&shown));
    }
    Ok(())
}

/// The status for people.
pub(crate) fn text_of(session: &mut Session) -> anyhow::Result<String> {
    Ok(text(&ask(session)?))
}

fn ask(session: &mut Session) -> anyhow::Result<Shown> {
    let info = session.info()?;
    let cib = session.cib()?;
    let Response::Fencing(fencing) = session.ask(Request::FencingHistory)? else {
        bail!("an unexpected answer");
    };
    Ok(collect(&info, &view_of(cib), &fencing))
}

/// What is known about the cluster whose CIB this is.
pub(crate) fn view_of(cib: Doc) -> Overview {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let now = Time::from_epoch(i64::try_from(now).unwrap_or(0));
    overview(Arc::new(Model::from_doc(&Arc::new(cib), now)), now)
}

fn collect(info: &Info, view: &Overview, fencing: &[(Record, u64)]) -> Shown {
    let nodes: Vec<ShownNode> = view
        .nodes
        .iter()
        .map(|n| ShownNode {
            name: n.name.to_string(),
            state: node_state(n),
            dc: info.dc.as_deref() == Some(&*n.name),
        })
        .collect();
    let resources = view.top.iter().map(|ix| resource(view, &view.resources[*ix])).collect();
    let failures = view
        .failed
        .iter()
        .map(|f| Failure {
            operation: f.op.key().unwrap_or("an operation").to_owned(),
            node: view.nodes[f.node].name.to_string(),
            code: f.op.rc.unwrap_or(-1),
            reason: f.op.exit_reason().unwrap_or_default().to_owned(),
        })
        .collect();
    let last = last_of_each(fencing);
    let fencing: Vec<Fencing> = last
        .iter()
        .map(|r| Fencing {
            target: r.target.clone(),
            action: r.action.clone(),
            state: match r.state {
                State::Pending => "pending",
                State::Done => "done",
                State::Failed(_) => "failed",
            }
            .to_owned(),
            reason: match &r.state {
                State::Failed(reason) => Some(reason.clone()),
                State::Pending => failed_before(fencing, r),
                State::Done => None,
            },
        })
        .collect();
    let attention = attention(info, view, &fencing);
    Shown {
        cluster: info.cluster.clone(),
        dc: info.dc.clone(),
        quorate: info.quorate,
        nodes,
        resources,
        failures,
        fencing,
        attention,
    }
}

/// Of each node what was tried last.
fn last_of_each(fencing: &[(Record, u64)]) -> Vec<&Record> {
    let mut out: Vec<&Record> = Vec::new();
    for (record, _) in fencing {
        match out.iter().position(|r| r.target == record.target) {
            Some(ix) => out[ix] = record,
            None => out.push(record),
        }
    }
    out
}

/// Why the attempt before one that is under way failed, if it did.
fn failed_before(fencing: &[(Record, u64)], pending: &Record) -> Option<String> {
    let mut ended = fencing.iter().rev().map(|(record, _)| record);
    let last = ended.find(|r| r.target == pending.target && r.state != State::Pending)?;
    match &last.state {
        State::Failed(reason) => Some(reason.clone()),
        _ => None,
    }
}

fn node_state(node: &crm_scheduler::overview::NodeView) -> String {
    let mut words = Vec::new();
    words.push(match (node.online, node.unclean, node.pending) {
        (_, true, _) => "UNCLEAN: lost, and not confirmed to be down",
        (_, _, true) => "joining",
        (true, ..) => "online",
        (false, ..) => "offline",
    });
    if node.standby {
        words.push(if node.fail_standby { "standby after a failure" } else { "standby" });
    }
    if node.maintenance {
        words.push("maintenance");
    }
    if node.shutdown {
        words.push("leaving");
    }
    words.join(", ")
}

fn resource(view: &Overview, rsc: &RscView) -> ShownResource {
    let members: Vec<ShownResource> =
        rsc.children.iter().map(|ix| resource(view, &view.resources[*ix])).collect();
    let mut notes = Vec::new();
    let mut note = |holds: bool, text: &str| {
        if holds {
            notes.push(text.to_owned());
        }
    };
    note(rsc.removed, "no longer in the configuration");
    note(rsc.disabled, "disabled");
    note(rsc.blocked, "blocked: a stop failed and its node cannot be fenced");
    note(rsc.failed, "failed");
    note(rsc.maintenance, "in maintenance");
    note(!rsc.managed && !rsc.maintenance, "not managed");
    let under_way = rsc.pending.as_deref().and_then(|operation| match operation {
        "start" => Some("Starting"),
        "stop" => Some("Stopping"),
        "promote" => Some("Promoting"),
        "demote" => Some("Demoting"),
        "migrate_to" | "migrate_from" => Some("Migrating"),
        // A look at one node says nothing about another where it runs.
        _ => rsc.nodes.is_empty().then_some("Checking"),
    });
    let state = if !members.is_empty() {
        String::new()
    } else if let Some(state) = under_way {
        state.to_owned()
    } else if rsc.nodes.is_empty() {
        "Stopped".to_owned()
    } else {
        format!("{:?}", rsc.role)
    };
    ShownResource {
        id: rsc.shown_id.to_string(),
        agent: agent(rsc),
        state,
        nodes: rsc.nodes.iter().map(|n| view.nodes[*n].name.to_string()).collect(),
        notes,
        members,
    }
}

fn agent(rsc: &RscView) -> String {
    match (&rsc.def.class, &rsc.def.provider, &rsc.def.agent) {
        (Some(class), Some(provider), Some(agent)) => format!("{class}:{provider}:{agent}"),
        (Some(class), None, Some(agent)) => format!("{class}:{agent}"),
        _ => format!("({:?})", rsc.def.kind).to_lowercase(),
    }
}

/// What an operator has to know first, with what to do about it.
fn attention(info: &Info, view: &Overview, fencing: &[Fencing]) -> Vec<String> {
    let mut out = Vec::new();
    if !info.quorate {
        let members = info.nodes.iter().filter(|n| n.2).count();
        out.push(format!(
            "No quorum: only {members} of {} nodes are here, so nothing is started. Bring nodes \
             or links back.",
            info.nodes.len()
        ));
    }
    if info.dc.is_none() {
        out.push("The cluster is being formed: there is no DC yet.".to_owned());
    }
    for node in view.nodes.iter().filter(|n| n.unclean) {
        let name = &node.name;
        let failed = fencing.iter().find(|f| f.target == **name);
        match failed.and_then(|f| f.reason.as_ref()) {
            Some(reason) => out.push(format!(
                "Node {name} was lost and could not be fenced: {reason}. Nothing of it is started \
                 elsewhere until that succeeds; it is tried again. If you have made sure that it \
                 is down: systole stonith confirm {name} --i-have-checked"
            )),
            None => out.push(format!("Node {name} was lost; it has to be fenced first.")),
        }
    }
    for (is_error, text) in &view.problems {
        if *is_error {
            out.push(text.clone());
        }
    }
    out
}

fn text(shown: &Shown) -> String {
    let mut out = String::new();
    let quorum = if shown.quorate { "has quorum" } else { "NO QUORUM" };
    let dc = shown.dc.as_deref().unwrap_or("none");
    // Writing to a string does not fail.
    let _ = writeln!(out, "Cluster {}: {quorum}, DC {dc}", shown.cluster);
    for text in &shown.attention {
        let _ = writeln!(out, "! {text}");
    }
    let _ = writeln!(out, "\nNodes");
    for node in &shown.nodes {
        let _ = writeln!(out, "  {:<20} {}", node.name, node.state);
    }
    let _ = writeln!(out, "\nResources");
    if shown.resources.is_empty() {
        let _ = writeln!(out, "  none: make one with 'systole resource create'");
    }
    shown.resources.iter().for_each(|r| resource_text(r, 1, &mut out));
    if !shown.failures.is_empty() {
        let _ = writeln!(out, "\nFailures ('systole resource cleanup' forgets them)");
        for f in &shown.failures {
            let why = if f.reason.is_empty() { "no reason given" } else { &f.reason };
            let _ = writeln!(out, "  {} on {}: code {}, {why}", f.operation, f.node, f.code);
        }
    }
    if !shown.fencing.is_empty() {
        let _ = writeln!(out, "\nFencing");
        for f in &shown.fencing {
            let again = f.state == "pending" && f.reason.is_some();
            let state = if again { "tried again; the last attempt failed" } else { &f.state };
            let why = f.reason.as_ref().map_or_else(String::new, |r| format!(": {r}"));
            let _ = writeln!(out, "  {} of {}: {state}{why}", f.action, f.target);
        }
    }
    out
}

fn resource_text(resource: &ShownResource, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    let name = format!("{indent}{}", resource.id);
    let mut line = format!("{name:<24} {:<28} {}", resource.agent, resource.state);
    if !resource.nodes.is_empty() && resource.members.is_empty() {
        line.push_str(&format!(" on {}", resource.nodes.join(", ")));
    }
    for note in &resource.notes {
        line.push_str(&format!(" [{note}]"));
    }
    let _ = writeln!(out, "{}", line.trim_end());
    resource.members.iter().for_each(|m| resource_text(m, depth + 1, out));
}
