use super::*;

fn at(ms: u64) -> Instant {
    Instant(ms * 1_000_000)
}

fn config(text: &str) -> Configuration {
    let xml = format!("<cib><configuration>{text}</configuration></cib>");
    let doc = cib_xml::Doc::parse(&xml).unwrap();
    Configuration::from_cib(doc.root(), cib_model::Time::from_epoch(1_700_000_000))
}

fn device(id: &str, params: &str) -> String {
    let pairs: String = params
        .split_whitespace()
        .filter_map(|p| p.split_once('='))
        .map(|(n, v)| format!("<nvpair id='{id}-{n}' name='{n}' value='{v}'/>"))
        .collect();
    format!(
        "<primitive id='{id}' class='stonith' type='fence_x'>\
         <instance_attributes id='{id}-p'>{pairs}</instance_attributes></primitive>"
    )
}

/// A cluster of fencers whose messages are delivered at once; agents answer by a closure.
struct Bench {
    fencers: Vec<Fencer>,
    now: u64,
    log: Vec<String>,
    ended: Vec<(Vec<u64>, Record)>,
}

impl Bench {
    fn new(names: &[&str], config: &Configuration) -> Bench {
        let members: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut fencers = Vec::new();
        for name in names {
            let mut fencer = Fencer::new(name, Incarnation(7), 0);
            fencer.handle(at(0), Input::View(members.clone()));
            fencer.handle(at(0), Input::Configure(config.clone()));
            fencers.push(fencer);
        }
        Bench { fencers, now: 0, log: Vec::new(), ended: Vec::new() }
    }

    fn request(&mut self, target: &str, action: &str) {
        self.fencers[0].handle(
            at(self.now),
            Input::Request {
                ticket: 1,
                target: target.into(),
                action: action.into(),
                life: Some(Incarnation(1)),
                client: "test".into(),
                timeout_ms: 1000,
            },
        );
    }

    /// Runs until nothing happens any more; `agent` gets (executor, options) for each run.
    fn settle(&mut self, mut agent: impl FnMut(&str, &str) -> Result<String, String>) {
        for _ in 0..1000 {
            let mut effects = Vec::new();
            for (ix, fencer) in self.fencers.iter_mut().enumerate() {
                effects.extend(std::iter::from_fn(|| fencer.poll_effect()).map(|e| (ix, e)));
            }
            // Messages are quicker than agents.
            effects.sort_by_key(|(_, e)| matches!(e, Effect::Run { .. }));
            let busy = !effects.is_empty();
            for (ix, effect) in effects {
                self.carry_out(ix, effect, &mut agent);
            }
            if busy {
                continue;
            }
            let Some(due) = self.fencers.iter().filter_map(Fencer::poll_timeout).min() else {
                return;
            };
            self.now = self.now.max(due.as_millis());
            self.fencers.iter_mut().for_each(|f| f.handle_timeout(at(self.now)));
        }
        panic!("it does not come to rest: {:?}", self.log);
    }

    fn carry_out(
        &mut self,
        ix: usize,
        effect: Effect,
        agent: &mut impl FnMut(&str, &str) -> Result<String, String>,
    ) {
        let name = self.fencers[ix].local.clone();
        match effect {
            Effect::Broadcast(message) => {
                for fencer in &mut self.fencers {
                    fencer.handle(at(self.now), Input::Delivered(name.clone(), message.clone()));
                }
            }
            Effect::Run { run, options, .. } => {
                let words: Vec<String> = options
                    .iter()
                    .filter(|o| o.0 != "nodename")
                    .map(|o| format!("{}={}", o.0, o.1))
                    .collect();
                let line = words.join(" ");
                let result = agent(&name, &line);
                self.log.push(format!("{name}: {line}"));
                self.fencers[ix].handle(at(self.now), Input::Finished { run, result });
            }
            Effect::Ended { tickets, record, .. } => {
                if ix == 0 {
                    self.ended.push((tickets, record));
                }
            }
        }
    }
}

#[test]
fn the_host_map_names_the_port_and_all_members_keep_the_history() {
    let config = config(&format!("<resources>{}</resources>", device("d", "pcmk_host_map=n3:7")));
    let mut bench = Bench::new(&["n1", "n2"], &config);
    bench.request("n3", "reboot");
    bench.settle(|_, _| Ok(String::new()));
    assert_eq!(bench.log, ["n1: action=reboot plug=7 port=7"]);
    assert_eq!(bench.ended.len(), 1);
    assert_eq!(bench.ended[0].0, [1]);
    assert_eq!(bench.ended[0].1.state, State::Done);
    assert_eq!(bench.fencers[1].history().count(), 1);
}

