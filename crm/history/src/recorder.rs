//! Facts to entries.

use cib_xml::patch;
use cib_xml::{Doc, Node, Style};

use crate::{
    ACTIONS_MAX, Action, Change, Changed, Entry, Fact, Note, Outcome, PATCH_MAX, Transition,
    TransitionId,
};

/// Makes entries of facts. It holds a configuration of its own, to which it applies every change:
/// so it knows what leads back, whatever the cluster's has become meanwhile.
pub struct Recorder {
    /// Nothing after facts were lost.
    cib: Option<Tracked>,
    current: Option<(TransitionId, Transition)>,
    /// The id of the last change.
    configuration: String,
}

/// The CIB without status, before and after the last change: a change's way back is what makes the
/// one of the other. Copying a large CIB for every change would cost more than all the rest.
struct Tracked {
    before: Doc,
    after: Doc,
    /// What `before` lacks.
    last: Option<Doc>,
}

impl Tracked {
    fn new(cib: &Doc) -> Tracked {
        let mut doc = cib.clone();
        clear_status(&mut doc);
        Tracked { before: doc.clone(), after: doc, last: None }
    }

    /// Goes on by a change; false if that does not fit, and this is then of no use any more.
    fn change(&mut self, patch: &Doc) -> bool {
        let behind = self.last.replace(patch.clone());
        behind.is_none_or(|last| apply(&mut self.before, &last)) && apply(&mut self.after, patch)
    }
}

fn apply(doc: &mut Doc, patch: &Doc) -> bool {
    let fits = patch::apply(doc, patch, false).is_ok();
    clear_status(doc);
    fits
}

impl Recorder {
    /// A recorder for a node that starts with this CIB.
    pub fn new(cib: &Doc) -> Recorder {
        let configuration = configuration_id(cib.root());
        Recorder { cib: Some(Tracked::new(cib)), current: None, configuration }
    }

    /// Takes one fact, at a wall-clock time in milliseconds; the entries that are complete by it.
    pub fn record(&mut self, at_ms: u64, fact: Fact) -> Vec<Entry> {
        match fact {
            Fact::Changed(changed) => {
                self.change(at_ms, changed).map(Entry::Change).into_iter().collect()
            }
            Fact::Configuration(doc) => {
                self.cib.get_or_insert_with(|| Tracked::new(&doc));
                Vec::new()
            }
            Fact::Note { dc, note } => self.note(at_ms, dc, note),
            Fact::Result { key, action } => {
                self.result(&key, action);
                Vec::new()
            }
            Fact::Fenced(action) => {
                self.add(action);
                Vec::new()
            }
            Fact::Lost(lost) => {
                // The next configuration that comes whole is where it goes on.
                self.cib = None;
                vec![Entry::Gap { at_ms, lost }]
            }
        }
    }

    fn change(&mut self, at_ms: u64, changed: Changed) -> Option<Change> {
        let Changed { from, to, patch, node, asked } = changed;
        let mut forward = (*patch).clone();
        patch::ignore(&mut forward, "/cib/status");
        let mut schema = None;
        let mut reverse = None;
        if let Some(mut cib) = self.cib.take()
            && cib.change(&forward)
        {
            let name = |doc: &Doc| doc.root().attr("validate-with").unwrap_or("").to_owned();
            let names = (name(&cib.before), name(&cib.after));
            schema = Some(names).filter(|(old, new)| old != new);
            reverse = patch::make_reverse(&cib.before, &cib.after, &forward);
            self.cib = Some(cib);
        }
        let asked = asked.unwrap_or_else(|| crate::Asked {
            operation: "taken over".to_owned(),
            ..crate::Asked::default()
        });
        // Changes of the root's attributes only say by whom and when.
        let text = |mut doc: Doc| {
            let root = doc.root().children_named("change");
            let own: Vec<_> = root.filter(is_of_root).map(|c| c.id()).collect();
            own.into_iter().for_each(|id| doc.detach(id));
            Some(doc.root().to_xml(Style::Compact)).filter(|xml| xml.len() <= PATCH_MAX)
        };
        let patch = text(forward);
        let id = to.rsplit_once('.').map_or(to.as_str(), |(config, _)| config).to_owned();
        self.configuration.clone_from(&id);
        Some(Change {
            id,
            at_ms,
            from,
            to,
            user: asked.user,
            client: asked.client,
            command: asked.command,
            operation: asked.operation,
            node,
            schema,
            reverse: reverse.and_then(text).filter(|_| patch.is_some()),
            patch,
        })
    }

