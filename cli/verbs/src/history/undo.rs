//! `systole history undo`.

use anyhow::{Context, bail, ensure};
use cib_xml::Doc;
use cib_xml::patch::{self, Positions};
use crm_history::{Change, Entry};

use crate::apply::{Asking, make_so};
use crate::changes::words;
use crate::history::record::Record;
use crate::session::Session;

/// Takes one change back; what was changed since stays. Exit status: 0 done or nothing to do,
/// 10 changes are outstanding (dry run), 11 declined.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Which change
    id: String,
    #[command(flatten)]
    asking: Asking,
}

pub(super) fn run(record: &Record, args: &Args, json: bool) -> anyhow::Result<i32> {
    let Entry::Change(change) = record.find(&args.id)? else {
        bail!("{} is a transition: only a change can be taken back", args.id);
    };
    let mut session = Session::connect(json)?;
    let now = session.cib()?;
    let after = undone(&now, &change)
        .with_context(|| format!("change {} cannot be taken back, nothing is changed", args.id))?;
    make_so(&mut session, &now, &after, &args.asking)
}

/// The CIB without the change.
///
/// # Errors
/// If that would take back something of a later change as well. Whether it would is found out by
/// making the change again: the result has to be what is there now.
fn undone(now: &Doc, change: &Change) -> anyhow::Result<Doc> {
    if let Some((old, new)) = &change.schema {
        bail!("it brought the configuration from schema {old} to {new}, and there is no way back");
    }
    let read = |xml: &Option<String>| {
        let xml = xml.as_deref();
        let xml = xml.context("it was too large, or came too fast, for the way back to be kept")?;
        Doc::parse(xml).context("its entry in the history cannot be read")
    };
    let (forward, reverse) = (read(&change.patch)?, read(&change.reverse)?);
    let later = "what it made has been changed since: take the later change back first";
    let mut after = now.clone();
    patch::apply(&mut after, &reverse, false).context(later)?;
    ensure!(!has_twins(&after, &reverse), "{later}");
    let mut again = after.clone();
    patch::apply(&mut again, &forward, false).context(later)?;
    let differences = patch::make(now, &again, Positions::Ignore).map(|mut difference| {
        // Other places among siblings come of what was added since.
        let moves = difference.root().children_named("change");
        let moves = moves.filter(|c| c.attr("operation") == Some("move"));
        let moves: Vec<_> = moves.map(|c| c.id()).collect();
        moves.into_iter().for_each(|id| difference.detach(id));
        words(&difference)
    });
    let differences = differences.unwrap_or_default();
    ensure!(differences.is_empty(), "{later} ({})", differences.join("; "));
    Ok(after)
}

/// Whether something that the patchset has created was there again already.
fn has_twins(doc: &Doc, patch: &Doc) -> bool {
    patch.root().children_named("change").any(|change| {
        let parent = patch::find_path(doc, change.attr("path").unwrap_or_default());
        let (Some(parent), Some(made)) = (parent, change.children().next()) else { return false };
        let id = made.attr("id");
        let same = doc.node(parent).children_named(made.name()).filter(|n| n.attr("id") == id);
        change.attr("operation") == Some("create") && id.is_some() && same.count() > 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "<cib><configuration><resources><primitive id=\"a\" type=\"x\"/>\
        </resources></configuration></cib>";

    fn cib(inside: &str) -> Doc {
        Doc::parse(&BASE.replace("<primitive id=\"a\" type=\"x\"/>", inside)).unwrap()
    }

    fn undo(before: &str, after: &str, now: &str) -> anyhow::Result<Doc> {
        let (before, after) = (cib(before), cib(after));
        let xml = |from: &Doc, to: &Doc| {
            let patch = patch::make(from, to, Positions::Count).unwrap();
            Some(patch.root().to_xml(cib_xml::Style::Compact))
        };
        let change = Change {
            patch: xml(&before, &after),
            reverse: xml(&after, &before),
            ..Change::default()
        };
        undone(&cib(now), &change)
    }

    #[track_caller]
    fn gives(before: &str, after: &str, now: &str, expected: &str) {
        let found = undo(before, after, now).unwrap();
        assert!(patch::make(&cib(expected), &found, Positions::Ignore).is_none());
    }

    const A: &str = "<primitive id=\"a\" type=\"x\"/>";
    const A2: &str = "<primitive id=\"a\" type=\"y\"/>";
    const A3: &str = "<primitive id=\"a\" type=\"z\"/>";
    const B: &str = "<primitive id=\"b\" type=\"x\"/>";

    #[test]
    fn what_came_since_stays() {
        gives(A, A2, &format!("{A2}{B}"), &format!("{A}{B}"));
        gives("", A, &format!("{A}{B}"), B);
        gives(A, "", B, &format!("{A}{B}"));
    }

    #[test]
    fn what_was_changed_since_is_not_taken_back() {
        assert!(undo(A, A2, A3).is_err());
        assert!(undo(A, A2, B).is_err());
        assert!(undo("", A, A2).is_err());
        let inside = "<primitive id=\"a\" type=\"x\"><operations/></primitive>";
        assert!(undo("", A, inside).is_err());
        assert!(undo(A, "", A2).is_err());
    }
}
