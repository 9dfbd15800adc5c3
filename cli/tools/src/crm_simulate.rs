//! `crm_simulate`: what the cluster would do in a given state, and how it would look afterwards.

mod execute;
mod inject;
mod profile;
mod state;

use std::sync::Arc;

use cib_model::{Time, scan_int};
use cib_store::StoreError;
use cib_xml::{Doc, Style};
use crm_scheduler::overview::Present;
use crm_scheduler::{Change, Note, Plan, PlanFlags, schedule_present};

use crate::args::{Given, Opt, Value, flag, opt, value};
use crate::cib;
use crate::exit;
use crate::input;
use crate::log::{self, Level};
use crate::output::{Element, Out};
use crate::schema;
use crate::show::{Cluster, Filter, Report, Section, Show};

use state::State;

pub(crate) const OPTIONS: &[Opt] = &[
    flag("run", 'R', "Show what would be done"),
    flag("simulate", 'S', "Show what would be done, and the state afterwards"),
    flag("in-place", 'X', "As --simulate, and write the state afterwards to where it is from"),
    flag("show-attrs", 'A', "Show node attributes"),
    flag("show-failcounts", 'c', "Show failures"),
    flag("show-scores", 's', "Show scores"),
    flag("show-utilization", 'U', "Show what nodes have to offer and resources take"),
    value("profile", 'P', "Measure planning for all XML files of a directory"),
    value("repeat", 'N', "With --profile: plan this often"),
    flag("pending", 'j', ""),
    value("node-up", 'u', "Assume that a node comes up"),
    value("node-down", 'd', "Assume that a node leaves"),
    value("node-fail", 'f', "Assume that a node fails"),
    value("op-inject", 'i', "Assume a result: RESOURCE_OPERATION_INTERVAL@NODE=CODE"),
    value("op-fail", 'F', "Let an operation fail: RESOURCE_OPERATION_INTERVAL@NODE=CODE"),
    value("set-datetime", 't', "Assume this time"),
    value("quorum", 'q', "Assume that the cluster has quorum, or has not"),
    value("watchdog", 'w', "Assume that nodes have a watchdog, or have not"),
    value("ticket-grant", 'g', "Assume that a ticket is granted"),
    value("ticket-revoke", 'r', "Assume that a ticket is revoked"),
    value("ticket-standby", 'b', "Assume that a ticket is put into standby"),
    value("ticket-activate", 'e', "Assume that a ticket is activated"),
    value("save-input", 'I', "Write the state before to this file"),
    value("save-output", 'O', "Write the state after to this file"),
    value("save-graph", 'G', "Write the transition graph to this file"),
    value("save-dotfile", 'D', "Write a drawing of the graph to this file"),
    flag("all-actions", 'a', "Draw also what needs not be done"),
    flag("live-check", 'L', "Read the state of the running cluster (or of CIB_shadow, CIB_file)"),
    value("xml-file", 'x', "Read the state from this file"),
    opt("xml-text", ' ', Value::Required, "The state itself"),
    flag("xml-pipe", 'p', "Read the state from the standard input"),
    flag("quiet", 'Q', "Show nothing but what was asked for"),
];

/// What is the same for all steps.
struct Session<'a> {
    given: &'a Given,
    out: &'a mut Out,
    quiet: bool,
    flags: PlanFlags,
}

pub(crate) fn run(given: &Given, out: &mut Out) -> i32 {
    let flags = PlanFlags {
        show_scores: given.has("show-scores"),
        show_utilization: given.has("show-utilization"),
        sanitized: true,
        ..PlanFlags::default()
    };
    let mut session = Session { given, quiet: given.has("quiet"), flags, out };
    let done = match given.get("profile") {
        Some(folder) => session.profile(folder),
        None => session.run(),
    };
    match done {
        Ok(code) => code,
        Err((code, text)) => {
            if !text.is_empty() {
                session.out.fail(&text);
            }
            code
        }
    }
}

fn write_file(path: &str, text: &str) -> Result<(), input::Failure> {
    std::fs::write(path, text).map_err(|e| (exit::CANTCREAT, format!("Couldn't write {path}: {e}")))
}

/// Leaves to the end of the process what nobody needs any more: taking a large structure apart
/// takes longer than that.
fn left_over<T>(done: T) {
    std::mem::forget(done);
}

