//! CIBs of any size, for the policy engine to work on.
//!
//! What they hold is what large clusters hold: single resources, groups, clones, promotable clones
//! and bundles with constraints among them, and the history that each node has of each. Nothing in
//! them is random, so the same shape is the same CIB everywhere.

use std::io::{self, Write};

use md5::{Digest, Md5};

/// When everything in the history happened, seconds since the epoch.
const THEN: u32 = 1_700_000_000;
const GROUP_SIZE: usize = 5;
const INSTANCES: usize = 3;

/// What the cluster is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Everything runs where it belongs, but the second node was lost.
    NodeLost,
    /// Everything was probed and nothing runs.
    Cold,
}

/// Size and kind of a cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) nodes: usize,
    /// Primitives that are defined.
    pub(crate) resources: usize,
    pub(crate) state: State,
    /// On how many nodes single resources and groups may run and were probed; all if `None`.
    pub(crate) spread: Option<usize>,
    /// Single resources only, without constraints.
    pub(crate) independent: bool,
}

/// A primitive, with where it is.
struct Primitive {
    id: String,
    class: &'static str,
    provider: Option<&'static str>,
    agent: &'static str,
    /// The one parameter that it has, if any.
    param: Option<(&'static str, String)>,
    hosts: Vec<usize>,
    /// Nodes that know about it; all if `None`.
    known: Option<Vec<usize>>,
    promoted: Option<usize>,
    container: Option<String>,
}

impl Primitive {
    fn new(id: String, hosts: Vec<usize>) -> Primitive {
        Primitive {
            param: Some(("fake", id.clone())),
            id,
            class: "ocf",
            provider: Some("pacemaker"),
            agent: "Dummy",
            hosts,
            known: None,
            promoted: None,
            container: None,
        }
    }

    fn attrs(&self) -> String {
        let provider = self.provider.map(|p| format!(" provider=\"{p}\"")).unwrap_or_default();
        format!("class=\"{}\"{provider} type=\"{}\"", self.class, self.agent)
    }

