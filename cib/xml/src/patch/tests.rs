use super::{PatchError, Positions, add_digest, apply, from_journal, make, make_reverse, touches};
use crate::{Doc, NodeId, Style};

fn doc(text: &str) -> Doc {
    Doc::parse(text).unwrap()
}

fn text(doc: &Doc) -> String {
    doc.root().to_xml(Style::Compact)
}

fn round_trip(old: &str, new: &str) -> String {
    let (mut old, new) = (doc(old), doc(new));
    let Some(mut patch) = make(&old, &new, Positions::Count) else { return String::new() };
    add_digest(&mut patch, new.root());
    apply(&mut old, &patch, true).unwrap();
    assert_eq!(text(&old), text(&new));
    let mut out = String::new();
    for change in patch.root().children_named("change") {
        out += change.attr("operation").unwrap();
        out += " ";
        out += change.attr("path").unwrap();
        if let Some(p) = change.attr("position") {
            out = format!("{out} at {p}");
        }
        out += "\n";
    }
    out
}

const OLD: &str = r#"<cib admin_epoch="0" epoch="1" num_updates="0"><configuration><resources><primitive id="a" class="x"/><primitive id="b"/><!-- note --><primitive id="c"/></resources></configuration><status/></cib>"#;

#[test]
fn changes_are_described_and_applied() {
    let new = r#"<cib admin_epoch="0" epoch="2" num_updates="0"><configuration><resources><primitive id="c"/><primitive id="a" class="y" type="t"/><primitive id="d"><op id="o"/></primitive></resources></configuration><status/></cib>"#;
    let changes = round_trip(OLD, new);
    assert_eq!(
        changes,
        "delete /cib/configuration/resources/primitive[@id='b']\n\
         delete /cib/configuration/resources/comment at 1\n\
         modify /cib\n\
         move /cib/configuration/resources/primitive[@id='c'] at 0\n\
         modify /cib/configuration/resources/primitive[@id='a']\n\
         move /cib/configuration/resources/primitive[@id='a'] at 1\n\
         create /cib/configuration/resources at 2\n"
    );
    assert_eq!(round_trip(OLD, OLD), "");
}

#[test]
fn ids_with_quotes_are_found() {
    let old = r#"<cib admin_epoch="0" epoch="1" num_updates="0"><b id="x'/cib/b[@id='y']'" k="1"/><b id="y"/><b id='"q'/></cib>"#;
    let new = r#"<cib admin_epoch="0" epoch="2" num_updates="0"><b id="x'/cib/b[@id='y']'" k="2"/><b id='"q' k="1"/></cib>"#;
    assert_eq!(
        round_trip(old, new),
        "delete /cib/b[@id='y']\n\
         modify /cib\n\
         modify /cib/b[@id=\"x'/cib/b[@id='y']'\"]\n\
         modify /cib/b[@id='\"q']\n"
    );
}

#[test]
fn the_version_has_to_fit() {
    let new = doc(&OLD.replace("epoch=\"1\"", "epoch=\"2\"").replace("class=\"x\"", "class=\"z\""));
    let patch = make(&doc(OLD), &new, Positions::Count).unwrap();
    let mut newer = new.clone();
    assert_eq!(apply(&mut newer, &patch, true), Err(PatchError::OldData));
    let mut older = doc(&OLD.replace("epoch=\"1\"", "epoch=\"0\""));
    assert!(matches!(apply(&mut older, &patch, true), Err(PatchError::Failed(_))));
    assert!(touches(&patch, "/cib/configuration") && !touches(&patch, "/cib/status"));
}

#[test]
fn what_leads_back_from_changed_attributes_is_what_a_comparison_says() {
    let before = doc(OLD);
    for (from, to) in [
        ("epoch=\"1\"", "epoch=\"2\""),
        ("class=\"x\"", "class=\"y\" type=\"z\""),
        ("class=\"x\"", ""),
        ("<status/>", "<status a=\"b\"/>"),
        ("id=\"c\"", "id=\"e\""),
    ] {
        let after = doc(&OLD.replace(from, to));
        let patch = make(&before, &after, Positions::Count).unwrap();
        let reverse = make_reverse(&before, &after, &patch).unwrap();
        let compared = make(&after, &before, Positions::Count).unwrap();
        assert_eq!(text(&reverse), text(&compared), "{to}");
    }
}

/// The journal's patchset applied to the old state gives the new one, and a rollback the old.
#[test]
fn a_journal_is_a_patchset_and_an_undo() {
    let edits: [fn(&mut Doc); 6] = [
        |d| d.set_attr(d.root_id(), "epoch", "2"),
        |d| {
            let id = d.root().find_id("b").unwrap().id();
            d.detach(id);
        },
        |d| {
            let parent = d.root().find_id("a").unwrap().id();
            let op = d.append_element(parent, "op");
            d.set_attr(op, "id", "o1");
            d.remove_attr(parent, "class");
        },
        |d| {
            let a = d.root().find_id("a").unwrap().id();
            let new = d.copy_detached(doc("<primitive id='z'><op id='q'/></primitive>").root());
            let parent = d.node(a).parent().unwrap().id();
            d.attach(parent, new, Some(a));
        },
        |d| {
            let (a, c): (NodeId, NodeId) =
                (d.root().find_id("a").unwrap().id(), d.root().find_id("c").unwrap().id());
            d.detach(c);
            d.attach(a, c, None);
        },
        |d| {
            let ids = ["a", "b", "c"].map(|id| d.root().find_id(id).unwrap().id());
            for id in ids.into_iter().chain([d.root_id()]) {
                d.set_attr(id, "provider", "p");
            }
            for id in ids {
                d.set_attr(id, "type", "t");
            }
            assert!(d.remove_attr(ids[0], "class") && !d.remove_attr(ids[1], "class"));
            d.set_attr(ids[0], "provider", "q");
            d.clear_attrs(ids[1]);
            d.set_attr(ids[1], "id", "b");
            d.set_attr(ids[1], "provider", "r");
        },
    ];
    for (n, edit) in edits.iter().enumerate() {
        let before = doc(OLD);
        let mut changed = before.clone();
        changed.begin();
        edit(&mut changed);
        let mut undone = changed.clone();
        let journal = changed.commit();
        undone.rollback();
        assert_eq!(text(&undone), OLD, "edit {n}");
        let delta = from_journal(&changed, &journal).unwrap();
        let mut patched = before.clone();
        apply(&mut patched, &delta.patch, false).unwrap();
        assert_eq!(text(&patched), text(&changed), "edit {n}");
        assert_eq!(delta.config_changed, n != 0, "edit {n}");
        let mut back = changed.clone();
        let reverse = make_reverse(&before, &changed, &delta.patch).unwrap();
        apply(&mut back, &reverse, false).unwrap();
        assert_eq!(text(&back), OLD, "edit {n}");
    }
}

#[test]
fn hostile_patchsets_are_errors() {
    for bad in [
        "<diff/>",
        "<diff format='1'/>",
        "<cib/>",
        "<diff format='2'><change operation='delete' path='/cib'/></diff>",
        "<diff format='2'><change operation='move' path='/cib' position='1'/></diff>",
        "<diff format='2'><change operation='create' path='/cib' position='1'/></diff>",
        "<diff format='2'><change operation='modify' path='/cib'/></diff>",
        "<diff format='2'><change operation='modify' path='nonsense['/></diff>",
        "<diff format='2'><change operation='fly' path='/cib'/></diff>",
        "<diff format='2'><version><source/></version></diff>",
    ] {
        assert!(apply(&mut doc(OLD), &doc(bad), true).is_err(), "{bad}");
    }
}
