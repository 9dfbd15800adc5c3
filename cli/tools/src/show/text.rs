//! Nodes and resources as nested lists for people.

use std::collections::BTreeMap;

use cib_model::{ResourceKind, Role, exit_status_text};
use crm_scheduler::overview::{NodeSort, NodeView, OpView};

use super::{Cluster, Filter, Report, Show, meta};
use crate::output::Out;

/// A list whose title is printed with its first entry.
pub(super) struct List<'a> {
    title: String,
    open: bool,
    out: &'a mut Out,
}

impl<'a> List<'a> {
    pub(super) fn new(title: String, out: &'a mut Out) -> List<'a> {
        List { title, open: false, out }
    }

    /// The output, after the title.
    pub(super) fn open(&mut self) -> &mut Out {
        if !self.open {
            self.open = true;
            self.out.open(&self.title);
        }
        self.out
    }

    pub(super) fn close(self) -> bool {
        if self.open {
            self.out.close();
        }
        self.open
    }
}

impl Cluster {
    pub(super) fn node_name(&self, node: &NodeView, detail: bool) -> String {
        let mut text = node.name.to_string();
        if detail {
            if node.sort == NodeSort::Guest {
                text.push('@');
                text.push_str(node.host.map_or("", |h| &self.node(h).name));
            }
            if !node.id.eq_ignore_ascii_case(&node.name) {
                text.push_str(&format!(" ({})", node.id));
            }
        }
        text
    }

    /// Prints resources, and if asked for a line when there are none.
    pub(crate) fn print_resources(
        &self,
        show: Show,
        summary: bool,
        nodes: &Filter,
        only: &Filter,
        out: &mut Out,
    ) -> bool {
        if show.by_node && !show.inactive {
            return false;
        }
        let mut header = false;
        let mut printed = false;
        let title = match show {
            Show { by_node: true, .. } => "Inactive Resources",
            Show { inactive: true, .. } => "Full List of Resources",
            _ => "Active Resources",
        };
        let mut start = |out: &mut Out| {
            if !header {
                header = true;
                if summary {
                    out.spacer();
                }
                out.open(title);
            }
        };
        let brief = show.brief && !show.by_node;
        if brief {
            start(out);
            let mut top = self.view.top.clone();
            top.retain(|r| self.listed(*r, only));
            printed = self.print_brief(&top, show, out);
        }
        for ix in &self.view.top {
            let rsc = self.rsc(*ix);
            let skip = if rsc.removed && !rsc.active {
                true
            } else if show.by_node {
                rsc.active
            } else if show.brief && rsc.def.kind == ResourceKind::Primitive {
                true
            } else if !rsc.partly_active {
                !show.inactive
            } else {
                !self.runs_on(*ix, nodes)
            };
            if skip {
                continue;
            }
            start(out);
            printed |= self.print_rsc(*ix, show, nodes, only, out);
        }
        if summary && !printed {
            start(out);
            out.item(match show {
                Show { by_node: true, .. } => "No inactive resources",
                Show { inactive: true, .. } => "No resources",
                _ => "No active resources",
            });
        }
        if header {
            out.close();
        }
        printed
    }

    pub(super) fn listed(&self, ix: usize, only: &Filter) -> bool {
        let rsc = self.rsc(ix);
        only.has(&rsc.shown_id) || rsc.parent.is_some_and(|p| only.has(&self.rsc(p).shown_id))
    }

    pub(super) fn print_brief(&self, list: &[usize], show: Show, out: &mut Out) -> bool {
        // For each agent the number of resources, and of active ones by node.
        let mut agents: BTreeMap<String, (usize, BTreeMap<String, usize>)> = BTreeMap::new();
        for ix in list {
            let rsc = self.rsc(*ix);
            if rsc.def.kind != ResourceKind::Primitive {
                continue;
            }
            let (all, active) = agents.entry(self.agent(*ix, true)).or_default();
            *all += 1;
            for node in rsc.nodes.iter().map(|n| self.node(*n)) {
                if node.unclean || node.online || !rsc.managed {
                    *active.entry(node.name.to_string()).or_default() += 1;
                }
            }
        }
        let mut printed = false;
        for (agent, (all, active)) in agents {
            let of = if show.inactive { format!("/{all}") } else { String::new() };
            for (node, count) in &active {
                let node = if show.rsc_only { "" } else { node };
                out.item(&format!("{count}{of}\t({agent}):\tActive {node}"));
                printed = true;
            }
            if active.is_empty() && show.inactive {
                out.item(&format!("0{of}\t({agent}):\tActive"));
                printed = true;
            }
        }
        printed
    }