    /// Digest over the parameters of an operation, as the executor records it.
    fn digest(&self, recurring: bool) -> String {
        let timeout = if recurring { " CRM_meta_timeout=\"20000\"" } else { "" };
        let own = self.param.as_ref().map(|(n, v)| format!(" {n}=\"{v}\"")).unwrap_or_default();
        let digest = Md5::digest(format!(" <parameters{timeout}{own}/>\n"));
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn define(&self, out: &mut impl Write) -> io::Result<()> {
        let id = &self.id;
        writeln!(out, "      <primitive id=\"{id}\" {}>", self.attrs())?;
        if let Some((name, value)) = &self.param {
            writeln!(out, "        <instance_attributes id=\"{id}-params\">")?;
            writeln!(
                out,
                "          <nvpair id=\"{id}-params-{name}\" name=\"{name}\" value=\"{value}\"/>"
            )?;
            writeln!(out, "        </instance_attributes>")?;
        }
        writeln!(out, "        <operations>")?;
        let monitors: &[(&str, &str, &str)] = if self.agent == "Stateful" {
            &[("p", "9s", " role=\"Promoted\""), ("u", "10s", " role=\"Unpromoted\"")]
        } else {
            &[("m", "10s", "")]
        };
        for (suffix, interval, role) in monitors {
            writeln!(
                out,
                "          <op id=\"{id}-monitor-{suffix}\" name=\"monitor\" \
                 interval=\"{interval}\" timeout=\"20s\"{role}/>"
            )?;
        }
        for (name, timeout) in [("start", "40s"), ("stop", "60s")] {
            writeln!(
                out,
                "          <op id=\"{id}-{name}\" name=\"{name}\" interval=\"0s\" \
                 timeout=\"{timeout}\"/>"
            )?;
        }
        writeln!(out, "        </operations>\n      </primitive>")
    }

    /// What `node`, the one of number `at`, recorded of it from call number `call` on.
    fn history(
        &self,
        out: &mut impl Write,
        node: &str,
        at: usize,
        call: usize,
        cold: bool,
    ) -> io::Result<()> {
        let (id, agent) = (&self.id, self.attrs());
        let container =
            self.container.as_ref().map(|c| format!(" container=\"{c}\"")).unwrap_or_default();
        writeln!(out, "          <lrm_resource id=\"{id}\" {agent}{container}>")?;
        let operations: &[(&str, u32, u8)] = if cold || !self.hosts.contains(&at) {
            &[("monitor", 0, 7)]
        } else if self.promoted == Some(at) {
            &[("promote", 0, 0), ("monitor", 9000, 8)]
        } else {
            &[("start", 0, 0), ("monitor", 10_000, 0)]
        };
        for (call, (name, interval, rc)) in (call..).zip(operations) {
            let key = format!("{id}_{name}_{interval}");
            let entry = if *interval > 0 { key.clone() } else { format!("{id}_last_0") };
            let run = format!("{call}:0:{rc}:6f1b6e0c-5b1e-4a1c-9d52-0a3f6d3f7b10");
            writeln!(
                out,
                "            <lrm_rsc_op id=\"{entry}\" operation_key=\"{key}\" \
                 operation=\"{name}\" crm-debug-origin=\"controld_update_resource_history\" \
                 crm_feature_set=\"3.19.0\" transition-key=\"{run}\" \
                 transition-magic=\"0:{rc};{run}\" exit-reason=\"\" on_node=\"{node}\" \
                 call-id=\"{call}\" rc-code=\"{rc}\" op-status=\"0\" interval=\"{interval}\" \
                 last-rc-change=\"{THEN}\" exec-time=\"20\" queue-time=\"0\" op-digest=\"{}\"/>",
                self.digest(*interval > 0)
            )?;
        }
        writeln!(out, "          </lrm_resource>")
    }
}

/// The parts of a cluster.
struct Cluster {
    fencing: Primitive,
    singles: Vec<Primitive>,
    groups: Vec<Vec<Primitive>>,
    clones: Vec<Primitive>,
    promotables: Vec<Primitive>,
    /// Containers and connections of bundles, which history knows and configuration does not.
    implied: Vec<Primitive>,
    /// What runs in the bundles.
    bundled: Vec<Primitive>,
}

impl Cluster {
    fn hosted(&self) -> impl Iterator<Item = &Primitive> {
        std::iter::once(&self.fencing)
            .chain(&self.singles)
            .chain(self.groups.iter().flatten())
            .chain(&self.clones)
            .chain(&self.promotables)
            .chain(&self.implied)
    }
}

impl Shape {
    /// A name for tables.
    pub(crate) fn name(&self) -> String {
        let state = match self.state {
            State::NodeLost => "node lost",
            State::Cold => "cold start",
        };
        let spread = self.spread.map(|k| format!(" on {k} each")).unwrap_or_default();
        let kind = if self.independent { " independent" } else { "" };
        format!("{}x{}{kind}{spread}, {state}", self.nodes, self.resources)
    }

    fn neighbours(&self, first: usize, count: usize) -> Vec<usize> {
        (0..count.min(self.nodes)).map(|i| (first + i) % self.nodes).collect()
    }

