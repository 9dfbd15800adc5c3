//! `crm_mon`: the state of the cluster.

mod background;
mod notify;

use notify::Notify;

use crate::args::{Given, Opt, Value, flag, opt, value};
use crate::cib::{Cib, FileCib, connect, user};
use crate::exit;
use crate::output::{Format, Out};
use crate::show::{Cluster, Report, Section, Show};

pub(crate) const OPTIONS: &[Opt] = &[
    flag("one-shot", '1', "Show the state once and exit"),
    value("interval", 'i', "Time between updates"),
    value("include", 'I', "Sections to show besides the usual ones"),
    value("exclude", 'U', "Sections to hide"),
    value("node", ' ', "Only this node, or nodes with this tag"),
    value("resource", ' ', "Only this resource, or resources with this tag"),
    flag("group-by-node", 'n', "Resources below their nodes"),
    flag("inactive", 'r', "Also resources that are not active"),
    flag("failcounts", 'f', "Failures of resources"),
    flag("operations", 'o', "Recorded operations"),
    flag("timing-details", 't', "Recorded operations with their durations"),
    flag("tickets", 'c', "Tickets"),
    opt("fence-history", 'm', Value::Optional, "Fencing actions: 0 none to 3 all"),
    opt("neg-locations", 'L', Value::Optional, "Negative location constraints"),
    flag("show-node-attributes", 'A', "Node attributes"),
    flag("hide-headers", 'D', "Without the summary"),
    flag("show-detail", 'R', "Every instance, ids, feature sets"),
    flag("show-description", ' ', "Descriptions of resources"),
    flag("brief", 'b', "Numbers of resources only"),
    flag("daemonize", 'd', "Go on in the background, with --output-to or --external-agent"),
    value("pid-file", 'p', "With --daemonize: file for the process number"),
    value("external-agent", 'E', "Program to call for every event"),
    value("external-recipient", 'e', "Recipient that the program is told"),
    flag("watch-fencing", 'W', "With --external-agent: for fencing as well"),
    flag("as-xml", 'X', ""),
    value("as-html", 'h', ""),
    flag("pending", 'j', ""),
    opt("quiet", 'Q', Value::No, ""),
    flag("no-curses", 'N', ""),
    flag("disable-ncurses", ' ', ""),
    flag("simple-status", 's', "One line; fails if a node is offline or there is no DC"),
    flag("web-cgi", 'w', ""),
    value("xml-file", 'x', ""),
];

/// Set in the environment of the process that goes on in the background.
const BACKGROUND: &str = "SYSTOLE_CRM_MON_BACKGROUND";

const SUMMARY: [Section; 5] =
    [Section::Stack, Section::Dc, Section::Times, Section::Counts, Section::Maintenance];
const FENCING: [Section; 3] =
    [Section::FencingFailed, Section::FencingPending, Section::FencingDone];

/// The sections that a name stands for.
fn named(name: &str) -> Option<Vec<Section>> {
    Some(match name.to_ascii_lowercase().as_str() {
        "attributes" => vec![Section::Attributes],
        "bans" => vec![Section::Bans],
        "counts" => vec![Section::Counts],
        "dc" => vec![Section::Dc],
        "failcounts" => vec![Section::FailCounts],
        "failures" => vec![Section::Failures],
        "fencing" => FENCING.to_vec(),
        "fencing-failed" => vec![Section::FencingFailed],
        "fencing-pending" => vec![Section::FencingPending],
        "fencing-succeeded" => vec![Section::FencingDone],
        "maint-mode" => vec![Section::Maintenance],
        "nodes" => vec![Section::Nodes],
        "operations" => vec![Section::Operations],
        "options" => vec![Section::Options],
        "resources" => vec![Section::Resources],
        "stack" => vec![Section::Stack],
        "summary" => SUMMARY.to_vec(),
        "tickets" => vec![Section::Tickets],
        "times" => vec![Section::Times],
        _ => return None,
    })
}

const NAMES: &str = "counts, dc, default, failcounts, failures, fencing, fencing-failed, \
                     fencing-pending, fencing-succeeded, maint-mode, nodes, none, operations, \
                     options, resources, stack, summary, tickets, times";

