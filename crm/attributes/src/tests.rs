use super::*;

fn at(ms: u64) -> Instant {
    Instant(ms * 1_000_000)
}

fn written(attributes: &mut Attributes) -> Vec<(String, Option<String>)> {
    let mut out = Vec::new();
    while let Some(effect) = attributes.poll_effect() {
        if let Effect::Write(list) = effect {
            out.extend(list.into_iter().map(|w| (w.name, w.value)));
        }
    }
    out
}

fn update(update: Update) -> Input {
    Input::Delivered("n1".into(), Message::Update(vec![update]))
}

fn view(id: u64, members: &[&str], apart: bool) -> Input {
    Input::View { id, members: members.iter().map(|m| (*m).to_owned()).collect(), apart }
}

fn own(sender: &str, view: u64, values: &[(&str, &str)]) -> Input {
    let values = values
        .iter()
        .map(|(name, value)| Update { dampen_ms: Some(0), ..Update::set(sender, name, value) });
    Input::Delivered(sender.into(), Message::Own { view, values: values.collect() })
}

fn writer() -> Attributes {
    let mut attributes = Attributes::new("n1");
    attributes.handle(at(0), view(1, &["n1", "n2"], true));
    attributes.handle(at(0), own("n1", 1, &[]));
    attributes.handle(at(0), own("n2", 1, &[]));
    attributes.handle(at(0), Input::Writer(true));
    written(&mut attributes);
    attributes
}

/// Replicas, and what they have said in the order of the ring.
struct Members(BTreeMap<String, Attributes>);

impl Members {
    fn new(names: &[&str]) -> Members {
        Members(names.iter().map(|n| ((*n).to_owned(), Attributes::new(n))).collect())
    }

    /// A view of those, each of which has come with the ones that are named with it.
    fn view(&mut self, id: u64, groups: &[&[&str]]) -> Vec<String> {
        let members = groups.concat();
        for name in &members {
            let replica = self.0.get_mut(*name).expect("a node");
            replica.handle(at(id), view(id, &members, groups.len() > 1));
        }
        self.settle(&members)
    }

    fn update(&mut self, members: &[&str], node: &str, name: &str, change: &str) -> Vec<String> {
        let update = update(Update::new(node, name, Change::parse(change)));
        for member in members {
            self.0.get_mut(*member).expect("a node").handle(at(0), update.clone());
        }
        self.settle(members)
    }

    /// Delivers all that is said to all; gives the errors.
    fn settle(&mut self, members: &[&str]) -> Vec<String> {
        let mut errors = Vec::new();
        loop {
            let mut said = Vec::new();
            for name in members {
                while let Some(effect) = self.0.get_mut(*name).expect("a node").poll_effect() {
                    match effect {
                        Effect::Broadcast(message) => said.push(((*name).to_owned(), message)),
                        Effect::Error(text) => errors.push(text),
                        Effect::Write(_) => {}
                    }
                }
            }
            if said.is_empty() {
                return errors;
            }
            for (sender, message) in said {
                for name in members {
                    let input = Input::Delivered(sender.clone(), message.clone());
                    self.0.get_mut(*name).expect("a node").handle(at(0), input);
                }
            }
        }
    }

    fn same(&self, members: &[&str]) {
        let all: Vec<_> = members.iter().map(|m| self.0[*m].agreed()).collect();
        assert!(all[0].is_some());
        assert!(all.iter().all(|a| *a == all[0]), "{all:#?}");
    }
}

