//! Small clusters, written in few words.
//!
//! One statement a line; a line that begins with `<` is put into the CIB as it is.
//!
//! - `node NAME [offline|lost|standby|maintenance|pending|unseen|remote|guest]`
//! - `attr NODE NAME=VALUE` (transient), `always NODE NAME=VALUE` (permanent)
//! - `capacity NODE NAME=VALUE`
//! - `primitive ID [META=VALUE ...]`, `group ID [META=VALUE ...] MEMBER ...`,
//!   `clone ID MEMBER [META=VALUE ...]`; in front of a primitive `needs ID NAME=VALUE`,
//!   `param ID NAME=VALUE`, `op ID NAME INTERVAL [NAME=VALUE ...]`, `agent ID CLASS:...:TYPE`
//! - `running ID NODE [Promoted]`: else every primitive is known not to be active on every node;
//!   what is not configured and runs is left over; `unknown ID NODE`: nothing is known of it there
//! - `failed ID NODE OPERATION CODE [REASON ...]`: the last failure of an operation
//! - `history ID NODE OPERATION INTERVAL_MS [NAME=VALUE ...]`: one more entry of the history, with
//!   these attributes of an `lrm_rsc_op` (`rc`, `status` and `target` for short, `age` in seconds)
//! - `location ID RESOURCE NODE SCORE`, `colocation ID RESOURCE WITH SCORE [NAME=VALUE ...]`,
//!   `order ID FIRST THEN [NAME=VALUE ...]`
//! - `ticket ID [granted] [standby]`
//! - `option NAME=VALUE`, `no-quorum`, `lost-quorum` (it was there before)
//! - `fencing`: a device, and fencing switched on

use std::fmt::Write;

use cib_xml::Doc;

/// When explanations and plans are made, seconds since the epoch.
pub(crate) const NOW: i64 = 1_700_000_000;

/// The digest of a resource without parameters.
const NO_PARAMETERS: &str = "f2317cad3d54cec5d7d7aa7d0bf35cf8";

/// The same of a recurring operation, which depends on its timeout as well: that is 20 s.
const NO_PARAMETERS_RECURRING: &str = "4811cef7f7f94e3a35a70be7916cb2fd";

/// An entry of the history: resource, node, operation, interval, and more of it.
type Recorded<'a> = (&'a str, &'a str, &'a str, &'a str, Vec<(&'a str, &'a str)>);

#[derive(Default)]
struct Small<'a> {
    nodes: Vec<(&'a str, &'a str)>,
    attrs: Vec<(&'a str, &'a str, &'a str)>,
    options: Vec<(&'a str, &'a str)>,
    resources: Vec<String>,
    constraints: Vec<String>,
    other: Vec<&'a str>,
    members: Vec<(&'a str, String)>,
    primitives: Vec<&'a str>,
    running: Vec<(&'a str, &'a str, &'a str)>,
    failed: Vec<(&'a str, &'a str, &'a str, &'a str, String)>,
    capacity: Vec<(&'a str, &'a str)>,
    needs: Vec<(&'a str, &'a str)>,
    params: Vec<(&'a str, &'a str)>,
    always: Vec<(&'a str, &'a str)>,
    ops: Vec<(&'a str, String)>,
    agents: Vec<(&'a str, &'a str)>,
    unknown: Vec<(&'a str, &'a str)>,
    recorded: Vec<Recorded<'a>>,
    tickets: String,
    quorum: bool,
    had_quorum: bool,
    fencing: bool,
}

/// The CIB that the statements describe.
pub(crate) fn cib(text: &str) -> Doc {
    let mut small = Small { quorum: true, ..Small::default() };
    text.lines().map(str::trim).filter(|l| !l.is_empty()).for_each(|line| small.statement(line));
    let xml = small.xml();
    Doc::parse(&xml).unwrap_or_else(|e| panic!("{e}: {xml}"))
}

fn pair(text: &str) -> (&str, &str) {
    text.split_once('=').unwrap_or_else(|| panic!("{text} is no pair"))
}

/// A block of pairs, if there are any.
fn block(tag: &str, id: &str, pairs: &[&str]) -> String {
    let nvpair = |text: &&str| {
        let (name, value) = pair(text);
        let own = name.replace('#', ".");
        format!("<nvpair id=\"{id}-{own}\" name=\"{name}\" value=\"{value}\"/>")
    };
    let inside: String = pairs.iter().map(nvpair).collect();
    match inside.is_empty() {
        true => String::new(),
        false => format!("<{tag} id=\"{id}\">{inside}</{tag}>"),
    }
}

fn metas(id: &str, pairs: &[&str]) -> String {
    block("meta_attributes", &format!("{id}-meta"), pairs)
}

fn own<'a>(id: &str, all: &[(&str, &'a str)]) -> Vec<&'a str> {
    all.iter().filter(|(of, _)| *of == id).map(|(_, text)| *text).collect()
}