fn all_sections(xml: bool) -> Vec<Section> {
    let mut all = SUMMARY.to_vec();
    if xml {
        all.push(Section::Options);
    }
    all.extend([
        Section::Nodes,
        Section::Resources,
        Section::Attributes,
        Section::Operations,
        Section::FailCounts,
        Section::Failures,
    ]);
    all.extend(FENCING);
    all.extend([Section::Tickets, Section::Bans]);
    all
}

fn default_sections(xml: bool) -> Vec<Section> {
    if xml {
        return all_sections(true);
    }
    let mut all = SUMMARY.to_vec();
    all.extend([Section::Nodes, Section::Resources, Section::Failures]);
    all
}

struct Choice {
    sections: Vec<Section>,
    bans: Option<String>,
    xml: bool,
}

impl Choice {
    fn include(&mut self, list: &str) -> Result<(), String> {
        for name in list.split(',') {
            match name {
                "all" => self.sections = all_sections(self.xml),
                "none" => self.sections.clear(),
                "default" | "defaults" => self.sections.extend(default_sections(self.xml)),
                _ if name.starts_with("bans") => {
                    self.sections.push(Section::Bans);
                    let prefix = name.strip_prefix("bans:").filter(|p| !p.is_empty());
                    self.bans = prefix.map(str::to_string);
                }
                _ => match named(name) {
                    Some(sections) => self.sections.extend(sections),
                    None => {
                        return Err(format!(
                            "--include options: all, attributes, bans[:PREFIX], {NAMES}"
                        ));
                    }
                },
            }
        }
        Ok(())
    }

    fn exclude(&mut self, list: &str) -> Result<(), String> {
        for name in list.split(',') {
            match name {
                "all" => self.sections.clear(),
                "none" => self.sections = all_sections(self.xml),
                _ => match named(name) {
                    Some(sections) => self.sections.retain(|s| !sections.contains(s)),
                    None => {
                        let names = NAMES.replace("default, ", "");
                        return Err(format!("--exclude options: all, attributes, bans, {names}"));
                    }
                },
            }
        }
        Ok(())
    }
}

/// The sections that the command line asks for.
fn choose(given: &Given, out: &Out) -> Result<Choice, (i32, String)> {
    let xml = out.is_xml();
    let mut choice = Choice { sections: default_sections(xml), bans: None, xml };
    let level = given.get("fence-history").unwrap_or("2");
    if given.has("fence-history") {
        match level {
            "0" => choice.sections.retain(|s| !FENCING.contains(s)),
            "1" => choice.sections.extend([Section::FencingFailed, Section::FencingPending]),
            "2" | "3" => choice.sections.extend(FENCING),
            _ => return Err((exit::INVALID_PARAM, "Fence history must be 0-3".into())),
        }
    }
    if out.quiet {
        choice.sections.retain(|s| *s != Section::Times);
    }
    for (option, value) in given.iter() {
        let done = match (option, value) {
            ("include", Some(list)) => choice.include(list),
            ("exclude", Some(list)) => choice.exclude(list),
            ("hide-headers", _) => choice.exclude("summary"),
            ("failcounts", _) => choice.include("failcounts"),
            ("operations" | "timing-details", _) => choice.include("operations"),
            ("tickets", _) => choice.include("tickets"),
            ("show-node-attributes", _) => choice.include("attributes"),
            ("neg-locations", Some(prefix)) => choice.include(&format!("bans:{prefix}")),
            ("neg-locations", None) => choice.include("bans"),
            _ => Ok(()),
        };
        done.map_err(|text| (exit::USAGE, text))?;
    }
    Ok(choice)
}

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

fn perform(given: &Given, out: &mut Out) -> Result<(), (i32, String)> {
    if given.has("as-xml") {
        out.format = Format::Xml;
    }
    if let Some(path) = given.get("as-html") {
        out.format = Format::Html;
        out.set_file(path);
    }
    if given.has("simple-status") {
        return one_line(&load(given)?.0, out);
    }
    let choice = choose(given, out)?;
    if given.has("daemonize") {
        return background::start(given);
    }
    let detail = given.has("show-detail");
    let show = Show {
        inactive: given.has("inactive") || out.is_xml(),
        by_node: given.has("group-by-node"),
        brief: given.has("brief"),
        detail,
        implicit: detail,
        description: given.has("show-description"),
        timing: given.has("timing-details") || out.is_xml(),
        rsc_only: false,
        pending: true,
        failed_detail: false,
    };
    let goes_on = match out.format {
        Format::Text => true,
        Format::Html => out.has_file(),
        Format::Silent => given.has("external-agent"),
        Format::Xml => false,
    };
    if given.has("one-shot") || !goes_on {
        return show_once(given, out, show, &choice).map(|_| ());
    }
    watch(given, out, show, &choice)
}

