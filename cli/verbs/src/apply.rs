//! `systole apply`: makes the configuration what a file says, after showing what that means.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use cib_model::{Model, Time};
use cib_store::Operation;
use cib_xml::patch::{self, Positions};
use cib_xml::{Doc, Node, NodeId, Style};
use crm_scheduler::{PlanFlags, schedule_model};
use serde::Serialize;

use crate::changes::words;
use crate::cib::read_cib;
use crate::session::Session;
use crate::{advice, print_json};

/// Exit status where changes are outstanding: it was a dry run.
const OUTSTANDING: i32 = 10;
/// Exit status where whoever was asked said no.
const DECLINED: i32 = 11;

/// Options that the cluster writes itself; a file need not have them.
const OWN_OPTIONS: [&str; 4] =
    ["have-watchdog", "dc-version", "cluster-infrastructure", "cluster-name"];

/// Makes the sections of the configuration that a file has exactly what the file says; sections
/// that it has not stay as they are. Exit status: 0 done or nothing to do, 10 changes are
/// outstanding (dry run), 11 declined.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A CIB, or its <configuration>, with the sections that are meant; `-` for standard input
    file: PathBuf,
    #[command(flatten)]
    asking: Asking,
}

/// Whether somebody is asked before the configuration changes.
#[derive(clap::Args)]
pub(crate) struct Asking {
    /// Do not ask
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Shown {
    changes: Vec<String>,
    effects: Vec<String>,
    warnings: Vec<String>,
    outcome: &'static str,
}

pub(crate) fn run(session: &mut Session, args: &Args) -> anyhow::Result<i32> {
    let file = read_cib(&args.file)?;
    let before = session.cib()?;
    let after = target(&before, &file)
        .with_context(|| format!("{} cannot be applied", args.file.display()))?;
    make_so(session, &before, &after, &args.asking)
}

/// Has the cluster make of the CIB `before` that which is `after`, once somebody who has seen what
/// that means has agreed. Returns the exit status, see [`Args`].
pub(crate) fn make_so(
    session: &mut Session,
    before: &Doc,
    after: &Doc,
    asking: &Asking,
) -> anyhow::Result<i32> {
    let Some(mut patchset) = patch::make(before, after, Positions::Ignore) else {
        tell(session.json, Shown::nothing());
        return Ok(0);
    };
    let wrong: Vec<String> = cib_schema_problems(after);
    ensure!(wrong.is_empty(), "nothing is changed: {}", wrong.join("; "));
    session.check(before, Some(after))?;
    let mut shown = Shown {
        changes: words(&patchset),
        effects: effects(after),
        warnings: advice::new(before, after),
        outcome: "outstanding",
    };
    if asking.dry_run {
        tell(session.json, shown);
        return Ok(OUTSTANDING);
    }
    if !asking.yes {
        if session.json || !std::io::stdin().is_terminal() {
            bail!("nobody can be asked here: say --yes to apply, or --dry-run to look");
        }
        shown.print();
        if !confirmed()? {
            outln!("Nothing is changed.");
            return Ok(DECLINED);
        }
    }
    // The status changes all the time; the patch fits as long as what it changes is there.
    if let Some(version) = patchset.root().child("version").map(Node::id) {
        patchset.detach(version);
    }
    session
        .change_quietly(Operation::Patch { xml: patchset.root().to_xml(Style::Compact) })
        .context("the configuration was changed meanwhile; nothing is applied, run this again")?;
    shown.outcome = "applied";
    if asking.yes {
        tell(session.json, shown);
    } else {
        outln!("Applied.");
    }
    Ok(0)
}

fn cib_schema_problems(doc: &Doc) -> Vec<String> {
    cib_schema::validate(doc).iter().map(ToString::to_string).collect()
}

fn confirmed() -> anyhow::Result<bool> {
    out!("\nApply this? [y/N] ");
    if cli_tools::print::reader_is_gone() {
        return Ok(false); // nobody has seen the question
    }
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

impl Shown {
    fn nothing() -> Shown {
        Shown { changes: vec![], effects: vec![], warnings: vec![], outcome: "nothing to do" }
    }

    fn print(&self) {
        for (title, lines) in [
            ("Changes of the configuration", &self.changes),
            ("What the cluster then does", &self.effects),
            ("Warnings", &self.warnings),
        ] {
            if !lines.is_empty() {
                outln!("{title}:");
                lines.iter().for_each(|line| outln!("  {line}"));
            }
        }
        if self.effects.is_empty() && !self.changes.is_empty() {
            outln!("No resource moves or is interrupted.");
        }
    }
}

fn tell(json: bool, shown: Shown) {
    if json {
        return print_json(&shown);
    }
    shown.print();
    match shown.outcome {
        "nothing to do" => outln!("The configuration is so already: nothing to do."),
        "applied" => outln!("Applied."),
        _ => outln!("Nothing is changed yet."),
    }
}

/// The CIB as it is once `file` is applied to it.
fn target(live: &Doc, file: &Doc) -> anyhow::Result<Doc> {
    let root = file.root();
    let wanted = match root.name() {
        "cib" => root.child("configuration").context("it has no <configuration>")?,
        "configuration" => root,
        other => bail!("its outermost element is <{other}>, not <cib> or <configuration>"),
    };
    let mut doc = live.clone();
    let configuration = doc.root().child("configuration").context("the CIB has none")?.id();
    for section in wanted.children() {
        let old = doc.node(configuration).child(section.name()).map(Node::id);
        let new = doc.copy_detached(section);
        let before = old.and_then(|old| doc.node(old).next_sibling()).map(Node::id);
        if let Some(old) = old {
            doc.detach(old);
        }
        doc.attach(configuration, new, before);
        if section.name() == "crm_config" {
            keep_own_options(&mut doc, live, new);
        }
    }
    Ok(doc)
}

/// Options that the cluster has written stay, where the file says nothing of them.
fn keep_own_options(doc: &mut Doc, live: &Doc, new: NodeId) {
    let sets = live.root().child("configuration").and_then(|c| c.child("crm_config"));
    for set in sets.into_iter().flat_map(|c| c.children_named("cluster_property_set")) {
        let said = |name| doc.node(new).descendants().any(|n| n.attr("name") == Some(name));
        let pairs = set.children_named("nvpair").filter(|pair| {
            pair.attr("name").is_some_and(|name| OWN_OPTIONS.contains(&name) && !said(name))
        });
        let pairs: Vec<Node<'_>> = pairs.collect();
        if pairs.is_empty() {
            continue;
        }
        let found = doc.node(new).children().find(|s| s.attr("id") == set.attr("id"));
        let into = match found.map(Node::id) {
            Some(found) => found,
            None => {
                let copy = doc.copy_shallow(set);
                doc.attach(new, copy, None);
                copy
            }
        };
        // They stand where the cluster puts them: before all others.
        let first = doc.node(into).children().next().map(Node::id);
        for pair in pairs {
            let copy = doc.copy_detached(pair);
            doc.attach(into, copy, first);
        }
    }
}

/// What the cluster does once the CIB is `after`.
fn effects(after: &Doc) -> Vec<String> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let now = Time::from_epoch(i64::try_from(seconds).unwrap_or(i64::MAX));
    let model = Arc::new(Model::from_doc(&Arc::new(after.clone()), now));
    let plan = schedule_model(model, now, PlanFlags::default(), 0);
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    plan.summary().iter().map(|change| squeeze(&change.text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: &str = "<cib epoch=\"3\"><configuration><crm_config><cluster_property_set id=\"o\">\
        <nvpair id=\"o-dc\" name=\"dc-version\" value=\"1\"/><nvpair id=\"o-s\" \
        name=\"stonith-enabled\" value=\"false\"/></cluster_property_set></crm_config><nodes/>\
        <resources><primitive id=\"a\" class=\"ocf\" provider=\"x\" type=\"y\"/></resources>\
        <constraints/></configuration><status/></cib>";

    fn changes(file: &str) -> Vec<String> {
        let live = Doc::parse(LIVE).unwrap();
        let after = target(&live, &Doc::parse(file).unwrap()).unwrap();
        let patch = patch::make(&live, &after, Positions::Ignore);
        patch.as_ref().map_or_else(Vec::new, words)
    }

    #[test]
    fn what_is_so_already_is_no_change() {
        assert!(changes(LIVE).is_empty());
        assert!(changes("<configuration/>").is_empty());
        let same = "<configuration><crm_config><cluster_property_set id=\"o\"><nvpair id=\"o-s\" \
                    name=\"stonith-enabled\" value=\"false\"/></cluster_property_set></crm_config>\
                    </configuration>";
        assert!(changes(same).is_empty(), "{:?}", changes(same));
    }

    #[test]
    fn a_section_becomes_what_the_file_says() {
        let told = changes(
            "<configuration><resources><primitive id=\"b\" class=\"ocf\" provider=\"x\" \
             type=\"y\"/></resources></configuration>",
        );
        assert_eq!(told, ["- resources/primitive[@id='a']", "+ primitive b in resources"]);
        assert!(target(&Doc::parse(LIVE).unwrap(), &Doc::parse("<x/>").unwrap()).is_err());
    }
}