#[test]
fn a_failure_is_retried_here_and_then_by_the_others_and_ends_in_words() {
    let config =
        config(&format!("<resources>{}</resources>", device("d", "pcmk_host_list=n3 ip=x")));
    let mut bench = Bench::new(&["n1", "n2"], &config);
    bench.request("n3", "off");
    bench.settle(|_, _| Err("no route to the BMC".into()));
    let who: Vec<&str> = bench.log.iter().map(|l| &l[..2]).collect();
    assert_eq!(who, ["n1", "n1", "n2"]);
    let State::Failed(why) = &bench.ended[0].1.state else { panic!("{:?}", bench.ended) };
    assert!(why.contains("no route to the BMC"), "{why}");
}

#[test]
fn nobody_cuts_his_own_power() {
    let config = config(&format!("<resources>{}</resources>", device("d", "pcmk_host_list=n1")));
    let mut bench = Bench::new(&["n1"], &config);
    bench.request("n1", "reboot");
    bench.settle(|_, _| unreachable!("nobody else is there"));
    let State::Failed(why) = &bench.ended[0].1.state else { panic!("{:?}", bench.ended) };
    assert!(why.contains("no other node"), "{why}");
    // What only lets a node use something (unfencing) is its own affair.
    bench.request("n1", "on");
    bench.settle(|_, _| Ok(String::new()));
    assert_eq!(bench.log, ["n1: action=on plug=n1 port=n1"]);

    let mut bench = Bench::new(&["n1", "n2"], &config);
    bench.request("n1", "reboot");
    bench.settle(|_, _| Ok(String::new()));
    assert_eq!(bench.log, ["n2: action=reboot plug=n1 port=n1"]);
}

#[test]
fn what_a_lost_node_was_to_direct_ends_in_words() {
    let config = config(&format!("<resources>{}</resources>", device("d", "pcmk_host_list=n1")));
    // n2 is lost before it hears that it is to direct the end of n1, or is started anew after.
    let lost: [&[Input]; 2] = [
        &[Input::View(vec!["n1".into()])],
        &[Input::View(vec!["n1".into(), "n2".into()]), Input::Newcomers(vec!["n2".into()])],
    ];
    for inputs in lost {
        let mut bench = Bench::new(&["n1", "n2"], &config);
        bench.fencers.truncate(1);
        bench.request("n1", "reboot");
        let late = inputs.len() == 2;
        if late {
            bench.settle(|_, _| unreachable!("n2 directs it, and is gone"));
        }
        inputs.iter().for_each(|input| bench.fencers[0].handle(at(1), input.clone()));
        bench.settle(|_, _| unreachable!("nobody is there"));
        let [(tickets, record)] = &bench.ended[..] else { panic!("{:?}", bench.ended) };
        assert_eq!(*tickets, [1]);
        let State::Failed(why) = &record.state else { panic!("{record:?}") };
        assert_eq!(why, "node n2, which directed it, was lost");
    }
}

#[test]
fn without_a_device_it_fails_at_once_and_says_what_to_do() {
    let mut bench = Bench::new(&["n1", "n2"], &config(""));
    bench.request("n3", "reboot");
    bench.settle(|_, _| unreachable!("there is no agent to run"));
    let State::Failed(why) = &bench.ended[0].1.state else { panic!("{:?}", bench.ended) };
    assert!(why.contains("pcmk_host_list"), "{why}");
}

#[test]
fn two_devices_of_a_level_are_both_off_before_one_is_on() {
    let devices = device("a", "pcmk_host_list=n3") + &device("b", "pcmk_host_list=n3");
    let config = config(&format!(
        "<resources>{devices}</resources><fencing-topology>\
         <fencing-level id='l' target='n3' index='1' devices='a,b'/></fencing-topology>"
    ));
    let mut bench = Bench::new(&["n1"], &config);
    bench.request("n3", "reboot");
    // Power that does not come back does not make the node any less fenced.
    bench.settle(|_, line| if line.contains("=on ") { Err("stuck".into()) } else { Ok("".into()) });
    let actions: Vec<&str> = bench.log.iter().map(|l| l[11..].split(' ').next().unwrap()).collect();
    assert_eq!(actions, ["off", "off", "on", "on", "on", "on"]);
    assert_eq!(bench.ended[0].1.state, State::Done);
}