fn utilization(id: &str, all: &[(&str, &str)]) -> String {
    block("utilization", &format!("{id}-u"), &own(id, all))
}

/// `class`, `provider` and `type` of `CLASS:PROVIDER:TYPE` or `CLASS:TYPE`.
fn agent(text: &str) -> String {
    match text.split(':').collect::<Vec<_>>()[..] {
        [class, kind] => format!("class=\"{class}\" type=\"{kind}\""),
        [class, provider, kind] => {
            format!("class=\"{class}\" provider=\"{provider}\" type=\"{kind}\"")
        }
        _ => panic!("{text} is not an agent"),
    }
}

impl<'a> Small<'a> {
    fn statement(&mut self, line: &'a str) {
        let words: Vec<&'a str> = line.split_whitespace().collect();
        match words[..] {
            ["node", name] => self.nodes.push((name, "online")),
            ["node", name, state] => self.nodes.push((name, state)),
            ["attr", node, pair] => {
                let (name, value) = pair.split_once('=').expect("a pair");
                self.attrs.push((node, name, value));
            }
            ["capacity", node, pair] => self.capacity.push((node, pair)),
            ["needs", id, pair] => self.needs.push((id, pair)),
            ["always", node, pair] => self.always.push((node, pair)),
            ["param", id, pair] => self.params.push((id, pair)),
            ["agent", id, agent] => self.agents.push((id, agent)),
            ["op", id, name, interval, ref more @ ..] => {
                let mut op = format!(
                    "<op id=\"{id}-{name}-{interval}-{}\" name=\"{name}\" interval=\"{interval}\"",
                    self.ops.len()
                );
                more.iter().map(|p| pair(p)).for_each(|(name, value)| {
                    let _ = write!(op, " {name}=\"{value}\"");
                });
                self.ops.push((id, op + "/>"));
            }
            ["primitive", id, ref meta @ ..] => self.primitive(id, meta),
            ["group", id, ref words @ ..] => {
                let (meta, members): (Vec<&str>, Vec<&str>) =
                    words.iter().partition(|w| w.contains('='));
                let inside: String = members.iter().map(|m| self.take(m)).collect();
                let meta = metas(id, &meta);
                self.members.push((id, format!("<group id=\"{id}\">{meta}{inside}</group>")));
            }
            ["clone", id, member, ref meta @ ..] => {
                let inside = self.take(member);
                let meta = metas(id, meta);
                self.members.push((id, format!("<clone id=\"{id}\">{meta}{inside}</clone>")));
            }
            ["running", id, node] => self.running.push((id, node, "Started")),
            ["running", id, node, role] => self.running.push((id, node, role)),
            ["location", id, rsc, node, score, ref more @ ..] => {
                let own = format!("rsc=\"{rsc}\" node=\"{node}\" score=\"{score}\"");
                self.constraint("location", id, own, more);
            }
            ["colocation", id, rsc, with, score, ref more @ ..] => {
                let own = format!("rsc=\"{rsc}\" with-rsc=\"{with}\" score=\"{score}\"");
                self.constraint("colocation", id, own, more);
            }
            ["order", id, first, then, ref more @ ..] => {
                let own = format!("first=\"{first}\" then=\"{then}\"");
                self.constraint("order", id, own, more);
            }
            ["unknown", id, node] => self.unknown.push((id, node)),
            ["history", id, node, name, interval, ref more @ ..] => {
                let more = more.iter().map(|p| pair(p)).collect();
                self.recorded.push((id, node, name, interval, more));
            }
            ["ticket", id, ref states @ ..] => {
                let (granted, standby) = (states.contains(&"granted"), states.contains(&"standby"));
                let _ = write!(
                    self.tickets,
                    "<ticket_state id=\"{id}\" granted=\"{granted}\" standby=\"{standby}\"/>"
                );
            }
            ["failed", id, node, operation, code, ref reason @ ..] => {
                self.failed.push((id, node, operation, code, reason.join(" ")));
            }
            ["option", pair] => self.options.extend(pair.split_once('=')),
            ["no-quorum"] => self.quorum = false,
            ["lost-quorum"] => (self.quorum, self.had_quorum) = (false, true),
            ["fencing"] => self.fencing = true,
            _ if ["<bundle ", "<primitive ", "<clone ", "<group "]
                .iter()
                .any(|t| line.starts_with(t)) =>
            {
                self.members.push(("", line.to_owned()));
            }
            _ if line.starts_with("<template ") => self.members.insert(0, ("", line.to_owned())),
            _ if line.starts_with("<rsc_") && !line.starts_with("<rsc_defaults") => {
                self.constraints.push(line.to_owned())
            }
            _ if line.starts_with('<') => self.other.push(line),
            _ => panic!("what is '{line}'?"),
        }
    }