    /// Prints a resource with its parts.
    pub(crate) fn print_rsc(
        &self,
        ix: usize,
        show: Show,
        nodes: &Filter,
        only: &Filter,
        out: &mut Out,
    ) -> bool {
        if self.hidden(ix, only, true) {
            return false;
        }
        match self.rsc(ix).def.kind {
            ResourceKind::Primitive => {
                let name = self.rsc(ix).shown_id.to_string();
                self.print_primitive(ix, &name, self.rsc(ix).current, show, out)
            }
            ResourceKind::Group => self.print_group(ix, show, nodes, only, out),
            ResourceKind::Clone => self.print_clone(ix, show, nodes, only, out),
            ResourceKind::Bundle => self.print_bundle(ix, show, nodes, only, out),
        }
    }

    fn print_primitive(
        &self,
        ix: usize,
        name: &str,
        node: Option<usize>,
        show: Show,
        out: &mut Out,
    ) -> bool {
        let rsc = self.rsc(ix);
        let internal = meta(rsc, "#internal").or(meta(rsc, "internal_rsc"));
        if cib_model::is_true(internal) && !(show.implicit || show.detail) {
            return false;
        }
        let text = self.primitive_text(ix, name, node, show, true);
        out.item(&text);
        true
    }

    /// One line about a primitive: what it is, does, where, and what is special.
    pub(crate) fn primitive_text(
        &self,
        ix: usize,
        name: &str,
        node: Option<usize>,
        show: Show,
        show_nodes: bool,
    ) -> String {
        let rsc = self.rsc(ix);
        let several = rsc.nodes.len() > 1;
        let node = node.or(rsc.locked_to).filter(|_| !show.rsc_only && !several);
        let node_view = node.map(|n| self.node(n));
        let mut text = format!("{name}\t({}):\t", self.agent(ix, true));
        if rsc.removed {
            text.push_str(" ORPHANED");
        }
        if rsc.failed {
            text.push_str(" FAILED");
            if self.role(ix) > Role::Unpromoted {
                text.push_str(&format!(" {}", self.role(ix).text()));
            }
        } else {
            text.push_str(&format!(" {}", self.state(ix, show.pending)));
        }
        if let Some(node) = node_view {
            text.push_str(&format!(" {}", node.name));
        }
        if self.role(ix) == Role::Stopped {
            let by_node = |n: usize| rsc.probes.iter().find(|(at, _)| *at == n).map(|p| p.1);
            let failed = node.map_or(rsc.probe_anywhere, by_node);
            if let Some(rc) = failed {
                text.push_str(&format!(" ({}) ", exit_status_text(rc)));
            }
        }
        let mut flags: Vec<String> = Vec::new();
        if node_view.is_some_and(|n| !n.online && n.unclean) {
            flags.push("UNCLEAN".into());
        }
        if node.is_some() && node == rsc.locked_to {
            flags.push("LOCKED".into());
        }
        if show.pending && rsc.pending.as_deref() == Some("monitor") {
            flags.push("Monitoring".into());
        }
        let target = meta(rsc, "target-role");
        match target.and_then(Role::parse) {
            Some(Role::Stopped) => flags.push("disabled".into()),
            Some(Role::Unpromoted) if self.rsc(self.top(ix, false)).promotable => {
                flags.push(format!("target-role:{}", target.unwrap_or_default()));
            }
            _ => {}
        }
        if rsc.blocked {
            flags.push("blocked".into());
        } else if rsc.maintenance {
            flags.push("maintenance".into());
        } else if !rsc.managed {
            flags.push("unmanaged".into());
        }
        if rsc.failure_ignored {
            flags.push("failure ignored".into());
        }
        if !flags.is_empty() {
            text.push_str(&format!(" ({})", flags.join(", ")));
        }
        if (show.rsc_only || show.description || show.detail || several)
            && let Some(note) = &rsc.def.description
        {
            text.push_str(&format!(" ({note})"));
        }
        if show_nodes && !show.rsc_only && several {
            let names: Vec<&str> = rsc.nodes.iter().map(|n| self.node(*n).name.as_ref()).collect();
            text.push_str(&format!(" [ {} ]", names.join(" ")));
        }
        text
    }