    fn cluster(&self) -> Cluster {
        let share = |percent: usize| {
            if self.independent { 0 } else { (self.resources * percent + 50) / 100 }
        };
        let groups = share(25) / GROUP_SIZE;
        let (clones, promotables) = (share(2).min(6), share(2).min(20));
        let bundles = share(1).min(4);
        let rest = self.resources - groups * GROUP_SIZE - clones - promotables - bundles;
        let known = |hosts: &[usize]| self.spread.map(|k| self.neighbours(hosts[0], k));
        let placed = |id: String, host: usize| {
            let mut primitive = Primitive::new(id, vec![host % self.nodes]);
            primitive.known = known(&primitive.hosts);
            primitive
        };
        let group = |g: usize| {
            (0..GROUP_SIZE).map(|m| placed(format!("g{g}m{m}"), 3 * g + 1)).collect::<Vec<_>>()
        };
        let mut fencing = Primitive::new("fencing".into(), vec![0]);
        (fencing.class, fencing.provider, fencing.agent) = ("stonith", None, "fence_dummy");
        fencing.param = None;
        let mut cluster = Cluster {
            fencing,
            singles: (0..rest).map(|i| placed(format!("p{i}"), i)).collect(),
            groups: (0..groups).map(group).collect(),
            clones: (0..clones)
                .map(|i| Primitive::new(format!("c{i}"), (0..self.nodes).collect()))
                .collect(),
            promotables: Vec::new(),
            implied: Vec::new(),
            bundled: Vec::new(),
        };
        for i in 0..promotables {
            let mut primitive = Primitive::new(format!("s{i}"), self.neighbours(2 * i, INSTANCES));
            (primitive.agent, primitive.param) = ("Stateful", None);
            primitive.promoted = primitive.hosts.first().copied();
            cluster.promotables.push(primitive);
        }
        for i in 0..bundles {
            for (replica, host) in self.neighbours(5 * i, INSTANCES).into_iter().enumerate() {
                let mut container = Primitive::new(format!("b{i}-podman-{replica}"), vec![host]);
                (container.provider, container.agent) = (Some("heartbeat"), "podman");
                let mut connection = Primitive::new(format!("b{i}-{replica}"), vec![host]);
                connection.agent = "remote";
                connection.container = Some(container.id.clone());
                cluster.implied.extend([container, connection]);
            }
            let mut inner = Primitive::new(format!("b{i}app"), Vec::new());
            inner.param = None;
            cluster.bundled.push(inner);
        }
        cluster
    }

    /// Writes the CIB.
    ///
    /// # Errors
    /// As `out` has them.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let cluster = self.cluster();
        writeln!(
            out,
            "<cib crm_feature_set=\"3.19.0\" validate-with=\"pacemaker-3.9\" epoch=\"10\" \
             num_updates=\"0\" admin_epoch=\"0\" have-quorum=\"1\" dc-uuid=\"1\" \
             execution-date=\"{}\">\n  <configuration>\n    <crm_config>\n      \
             <cluster_property_set id=\"options\">",
            THEN + 60
        )?;
        for (name, value) in [
            ("stonith-enabled", "true"),
            ("no-quorum-policy", "stop"),
            ("cluster-name", "bench"),
            ("dc-version", "3.0.0"),
        ] {
            writeln!(
                out,
                "        <nvpair id=\"options-{name}\" name=\"{name}\" value=\"{value}\"/>"
            )?;
        }
        writeln!(out, "      </cluster_property_set>\n    </crm_config>\n    <nodes>")?;
        for n in 1..=self.nodes {
            writeln!(
                out,
                "      <node id=\"{n}\" uname=\"node{n}\"><instance_attributes id=\"n{n}\"><nvpair \
                 id=\"n{n}-rack\" name=\"rack\" value=\"rack{}\"/></instance_attributes></node>",
                n % 4
            )?;
        }
        writeln!(out, "    </nodes>\n    <resources>")?;
        write_resources(&cluster, out)?;
        writeln!(out, "    </resources>\n    <constraints>")?;
        self.write_constraints(&cluster, out)?;
        writeln!(
            out,
            "    </constraints>\n    <rsc_defaults><meta_attributes id=\"defaults\"><nvpair \
             id=\"defaults-stickiness\" name=\"resource-stickiness\" value=\"1000\"/>\
             </meta_attributes></rsc_defaults>\n  </configuration>\n  <status>"
        )?;
        self.write_status(&cluster, out)?;
        writeln!(out, "  </status>\n</cib>")
    }