    fn constraint(&mut self, kind: &str, id: &str, own: String, more: &[&str]) {
        let mut xml = format!("<rsc_{kind} id=\"{id}\" {own}");
        more.iter().map(|p| pair(p)).for_each(|(name, value)| {
            let _ = write!(xml, " {name}=\"{value}\"");
        });
        self.constraints.push(xml + "/>");
    }

    fn primitive(&mut self, id: &'a str, meta: &[&str]) {
        self.primitives.push(id);
        let agent = self.agent(id);
        let meta = metas(id, meta);
        let params = block("instance_attributes", &format!("{id}-p"), &own(id, &self.params));
        let needs = utilization(id, &self.needs);
        let ops = self.ops.iter().filter(|(of, _)| *of == id).map(|(_, op)| op.as_str());
        let mut ops = ops.collect::<String>();
        if !ops.is_empty() {
            ops = format!("<operations>{ops}</operations>");
        }
        self.members.push((
            id,
            format!("<primitive id=\"{id}\" {agent}>{meta}{params}{ops}{needs}</primitive>"),
        ));
    }

    fn agent(&self, id: &str) -> String {
        let base = id.split(':').next().unwrap_or(id);
        let own = self.agents.iter().find(|(of, _)| *of == base).map(|(_, agent)| *agent);
        agent(own.unwrap_or(match id {
            "fence" => "stonith:fence_ipmilan",
            _ => "ocf:systole:dummy",
        }))
    }

    fn take(&mut self, id: &str) -> String {
        let at = self.members.iter().position(|(m, _)| *m == id);
        self.members.remove(at.unwrap_or_else(|| panic!("{id} is not there"))).1
    }