    fn note(&self, ix: usize, show: Show) -> String {
        self.description(ix, show).map(|n| format!(" ({n})")).unwrap_or_default()
    }

    /// The note for people, if it is to be shown.
    pub(crate) fn description(&self, ix: usize, show: Show) -> Option<&str> {
        let note = self.rsc(ix).def.description.as_deref();
        note.filter(|_| show.description || show.detail || show.rsc_only)
    }

    fn management(&self, ix: usize, flags: &mut Vec<String>) {
        let rsc = self.rsc(ix);
        if rsc.disabled {
            flags.push("disabled".into());
        }
        if rsc.maintenance {
            flags.push("maintenance".into());
        } else if !rsc.managed {
            flags.push("unmanaged".into());
        }
    }

    fn print_group(
        &self,
        ix: usize,
        show: Show,
        nodes: &Filter,
        only: &Filter,
        out: &mut Out,
    ) -> bool {
        let rsc = self.rsc(ix);
        let mut flags = Vec::new();
        let inactive = rsc.children.iter().filter(|c| !self.rsc(**c).active).count();
        if inactive > 0 && !rsc.active && rsc.partly_active && !show.inactive {
            let plural = if inactive == 1 { "" } else { "s" };
            flags.push(format!("{inactive} member{plural} inactive"));
        }
        self.management(ix, &mut flags);
        let mut title = format!("Resource Group: {}", rsc.id);
        if !flags.is_empty() {
            title.push_str(&format!(" ({})", flags.join(", ")));
        }
        title.push_str(&self.note(ix, show));
        let mut list = List::new(title, out);
        if show.brief {
            let members: Vec<usize> =
                rsc.children.iter().copied().filter(|c| self.listed(*c, only)).collect();
            if !members.is_empty() {
                self.print_brief(&members, Show { inactive: true, ..show }, list.open());
            }
        } else {
            let whole = self.whole(ix, only);
            for child in &rsc.children {
                if !self.skipped(*child, whole, only, show) {
                    self.print_rsc(*child, show, nodes, only, list.open());
                }
            }
        }
        list.close()
    }

    fn clone_title(&self, ix: usize, show: Show) -> String {
        let rsc = self.rsc(ix);
        let mut flags = Vec::new();
        if rsc.promotable {
            flags.push("promotable".to_string());
        }
        if rsc.unique {
            flags.push("unique".into());
        }
        self.management(ix, &mut flags);
        let child = rsc.def.children.first().map_or("", |c| &c.id);
        let mut title = format!("Clone Set: {} [{child}]", rsc.id);
        if !flags.is_empty() {
            title.push_str(&format!(" ({})", flags.join(", ")));
        }
        title + &self.note(ix, show)
    }

    /// Whether something about any part of a resource holds.
    fn any(&self, ix: usize, test: &dyn Fn(&crm_scheduler::overview::RscView) -> bool) -> bool {
        test(self.rsc(ix)) || self.rsc(ix).children.iter().any(|c| self.any(*c, test))
    }

