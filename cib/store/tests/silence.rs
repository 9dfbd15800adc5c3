//! One replica among three members whose messages the test makes up: what it says when they say
//! nothing, or nothing that can be read.

use cib_store::{Effect, Input, Message, Setup, Store, Version};
use membership_base::{Instant, NodeId, View};

const NOW: Instant = Instant(0);

fn said(store: &mut Store) -> Vec<Effect> {
    std::iter::from_fn(|| store.poll_effect()).collect()
}

fn first_of_three() -> (Store, Message) {
    let mut store = Store::new(Setup {
        local: NodeId(1),
        uname: "node1".into(),
        boot: membership_base::Incarnation(1),
        votes: (1..=3).map(|n| (NodeId(n), 1)).collect(),
        doc: cib_store::empty_cib(),
    });
    let members = (1..=3).map(NodeId).collect();
    let view = View { id: 5, members, quorate: true, exclusive: true, ..View::default() };
    store.handle(NOW, Input::View(view));
    let effects = said(&mut store);
    let [Effect::Broadcast(state)] = &effects[..] else { panic!("{effects:?}") };
    (store, state.clone())
}

#[test]
fn a_cib_that_cannot_be_read_is_said_and_ends_only_who_is_alone_with_it() {
    for all in [true, false] {
        let (mut store, own) = first_of_three();
        let Message::State(mine) = &own else { panic!("{own:?}") };
        let term = cib_store::Term { generation: 0, view: 4 };
        let other = cib_store::State { term, digest: "other".into(), ..mine.clone() };
        let mut hear = |sender, message| {
            store.handle(NOW, Input::Delivered { sender: NodeId(sender), message });
            said(&mut store)
        };
        hear(1, own.clone());
        hear(2, Message::State(other.clone()));
        hear(3, Message::State(other));
        let full = Message::Full {
            view: 5,
            xml: "<cib".into(),
            version: Version::default(),
            done: Default::default(),
            history: Vec::new(),
        };
        let effects = hear(2, full);
        let [Effect::Broadcast(unreadable @ Message::Unreadable { .. })] = &effects[..] else {
            panic!("{effects:?}")
        };
        let effects = hear(1, unreadable.clone());
        assert!(matches!(&effects[..], [Effect::Warning(text)] if text.contains("node 1 cannot")));
        for node in [2, 3] {
            let term = cib_store::Term { generation: 0, view: 5 };
            let effects = match all {
                true => hear(node, unreadable.clone()),
                false => hear(node, Message::Persisted { term, version: Version::default() }),
            };
            let failed = effects.iter().any(|e| matches!(e, Effect::Failed(_)));
            assert_eq!(failed, !all, "{effects:?}");
            let nobody = |e: &Effect| matches!(e, Effect::Warning(t) if t.contains("no member"));
            assert_eq!(effects.iter().any(nobody), all && node == 3, "{effects:?}");
        }
    }
}

#[test]
fn a_member_that_does_not_say_what_it_has_is_named_and_asked_again() {
    let (mut store, own) = first_of_three();
    store.handle(NOW, Input::Delivered { sender: NodeId(1), message: own.clone() });
    store.handle(NOW, Input::Delivered { sender: NodeId(2), message: own.clone() });
    let due = store.poll_timeout().expect("it does not wait in silence");
    store.handle_timeout(due);
    let effects = said(&mut store);
    let [Effect::Warning(text), Effect::Broadcast(Message::State(_))] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert!(text.contains("node 3 has not said in 5 s"), "{text}");
    assert!(store.poll_timeout().is_some_and(|next| next > due));
    store.handle(due, Input::Delivered { sender: NodeId(3), message: own });
    assert!(store.is_synced());
    assert!(!said(&mut store).iter().any(|e| matches!(e, Effect::Warning(_))));
}
