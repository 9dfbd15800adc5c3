//! `crm_simulate`: what the cluster would do in a given state, and how it would look afterwards.

mod execute;

use cib_model::{Time, scan_int};
use cib_xml::{Doc, Style};
use crm_scheduler::{Plan, PlanFlags, Status};

use crate::args::{Given, Opt, Value, flag, opt, value};
use crate::exit;
use crate::input;
use crate::output::Out;

pub(crate) const OPTIONS: &[Opt] = &[
    value("xml-file", 'x', "Read the state from this file"),
    opt("xml-text", ' ', Value::Required, "The state itself"),
    flag("xml-pipe", 'p', "Read the state from the standard input"),
    flag("run", 'R', "Show what would be done"),
    flag("simulate", 'S', "Show what would be done, and the state afterwards"),
    flag("show-scores", 's', "Show scores"),
    flag("quiet", 'Q', "Show nothing but what was asked for"),
    value("save-graph", 'G', "Write the transition graph to this file"),
    value("save-dotfile", 'D', "Write a drawing of the graph to this file"),
    value("save-input", 'I', "Write the state before to this file"),
    value("save-output", 'O', "Write the state after to this file"),
    value("set-datetime", 't', "Assume this time"),
    flag("show-utilization", 'U', ""),
    flag("all-actions", 'a', ""),
    flag("show-failcounts", ' ', ""),
];

const NO_SCHEMA: &str = "Schema validation of configuration is disabled (support for validate-with \
                         set to \"none\" is deprecated and will be removed in a future release)";

/// What is the same for all steps.
struct Session<'a> {
    given: &'a Given,
    out: &'a mut Out,
    quiet: bool,
}

pub(crate) fn run(given: &Given, out: &mut Out) -> i32 {
    let quiet = given.has("quiet");
    match (Session { given, out, quiet }).run() {
        Ok(code) => code,
        Err((code, text)) => {
            out.fail(&text);
            code
        }
    }
}

fn write_file(path: &str, text: &str) -> Result<(), input::Failure> {
    std::fs::write(path, text).map_err(|e| (exit::CANTCREAT, format!("Couldn't write {path}: {e}")))
}

impl Session<'_> {
    fn run(&mut self) -> Result<i32, input::Failure> {
        let Some(text) = input::given_text(self.given)? else {
            return Err((exit::USAGE, "No state given (use --xml-file)".into()));
        };
        let mut doc = input::parse(&text, "the state")?;
        drop(text);
        if doc.root().attr("validate-with") == Some("none") {
            self.out.error(NO_SCHEMA);
        }
        if let Some(path) = self.given.get("save-input") {
            write_file(path, &doc.root().to_xml(Style::Pretty))?;
        }
        let flags = PlanFlags { show_scores: self.given.has("show-scores"), sanitized: true };
        let now = self.effective_time(&doc)?;
        let status = crm_scheduler::status(&doc, now, flags);
        self.show_current(&status);
        let process = self.given.has("run")
            || self.given.has("simulate")
            || self.given.has("save-graph")
            || self.given.has("save-dotfile")
            || flags.show_scores;
        if !process {
            return Ok(exit::OK);
        }
        let plan = crm_scheduler::schedule_status(status, 1);
        self.show_scores(&plan);
        self.save(&plan)?;
        if !self.quiet {
            self.list("Transition Summary", plan.summary());
        }
        if !self.given.has("simulate") {
            return Ok(exit::OK);
        }
        // What remains of the plan is let go before the state changes: it shares its text.
        let pretended = execute::Pretended::new(plan);
        let done = pretended.execute(&mut doc);
        if !self.quiet {
            self.list("Executing Cluster Transition", &done.lines);
        }
        if !done.complete {
            self.out.error("Transition failed: terminated");
            self.out.error("An invalid transition was produced");
        }
        if let Some(path) = self.given.get("save-output") {
            write_file(path, &doc.root().to_xml(Style::Pretty))?;
        }
        if !self.quiet {
            let now = self.effective_time(&doc)?;
            let status = crm_scheduler::status(&doc, now, flags);
            self.show_status("Revised Cluster Status", &status, false);
        }
        Ok(exit::OK)
    }

    /// The time that is assumed: as asked for, as recorded in the state, or now.
    fn effective_time(&mut self, doc: &Doc) -> Result<Time, input::Failure> {
        let seconds = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX));
        let clock = Time::from_epoch(seconds);
        if let Some(text) = self.given.get("set-datetime") {
            let Some(time) = Time::parse(text, Some(clock)) else {
                return Err((exit::USAGE, format!("Invalid time '{text}'")));
            };
            self.info(&format!("Setting effective cluster time: {text}"));
            return Ok(time);
        }
        let recorded = doc.root().attr("execution-date").and_then(scan_int);
        let Some(seconds) = recorded else { return Ok(clock) };
        let time = Time::from_epoch(seconds);
        self.info(&format!("Using the original execution date of: {}", time.text()));
        Ok(time)
    }

    fn info(&mut self, text: &str) {
        if !self.quiet {
            self.out.line(text);
        }
    }

    fn list(&mut self, title: &str, lines: &[String]) {
        self.out.line("");
        self.out.line(&format!("{title}:"));
        for line in lines {
            let text = line.trim_start_matches(' ');
            let indent = line.len() - text.len();
            self.out.line(&format!("  {}* {text}", " ".repeat(indent)));
        }
    }

    fn show_current(&mut self, status: &Status) {
        if self.quiet {
            return;
        }
        if status.in_maintenance() {
            self.out.line("\n              *** Resource management is DISABLED ***");
            self.out.line("  The cluster will not attempt to start, stop or recover services");
        }
        let (instances, disabled, blocked) = status.counts();
        if disabled > 0 || blocked > 0 {
            self.out.line(&format!(
                "{disabled} of {instances} resource instances DISABLED and {blocked} BLOCKED from \
                 further action due to failure"
            ));
        }
        self.show_status("Current cluster status", status, true);
    }

    fn show_status(&mut self, title: &str, status: &Status, pending: bool) {
        let (nodes, resources) = status.text(pending);
        self.out.line("");
        self.out.line(&format!("{title}:"));
        for (title, lines) in [("Node List", nodes), ("Full List of Resources", resources)] {
            if title == "Node List" && lines.is_empty() {
                continue;
            }
            self.out.line(&format!("  * {title}:"));
            for line in lines {
                let text = line.trim_start_matches(' ');
                let indent = line.len() - text.len();
                self.out.line(&format!("    {}* {text}", " ".repeat(indent)));
            }
            self.out.line("");
        }
    }

    fn show_scores(&mut self, plan: &Plan) {
        if !self.given.has("show-scores") {
            return;
        }
        if self.quiet {
            plan.scores().iter().for_each(|line| self.out.line(line));
            self.out.line("");
        } else {
            self.list("Assignment Scores", plan.scores());
            plan.notices().iter().for_each(|line| self.out.line(line));
        }
    }

    fn save(&mut self, plan: &Plan) -> Result<(), input::Failure> {
        if let Some(path) = self.given.get("save-graph") {
            write_file(path, &plan.transition.to_doc().root().to_xml(Style::Pretty))?;
        }
        if let Some(path) = self.given.get("save-dotfile") {
            write_file(path, &plan.dot())?;
        }
        Ok(())
    }
}