impl Session<'_> {
    fn run(&mut self) -> Result<i32, input::Failure> {
        let given = self.given;
        let place = self.result_file()?;
        let doc = Arc::new(self.input()?);
        let mut state = State { doc, add_nodes: given.has("node-up") };
        let (mut cluster, mut present) = self.take_in(&state)?;
        self.show_current(&cluster);
        if inject::wanted(given) {
            self.inject(&mut state, &cluster)?;
            (cluster, present) = self.take_in(&state)?;
        }
        let text = |doc: &Doc| doc.root().to_xml(Style::Pretty);
        if let Some(path) = given.get("save-input") {
            write_file(path, &text(&state.doc))?;
        }
        let mut code = exit::OK;
        let simulate = ["simulate", "in-place", "op-fail"].iter().any(|o| given.has(o));
        let wanted = ["run", "save-graph", "save-dotfile", "show-scores", "show-utilization"];
        if simulate || wanted.iter().any(|o| given.has(o)) {
            // Planning needs the memory of what was shown.
            drop(cluster);
            let plan = schedule_present(present, 1);
            self.show_plan(&plan)?;
            if !simulate {
                left_over(plan);
            } else if !self.simulate(&mut state, plan)? {
                code = exit::ERROR;
            }
        }
        for path in given.get("save-output").into_iter().chain(place.as_deref()) {
            write_file(path, &text(&state.doc))?;
        }
        left_over(state);
        Ok(code)
    }

    /// Pretends to carry the plan out. Says whether it could be to its end.
    fn simulate(&mut self, state: &mut State, plan: Plan) -> Result<bool, input::Failure> {
        let complete = self.execute(state, plan);
        if !complete {
            self.out.error("Transition failed: terminated");
            self.out.error("An invalid transition was produced");
        }
        if !self.quiet {
            let (after, present) = self.take_in(state)?;
            self.show_status(("Revised Cluster Status", "revised_cluster_status"), &after, false);
            left_over((after, present));
        }
        Ok(complete)
    }

    /// The state, as it is to be changed.
    fn input(&mut self) -> Result<Doc, input::Failure> {
        match input::given_text(self.given)?.filter(|_| !self.given.has("live-check")) {
            Some(text) => {
                let mut doc = input::parse(&text, "the state")?;
                drop(text);
                schema::update(&mut doc, self.out).map_err(|code| (code, String::new()))?;
                doc.forget_positions();
                Ok(doc)
            }
            None => {
                let failed = |e: StoreError| {
                    let why = e.kind.text();
                    (e.exit_code(), format!("Could not obtain the current CIB: {why}"))
                };
                let doc = cib::connect().map_err(failed)?.read().map_err(failed)?;
                let mut newest = doc.clone();
                schema::update(&mut newest, self.out).map_err(|code| (code, String::new()))?;
                Ok(doc)
            }
        }
    }

    /// Where `--in-place` writes to.
    fn result_file(&self) -> Result<Option<String>, input::Failure> {
        if !self.given.has("in-place") {
            return Ok(None);
        }
        if !self.given.has("live-check") {
            match self.given.get("xml-file").filter(|path| *path != "-") {
                Some(path) => return Ok(Some(path.into())),
                None if self.given.has("xml-pipe") || self.given.has("xml-text") => {
                    return Ok(None);
                }
                None => {}
            }
        }
        if cib_store::acl::required(&cib::user()) {
            let text = "--in-place is for users who may read and change the whole CIB";
            return Err((exit::INSUFFICIENT_PRIV, text.into()));
        }
        // A running cluster's state is what it is: nothing can be written back there.
        Ok(cib::local_path().map(|path| path.to_string_lossy().into_owned()))
    }

    fn take_in(&mut self, state: &State) -> Result<(Cluster, Present), input::Failure> {
        // What is written out afterwards is in the words of the latest schema as well.
        let doc = cib_schema::latest(&state.doc);
        let now = self.effective_time(&doc, true)?;
        Ok(Cluster::present(doc, now, self.flags))
    }

    /// The time that is assumed: as asked for, as recorded in the state, or now.
    fn effective_time(&mut self, doc: &Doc, say: bool) -> Result<Time, input::Failure> {
        let clock = Time::from_epoch(crate::dates::Date::now().epoch());
        if let Some(text) = self.given.get("set-datetime") {
            let Some(time) = Time::parse(text, Some(clock)) else {
                return Err((exit::USAGE, format!("Invalid time '{text}'")));
            };
            self.info(say, &format!("Setting effective cluster time: {text}"));
            return Ok(time);
        }
        let recorded = doc.root().attr("execution-date").and_then(scan_int);
        let Some(seconds) = recorded else { return Ok(clock) };
        let time = Time::from_epoch(seconds);
        self.info(say, &format!("Using the original execution date of: {}", time.text()));
        Ok(time)
    }

    fn info(&mut self, say: bool, text: &str) {
        if say && !self.quiet {
            self.out.line(text);
            self.out.no_spacer();
        }
    }

    fn item(&mut self, text: &str) {
        if !self.quiet {
            self.out.item(text);
        }
    }

    fn show_current(&mut self, cluster: &Cluster) {
        if self.quiet {
            return;
        }
        let view = &cluster.view;
        if view.in_maintenance {
            self.out.line("\n              *** Resource management is DISABLED ***");
            self.out.line("  The cluster will not attempt to start, stop or recover services");
        }
        if view.disabled > 0 || view.blocked > 0 {
            self.out.spacer();
            self.out.line(&format!(
                "{} of {} resource instances DISABLED and {} BLOCKED from further action due to \
                 failure",
                view.disabled, view.instances, view.blocked
            ));
        }
        self.show_status(("Current cluster status", "cluster_status"), cluster, true);
    }

    fn show_status(&mut self, (title, tag): (&str, &str), cluster: &Cluster, pending: bool) {
        let mut sections = vec![Section::Nodes, Section::Resources];
        if self.given.has("show-attrs") {
            sections.push(Section::Attributes);
        }
        if self.given.has("show-failcounts") {
            sections.extend([Section::FailCounts, Section::Failures]);
        }
        let report = Report {
            sections,
            show: Show { inactive: true, pending, failed_detail: true, ..Show::default() },
            nodes: Filter::all(),
            resources: Filter::all(),
            bans: None,
        };
        if self.out.is_xml() {
            let mut xml = Element::new(tag);
            let parts = cluster.to_xml(&report).into_iter();
            parts.filter(|e| !e.is("summary")).for_each(|e| xml.push(e));
            self.out.xml(xml);
            return;
        }
        self.out.spacer();
        self.out.open(title);
        cluster.print_state(&report, self.out);
        self.out.close();
    }

    fn show_plan(&mut self, plan: &Plan) -> Result<(), input::Failure> {
        for problem in plan.problems().filter(|p| !p.error) {
            let part = if problem.text.starts_with("Unknown action") {
                "invert_action"
            } else {
                "unpack_constraints"
            };
            log::write(part, "sched", Level::Warning, self.out.verbose, &problem.text);
        }
        let both = (self.flags.show_scores, self.flags.show_utilization);
        match both {
            (true, true) => self.show_notes(
                plan,
                "Assignment Scores and Utilization Information",
                "allocations_utilizations",
            ),
            (true, false) => self.show_notes(plan, "Assignment Scores", "allocations"),
            (false, true) => self.show_notes(plan, "Utilization Information", "utilizations"),
            (false, false) => {}
        }
        if let Some(path) = self.given.get("save-graph") {
            write_file(path, &plan.transition.to_doc().root().to_xml(Style::Pretty))?;
        }
        if let Some(path) = self.given.get("save-dotfile") {
            write_file(path, &plan.dot(self.given.has("all-actions"), self.out.verbose > 0))?;
        }
        if !self.quiet {
            self.out.spacer();
            self.out.open("Transition Summary");
            for change in plan.summary() {
                self.out.item(&change.text);
            }
            self.out.close();
            if self.out.is_xml() {
                let mut xml = Element::new("actions");
                plan.summary().iter().for_each(|change| xml.push(change_xml(change)));
                self.out.xml(xml);
            }
        }
        Ok(())
    }

    fn show_notes(&mut self, plan: &Plan, title: &str, tag: &str) {
        if !self.quiet {
            self.out.spacer();
            self.out.open(title);
        }
        let mut xml = Element::new(tag);
        for note in plan.notes() {
            match note {
                Note::Remark(text) if !self.quiet => self.out.line(text),
                Note::Remark(_) => {}
                note if self.quiet => self.out.line(&note.to_string()),
                note => self.out.item(&note.to_string()),
            }
            note_xml(note).into_iter().for_each(|e| xml.push(e));
        }
        if self.quiet {
            self.out.line("");
        } else {
            self.out.close();
        }
        self.out.xml(xml);
    }
}