    fn write_constraints(&self, cluster: &Cluster, out: &mut impl Write) -> io::Result<()> {
        if self.independent {
            return Ok(());
        }
        let singles = cluster.singles.iter().map(|p| (p.id.clone(), p));
        let groups = cluster.groups.iter().enumerate().map(|(g, m)| (format!("g{g}"), &m[0]));
        let tops: Vec<(String, &Primitive)> = singles.chain(groups).collect();
        for (id, primitive) in &tops {
            let host = primitive.hosts[0];
            for node in primitive.known.iter().flatten() {
                writeln!(
                    out,
                    "      <rsc_location id=\"on-{id}-{node}\" rsc=\"{id}\" node=\"node{}\" \
                     score=\"{}\" resource-discovery=\"exclusive\"/>",
                    node + 1,
                    if *node == host { 100 } else { 0 }
                )?;
            }
        }
        for (i, (id, primitive)) in tops.iter().enumerate() {
            let (host, n) = (primitive.hosts[0], i + 1);
            if i % 2 == 0 {
                writeln!(
                    out,
                    "      <rsc_location id=\"likes-{i}\" rsc=\"{id}\" node=\"node{}\" \
                     score=\"{}\"/>",
                    host + 1,
                    10 + i % 190
                )?;
            }
            if i % 40 == 7 {
                writeln!(
                    out,
                    "      <rsc_location id=\"rack-{i}\" rsc=\"{id}\"><rule id=\"rack-{i}-rule\" \
                     score=\"20\"><expression id=\"rack-{i}-is\" attribute=\"rack\" \
                     operation=\"eq\" value=\"rack{}\"/></rule></rsc_location>",
                    n % 4
                )?;
            }
            // What something depends on was defined before it, so there are no circles.
            let (other, primary) = &tops[i * 7 / 11];
            if i % 6 == 5 && *other != *id {
                let together = primary.hosts == primitive.hosts;
                writeln!(
                    out,
                    "      <rsc_colocation id=\"with-{i}\" rsc=\"{id}\" with-rsc=\"{other}\" \
                     score=\"{}\"/>",
                    if together { "INFINITY" } else { "-100" }
                )?;
            }
            if i % 4 == 3 && *other != *id {
                let first = match i % 5 {
                    0 if !cluster.clones.is_empty() => {
                        format!("{}-clone", cluster.clones[i % cluster.clones.len()].id)
                    }
                    _ => other.clone(),
                };
                writeln!(
                    out,
                    "      <rsc_order id=\"after-{i}\" first=\"{first}\" then=\"{id}\"/>"
                )?;
            }
        }
        Ok(())
    }

