//! The rules of the policy engine: each file in `tests/rules/AREA` is named by a rule, and has what
//! is to be said of that rule, a small cluster, what the rule demands of the plan (`expect ...`),
//! and after `----` the whole plan.
//!
//! What is expected is written by hand and holds for every plan; `UPDATE_EXPECT=1` writes only the
//! plans anew: read the difference before you commit it. `SAVE_CIBS=FOLDER` also writes the CIB of
//! each cluster, so that it can be given to `crm_simulate`, this one or another one.
//!
//! - `expect RESOURCE on NODE ...`, `expect RESOURCE promoted on NODE ...`,
//!   `expect RESOURCE promoted nowhere`, `expect RESOURCE stopped`: where it is afterwards, and
//!   nowhere else
//! - `expect do ACTION`: it is planned; `expect no WORDS`: no action that begins so is
//! - `expect ACTION before ACTION`: both are planned, in this order;
//!   `expect ACTION regardless of ACTION`: both are planned, and neither waits for the other
//! - `expect nothing to do`; `expect because TEXT`: a change has this reason;
//!   `expect problem TEXT`: the configuration is found fault with

#![allow(clippy::disallowed_methods, reason = "golden files")]

#[path = "support/plan.rs"]
mod plan;
#[path = "support/small.rs"]
mod small;

use std::path::{Path, PathBuf};

use plan::Told;

/// Fewer than this would mean that some got lost.
const CASES_MIN: usize = 250;

fn files(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("there are rules") {
        let path = entry.expect("a folder can be read").path();
        match path.is_dir() {
            true => files(&path, all),
            false => all.push(path),
        }
    }
    all.sort();
}

fn expectations(input: &str) -> impl Iterator<Item = &str> {
    input.lines().filter_map(|line| line.strip_prefix("expect "))
}

fn cluster(input: &str) -> String {
    let lines = input.lines().filter(|l| !l.starts_with('#') && !l.starts_with("expect "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_rules_are_kept() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules");
    let mut all = Vec::new();
    files(&folder, &mut all);
    assert!(all.len() >= CASES_MIN, "only {} rules", all.len());
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let cibs = std::env::var_os("SAVE_CIBS").map(PathBuf::from);
    let mut wrong = Vec::new();
    for file in all {
        let name = file.strip_prefix(&folder).unwrap_or(&file).display().to_string();
        let text = std::fs::read_to_string(&file).expect("a file can be read");
        let (input, expected) = text.split_once("----\n").unwrap_or((&text, ""));
        let cib = small::cib(&cluster(input));
        if let Some(cibs) = &cibs {
            let xml = cib.root().to_xml(cib_xml::Style::Pretty);
            let name = name.replace('/', "--").replace(".txt", ".xml");
            std::fs::write(cibs.join(name), xml).expect("a file can be written");
        }
        let told = Told::of(cib);
        assert!(expectations(input).count() > 0, "{name} expects nothing");
        for expected in expectations(input) {
            if let Err(why) = told.meets(expected) {
                wrong.push(format!("{name}: expected {expected}: {why}\n{}", told.text()));
            }
        }
        let is = told.text();
        if is != expected && update {
            let text = format!("{}\n----\n{is}", input.trim_end());
            std::fs::write(&file, text).expect("a file can be written");
        } else if is != expected {
            wrong.push(format!("{name}: expected\n{expected}\nbut it is\n{is}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}
