//! Explanations: each file in `tests/explain` has a sentence on what it is about, a small cluster,
//! questions, and after `----` the answers. `UPDATE_EXPECT=1` writes the answers anew: read the
//! difference before you commit it.

#![allow(clippy::disallowed_methods, reason = "golden files")]

#[path = "support/small.rs"]
mod small;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cib_model::{Model, Time};
use crm_scheduler::explain::{action_lines, explain, explain_plan};

fn answer(input: &str) -> String {
    let is_question = |line: &&str| line.starts_with("explain");
    let cluster: Vec<&str> =
        input.lines().filter(|l| !l.starts_with('#') && !is_question(l)).collect();
    let now = Time::from_epoch(small::NOW);
    let model = Arc::new(Model::from_doc(&small::cib(&cluster.join("\n")).into(), now));
    let mut out = String::new();
    for question in input.lines().filter(is_question) {
        let words: Vec<&str> = question.split_whitespace().skip(1).collect();
        let text = match words[..] {
            [] => action_lines(&explain_plan(&model, now)),
            [resource, ref node @ ..] => {
                match explain(&model, now, resource, node.first().copied()) {
                    Ok(explanation) => explanation.to_string(),
                    Err(error) => format!("{error}\n"),
                }
            }
        };
        out.push_str(&format!("> {question}\n{text}\n"));
    }
    out
}

#[test]
fn explanations_are_as_written_down() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain");
    let entries = std::fs::read_dir(&folder).expect("there are explanations");
    let mut files: Vec<PathBuf> =
        entries.map(|e| e.expect("a folder can be read").path()).collect();
    files.sort();
    assert!(files.len() >= 30, "{} explanations", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a file can be read");
        let (input, expected) = text.split_once("----\n").unwrap_or((&text, ""));
        let is = answer(input);
        if is == expected {
            continue;
        }
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            let text = format!("{}\n----\n{is}", input.trim_end());
            std::fs::write(&file, text).expect("a file can be written");
        } else {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            wrong.push(format!("{name}: expected\n{expected}\nbut it is\n{is}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