    fn xml(mut self) -> String {
        self.resources.extend(self.members.drain(..).map(|(_, xml)| xml));
        let first = self.nodes.iter().find(|(_, state)| *state == "online").map_or("", |n| n.0);
        if self.fencing {
            self.resources.push(
                "<primitive id=\"fence\" class=\"stonith\" type=\"fence_ipmilan\"/>".to_owned(),
            );
            self.running.push(("fence", first, "Started"));
            self.primitives.push("fence");
        }
        let fencing = if self.fencing { "true" } else { "false" };
        self.options.push(("stonith-enabled", fencing));
        let options: String = self
            .options
            .iter()
            .map(|(n, v)| format!("<nvpair id=\"o-{n}\" name=\"{n}\" value=\"{v}\"/>"))
            .collect();
        let (mut nodes, mut states) = (String::new(), String::new());
        for (at, (name, state)) in self.nodes.iter().enumerate() {
            let mut set = own(name, &self.always);
            let own = format!("{state}=on");
            if matches!(*state, "standby" | "maintenance") {
                set.push(&own);
            }
            let set = block("instance_attributes", &format!("n-{name}"), &set);
            let room = utilization(name, &self.capacity);
            let remote = matches!(*state, "remote" | "guest");
            let (id, kind) = match remote {
                true => ((*name).to_owned(), " type=\"remote\""),
                false => (at.to_string(), ""),
            };
            if *state != "guest" {
                let _ =
                    write!(nodes, "<node id=\"{id}\" uname=\"{name}\"{kind}>{set}{room}</node>");
            }
            if *state == "unseen" {
                continue;
            }
            let membership = match *state {
                "offline" => ("false", "offline", "down", "down"),
                "lost" => ("false", "offline", "down", "member"),
                "pending" => ("true", "online", "down", "member"),
                _ => ("true", "online", "member", "member"),
            };
            let membership = match (remote, membership) {
                (true, _) => "remote_node=\"true\"".to_owned(),
                (false, (ccm, crmd, join, expected)) => format!(
                    "in_ccm=\"{ccm}\" crmd=\"{crmd}\" join=\"{join}\" expected=\"{expected}\""
                ),
            };
            let (attrs, history) = (self.transient(name), self.history(name, state));
            let _ = write!(
                states,
                "<node_state id=\"{id}\" uname=\"{name}\" {membership}>{attrs}<lrm id=\"{id}\">\
                 <lrm_resources>{history}</lrm_resources></lrm></node_state>"
            );
        }
        if !self.tickets.is_empty() {
            states = format!("<tickets>{}</tickets>{states}", self.tickets);
        }
        let (quorum, panic) = (u8::from(self.quorum), u8::from(self.had_quorum));
        format!(
            "<cib crm_feature_set=\"3.20.5\" validate-with=\"pacemaker-4.0\" admin_epoch=\"0\" \
             epoch=\"1\" num_updates=\"0\" have-quorum=\"{quorum}\" \
             no-quorum-panic=\"{panic}\" dc-uuid=\"0\"><configuration><crm_config>\
             <cluster_property_set id=\"options\">{options}</cluster_property_set></crm_config>\
             <nodes>{nodes}</nodes><resources>{}</resources><constraints>{}</constraints>{}\
             </configuration><status>{states}</status></cib>",
            self.resources.concat(),
            self.constraints.concat(),
            self.other.concat(),
        )
    }

    fn transient(&self, node: &str) -> String {
        let own = self.attrs.iter().filter(|(n, ..)| *n == node);
        let pairs: String = own
            .map(|(_, name, value)| {
                let id = name.replace('#', ".");
                format!("<nvpair id=\"t-{node}-{id}\" name=\"{name}\" value=\"{value}\"/>")
            })
            .collect();
        format!(
            "<transient_attributes id=\"{node}\"><instance_attributes id=\"t-{node}\">{pairs}\
             </instance_attributes></transient_attributes>"
        )
    }

    fn history(&self, node: &str, state: &str) -> String {
        let mut ids = self.primitives.clone();
        let elsewhere = self.running.iter().map(|r| (r.0, r.1));
        let recorded = self.recorded.iter().map(|r| (r.0, r.1));
        for (id, on) in elsewhere.chain(recorded) {
            if on == node && !ids.contains(&id) {
                ids.push(id);
            }
        }
        let entry = |id: &&str| {
            let ops = self.operations(id, node, state);
            let agent = self.agent(id);
            match ops.is_empty() {
                true => String::new(),
                false => format!("<lrm_resource id=\"{id}\" {agent}>{ops}</lrm_resource>"),
            }
        };
        ids.iter().map(entry).collect()
    }