fn note_xml(note: &Note) -> Option<Element> {
    let with = |element: Element, amounts: &[(cib_model::Str, i32)]| {
        amounts.iter().fold(element, |e, (name, amount)| e.attr(name, amount))
    };
    let readable = cib_model::readable_score;
    Some(match note {
        Note::Score { step, resource, node, score } => Element::new("node_weight")
            .attr("function", step)
            .attr("node", node)
            .attr("score", readable(*score))
            .attr("id", resource),
        Note::Promotion { resource, node, score } => Element::new("promotion_score")
            .attr("id", resource)
            .attr("score", readable(*score))
            .maybe("node", node.as_ref()),
        Note::Capacity { when, node, amounts } => {
            with(Element::new("capacity").attr("node", node).attr("comment", when), amounts)
        }
        Note::Utilization { step, resource, node, amounts } => {
            let element = Element::new("utilization").attr("resource", resource);
            with(element.attr("node", node).attr("function", step), amounts)
        }
        Note::Remark(_) => return None,
    })
}

/// A change of the plan; which attributes it has depends on what is different afterwards.
fn change_xml(change: &Change) -> Element {
    let (from, to) = (change.from.as_deref(), change.to.as_deref());
    let Some(resource) = &change.resource else {
        return Element::new("node_action")
            .attr("task", &change.what)
            .maybe("node", from)
            .maybe("reason", change.reason.as_ref());
    };
    let out = Element::new("rsc_action")
        .attr("action", change.what.to_ascii_lowercase())
        .attr("resource", resource);
    let (before, after) = (change.roles.0.text(), change.roles.1.text());
    let same_role = before == after;
    let matters = change.roles_matter;
    let role = |e: Element| if matters { e.attr("role", before) } else { e };
    let out = match (from, to) {
        (None, to) if matters => {
            out.attr("role", before).attr("next-role", after).maybe("dest", to)
        }
        (None, to) => out.maybe("node", to),
        (Some(from), None) => role(out).attr("node", from),
        (Some(from), Some(to)) if same_role && from == to => role(out).attr("source", from),
        (Some(from), Some(to)) if same_role => role(out.attr("source", from).attr("dest", to)),
        (Some(from), Some(to)) => {
            let out = out.attr("role", before);
            if from == to {
                out.attr("next-role", after).attr("source", from)
            } else {
                out.attr("source", from).attr("next-role", after).attr("dest", to)
            }
        }
    };
    let out = out.maybe("reason", change.reason.as_ref());
    if change.blocked { out.attr("blocked", "true") } else { out }
}