    fn write_status(&self, cluster: &Cluster, out: &mut impl Write) -> io::Result<()> {
        let cold = self.state == State::Cold;
        for at in 0..self.nodes {
            let n = at + 1;
            let (member, online) = if self.state == State::NodeLost && at == 1 {
                ("false", "offline")
            } else {
                ("true", "online")
            };
            writeln!(
                out,
                "    <node_state id=\"{n}\" uname=\"node{n}\" in_ccm=\"{member}\" \
                 crmd=\"{online}\" join=\"member\" expected=\"member\">\n      <lrm id=\"{n}\">\n\
                 \x20       <lrm_resources>"
            )?;
            let mut call = 1;
            for primitive in cluster.hosted() {
                if primitive.known.as_ref().is_none_or(|known| known.contains(&at)) {
                    primitive.history(out, &format!("node{n}"), at, call, cold)?;
                    call += 2;
                }
            }
            writeln!(out, "        </lrm_resources>\n      </lrm>")?;
            writeln!(
                out,
                "      <transient_attributes id=\"{n}\"><instance_attributes id=\"status-{n}\">\
                 <nvpair id=\"status-{n}-fs\" name=\"#feature-set\" value=\"3.19.0\"/>"
            )?;
            for primitive in cluster.promotables.iter().filter(|p| !cold && p.hosts.contains(&at)) {
                let (id, promoted) = (&primitive.id, primitive.promoted == Some(at));
                writeln!(
                    out,
                    "      <nvpair id=\"status-{n}-{id}\" name=\"master-{id}\" value=\"{}\"/>",
                    if promoted { 10 } else { 5 }
                )?;
            }
            writeln!(
                out,
                "      </instance_attributes></transient_attributes>\n    </node_state>"
            )?;
        }
        if !cold {
            write_guests(cluster, out)?;
        }
        Ok(())
    }
}

fn write_resources(cluster: &Cluster, out: &mut impl Write) -> io::Result<()> {
    cluster.fencing.define(out)?;
    for primitive in &cluster.singles {
        primitive.define(out)?;
    }
    for (g, members) in cluster.groups.iter().enumerate() {
        writeln!(out, "      <group id=\"g{g}\">")?;
        for member in members {
            member.define(out)?;
        }
        writeln!(out, "      </group>")?;
    }
    for primitive in cluster.clones.iter().chain(&cluster.promotables) {
        let id = &primitive.id;
        writeln!(out, "      <clone id=\"{id}-clone\">")?;
        writeln!(out, "        <meta_attributes id=\"{id}-meta\">")?;
        let own = [("promotable", "true"), ("clone-max", "3"), ("notify", "true")];
        let own = if primitive.promoted.is_some() { &own[..] } else { &[] };
        for (name, value) in [("interleave", "true")].iter().chain(own) {
            writeln!(
                out,
                "          <nvpair id=\"{id}-meta-{name}\" name=\"{name}\" value=\"{value}\"/>"
            )?;
        }
        writeln!(out, "        </meta_attributes>")?;
        primitive.define(out)?;
        writeln!(out, "      </clone>")?;
    }
    for (b, inner) in cluster.bundled.iter().enumerate() {
        writeln!(
            out,
            "      <bundle id=\"b{b}\">\n        <podman image=\"registry/example:b{b}\" \
             replicas=\"{INSTANCES}\"/>\n        <network control-port=\"{}\"/>",
            3121 + b
        )?;
        inner.define(out)?;
        writeln!(out, "      </bundle>")?;
    }
    Ok(())
}

/// History of what runs inside of bundles.
fn write_guests(cluster: &Cluster, out: &mut impl Write) -> io::Result<()> {
    for connection in cluster.implied.iter().filter(|p| p.container.is_some()) {
        let guest = &connection.id;
        let Some(inner) = cluster.bundled.iter().find(|b| {
            b.id.strip_suffix("app").is_some_and(|bundle| guest.starts_with(&format!("{bundle}-")))
        }) else {
            continue;
        };
        writeln!(
            out,
            "    <node_state remote_node=\"true\" id=\"{guest}\" uname=\"{guest}\" \
             in_ccm=\"true\" node_fenced=\"0\">\n      <lrm id=\"{guest}\">\n\
             \x20       <lrm_resources>"
        )?;
        let there = Primitive { hosts: vec![0], ..Primitive::new(inner.id.clone(), Vec::new()) };
        let there = Primitive { param: None, ..there };
        there.history(out, guest, 0, 1, false)?;
        writeln!(out, "        </lrm_resources>\n      </lrm>\n    </node_state>")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Shape, State};

    #[test]
    fn every_shape_is_a_valid_cib_with_something_to_do() {
        for state in [State::NodeLost, State::Cold] {
            for (spread, independent) in [(None, false), (Some(2), false), (None, true)] {
                let shape = Shape { nodes: 5, resources: 100, state, spread, independent };
                let mut text = Vec::new();
                shape.write(&mut text).unwrap();
                let doc = cib_xml::Doc::parse(std::str::from_utf8(&text).unwrap()).unwrap();
                assert_eq!(cib_schema::validate(&doc), [], "{}", shape.name());
                let now = cib_model::Time::from_epoch(1_700_000_060);
                let plan = crm_scheduler::schedule(&doc.into(), now, Default::default(), 1);
                assert_eq!(plan.problems().filter(|p| p.error).count(), 0, "{}", shape.name());
                let starts = plan.summary().iter().filter(|l| l.text.contains("Start")).count();
                let moves = plan.summary().iter().filter(|l| l.text.contains("Move")).count();
                match state {
                    State::Cold => assert!(starts >= 90, "{}: {starts} starts", shape.name()),
                    State::NodeLost => assert!(moves > 0 && moves < 50, "{moves} moves"),
                }
            }
        }
    }
}