    fn print_clone(
        &self,
        ix: usize,
        show: Show,
        nodes: &Filter,
        only: &Filter,
        out: &mut Out,
    ) -> bool {
        let rsc = self.rsc(ix);
        let whole = self.whole(ix, only);
        let mut promoted: Vec<usize> = Vec::new();
        let mut started: Vec<usize> = Vec::new();
        let mut stopped: Vec<(String, String)> = Vec::new();
        let mut list = List::new(self.clone_title(ix, show), out);
        for child in rsc.children.iter().copied() {
            let instance = self.rsc(child);
            if self.elsewhere(child, nodes) || self.hidden(child, only, whole) {
                continue;
            }
            let mut full = show.detail;
            if rsc.unique {
                full |= instance.partly_active || !rsc.removed;
            } else if show.pending && instance.pending.as_deref().is_some_and(|p| p != "probe") {
                full = true;
            } else if !instance.partly_active {
                if !instance.removed && !show.detail && show.inactive {
                    stopped.push((instance.id.to_string(), "Stopped".into()));
                }
            } else if self.any(child, &|r| r.removed)
                || !self.rsc_managed(child)
                || self.any(child, &|r| r.failed)
            {
                full = true;
            } else if instance.active
                && let Some(at) = instance.location
            {
                let node = self.node(at);
                if !node.online && node.unclean {
                    full = true;
                } else if instance.state > Role::Unpromoted {
                    promoted.push(at);
                } else {
                    started.push(at);
                }
            } else {
                full = true;
            }
            if full {
                self.print_rsc(child, show, nodes, &Filter::all(), list.open());
            }
        }
        if show.detail {
            return list.close();
        }
        let mut count = 0;
        // An instance may have it from what the clone is made of.
        let inner = || rsc.children.first().and_then(|c| meta(self.rsc(*c), "target-role"));
        let target = meta(rsc, "target-role").or_else(inner).and_then(Role::parse);
        let lesser = match (rsc.promotable, target) {
            (true, Some(Role::Unpromoted)) => "Unpromoted (target-role)",
            (true, _) => "Unpromoted",
            _ => "Started",
        };
        for (title, mut at) in [("Promoted", promoted), (lesser, started)] {
            at.retain(|n| nodes.has_node(&self.node(*n).name));
            at.sort_by(|a, b| cib_model::numeric_cmp(&self.node(*a).name, &self.node(*b).name));
            count += at.len();
            if !at.is_empty() {
                let names: Vec<&str> = at.iter().map(|n| self.node(*n).name.as_ref()).collect();
                list.open().item(&format!("{title}: [ {} ]", names.join(" ")));
            }
        }
        if show.inactive {
            if !rsc.unique && usize::try_from(rsc.clone_max).is_ok_and(|max| max > count) {
                stopped = self.stopped_on(ix, target, nodes);
            }
            if !stopped.is_empty() {
                let mut by_state: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
                stopped.sort_by(|a, b| cib_model::numeric_cmp(&a.0, &b.0));
                for (name, state) in &stopped {
                    by_state.entry(state).or_default().push(name);
                }
                for (state, names) in by_state {
                    list.open().item(&format!("{state}: [ {} ]", names.join(" ")));
                }
            } else if count == 0 {
                list.open();
            }
        }
        list.close()
    }

    fn rsc_managed(&self, ix: usize) -> bool {
        let rsc = self.rsc(ix);
        rsc.managed && rsc.children.iter().all(|c| self.rsc_managed(*c))
    }

    /// Nodes where no instance of a clone is active, with the reason.
    fn stopped_on(&self, ix: usize, target: Option<Role>, nodes: &Filter) -> Vec<(String, String)> {
        let rsc = self.rsc(ix);
        let mut out = Vec::new();
        for at in &rsc.allowed {
            let node = self.node(*at);
            if rsc.nodes.contains(at) || !nodes.has_node(&node.name) {
                continue;
            }
            let failed = rsc.probes.iter().find(|(n, _)| n == at);
            let state = match failed {
                Some((_, rc)) => format!("Stopped ({})", exit_status_text(*rc)),
                None if target == Some(Role::Stopped) => "Stopped (disabled)".into(),
                None => "Stopped".into(),
            };
            out.push((node.name.to_string(), state));
        }
        out
    }