#[test]
fn a_device_that_has_to_be_asked_is_asked_once() {
    let config = config(&format!("<resources>{}</resources>", device("d", "ip=x")));
    let mut bench = Bench::new(&["n1"], &config);
    for _ in 0..2 {
        bench.request("n3", "off");
        bench.settle(|_, _| Ok("n2,\nn3,\n".into()));
    }
    assert_eq!(bench.log.iter().filter(|l| l.contains("action=list")).count(), 1);
    assert_eq!(bench.log.iter().filter(|l| l.contains("action=off")).count(), 2);
}

#[test]
fn a_device_that_was_removed_while_an_operation_waited_is_not_asked() {
    let config = config(&format!("<resources>{}</resources>", device("d", "ip=x")));
    let mut bench = Bench::new(&["n1"], &config);
    bench.request("n3", "reboot");
    bench.request("n3", "off");
    let fencer = &mut bench.fencers[0];
    let effects: Vec<Effect> = std::iter::from_fn(|| fencer.poll_effect()).collect();
    for effect in effects {
        let Effect::Broadcast(message) = effect else { panic!("nothing runs yet") };
        fencer.handle(at(0), Input::Delivered("n1".into(), message));
    }
    fencer.handle(at(0), Input::Configure(Configuration::default()));
    bench.settle(|_, _| Ok("n3".into()));
    let errors: Vec<&State> = bench.ended.iter().map(|(_, record)| &record.state).collect();
    let [State::Failed(_), State::Failed(error)] = errors[..] else { panic!("{errors:?}") };
    assert!(error.contains("d could not say"), "{error}");
    assert!(error.contains("not configured any more"), "{error}");
}

#[test]
fn extreme_numbers_of_a_device_are_bounded() {
    let params = "pcmk_host_list=n3 priority=-2147483648 pcmk_off_retries=4294967295";
    let resources = device("a", params) + &device("b", "pcmk_host_list=n3");
    let config = config(&format!("<resources>{resources}</resources>"));
    let mut bench = Bench::new(&["n1"], &config);
    bench.request("n3", "off");
    bench.settle(|_, _| Ok(String::new()));
    assert_eq!(bench.ended[0].1.device.as_deref(), Some("b"), "the higher priority is first");
    assert_eq!(config.devices["a"].tries("off"), 100);
}

#[test]
fn a_delay_is_waited_for() {
    let params = "pcmk_host_list=n3 pcmk_delay_base=5s";
    let config = config(&format!("<resources>{}</resources>", device("d", params)));
    let mut bench = Bench::new(&["n1"], &config);
    bench.request("n3", "off");
    bench.settle(|_, _| Ok(String::new()));
    assert_eq!(bench.now, 5000);
}

#[test]
fn overlapping_requests_share_one_operation() {
    let config = config(&format!("<resources>{}</resources>", device("d", "pcmk_host_list=n3")));
    let mut bench = Bench::new(&["n1", "n2"], &config);
    bench.request("n3", "off");
    bench.fencers[1].handle(
        at(0),
        Input::Request {
            ticket: 9,
            target: "n3".into(),
            action: "off".into(),
            life: Some(Incarnation(1)),
            client: "other".into(),
            timeout_ms: 1000,
        },
    );
    bench.settle(|_, _| Ok(String::new()));
    assert_eq!(bench.log.len(), 1, "{:?}", bench.log);
}

#[test]
fn a_request_for_a_later_life_is_an_operation_of_its_own() {
    let config = config(&format!("<resources>{}</resources>", device("d", "pcmk_host_list=n3")));
    let mut bench = Bench::new(&["n1", "n2"], &config);
    bench.request("n3", "off");
    bench.fencers[0].handle(
        at(0),
        Input::Request {
            ticket: 2,
            target: "n3".into(),
            action: "off".into(),
            life: Some(Incarnation(2)),
            client: "test".into(),
            timeout_ms: 1000,
        },
    );
    bench.settle(|_, _| Ok(String::new()));
    let ended: Vec<_> = bench.ended.iter().map(|(t, r)| (t.clone(), r.life)).collect();
    assert_eq!(ended, [(vec![1], Some(Incarnation(1))), (vec![2], Some(Incarnation(2)))]);
}