    /// What a node has recorded of a resource.
    fn operations(&self, id: &str, node: &str, state: &str) -> String {
        let mut ops = String::new();
        let mut op = |name: &str, call: u32, rc: &str, target: &str, key: &str, why: &str| {
            let _ = write!(
                ops,
                "<lrm_rsc_op id=\"{id}_{key}_0\" operation=\"{name}\" \
                 operation_key=\"{id}_{name}_0\" interval=\"0\" call-id=\"{call}\" \
                 rc-code=\"{rc}\" op-status=\"0\" on_node=\"{node}\" exit-reason=\"{why}\" \
                 last-rc-change=\"{NOW}\" op-digest=\"{NO_PARAMETERS}\" \
                 crm_feature_set=\"3.20.5\" transition-key=\"1:1:{target}:u\" \
                 transition-magic=\"0:{rc};1:1:{target}:u\"/>"
            );
        };
        let role = self.running.iter().find(|(r, n, _)| *r == id && *n == node).map(|r| r.2);
        match role {
            Some("Promoted") => {
                op("start", 1, "0", "0", "start", "");
                op("promote", 2, "0", "0", "promote", "");
            }
            Some(_) => op("start", 1, "0", "0", "start", ""),
            None if matches!(state, "offline" | "remote" | "guest" | "pending") => {}
            None if self.unknown.contains(&(id, node)) || !self.primitives.contains(&id) => {}
            None => op("monitor", 1, "7", "7", "monitor", ""),
        }
        for (_, _, name, rc, why) in self.failed.iter().filter(|f| f.0 == id && f.1 == node) {
            let target = if *name == "monitor" && role.is_none() { "7" } else { "0" };
            op(name, 3, rc, target, "last_failure", why);
        }
        let own = self.recorded.iter().filter(|r| r.0 == id && r.1 == node);
        for (at, (_, _, name, interval, more)) in own.enumerate() {
            ops.push_str(&recorded(id, node, (name, interval), 10 + at, more));
        }
        ops
    }
}

/// An entry of the history in full.
fn recorded(id: &str, node: &str, op: (&str, &str), call: usize, more: &[(&str, &str)]) -> String {
    let get = |name: &str| more.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
    let (name, interval) = op;
    let (rc, status) = (get("rc").unwrap_or("0"), get("status").unwrap_or("0"));
    let target = get("target").unwrap_or("0");
    let age: i64 = get("age").map_or(0, |age| age.parse().expect("an age is a number"));
    let at = NOW - age;
    let usual = if interval == "0" { NO_PARAMETERS } else { NO_PARAMETERS_RECURRING };
    let digest = get("op-digest").unwrap_or(usual);
    let call = if rc == "-1" { "-1".to_owned() } else { call.to_string() };
    let key = get("id").map_or_else(|| format!("{id}_{name}_{interval}"), str::to_owned);
    let mut out = format!(
        "<lrm_rsc_op id=\"{key}\" operation=\"{name}\" operation_key=\"{id}_{name}_{interval}\" \
         interval=\"{interval}\" call-id=\"{call}\" rc-code=\"{rc}\" op-status=\"{status}\" \
         on_node=\"{node}\" last-rc-change=\"{at}\" op-digest=\"{digest}\" \
         crm_feature_set=\"3.20.5\" transition-key=\"1:1:{target}:u\" \
         transition-magic=\"{status}:{rc};1:1:{target}:u\""
    );
    let known = ["id", "rc", "status", "target", "age", "op-digest"];
    for (name, value) in more.iter().filter(|(name, _)| !known.contains(name)) {
        let _ = write!(out, " {name}=\"{value}\"");
    }
    out + "/>"
}
