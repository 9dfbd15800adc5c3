//! Nodes and resources in words.

use std::collections::BTreeMap;

use cib_model::{Role, capabilities, eq_ci, exit_status_text, numeric_cmp, parse_score_with};

use crate::base::{NodeIx, RscIx, Variant, Where, Ws, rf, task};

/// A list in brackets.
fn brackets(label: &str, names: &[String]) -> String {
    format!("{label}: [ {} ]", names.join(" "))
}

impl Ws {
    /// Less than 0 for a red node, 0 for a yellow one, else 1.
    pub(crate) fn node_health(&self, node: NodeIx) -> i32 {
        let strategy = self.model.options.get("node-health-strategy").unwrap_or("none");
        if eq_ci(strategy, "none") {
            return 1;
        }
        let health = self.config.health;
        let mut worst = 1;
        for (_, value) in self[node].attrs.iter().filter(|(n, _)| n.starts_with("#health")) {
            if eq_ci(value, "red") {
                return -1;
            }
            if eq_ci(value, "yellow") {
                worst = 0;
                continue;
            }
            let Some(score) = parse_score_with(value, health) else { continue };
            if score <= health.red {
                return -1;
            }
            if score <= health.yellow && health.yellow != health.green {
                worst = 0;
            }
        }
        worst
    }