    fn print_bundle(
        &self,
        ix: usize,
        show: Show,
        nodes: &Filter,
        only: &Filter,
        out: &mut Out,
    ) -> bool {
        let rsc = self.rsc(ix);
        let whole = only.has(&rsc.id);
        let set = if rsc.replicas.len() > 1 { " set" } else { "" };
        let image = rsc.def.bundle.as_ref().and_then(|b| b.image.as_deref()).unwrap_or_default();
        let unique = if rsc.unique { " (unique)" } else { "" };
        let managed = match (rsc.maintenance, rsc.managed) {
            (true, _) => " (maintenance)",
            (_, false) => " (unmanaged)",
            _ => "",
        };
        let note = self.note(ix, show);
        let id = &rsc.id;
        let title = format!("Container bundle{set}: {id} [{image}]{unique}{note}{managed}");
        let mut list = List::new(title, out);
        for replica in &rsc.replicas {
            if self.elsewhere(replica.container, nodes) {
                continue;
            }
            let parts = [replica.ip, replica.child, Some(replica.container), replica.remote];
            let parts: Vec<usize> =
                parts.into_iter().flatten().filter(|p| !self.hidden(*p, only, whole)).collect();
            if show.implicit || show.detail || (!whole && !parts.is_empty()) {
                let out = list.open();
                if rsc.replicas.len() > 1 {
                    out.item(&format!("Replica[{}]", replica.offset));
                }
                out.indent();
                for part in parts {
                    let show = Show { implicit: true, ..show };
                    self.print_rsc(part, show, nodes, only, out);
                }
                out.close();
            } else if whole || !parts.is_empty() {
                let remote = replica.remote.unwrap_or(replica.container);
                let mut name = self.rsc(remote).shown_id.to_string();
                if let Some(address) = &replica.address {
                    name.push_str(&format!(" ({address})"));
                }
                let child = replica.child.unwrap_or(replica.container);
                let node = self.rsc(replica.container).current;
                self.print_primitive(child, &name, node, show, list.open());
            }
        }
        list.close()
    }

    pub(super) fn node_status(&self, node: &NodeView) -> &'static str {
        match node {
            NodeView { unclean: true, online: true, .. } => "UNCLEAN (online)",
            NodeView { unclean: true, pending: true, .. } => "UNCLEAN (pending)",
            NodeView { unclean: true, .. } => "UNCLEAN (offline)",
            NodeView { pending: true, .. } => "pending",
            NodeView { fail_standby: true, online: true, .. } => "standby (on-fail)",
            NodeView { standby: true, online: false, .. } => "OFFLINE (standby)",
            NodeView { standby: true, .. } if node.running.is_empty() => "standby",
            NodeView { standby: true, .. } => "standby (with active resources)",
            NodeView { maintenance: true, online: true, .. } => "maintenance",
            NodeView { maintenance: true, .. } => "OFFLINE (maintenance)",
            NodeView { online: true, .. } => "online",
            _ => "OFFLINE",
        }
    }
}

impl Cluster {
    /// Whether a resource's history is left out.
    pub(crate) fn history_hidden(&self, ix: usize, only: &Filter) -> bool {
        let top = self.rsc(self.top(ix, false));
        if top.def.kind == ResourceKind::Group {
            !only.has(&self.rsc(ix).shown_id) && !only.has(&top.shown_id)
        } else {
            self.hidden(ix, only, true)
        }
    }

    /// Failed operations that are to be shown.
    pub(crate) fn failures<'a>(&'a self, report: &'a Report) -> impl Iterator<Item = &'a OpView> {
        self.view.failed.iter().filter(|f| {
            let key = f.op.key().unwrap_or_default();
            report.nodes.has_node(&self.node(f.node).name)
                && !f.op.is_masked_probe_failure()
                && cib_model::parse_op_key(key).is_some_and(|(rsc, ..)| report.resources.has(rsc))
        })
    }

    /// Bans that are to be shown.
    pub(crate) fn bans<'a>(
        &'a self,
        report: &'a Report,
    ) -> impl Iterator<Item = &'a crm_scheduler::overview::BanView> {
        self.view.bans.iter().filter(|ban| {
            let top = self.top(ban.rsc, false);
            report.bans.as_ref().is_none_or(|prefix| ban.id.starts_with(prefix.as_str()))
                && (report.resources.has(&self.rsc(ban.rsc).shown_id)
                    || report.resources.has(&self.rsc(top).shown_id))
        })
    }
}