#[cfg(test)]
mod tests {
    use super::{OPTIONS, run};
    use crate::args::parse;
    use crate::output::Out;

    const CIB: &str = r#"<cib validate-with="pacemaker-4.0" epoch="1" num_updates="0"
 admin_epoch="0" have-quorum="1" dc-uuid="1" execution-date="1700000000"><configuration><crm_config>
<cluster_property_set id="p"><nvpair id="f" name="fencing-enabled" value="false"/>
</cluster_property_set></crm_config><nodes><node id="1" uname="a"/><node id="2" uname="b"/></nodes>
<resources><primitive id="r" class="ocf" provider="pacemaker" type="Dummy"/></resources>
<constraints/></configuration><status><node_state id="1" uname="a" in_ccm="true" crmd="online"
 join="member" expected="member"/></status></cib>"#;

    fn simulate(words: &[&str]) -> (i32, String) {
        let mut args: Vec<String> = vec!["--xml-text".into(), CIB.into()];
        args.extend(words.iter().map(|w| w.to_string()));
        let given = parse(OPTIONS, &args).expect("options");
        let mut out = Out::new("crm_simulate", &[], &given).expect("a format");
        let code = run(&given, &mut out);
        (code, out.take())
    }

    #[test]
    fn a_node_that_comes_up_is_probed() {
        let (code, text) = simulate(&["-S", "--node-up=b"]);
        assert_eq!(code, 0);
        let modified = "Performing Requested Modifications:\n  * Bringing node b online\n";
        assert!(text.contains(modified), "{text}");
        assert!(text.contains("  * Resource action: r               monitor on b\n"), "{text}");
        assert!(text.ends_with("    * r\t(ocf:pacemaker:Dummy):\t Started a\n"), "{text}");
    }

    #[test]
    fn a_transition_stops_at_what_is_to_fail() {
        let (code, text) = simulate(&["--op-fail", "r_start_0@a=1"]);
        assert_eq!(code, 0);
        assert!(text.contains("failed with rc=1\n"), "{text}");
        let counted =
            "  * Injecting attribute fail-count-r#start_0=INFINITY into /node_state '1'\n";
        assert!(text.contains(counted), "{text}");
        assert!(text.contains("r\t(ocf:pacemaker:Dummy):\t FAILED a\n"), "{text}");
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let (code, text) = simulate(&["-S", "-t", "no time"]);
        assert_eq!((code, text.as_str()), (64, ""));
        let (code, text) = simulate(&["-i", "r_start_0@a=1", "-g", "t", "-q", "0"]);
        assert_eq!(code, 0);
        assert!(text.contains("  * Setting quorum: 0\n  * Granting ticket t\n"), "{text}");
    }
}