#[test]
fn a_node_that_the_others_were_without_for_a_while_has_the_same_table_as_they() {
    let all = ["n1", "n2", "n3"];
    let mut members = Members::new(&all);
    members.view(1, &[&["n1"], &["n2"], &["n3"]]);
    members.update(&all, "n3", "fail-count-r", "1");
    members.update(&all, "n2", "ping", "100");
    members.update(&all, "n1", "old", "1");
    members.same(&all);
    // The paused one is in no view without them, so it sees the same members come back.
    members.view(2, &[&["n1", "n2"]]);
    members.update(&["n1", "n2"], "n2", "ping", "200");
    members.update(&["n1", "n2"], "n1", "new", "1");
    let delete = update(Update::new("n1", "old", Change::Delete));
    for name in ["n1", "n2"] {
        members.0.get_mut(name).expect("a node").handle(at(0), delete.clone());
    }
    let errors = members.view(3, &[&["n1", "n2"], &["n3"]]);
    assert_eq!(errors, Vec::<String>::new());
    members.same(&all);
    for name in all {
        let replica = &members.0[name];
        assert_eq!(replica.get("n3", "fail-count-r"), Some("1"), "its own values it knows best");
        assert_eq!(replica.get("n2", "ping"), Some("200"));
        assert_eq!((replica.get("n1", "old"), replica.get("n1", "new")), (None, Some("1")));
    }
}

#[test]
fn what_is_changed_while_members_tell_their_values_is_not_lost() {
    let mut attributes = Attributes::new("n1");
    attributes.handle(at(1), view(1, &["n1", "n2"], true));
    attributes.handle(at(1), own("n1", 1, &[]));
    attributes.handle(at(1), update(Update::set("n2", "a", "new")));
    attributes.handle(at(1), update(Update::new("n2", "fails", Change::Add(1))));
    assert_eq!(attributes.get("n2", "a"), Some("new"), "it is there at once");
    assert_eq!(attributes.agreed(), None);
    attributes.handle(at(1), own("n2", 1, &[("a", "old"), ("b", "1"), ("fails", "4")]));
    assert_eq!(attributes.get("n2", "a"), Some("new"));
    assert_eq!(attributes.get("n2", "b"), Some("1"));
    assert_eq!(attributes.get("n2", "fails"), Some("5"));
    assert!(attributes.agreed().is_some());
}

#[test]
fn what_is_told_for_another_view_and_by_others_counts_for_nothing() {
    let mut attributes = Attributes::new("n1");
    attributes.handle(at(1), view(2, &["n1", "n2"], true));
    attributes.handle(at(1), own("n1", 2, &[]));
    attributes.handle(at(1), own("n2", 1, &[("a", "1")]));
    attributes.handle(at(1), own("n3", 2, &[("a", "1")]));
    assert_eq!(attributes.agreed(), None);
    attributes.handle(at(1), own("n2", 2, &[]));
    assert_eq!(attributes.agreed(), Some(vec![]));
}

#[test]
fn replicas_that_differ_without_a_reason_say_so_and_agree_again() {
    let all = ["n1", "n2"];
    let mut members = Members::new(&all);
    members.view(1, &[&["n1"], &["n2"]]);
    members.update(&all, "n1", "a", "1");
    // A change that only one of them has heard.
    members.update(&["n2"], "n1", "a", "2");
    let errors = members.view(2, &[&all]);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("attributes of n1 are not the same here"), "{errors:?}");
    members.same(&all);
    assert_eq!(members.0["n2"].get("n1", "a"), Some("1"), "as its own node has it");
    assert_eq!(members.view(3, &[&all]), Vec::<String>::new());
}

/// An attribute that is gone leaves nothing behind on one member that it does not on the others.
#[test]
fn writer_and_others_have_the_same_table_after_an_attribute_was_removed() {
    let all = ["n1", "n2"];
    let mut members = Members::new(&all);
    members.view(1, &[&["n1"], &["n2"]]);
    members.0.get_mut("n1").expect("a node").handle(at(0), Input::Writer(true));
    let private = Update { private: true, ..Update::set("n1", "a", "1") };
    for change in [private, Update::new("n1", "a", Change::Delete)] {
        for name in all {
            members.0.get_mut(name).expect("a node").handle(at(0), update(change.clone()));
        }
    }
    members.view(2, &[&all]);
    members.update(&all, "n1", "a", "2");
    members.same(&all);
}

