//! `systole cluster`: the cluster as a whole.

mod conf;
mod local;

use std::path::PathBuf;

use anyhow::{bail, ensure};
use cib_xml::Doc;
use clap::Subcommand;
use crm_api::{Request, Response};
use serde::Serialize;

use crate::cib::read_cib;
use crate::print_json;
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Members, votes and links
    Status,
    /// Let this node leave: its resources are moved or stopped first
    Stop {
        #[arg(long, hide = true)]
        all: bool,
    },
    /// Print events as they happen, until interrupted
    Watch,
    /// Check the configuration of the running cluster, or of a file
    Verify {
        /// A CIB in a file
        file: Option<PathBuf>,
    },
    #[command(flatten)]
    Local(local::Verb),
}

impl Verb {
    /// Does what needs no running cluster; gives back what does.
    pub(crate) fn run_alone(self, json: bool) -> Result<anyhow::Result<()>, Verb> {
        match self {
            Verb::Local(verb) => Ok(local::run(verb, json)),
            Verb::Verify { file: Some(file) } => Ok(read_cib(&file).and_then(|d| verify(d, json))),
            verb => Err(verb),
        }
    }
}

#[derive(Serialize)]
struct Shown {
    cluster: String,
    local: String,
    dc: Option<String>,
    state: String,
    quorate: bool,
    votes: u32,
    expected_votes: u32,
    quorum: u32,
    flags: Vec<String>,
    nodes: Vec<ShownNode>,
    links: Vec<ShownLink>,
}

#[derive(Serialize)]
struct ShownNode {
    id: u32,
    name: String,
    member: bool,
}

#[derive(Serialize)]
struct ShownLink {
    number: u32,
    address: String,
    unreachable: Vec<u32>,
}

pub(crate) fn run(session: &mut Session, verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Status => status(session).map(|_| ()),
        Verb::Stop { all } => {
            local::refuse_all(all)?;
            session.ask(Request::Shutdown)?;
            outln!("this node leaves as soon as its resources are moved or stopped");
            Ok(())
        }
        Verb::Watch => watch(session),
        Verb::Verify { .. } => verify(session.cib()?, session.json),
        Verb::Local(verb) => local::run(verb, session.json),
    }
}

/// Says what is wrong or odd; fails if something is wrong.
fn verify(cib: Doc, json: bool) -> anyhow::Result<()> {
    let findings = cli_tools::verify(cib);
    let of = |error| -> Vec<&str> {
        findings.iter().filter(|f| f.0 == error).map(|f| f.1.as_str()).collect()
    };
    let (errors, warnings) = (of(true), of(false));
    if json {
        print_json(&serde_json::json!({ "errors": errors, "warnings": warnings }));
    } else {
        errors.iter().for_each(|text| outln!("error: {text}"));
        warnings.iter().for_each(|text| outln!("warning: {text}"));
    }
    ensure!(errors.is_empty(), "the configuration is not valid; correct what is named above");
    if !json && warnings.is_empty() {
        outln!("The configuration is valid.");
    }
    Ok(())
}

/// Shows members, votes and links. The exit status says whether there is quorum, as that of
/// `corosync-quorumtool -s` does.
pub(crate) fn status(session: &mut Session) -> anyhow::Result<i32> {
    let info = session.info()?;
    let Response::Membership(ring) = session.ask(Request::Membership)? else {
        bail!("an unexpected answer");
    };
    let shown = Shown {
        cluster: info.cluster,
        local: info.name,
        dc: info.dc,
        state: info.state,
        quorate: ring.quorate,
        votes: ring.total_votes,
        expected_votes: ring.expected_votes,
        quorum: ring.quorum,
        flags: ring.flags,
        nodes: info
            .nodes
            .into_iter()
            .map(|(id, name, member)| ShownNode { id: id.0, name, member })
            .collect(),
        links: ring
            .links
            .into_iter()
            .map(|(number, address, peers)| ShownLink {
                number,
                address,
                unreachable: peers.iter().filter(|(_, up)| !up).map(|(id, _)| id.0).collect(),
            })
            .collect(),
    };
    let status = if shown.quorate { crm_api::exit::OK } else { crm_api::exit::QUORUM };
    if session.json {
        print_json(&shown);
        return Ok(status);
    }
    outln!("Cluster {}, seen from {}", shown.cluster, shown.local);
    let quorum = if shown.quorate { "has quorum" } else { "has NO quorum: it starts nothing" };
    outln!(
        "This partition {quorum} ({} of {} votes, {} needed)",
        shown.votes,
        shown.expected_votes,
        shown.quorum
    );
    outln!("DC: {} ({})", shown.dc.as_deref().unwrap_or("none yet"), shown.state);
    for node in &shown.nodes {
        let state = if node.member { "member" } else { "lost" };
        outln!("  {:>3} {:<20} {state}", node.id, node.name);
    }
    for link in &shown.links {
        let lost: Vec<String> = link.unreachable.iter().map(u32::to_string).collect();
        let state = if lost.is_empty() {
            "all peers reached".to_owned()
        } else {
            format!("no answer from {}", lost.join(", "))
        };
        outln!("  link {} ({}): {state}", link.number, link.address);
    }
    Ok(status)
}

fn watch(session: &mut Session) -> anyhow::Result<()> {
    session.ask(Request::Subscribe)?;
    while !cli_tools::print::reader_is_gone() {
        if let Response::Event(event) = session.next()? {
            if session.json {
                outln!("{}", serde_json::to_string(&event)?);
            } else {
                outln!("{}.{:03} {:?}", event.at_ms / 1000, event.at_ms % 1000, event.kind);
            }
        }
    }
    Ok(())
}