    fn note(&mut self, at_ms: u64, dc: String, note: Note) -> Vec<Entry> {
        match note {
            Note::Begun { id, reason, planned, input } => {
                let lost = self.end(at_ms, Outcome::Lost, None, 0);
                let transition = Transition {
                    id: id.to_string(),
                    at_ms,
                    ended_ms: at_ms,
                    dc,
                    reason,
                    configuration: self.configuration.clone(),
                    input,
                    outcome: Outcome::Lost,
                    why: None,
                    planned,
                    left: 0,
                    actions: Vec::new(),
                    further: 0,
                };
                self.current = Some((id, transition));
                lost
            }
            Note::Ended { id, outcome, why, left } => {
                if self.current.as_ref().is_some_and(|(current, _)| *current == id) {
                    self.end(at_ms, outcome, why, left)
                } else {
                    Vec::new()
                }
            }
        }
    }

    fn end(&mut self, at_ms: u64, outcome: Outcome, why: Option<String>, left: u32) -> Vec<Entry> {
        let Some((_, mut transition)) = self.current.take() else { return Vec::new() };
        transition.ended_ms = at_ms;
        (transition.outcome, transition.why, transition.left) = (outcome, why, left);
        vec![Entry::Transition(transition)]
    }

    /// Results of earlier transitions count for the one in force: it may wait for them.
    fn result(&mut self, key: &str, mut action: Action) {
        let asked_by = TransitionId::of_key(key);
        if let (Some((_, expected)), Some(code)) = (&asked_by, action.code) {
            action.good &= code == *expected;
        }
        let current = self.current.as_ref().map(|(id, _)| id);
        action.earlier = asked_by.is_none_or(|(id, _)| current != Some(&id));
        self.add(action);
    }

    fn add(&mut self, action: Action) {
        let Some((_, transition)) = &mut self.current else { return };
        if transition.actions.len() < ACTIONS_MAX {
            transition.actions.push(action);
        } else {
            transition.further += 1;
        }
    }
}

fn is_of_root(change: &Node<'_>) -> bool {
    change.attr("path") == Some("/cib") && change.attr("operation") == Some("modify")
}

fn configuration_id(root: Node<'_>) -> String {
    let part = |name| root.attr(name).unwrap_or("0");
    format!("{}.{}", part("admin_epoch"), part("epoch"))
}