/// What is under way may have ended an earlier life of it.
#[test]
fn a_target_that_comes_another_way_is_fenced_anew_if_that_is_asked_for() {
    let config = config(&format!("<resources>{}</resources>", device("d", "pcmk_host_list=n3")));
    let mut bench = Bench::new(&["n1", "n2"], &config);
    let request = |ticket| Input::Request {
        ticket,
        target: "n3".into(),
        action: "off".into(),
        life: Some(Incarnation(1)),
        client: "test".into(),
        timeout_ms: 1000,
    };
    let fencer = &mut bench.fencers[0];
    let mut begun = |ticket| {
        fencer.handle(at(0), request(ticket));
        let asked = std::iter::from_fn(|| fencer.poll_effect()).find_map(|effect| match effect {
            Effect::Broadcast(message @ Message::Begin { .. }) => Some(message),
            _ => None,
        });
        fencer.handle(at(0), Input::Delivered("n1".into(), asked.unwrap()));
        fencer.handle(at(0), Input::Newcomers(if ticket < 3 { vec!["n3".into()] } else { vec![] }));
    };
    (1..=4).for_each(&mut begun);
    assert_eq!(fencer.pending.len(), 3);
    for record in fencer.pending.values().cloned().collect::<Vec<_>>() {
        let record = Record { state: State::Done, ..record };
        fencer.handle(at(1), Input::Delivered("n1".into(), Message::End(record)));
    }
    let ended: Vec<_> = std::iter::from_fn(|| fencer.poll_effect())
        .filter_map(|effect| match effect {
            Effect::Ended { tickets, outdated, .. } => Some((tickets, outdated)),
            _ => None,
        })
        .collect();
    assert_eq!(ended, [(vec![1], true), (vec![2], true), (vec![3, 4], false)]);
}

#[test]
fn a_member_that_comes_later_has_the_same_history() {
    let config = config(&format!("<resources>{}</resources>", device("d", "pcmk_host_list=n3")));
    let mut bench = Bench::new(&["n1", "n2"], &config);
    for action in ["off", "on"] {
        bench.request("n3", action);
        bench.settle(|_, _| Ok(String::new()));
    }
    let members = ["n1", "n2", "n3"].map(str::to_owned).to_vec();
    // The life that was to end is still there, and learns of it.
    bench.fencers.push(Fencer::new("n3", Incarnation(1), 5_000_000));
    for fencer in &mut bench.fencers {
        fencer.handle(at(9), Input::View(members.clone()));
    }
    let told: Vec<Effect> = std::iter::from_fn(|| bench.fencers[0].poll_effect()).collect();
    let [Effect::Broadcast(message)] = &told[..] else { panic!("{told:?}") };
    for fencer in &mut bench.fencers {
        fencer.handle(at(9), Input::Delivered("n1".into(), message.clone()));
    }
    let histories: Vec<Vec<&Record>> =
        bench.fencers.iter().map(|fencer| fencer.history().collect()).collect();
    assert_eq!(histories[0].len(), 2);
    assert!(histories.iter().all(|h| *h == histories[0]), "{histories:?}");
    let learnt = bench.fencers[2].poll_effect();
    assert!(matches!(learnt, Some(Effect::Ended { record, .. }) if record.action == "off"));
    bench.fencers[2].handle(at(9), Input::Delivered("n1".into(), Message::Forget { target: None }));
    assert_eq!(bench.fencers[2].history().count(), 0);
}

#[test]
fn a_person_can_vouch_for_a_node() {
    let mut bench = Bench::new(&["n1"], &config(""));
    bench.fencers[0].handle(at(0), Input::Confirm { target: "n3".into(), client: "root".into() });
    bench.settle(|_, _| unreachable!("there is no agent to run"));
    assert_eq!(bench.ended[0].1.state, State::Done);
    assert_eq!(bench.ended[0].1.device.as_deref(), Some("manual_ack"));
}

