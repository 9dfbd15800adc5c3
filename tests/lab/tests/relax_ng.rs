//! The RELAX NG files made from the grammar, as another program reads them: they allow what our own
//! validation allows. Runs only in the end-to-end run (`SYSTOLE_E2E=1`); needs libxml2-utils.
//! `SYSTOLE_CIBS` names folders, with colons between them, whose CIBs are compared as well.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use cib_schema::{Schema, relax_ng, validate};
use cib_xml::Doc;
use tests_lab::asked_for;

const SCHEMAS: [&str; 5] =
    ["pacemaker-1.0", "pacemaker-2.10", "pacemaker-3.0", "pacemaker-3.10", "pacemaker-4.0"];

/// What is in the resources, and what is in the constraints.
const CASES: &[(&str, &str)] = &[
    ("", ""),
    (r#"<primitive id="a" class="ocf" provider="p" type="t"/>"#, ""),
    (r#"<primitive id="a" class="ocf" type="t"/>"#, ""),
    (r#"<primitive id="a" class="systemd" provider="p" type="t"/>"#, ""),
    (r#"<primitive id="a" class="upstart" type="t"/>"#, ""),
    (r#"<primitive id="a" template="b"/>"#, ""),
    (r#"<primitive id="a" template="b" class="systemd" type="t"/>"#, ""),
    (r#"<primitve id="a" class="systemd" type="t"/>"#, ""),
    (r#"<primitive id="a" class="systemd" type="t" color="red"/>"#, ""),
    (r#"<master id="m"><primitive id="a" class="systemd" type="t"/></master>"#, ""),
    (r#"<clone id="m"><primitive id="a" class="systemd" type="t"/></clone>"#, ""),
    (r#"<group id="g"/>"#, ""),
    (
        r#"<primitive id="a" class="systemd" type="t"><operations><op id="o" name="monitor"
            interval="1s" on-fail="explode"/></operations></primitive>"#,
        "",
    ),
    (
        r#"<primitive id="a" class="systemd" type="t"><meta_attributes id="s"><nvpair id="n"
            name="restart-type" value="x"/></meta_attributes></primitive>"#,
        "",
    ),
    (r#"<primitive id="a" class="systemd" type="t"><meta_attributes id-ref="s"/></primitive>"#, ""),
    ("", r#"<rsc_location id="l" rsc="a" node="n" score="INFINITY"/>"#),
    ("", r#"<rsc_location id="l" rsc="a" node="n" score="much"/>"#),
    ("", r#"<rsc_location id="l" rsc="a" rsc-pattern="b" node="n" score="1"/>"#),
    ("", r#"<rsc_location id="l" rsc="a" score="1"/>"#),
    (
        "",
        r#"<rsc_location id="l" rsc="a"><rule id="r" score="1"><date_expression id="d"
            operation="gt" start="2030-01-01"/></rule></rsc_location>"#,
    ),
    (
        "",
        r#"<rsc_location id="l" rsc="a"><rule id="r" score="1"><date_expression id="d"
            operation="gt" end="2030-01-01"/></rule></rsc_location>"#,
    ),
    (
        "",
        r#"<rsc_order id="o" kind="Optional"><resource_set id="s"><resource_ref
            id="a"/></resource_set></rsc_order>"#,
    ),
    ("", r#"<rsc_order id="o" first="a" then="b" kind="Optional" score="1"/>"#),
    ("", r#"<rsc_order id="o" first="a"/>"#),
    ("", r#"<rsc_colocation id="c" rsc="a" with-rsc="b" score="-5"/>"#),
    ("", r#"<rsc_ticket id="t" rsc="a" ticket="T" loss-policy="shrug"/>"#),
];

fn cib(schema: &str, resources: &str, constraints: &str) -> String {
    format!(
        "<cib validate-with=\"{schema}\" admin_epoch=\"0\" epoch=\"1\" num_updates=\"0\">\
         <configuration><crm_config/><nodes/><resources>{resources}</resources>\
         <constraints>{constraints}</constraints></configuration><status/></cib>"
    )
}

/// Whether the schema's file allows the CIB.
fn allows(folder: &Path, schema: Schema, cib: &Path) -> bool {
    let rng = folder.join(format!("{schema}.rng"));
    if !rng.exists() {
        std::fs::write(&rng, relax_ng(schema).unwrap()).unwrap();
    }
    let mut command = Command::new("xmllint");
    let output = command.args(["--noout", "--relaxng"]).arg(rng).arg(cib).output();
    let output = output.expect("xmllint (package libxml2-utils)");
    match output.status.code() {
        Some(0) => true,
        Some(3 | 4) => false,
        other => panic!("xmllint: {other:?} {}", String::from_utf8_lossy(&output.stderr)),
    }
}

#[test]
fn other_programs_allow_what_we_allow() {
    if !asked_for() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cib.xml");
    let mut good = 0;
    for (name, (resources, constraints)) in
        SCHEMAS.iter().flat_map(|name| CASES.iter().map(move |case| (name, case)))
    {
        let text = cib(name, resources, constraints);
        std::fs::write(&file, &text).unwrap();
        let problems = validate(&Doc::parse(&text).unwrap());
        let theirs = allows(folder.path(), Schema::named(name).unwrap(), &file);
        assert_eq!(theirs, problems.is_empty(), "{name} {resources}{constraints} {problems:?}");
        good += usize::from(theirs);
    }
    assert!(good > CASES.len(), "most schemas allow something");
}

#[test]
fn they_agree_on_whole_configurations() {
    let folders = std::env::var_os("SYSTOLE_CIBS").unwrap_or_default();
    let folder = tempfile::tempdir().unwrap();
    let files = std::env::split_paths(&folders).filter(|f| !f.as_os_str().is_empty());
    let files = files.flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    let mut compared = 0;
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "xml")) {
        let Ok(doc) = Doc::parse(&std::fs::read_to_string(file).unwrap()) else { continue };
        let named = doc.root().attr("validate-with").and_then(Schema::named);
        let Some(schema) = named.filter(|schema| *schema != Schema::NONE) else { continue };
        let problems = validate(&doc);
        let theirs = allows(folder.path(), schema, file);
        assert_eq!(theirs, problems.is_empty(), "{} {problems:?}", file.display());
        compared += 1;
    }
    println!("{compared} configurations");
}