/// Patchsets of the configuration count places among the root's children, so the section stays.
fn clear_status(doc: &mut Doc) {
    let status = doc.root().child("status").into_iter().flat_map(|s| s.all_children());
    let inside: Vec<_> = status.map(|node| node.id()).collect();
    inside.into_iter().for_each(|id| doc.detach(id));
    doc.compact();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cib_xml::patch::Positions;

    use super::*;
    use crate::Asked;

    const CIB: &str = "<cib admin_epoch=\"0\" epoch=\"3\" num_updates=\"7\" \
        validate-with=\"pacemaker-4.0\"><configuration><crm_config/><nodes/><resources>\
        <primitive id=\"a\" class=\"ocf\" provider=\"x\" type=\"y\"/></resources><constraints/>\
        </configuration><status><node_state id=\"1\"/></status></cib>";

    fn changed(old: &Doc, new: &Doc) -> Fact {
        let patch = patch::make(old, new, Positions::Count).unwrap();
        Fact::Changed(Changed {
            from: "0.3.7".into(),
            to: "0.4.0".into(),
            patch: Arc::new(patch),
            node: "n1".into(),
            asked: Some(Asked { user: "root".into(), ..Asked::default() }),
        })
    }

    fn doc(from: &str, to: &str) -> Doc {
        Doc::parse(&CIB.replace("epoch=\"3\"", "epoch=\"4\"").replace(from, to)).unwrap()
    }

    fn one_change(entries: Vec<Entry>) -> Change {
        match <[Entry; 1]>::try_from(entries) {
            Ok([Entry::Change(change)]) => change,
            other => panic!("no change: {other:?}"),
        }
    }

    #[test]
    fn a_change_knows_the_way_back() {
        let old = Doc::parse(CIB).unwrap();
        for (from, to) in [
            ("<crm_config/>", "<crm_config><cluster_property_set id=\"o\"/></crm_config>"),
            ("<primitive id=\"a\" class=\"ocf\" provider=\"x\" type=\"y\"/>", ""),
            ("type=\"y\"", "type=\"z\""),
        ] {
            let new = doc(from, to);
            let change = one_change(Recorder::new(&old).record(1, changed(&old, &new)));
            assert_eq!((change.id.as_str(), change.user.as_str()), ("0.4", "root"));
            let reverse = Doc::parse(&change.reverse.unwrap()).unwrap();
            let mut back = new.clone();
            patch::apply(&mut back, &reverse, false).unwrap();
            let configuration =
                |doc: &Doc| doc.root().child("configuration").unwrap().to_xml(Style::Compact);
            assert_eq!(configuration(&back), configuration(&old));
        }
    }

    #[test]
    fn each_of_several_changes_knows_the_way_back() {
        let states = [Doc::parse(CIB).unwrap(), doc("\"y\"", "\"z\""), doc("<crm_config/>", "")];
        let mut recorder = Recorder::new(&states[0]);
        for pair in states.windows(2) {
            let change = one_change(recorder.record(1, changed(&pair[0], &pair[1])));
            let mut back = pair[1].clone();
            let reverse = Doc::parse(&change.reverse.unwrap()).unwrap();
            patch::apply(&mut back, &reverse, false).unwrap();
            let configuration =
                |doc: &Doc| doc.root().child("configuration").unwrap().to_xml(Style::Compact);
            assert_eq!(configuration(&back), configuration(&pair[0]));
        }
    }

    #[test]
    fn status_and_versions_are_no_part_of_it() {
        let old = Doc::parse(CIB).unwrap();
        let new = doc("<node_state id=\"1\"/>", "<node_state id=\"2\"/>");
        let change = one_change(Recorder::new(&old).record(1, changed(&old, &new)));
        assert!(!change.patch.unwrap().contains("<change"));
    }

    #[test]
    fn after_a_gap_it_goes_on_with_the_next_whole_configuration() {
        let old = Doc::parse(CIB).unwrap();
        let new = doc("type=\"y\"", "type=\"z\"");
        let mut recorder = Recorder::new(&old);
        assert_eq!(recorder.record(1, Fact::Lost(2)), [Entry::Gap { at_ms: 1, lost: 2 }]);
        assert_eq!(one_change(recorder.record(2, changed(&old, &new))).reverse, None);
        assert!(recorder.record(3, Fact::Configuration(Arc::new(new.clone()))).is_empty());
        assert!(one_change(recorder.record(4, changed(&new, &old))).reverse.is_some());
    }

    #[test]
    fn a_transition_is_told_when_it_ends_with_its_results() {
        let mut recorder = Recorder::new(&Doc::parse(CIB).unwrap());
        let id = |number| TransitionId { number, dc: "abcdef".into() };
        let begun = |number| Fact::Note {
            dc: "n1".into(),
            note: Note::Begun { id: id(number), reason: "r".into(), planned: 1, input: None },
        };
        assert!(recorder.record(10, begun(1)).is_empty());
        let action = Action { code: Some(7), good: true, ..Action::default() };
        recorder.record(20, Fact::Result { key: "4:1:0:abcdef".into(), action });
        let ended = Note::Ended { id: id(1), outcome: Outcome::Stopped, why: None, left: 2 };
        let entries = recorder.record(30, Fact::Note { dc: "n1".into(), note: ended.clone() });
        let [Entry::Transition(transition)] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!((transition.id.as_str(), transition.configuration.as_str()), ("1-abcd", "0.3"));
        assert_eq!((transition.at_ms, transition.ended_ms, transition.left), (10, 30, 2));
        assert!(!transition.actions[0].good);
        assert!(recorder.record(40, Fact::Note { dc: "n1".into(), note: ended }).is_empty());
        // The DC of the second one is lost: another begins one of its own.
        recorder.record(50, begun(2));
        let entries = recorder.record(60, begun(3));
        assert!(matches!(&entries[..], [Entry::Transition(t)] if t.outcome == Outcome::Lost));
    }

    #[test]
    fn entries_are_read_as_written() {
        let old = Doc::parse(CIB).unwrap();
        let new = doc("type=\"y\"", "type=\"z\"");
        for entry in Recorder::new(&old).record(1, changed(&old, &new)) {
            let text = serde_json::to_string(&entry).unwrap();
            assert!(!text.contains('\n'));
            assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), entry);
        }
    }
}