#[test]
fn a_member_that_never_tells_its_values_does_not_make_the_others_keep_changes_for_ever() {
    let mut attributes = Attributes::new("n1");
    attributes.handle(at(1), view(1, &["n1", "n2"], true));
    let large = "x".repeat(9 << 20);
    let mut errors = Vec::new();
    for n in 0..20 {
        attributes.handle(at(1), update(Update::set("n1", &format!("a{}", n % 2), &large)));
        while let Some(effect) = attributes.poll_effect() {
            errors.extend(match effect {
                Effect::Error(text) => Some(text),
                _ => None,
            });
        }
    }
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("n1, n2 did not tell"), "{errors:?}");
    assert!(attributes.merge.is_none());
}

#[test]
fn counters_count_up_to_infinity() {
    let mut attributes = writer();
    for (value, expected) in
        [("value++", "1"), ("value+=5", "6"), ("INFINITY", "INFINITY"), ("value++", "INFINITY")]
    {
        let change = Change::parse(value);
        attributes.handle(at(1), update(Update::new("n2", "fail-count-x", change)));
        assert_eq!(attributes.get("n2", "fail-count-x"), Some(expected));
    }
}

#[test]
fn dampening_writes_the_last_value_once() {
    let mut attributes = writer();
    for (ms, value) in [(0, "1"), (50, "2"), (90, "3")] {
        let mut change = Update::set("n1", "ping", value);
        change.dampen_ms = Some(100);
        attributes.handle(at(ms), update(change));
    }
    assert_eq!(written(&mut attributes), []);
    assert_eq!(attributes.poll_timeout(), Some(at(190)));
    attributes.handle_timeout(at(190));
    assert_eq!(written(&mut attributes), [("ping".into(), Some("3".into()))]);
    assert_eq!(attributes.poll_timeout(), None);
}

#[test]
fn a_lost_node_takes_its_values_along_and_tells_them_again() {
    let mut attributes = writer();
    attributes.handle(at(0), update(Update::set("n2", "a", "1")));
    written(&mut attributes);
    attributes.handle(at(1), view(2, &["n1"], false));
    assert_eq!(attributes.get("n2", "a"), None);
    attributes.handle(at(2), view(3, &["n1", "n2"], true));
    attributes.handle(at(3), own("n1", 3, &[]));
    attributes.handle(at(3), own("n2", 3, &[("b", "2")]));
    assert_eq!(written(&mut attributes), [("b".into(), Some("2".into()))]);
}

#[test]
fn what_the_cib_has_and_nobody_knows_is_removed() {
    let mut attributes = writer();
    attributes.handle(at(0), update(Update::set("n2", "a", "1")));
    written(&mut attributes);
    let stored = |name: &str| Written {
        node: "n2".into(),
        name: name.into(),
        value: None,
        set: Some("status-2".into()),
    };
    attributes.handle(at(1), Input::Stored(vec![stored("a"), stored("stale")]));
    assert_eq!(written(&mut attributes), [("stale".into(), None)]);
}

#[test]
fn what_a_node_has_from_the_start_is_told_and_written_like_all_else() {
    let mut alone = Attributes::new("n1").with_own("set", "1");
    alone.handle(at(0), view(1, &["n1"], false));
    alone.poll_effect();
    alone.handle(at(0), own("n1", 1, &[("set", "1")]));
    alone.handle(at(0), Input::Writer(true));
    assert_eq!(written(&mut alone), [("set".into(), Some("1".into()))]);
    alone.handle(at(1), view(2, &["n1", "n2"], true));
    let values = vec![Update { dampen_ms: Some(0), ..Update::set("n1", "set", "1") }];
    let told = Effect::Broadcast(Message::Own { view: 2, values });
    assert_eq!(alone.poll_effect(), Some(told));
}

#[test]
fn private_attributes_stay_out_of_the_cib() {
    let mut attributes = writer();
    let mut secret = Update::set("n1", "a", "1");
    secret.private = true;
    attributes.handle(at(0), update(secret));
    assert_eq!(written(&mut attributes), []);
    assert_eq!(attributes.get("n1", "a"), Some("1"));
}
