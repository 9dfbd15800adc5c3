//! What must hold for any input, one function for each kind of it.
//!
//! `cargo test -p tests-fuzz` replays the corpus, then mutations of it that are others in every run,
//! for a bounded time (`tests/replay.rs`).
//! `cargo fuzz run TARGET --fuzz-dir tests/fuzz --features search` looks for inputs that nobody
//! thought of (package cargo-fuzz; on a stable toolchain with `RUSTC_BOOTSTRAP=1`). What it finds is
//! added to `corpus/TARGET` with the fix.

#![forbid(unsafe_code)]

mod agents;
mod members;

pub use agents::{fence_list, ipmi, key, metadata};
pub use members::{on_disk, packet, ring};

use std::collections::BTreeSet;
use std::sync::Arc;

use cib_model::{Model, Time};
use cib_xml::{Doc, Style, XPath, patch};

/// A kind of input with what must hold for it.
pub type Target = (&'static str, fn(&[u8]));

/// All of them, by the names of their folders in `corpus`.
pub const TARGETS: [Target; 14] = [
    ("cib", cib),
    ("xpath", xpath),
    ("patch", patch),
    ("rule", rule),
    ("date", date),
    ("conf", conf),
    ("ipc", ipc),
    ("ring", ring),
    ("packet", packet),
    ("on_disk", on_disk),
    ("metadata", metadata),
    ("fence_list", fence_list),
    ("ipmi", ipmi),
    ("key", key),
];

/// Inputs that are made by the program itself, besides the target's corpus: protocols change, and
/// files with their messages would be refused by their first byte from then on.
pub fn made(target: &str) -> Vec<Vec<u8>> {
    match target {
        "ring" => members::said(),
        "packet" => members::sent(),
        "ipmi" => agents::replies(),
        "key" => vec![(0..=255).collect()],
        _ => Vec::new(),
    }
}

const NOW: Time = Time { seconds: 1_700_000_000, offset: 0 };

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// A document that says something: an error names the place.
fn document(text: &str) -> Option<Doc> {
    match Doc::parse(text) {
        Ok(doc) => Some(doc),
        Err(error) => {
            let told = error.to_string();
            assert!(told.contains("line"), "an error without a place: {told}");
            None
        }
    }
}

/// XML that may be a CIB: it is read, written as it was, validated, upgraded and planned for.
pub fn cib(data: &[u8]) {
    let Some(mut doc) = text(data).and_then(document) else { return };
    let written = doc.root().to_xml(Style::Compact);
    let again = Doc::parse(&written).expect("what was written can be read");
    assert_eq!(again.root().to_xml(Style::Compact), written, "reading and writing change it");
    cib_schema::validate(&doc);
    let plan = |doc: &Doc| {
        let plan = crm_scheduler::schedule(&Arc::new(doc.clone()), NOW, Default::default(), 1);
        plan.transition.to_doc().root().to_xml(Style::Compact)
    };
    assert_eq!(plan(&doc), plan(&doc), "the same input gives another plan");
    if cib_schema::upgrade(&mut doc, None).is_ok() {
        plan(&doc);
    }
}

/// An expression: what can be read can be evaluated.
pub fn xpath(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let doc = Doc::parse("<cib a=\"1\"><b id=\"x\">t</b><b id=\"y\"><c n=\"2\"/></b></cib>");
    let doc = doc.expect("the document is sound");
    if let Ok(expression) = XPath::parse(text) {
        let _ = expression.evaluate(&doc);
        let _ = expression.select(&doc);
    }
}

/// A patchset, or two documents one after the other. One that does not fit is undone without a
/// trace. The patch between two documents leads from one to the other; where elements cannot be
/// told apart, which the format does not provide for, its digest says so instead.
pub fn patch(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Some((old, new)) = text.split_once("\n----\n") {
        let (Some(mut old), Some(new)) = (document(old), document(new)) else { return };
        if old.root().name() != new.root().name() {
            return;
        }
        let Some(mut made) = patch::make(&old, &new, patch::Positions::Count) else { return };
        patch::add_digest(&mut made, new.root());
        // The root with another id is another element, which no change can make of it.
        let one_root = old.root().attr("id") == new.root().attr("id");
        let clear = one_root && told_apart(&old) && told_apart(&new);
        match patch::apply(&mut old, &made, false) {
            Ok(()) => {}
            Err(error) => assert!(!clear, "{error}: {}", made.root().to_xml(Style::Compact)),
        }
        return;
    }
    let Some(given) = document(text) else { return };
    let mut doc = Doc::parse("<cib epoch=\"1\"><b id=\"x\"/><b id=\"y\"><c/></b></cib>")
        .expect("the document is sound");
    let before = doc.root().to_xml(Style::Compact);
    doc.begin();
    if patch::apply(&mut doc, &given, true).is_err() {
        doc.rollback();
        assert_eq!(doc.root().to_xml(Style::Compact), before, "a patch that fails changes nothing");
    }
}

/// Whether there are elements only, each with an id that no other has and that a path can hold.
fn told_apart(doc: &Doc) -> bool {
    let mut ids = BTreeSet::new();
    doc.root().descendants().all(|node| {
        let plain = node.all_children().all(cib_xml::Node::is_element);
        let held = !node.attr("id").is_some_and(|id| id.contains('"') && id.contains('\''));
        let mut own = || node.attr("id").is_some_and(|id| ids.insert(id));
        plain && held && (node.id() == doc.root_id() || own())
    })
}

/// A rule inside of a location constraint.
pub fn rule(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let xml = format!(
        "<cib><configuration><nodes><node id=\"1\" uname=\"n\"/></nodes><resources><primitive \
         id=\"p\" class=\"ocf\" provider=\"x\" type=\"y\"/></resources><constraints><rsc_location \
         id=\"l\" rsc=\"p\">{text}</rsc_location></constraints></configuration><status/></cib>"
    );
    if let Some(doc) = document(&xml).map(Arc::new) {
        Model::from_doc(&doc, NOW);
        crm_scheduler::schedule(&doc, NOW, Default::default(), 1);
    }
}

/// A date, time or duration: a date that can be read is written so that it can be read again.
pub fn date(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Some(time) = Time::parse(text, Some(NOW)) {
        let written = time.text();
        let again = Time::parse(&written, None);
        assert_eq!(again.map(|t| t.seconds), Some(time.seconds), "{text} is written as {written}");
    }
    cib_model::parse_duration_seconds(text);
    cib_model::parse_interval_ms(Some(text));
}

/// A `corosync.conf`: an error names the line.
pub fn conf(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Err(errors) = membership_conf::parse(text) {
        assert!(!errors.to_string().is_empty());
    }
}

/// What follows the length of a frame on the daemon's socket.
pub fn ipc(data: &[u8]) {
    if let Ok(request) = crm_ipc::decode::<crm_api::Request>(data) {
        let frame = crm_ipc::encode(&request).expect("what was read is not too large");
        let again = crm_ipc::decode::<crm_api::Request>(&frame[4..]);
        assert_eq!(again.ok(), Some(request), "a request is not read as it was written");
    }
    let _ = crm_ipc::decode::<crm_api::Response>(data);
}