    fn node_state_text(&self, node: NodeIx) -> &'static str {
        let n = &self[node];
        if n.unclean {
            match (n.online, n.pending) {
                (true, _) => "UNCLEAN (online)",
                (false, true) => "UNCLEAN (pending)",
                (false, false) => "UNCLEAN (offline)",
            }
        } else if n.pending {
            "pending"
        } else if n.fail_standby && n.online {
            "standby (on-fail)"
        } else if n.standby {
            match (n.online, n.running.is_empty()) {
                (false, _) => "OFFLINE (standby)",
                (true, true) => "standby",
                (true, false) => "standby (with active resources)",
            }
        } else if n.maintenance {
            if n.online { "maintenance" } else { "OFFLINE (maintenance)" }
        } else if n.online {
            "online"
        } else {
            "OFFLINE"
        }
    }

    /// One line for each node that is out of the ordinary, then the others by kind.
    pub(crate) fn node_list(&self) -> Vec<String> {
        let mut out = Vec::new();
        let labels = ["Online", "OFFLINE", "RemoteOnline", "RemoteOFFLINE", "GuestOnline"];
        let mut lists: [Vec<String>; 5] = Default::default();
        for node in self.node_order.iter().copied() {
            let n = &self[node];
            let guest = self.is_guest(node);
            let remote = self.is_remote(node);
            let health = self.node_health(node);
            let special = n.unclean
                || n.pending
                || (n.fail_standby && n.online)
                || n.standby
                || n.maintenance
                || health <= 0;
            if special {
                let kind = match (guest, remote) {
                    (true, _) => "GuestNode",
                    (_, true) => "RemoteNode",
                    _ => "Node",
                };
                let ill = match health {
                    h if h < 0 => " (health is RED)",
                    0 => " (health is YELLOW)",
                    _ => "",
                };
                out.push(format!("{kind} {}: {}{ill}", n.name, self.node_state_text(node)));
                continue;
            }
            let list = match (n.online, remote, guest) {
                (true, _, true) => 4,
                (true, true, _) => 2,
                (true, ..) => 0,
                (false, true, _) => 3,
                // Guests that are not there are not missed.
                (false, _, true) => continue,
                (false, ..) => 1,
            };
            lists[list].push(n.name.to_string());
        }
        for (label, list) in labels.into_iter().zip(&lists) {
            if !list.is_empty() {
                out.push(brackets(label, list));
            }
        }
        out
    }

    pub(crate) fn resource_list(&self, pending: bool) -> Vec<String> {
        let mut out = Vec::new();
        for rsc in self.top.iter().copied() {
            if self[rsc].is(rf::REMOVED) && !self.is_active(rsc, true) {
                continue;
            }
            self.resource_lines(rsc, pending, 0, &mut out);
        }
        if out.is_empty() {
            out.push("No resources".into());
        }
        out
    }

    fn resource_lines(&self, rsc: RscIx, pending: bool, depth: usize, out: &mut Vec<String>) {
        match self[rsc].variant {
            Variant::Primitive => {
                let node = self.current_node(rsc).or(self[rsc].pending_node);
                let name = self.printable_id(rsc).to_string();
                self.primitive_line(rsc, &name, node, pending, depth, out);
            }
            Variant::Group => {
                let r = &self[rsc];
                let attrs = self.header_attrs(rsc);
                let attrs = if attrs.is_empty() { attrs } else { format!(" ({attrs})") };
                push(
                    out,
                    depth,
                    format!("Resource Group: {}{attrs}{}:", r.id, self.description(rsc)),
                );
                for child in &r.children {
                    self.resource_lines(*child, pending, depth + 1, out);
                }
            }
            Variant::Clone => self.clone_lines(rsc, pending, depth, out),
            Variant::Bundle => self.bundle_lines(rsc, pending, depth, out),
        }
    }

    /// Descriptions are shown on request only.
    fn description(&self, _rsc: RscIx) -> &'static str {
        ""
    }

    fn header_attrs(&self, rsc: RscIx) -> String {
        let r = &self[rsc];
        let mut attrs: Vec<&str> = Vec::new();
        if r.variant == Variant::Clone {
            attrs.extend(r.is(rf::PROMOTABLE).then_some("promotable"));
            attrs.extend(r.is(rf::UNIQUE).then_some("unique"));
        }
        attrs.extend(self.is_disabled(rsc).then_some("disabled"));
        if r.is(rf::MAINTENANCE) {
            attrs.push("maintenance");
        } else if !r.is(rf::MANAGED) {
            attrs.push("unmanaged");
        }
        attrs.join(", ")
    }

    fn shown_role(&self, rsc: RscIx) -> Role {
        match self[rsc].orig_role {
            Role::Started if self.is_promotable(rsc) => Role::Unpromoted,
            role => role,
        }
    }

    fn pending_state(&self, rsc: RscIx) -> Option<&'static str> {
        Some(match self[rsc].pending_action? {
            task::START => "Starting",
            task::STOP => "Stopping",
            task::MIGRATE_TO | task::MIGRATE_FROM => "Migrating",
            task::PROMOTE => "Promoting",
            task::DEMOTE => "Demoting",
            _ => return None,
        })
    }

    fn primitive_line(
        &self,
        rsc: RscIx,
        name: &str,
        node: Option<NodeIx>,
        pending: bool,
        depth: usize,
        out: &mut Vec<String>,
    ) {
        let r = &self[rsc];
        if self.meta_true(rsc, "internal_rsc") {
            return;
        }
        let several = r.active.len() > 1;
        let node = node.or(r.lock_node).filter(|_| !several);
        let class = r.def.class.as_deref().unwrap_or("unknown");
        let provider = r.def.provider.as_deref().filter(|_| capabilities(Some(class)).provider);
        let agent = r.def.agent.as_deref().unwrap_or("unknown");
        let colon = if provider.is_some() { ":" } else { "" };
        let mut line = format!("{name}\t({class}{colon}{}:{agent}):\t", provider.unwrap_or(""));
        let role = self.shown_role(rsc);
        if r.is(rf::REMOVED) {
            line.push_str(" ORPHANED");
        }
        if r.is(rf::FAILED) {
            line.push_str(" FAILED");
            if role > Role::Unpromoted {
                line.push_str(&format!(" {}", role.text()));
            }
        } else {
            let state = self.pending_state(rsc).filter(|_| pending).unwrap_or(role.text());
            line.push_str(&format!(" {state}"));
        }
        if let Some(node) = node {
            line.push_str(&format!(" {}", self[node].name));
        }
        if role == Role::Stopped
            && let Some(rc) = self.failed_probe(rsc, node)
        {
            line.push_str(&format!(" ({}) ", exit_status_text(rc)));
        }
        let flags = self.primitive_flags(rsc, node, pending);
        if !flags.is_empty() {
            line.push_str(&format!(" ({})", flags.join(", ")));
        }
        if several {
            if let Some(description) = &r.def.description {
                line.push_str(&format!(" ({description})"));
            }
            let names: Vec<&str> = r.active.iter().map(|n| &*self[*n].name).collect();
            line.push_str(&format!(" [ {} ]", names.join(" ")));
        }
        push(out, depth, line);
    }

    fn primitive_flags(&self, rsc: RscIx, node: Option<NodeIx>, pending: bool) -> Vec<String> {
        let r = &self[rsc];
        let mut flags: Vec<String> = Vec::new();
        let mut flag = |text: &str| flags.push(text.to_owned());
        if node.is_some_and(|n| !self[n].online && self[n].unclean) {
            flag("UNCLEAN");
        }
        if node.is_some() && node == r.lock_node {
            flag("LOCKED");
        }
        if pending && r.pending_action == Some(task::MONITOR) {
            flag("Monitoring");
        }
        if let Some(target) = r.meta.get("target-role") {
            match Role::parse(target) {
                Some(Role::Stopped) => flag("disabled"),
                Some(Role::Unpromoted) if self.is_promotable(rsc) => {
                    flag(&format!("target-role:{target}"));
                }
                _ => {}
            }
        }
        if r.is(rf::BLOCKED) {
            flag("blocked");
        } else if r.is(rf::MAINTENANCE) {
            flag("maintenance");
        } else if !r.is(rf::MANAGED) {
            flag("unmanaged");
        }
        if r.is(rf::IGNORE_FAILURE) {
            flag("failure ignored");
        }
        flags
    }

    fn configured_role(&self, rsc: RscIx) -> Option<Role> {
        let r = &self[rsc];
        let own = r.meta.get("target-role");
        let of_instance = || r.children.first().and_then(|c| self[*c].meta.get("target-role"));
        own.or_else(of_instance).and_then(Role::parse)
    }

    fn clone_lines(&self, rsc: RscIx, pending: bool, depth: usize, out: &mut Vec<String>) {
        let r = &self[rsc];
        let attrs = self.header_attrs(rsc);
        let attrs = if attrs.is_empty() { attrs } else { format!(" ({attrs})") };
        let inner = r.def.children.first().map_or("", |c| &*c.id);
        let header = format!("Clone Set: {} [{inner}]{attrs}{}:", r.id, self.description(rsc));
        let mut lines = Vec::new();
        let (mut promoted, mut started): (Vec<NodeIx>, Vec<NodeIx>) = (Vec::new(), Vec::new());
        let mut stopped: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for child in r.children.iter().copied() {
            let c = &self[child];
            let partly = self.is_active(child, false);
            let full = if r.is(rf::UNIQUE) {
                partly || !r.is(rf::REMOVED)
            } else if pending && c.pending_action.is_some() {
                true
            } else if !partly {
                if !c.is(rf::REMOVED) {
                    stopped.entry("Stopped".into()).or_default().push(c.id.to_string());
                }
                false
            } else if self.flag_anywhere(child, rf::REMOVED)
                || !self.flag_everywhere(child, rf::MANAGED)
                || self.flag_anywhere(child, rf::FAILED)
            {
                true
            } else {
                let place = self.location(child, Where::Current);
                match place.filter(|_| self.is_active(child, true)) {
                    Some(node) if self[node].online || !self[node].unclean => {
                        let up = self.state(child, true) > Role::Unpromoted;
                        if up { &mut promoted } else { &mut started }.push(node);
                        false
                    }
                    _ => true,
                }
            };
            if full {
                self.resource_lines(child, pending, depth + 1, &mut lines);
            }
        }
        let sorted = |list: &mut Vec<NodeIx>| -> Vec<String> {
            list.sort_by(|a, b| numeric_cmp(&self[*a].name, &self[*b].name));
            list.iter().map(|n| self[*n].name.to_string()).collect()
        };
        let active = promoted.len() + started.len();
        if !promoted.is_empty() {
            push(&mut lines, depth + 1, brackets("Promoted", &sorted(&mut promoted)));
        }
        if !started.is_empty() {
            let label = match (r.is(rf::PROMOTABLE), self.configured_role(rsc)) {
                (false, _) => "Started",
                (true, Some(Role::Unpromoted)) => "Unpromoted (target-role)",
                (true, _) => "Unpromoted",
            };
            push(&mut lines, depth + 1, brackets(label, &sorted(&mut started)));
        }
        if !r.is(rf::UNIQUE) && i64::from(r.clone.max) > active as i64 {
            stopped = self.stopped_on(rsc);
        }
        for (label, mut names) in stopped {
            names.sort_by(|a, b| numeric_cmp(a, b));
            push(&mut lines, depth + 1, brackets(&label, &names));
        }
        if !lines.is_empty() || active == 0 {
            push(out, depth, header);
            out.append(&mut lines);
        }
    }

    /// Nodes where a clone could run but does not, by why.
    fn stopped_on(&self, rsc: RscIx) -> BTreeMap<String, Vec<String>> {
        let r = &self[rsc];
        let disabled = self.configured_role(rsc) == Some(Role::Stopped);
        let mut stopped: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut nodes: Vec<NodeIx> = r.allowed.nodes().collect();
        if nodes.is_empty() {
            nodes = r.probed.ones().map(|n| NodeIx(n as u32)).collect();
        }
        for node in nodes {
            if r.active.contains(&node) {
                continue;
            }
            let label = match self.failed_probe(rsc, Some(node)) {
                Some(rc) => format!("Stopped ({})", exit_status_text(rc)),
                None if disabled => "Stopped (disabled)".into(),
                None => "Stopped".into(),
            };
            stopped.entry(label).or_default().push(self[node].name.to_string());
        }
        stopped
    }

    fn bundle_lines(&self, rsc: RscIx, pending: bool, depth: usize, out: &mut Vec<String>) {
        let r = &self[rsc];
        let set = if r.bundle.replicas.len() > 1 { " set" } else { "" };
        let unique = if r.is(rf::UNIQUE) { " (unique)" } else { "" };
        let state = if r.is(rf::MAINTENANCE) {
            " (maintenance)"
        } else if !r.is(rf::MANAGED) {
            " (unmanaged)"
        } else {
            ""
        };
        let image = r.bundle.def.image.as_deref().unwrap_or("");
        push(out, depth, format!("Container bundle{set}: {} [{image}]{unique}{state}:", r.id));
        for replica in &r.bundle.replicas {
            let shown = replica.child.unwrap_or(replica.container);
            let named = replica.remote.unwrap_or(replica.container);
            let mut name = self.printable_id(named).to_string();
            if let Some(ip) = &replica.ipaddr {
                name.push_str(&format!(" ({ip})"));
            }
            let node = self.current_node(replica.container);
            self.primitive_line(shown, &name, node, pending, depth + 1, out);
        }
    }
}

fn push(out: &mut Vec<String>, depth: usize, line: String) {
    out.push(format!("{}{line}", "  ".repeat(depth)));
}