/// Shows the state again and again.
fn watch(given: &Given, out: &mut Out, show: Show, choice: &Choice) -> Result<(), (i32, String)> {
    if let Some(agent) = given.get("external-agent") {
        let recipient = given.get("external-recipient").unwrap_or_default().to_string();
        let fencing = given.has("watch-fencing");
        Notify { agent: agent.to_string(), recipient, fencing }.listen();
    }
    let ms = given.get("interval").map_or(5000, |i| cib_model::parse_interval_ms(Some(i))).max(100);
    out.page.refresh_s = Some(ms.div_ceil(1000));
    // A process that nobody looks at goes on without the cluster, and says so.
    let alone = crate::cib::env(BACKGROUND).is_some();
    loop {
        let live = match show_once(given, out, show, choice) {
            Err((_, text)) if alone => {
                out.line(&text);
                true
            }
            result => result?,
        };
        if out.has_file() {
            let failed = |e| (exit::CANTCREAT, format!("the output cannot be written: {e}"));
            out.replace().map_err(failed)?;
        } else {
            out.flush();
        }
        if !live {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(u64::from(ms)));
        if !out.has_file() {
            out.print("\x1b[H\x1b[2J");
            out.no_spacer();
            out.flush();
        }
    }
}

/// Shows the state; says whether it is a running cluster's.
fn show_once(
    given: &Given,
    out: &mut Out,
    show: Show,
    choice: &Choice,
) -> Result<bool, (i32, String)> {
    let (cluster, live) = load(given)?;
    let report = Report {
        sections: choice.sections.clone(),
        show,
        nodes: cluster.node_filter(given.get("node")),
        resources: cluster.rsc_filter(given.get("resource")),
        bans: choice.bans.clone(),
    };
    if out.is_xml() {
        cluster.to_xml(&report).into_iter().for_each(|e| out.xml(e));
    } else {
        cluster.print(&report, out);
    }
    Ok(live)
}

/// The state, and whether it is a running cluster's.
fn load(given: &Given) -> Result<(Cluster, bool), (i32, String)> {
    let failed = |e: cib_store::StoreError| {
        let code = e.exit_code();
        (code, format!("Connection to cluster failed: {}", e.kind.text()))
    };
    let mut cib: Box<dyn Cib> = match given.get("xml-file") {
        Some(path) => Box::new(FileCib::open(path, user()).map_err(failed)?),
        None => connect().map_err(failed)?,
    };
    let cluster = Cluster::load(cib.as_mut()).map_err(failed)?;
    Ok((cluster, cib.is_live()))
}

/// The line that monitoring systems read.
fn one_line(cluster: &Cluster, out: &mut Out) -> Result<(), (i32, String)> {
    let view = &cluster.view;
    let mut wrong: Vec<String> = Vec::new();
    if view.dc.is_none() {
        wrong.push("No DC".into());
    }
    let offline = view.nodes.iter().filter(|n| !n.online);
    wrong.extend(offline.map(|n| format!("offline node: {}", n.name)));
    if !wrong.is_empty() {
        out.line(&format!("CLUSTER WARN: {}", wrong.join(", ")));
        return Err((exit::ERROR, String::new()));
    }
    let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let standby = view.nodes.iter().filter(|n| n.standby && !n.maintenance).count();
    let maintenance = view.nodes.iter().filter(|n| n.maintenance).count();
    let mut parts =
        vec![format!("{} online", counted(view.nodes.len() - standby - maintenance, "node"))];
    if standby > 0 {
        parts.push(counted(standby, "standby node"));
    }
    if maintenance > 0 {
        parts.push(counted(maintenance, "maintenance node"));
    }
    let instances = counted(usize::try_from(view.instances).unwrap_or(0), "resource instance");
    out.line(&format!("CLUSTER OK: {}, {instances} configured", parts.join(", ")));
    Ok(())
}