#[test]
fn operations_on_one_target_are_carried_out_one_after_the_other() {
    let config = config(&format!("<resources>{}</resources>", device("d", "pcmk_host_list=n3")));
    let mut bench = Bench::new(&["n1", "n2"], &config);
    let runs = |fencer: &mut Fencer| {
        let effects = std::iter::from_fn(|| fencer.poll_effect());
        let runs = effects.filter_map(|effect| match effect {
            Effect::Run { run, .. } => Some(run),
            _ => None,
        });
        runs.collect::<Vec<_>>()
    };
    let begin = |number, life| {
        let (owner, asked_by) = ("n1".to_owned(), "n1".to_owned());
        let id = OperationId { owner, life: Incarnation(7), asked_by, number };
        let (target, action) = ("n3".to_owned(), "reboot".to_owned());
        let client = "test".to_owned();
        let life = Some(Incarnation(life));
        Message::Begin { id, target, action, life, client, timeout_ms: 1000 }
    };
    let fencer = &mut bench.fencers[0];
    fencer.handle(at(0), Input::Delivered("n1".into(), begin(2, 1)));
    let [first] = runs(fencer)[..] else { panic!("it begins") };
    fencer.handle(at(0), Input::Delivered("n1".into(), begin(1, 2)));
    assert_eq!(runs(fencer), [], "one is under way");
    fencer.handle(at(1), Input::Finished { run: first, result: Ok(String::new()) });
    let effects = std::iter::from_fn(|| fencer.poll_effect());
    let end = effects.filter_map(|effect| match effect {
        Effect::Broadcast(message @ Message::End(_)) => Some(message),
        _ => None,
    });
    for message in end.collect::<Vec<_>>() {
        fencer.handle(at(1), Input::Delivered("n1".into(), message));
    }
    assert_eq!(runs(fencer).len(), 1, "it is the next one's turn");
}

#[test]
fn what_has_not_begun_can_be_withdrawn_and_what_has_cannot() {
    let params = "pcmk_host_list=n3 pcmk_delay_base=5s";
    let config = config(&format!("<resources>{}</resources>", device("d", params)));
    for (shared, begun) in [(false, false), (false, true), (true, false)] {
        let mut bench = Bench::new(&["n1"], &config);
        let fencer = &mut bench.fencers[0];
        let settle = |fencer: &mut Fencer| {
            let mut runs = 0;
            let mut ended = Vec::new();
            while let Some(effect) = fencer.poll_effect() {
                match effect {
                    Effect::Broadcast(message) => {
                        fencer.handle(at(1), Input::Delivered("n1".into(), message));
                    }
                    Effect::Run { .. } => runs += 1,
                    Effect::Ended { tickets, record, .. } => ended.push((tickets, record.state)),
                }
            }
            (runs, ended)
        };
        let request = |ticket| Input::Request {
            ticket,
            target: "n3".into(),
            action: "reboot".into(),
            life: Some(Incarnation(1)),
            client: "test".into(),
            timeout_ms: 1000,
        };
        fencer.handle(at(1), request(1));
        if shared {
            fencer.handle(at(1), request(2));
        }
        assert_eq!(settle(fencer), (0, vec![]), "it is delayed");
        if begun {
            fencer.handle_timeout(at(5001));
            assert_eq!(settle(fencer), (1, vec![]));
        }
        fencer.handle(at(2), Input::Withdraw { ticket: 1 });
        let (runs, ended) = settle(fencer);
        assert_eq!(runs, 0);
        assert_eq!(ended.len(), usize::from(!shared && !begun), "{shared} {begun}: {ended:?}");
    }
}

/// A monitor of the device gets what the plan says: the fence must not run with anything else.
#[test]
fn a_device_has_the_parameters_that_its_monitor_has() {
    let text = "<resources>\
        <primitive id='shared' class='stonith' type='fence_x'>\
          <instance_attributes id='s-p'><nvpair id='s-ip' name='ip' value='10.0.0.1'/>\
          </instance_attributes></primitive>\
        <primitive id='d' class='stonith' type='fence_x'>\
          <instance_attributes id='d-low' score='1'>\
            <nvpair id='d-low-u' name='user' value='low'/></instance_attributes>\
          <instance_attributes id='d-high' score='2'>\
            <nvpair id='d-high-u' name='user' value='high'/></instance_attributes>\
          <instance_attributes id='d-later' score='3'>\
            <rule id='r'><date_expression id='e' operation='gt' start='2030-01-01'/></rule>\
            <nvpair id='d-later-u' name='user' value='later'/></instance_attributes>\
          <instance_attributes id-ref='s-p'/></primitive>\
        <group id='off'><meta_attributes id='off-m'>\
            <nvpair id='off-r' name='target-role' value='Stopped'/></meta_attributes>\
          <primitive id='unused' class='stonith' type='fence_x'/></group>\
        </resources>";
    let config = config(text);
    let ids: Vec<&String> = config.devices.keys().collect();
    assert_eq!(ids, ["d", "shared"], "what its group stops is not used");
    let params: Vec<_> =
        config.devices["d"].params.iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(params, ["ip=10.0.0.1", "user=high"]);
}
