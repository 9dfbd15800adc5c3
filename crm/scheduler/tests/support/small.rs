//! Small clusters, written in few words.
//!
//! One statement a line; a line that begins with `<` is put into the CIB as it is.
//!
//! - `node NAME [offline|lost|standby|maintenance]`; `attr NODE NAME=VALUE` (transient)
//! - `capacity NODE NAME=VALUE`
//! - `primitive ID [META=VALUE ...]`, `group ID [META=VALUE ...] MEMBER ...`,
//!   `clone ID MEMBER [META=VALUE ...]`; `needs ID NAME=VALUE` before the primitive
//! - `running ID NODE [Promoted]`: else every primitive is known not to be active on every node
//! - `failed ID NODE OPERATION CODE [REASON ...]`: the last failure of an operation
//! - `option NAME=VALUE`, `no-quorum`, `fencing` (a device, and fencing switched on)

use std::fmt::Write;

use cib_xml::Doc;

/// When explanations and plans are made, seconds since the epoch.
pub(crate) const NOW: i64 = 1_700_000_000;

/// The digest of a resource without parameters.
const NO_PARAMETERS: &str = "f2317cad3d54cec5d7d7aa7d0bf35cf8";

#[derive(Default)]
struct Small<'a> {
    nodes: Vec<(&'a str, &'a str)>,
    attrs: Vec<(&'a str, &'a str, &'a str)>,
    options: Vec<(&'a str, &'a str)>,
    resources: Vec<String>,
    constraints: Vec<&'a str>,
    other: Vec<&'a str>,
    members: Vec<(&'a str, String)>,
    primitives: Vec<&'a str>,
    running: Vec<(&'a str, &'a str, &'a str)>,
    failed: Vec<(&'a str, &'a str, &'a str, &'a str, String)>,
    capacity: Vec<(&'a str, &'a str)>,
    needs: Vec<(&'a str, &'a str)>,
    quorum: bool,
    fencing: bool,
}

/// The CIB that the statements describe.
pub(crate) fn cib(text: &str) -> Doc {
    let mut small = Small { quorum: true, ..Small::default() };
    text.lines().map(str::trim).filter(|l| !l.is_empty()).for_each(|line| small.statement(line));
    let xml = small.xml();
    Doc::parse(&xml).unwrap_or_else(|e| panic!("{e}: {xml}"))
}

fn metas(id: &str, pairs: &[&str]) -> String {
    let pair = |p: &&str| {
        let (name, value) = p.split_once('=').unwrap_or_else(|| panic!("{p} is no pair"));
        format!("<nvpair id=\"{id}-{name}\" name=\"{name}\" value=\"{value}\"/>")
    };
    let pairs: String = pairs.iter().map(pair).collect();
    match pairs.is_empty() {
        true => String::new(),
        false => format!("<meta_attributes id=\"{id}-meta\">{pairs}</meta_attributes>"),
    }
}

fn utilization(id: &str, all: &[(&str, &str)]) -> String {
    let own = all.iter().filter(|(of, _)| *of == id);
    let pair = |p: &str| {
        let (name, value) = p.split_once('=').unwrap_or_else(|| panic!("{p} is no pair"));
        format!("<nvpair id=\"{id}-u-{name}\" name=\"{name}\" value=\"{value}\"/>")
    };
    let pairs: String = own.map(|(_, p)| pair(p)).collect();
    format!("<utilization id=\"{id}-u\">{pairs}</utilization>")
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
            ["primitive", id, ref meta @ ..] => {
                self.primitives.push(id);
                let meta = metas(id, meta);
                let needs = utilization(id, &self.needs);
                self.members.push((
                    id,
                    format!(
                        "<primitive id=\"{id}\" class=\"ocf\" provider=\"systole\" type=\"dummy\">\
                         {meta}{needs}</primitive>"
                    ),
                ));
            }
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
            ["failed", id, node, operation, code, ref reason @ ..] => {
                self.failed.push((id, node, operation, code, reason.join(" ")));
            }
            ["option", pair] => self.options.extend(pair.split_once('=')),
            ["no-quorum"] => self.quorum = false,
            ["fencing"] => self.fencing = true,
            _ if line.starts_with("<rsc_") => self.constraints.push(line),
            _ if line.starts_with('<') => self.other.push(line),
            _ => panic!("what is '{line}'?"),
        }
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
            let set = match *state {
                "standby" | "maintenance" => format!(
                    "<instance_attributes id=\"n-{name}\"><nvpair id=\"n-{name}-{state}\" \
                     name=\"{state}\" value=\"on\"/></instance_attributes>"
                ),
                _ => String::new(),
            };
            let room = utilization(name, &self.capacity);
            let _ = write!(nodes, "<node id=\"{at}\" uname=\"{name}\">{set}{room}</node>");
            let (ccm, crmd, join, expected) = match *state {
                "offline" => ("false", "offline", "down", "down"),
                "lost" => ("false", "offline", "down", "member"),
                _ => ("true", "online", "member", "member"),
            };
            let (attrs, history) = (self.transient(name), self.history(name, state));
            let _ = write!(
                states,
                "<node_state id=\"{at}\" uname=\"{name}\" in_ccm=\"{ccm}\" crmd=\"{crmd}\" \
                 join=\"{join}\" expected=\"{expected}\">{attrs}<lrm id=\"{at}\">\
                 <lrm_resources>{history}</lrm_resources></lrm></node_state>"
            );
        }
        let quorum = u8::from(self.quorum);
        format!(
            "<cib validate-with=\"pacemaker-4.0\" admin_epoch=\"0\" epoch=\"1\" num_updates=\"0\" \
             have-quorum=\"{quorum}\" dc-uuid=\"0\"><configuration><crm_config>\
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
        let mut out = String::new();
        for id in &self.primitives {
            let class = match *id {
                "fence" => "class=\"stonith\" type=\"fence_ipmilan\"",
                _ => "class=\"ocf\" provider=\"systole\" type=\"dummy\"",
            };
            let role = self.running.iter().find(|(r, n, _)| r == id && *n == node).map(|r| r.2);
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
            match role {
                Some("Promoted") => {
                    op("start", 1, "0", "0", "start", "");
                    op("promote", 2, "0", "0", "promote", "");
                }
                Some(_) => op("start", 1, "0", "0", "start", ""),
                None if state == "offline" => {}
                None => op("monitor", 1, "7", "7", "monitor", ""),
            }
            for (_, _, name, rc, why) in self.failed.iter().filter(|f| f.0 == *id && f.1 == node) {
                let target = if *name == "monitor" && role.is_none() { "7" } else { "0" };
                op(name, 3, rc, target, "last_failure", why);
            }
            if !ops.is_empty() {
                let _ = write!(out, "<lrm_resource id=\"{id}\" {class}>{ops}</lrm_resource>");
            }
        }
        out
    }
}
