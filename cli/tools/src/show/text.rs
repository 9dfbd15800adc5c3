//! State as nested lists for people.

use std::collections::BTreeMap;

use cib_model::{HistoryOp, ResourceKind, Role, exit_status_text};
use crm_scheduler::overview::{NodeHistoryView, NodeSort, NodeView, OpView, RscHistoryView};

use super::{Cluster, Filter, Report, Section, Show, meta, time_text};
use crate::output::Out;

/// Prints sections with their titles.
pub(crate) struct Sections<'a> {
    cluster: &'a Cluster,
    report: &'a Report,
}

/// A list whose title is printed with its first entry.
struct List<'a> {
    title: String,
    open: bool,
    out: &'a mut Out,
}

impl<'a> List<'a> {
    fn new(title: String, out: &'a mut Out) -> List<'a> {
        List { title, open: false, out }
    }

    /// The output, after the title.
    fn open(&mut self) -> &mut Out {
        if !self.open {
            self.open = true;
            self.out.open(&self.title);
        }
        self.out
    }

    fn close(self) -> bool {
        if self.open {
            self.out.close();
        }
        self.open
    }
}

impl Cluster {
    /// Prints a report.
    pub(crate) fn print(&self, report: &Report, out: &mut Out) {
        Sections { cluster: self, report }.summary(out);
        self.print_state(report, out);
    }

    /// Prints a report without its summary.
    pub(crate) fn print_state(&self, report: &Report, out: &mut Out) {
        let all = Sections { cluster: self, report };
        if report.has(Section::Nodes) {
            all.nodes(out);
        }
        if report.has(Section::Resources) {
            let summary = true;
            self.print_resources(report.show, summary, &report.nodes, &report.resources, out);
        }
        if report.has(Section::Attributes) {
            all.attributes(out);
        }
        if report.has(Section::Operations) || report.has(Section::FailCounts) {
            all.history(out);
        }
        if report.has(Section::Failures) {
            all.failures(out);
        }
        if report.has(Section::Tickets) {
            all.tickets(out);
        }
        if report.has(Section::Bans) {
            all.bans(out);
        }
    }

    fn node_name(&self, node: &NodeView, detail: bool) -> String {
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

    fn listed(&self, ix: usize, only: &Filter) -> bool {
        let rsc = self.rsc(ix);
        only.has(&rsc.shown_id) || rsc.parent.is_some_and(|p| only.has(&self.rsc(p).shown_id))
    }

    fn print_brief(&self, list: &[usize], show: Show, out: &mut Out) -> bool {
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

    fn node_status(&self, node: &NodeView) -> &'static str {
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

/// A duration for people.
pub(crate) fn interval_text(ms: u32) -> String {
    const UNITS: [(u32, &str); 3] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m")];
    if ms == 0 {
        return "0s".into();
    }
    let mut out = String::new();
    let mut left = ms;
    for (unit, letter) in UNITS {
        if left >= unit {
            out.push_str(&format!("{}{letter}", left / unit));
            left %= unit;
        }
    }
    match (left / 1000, left % 1000) {
        (0, 0) => {}
        (0, ms) => out.push_str(&format!("{ms}ms")),
        (s, 0) => out.push_str(&format!("{s}s")),
        (s, ms) => out.push_str(&format!("{s}.{ms:03}s")),
    }
    out
}

/// How the execution of an operation ended.
pub(crate) fn status_text(status: Option<i64>) -> &'static str {
    match status.unwrap_or(0) {
        -1 => "Pending",
        0 => "Done",
        1 => "Cancelled",
        2 => "Timed out",
        3 => "Unsupported",
        4 => "Error",
        5 => "Hard error",
        6 => "Fatal error",
        7 => "Not installed",
        8 => "Internal communication failure",
        9 => "Cannot execute now",
        10 => "No fence device",
        11 => "CIB secrets unavailable",
        _ => "Unrecognized status (bug?)",
    }
}

/// The operations of a history that are worth showing, by the order of their calls.
pub(crate) fn shown_ops(history: &RscHistoryView) -> Vec<&HistoryOp> {
    let mut ops: Vec<&HistoryOp> = history
        .ops
        .iter()
        .filter(|op| op.operation.as_deref() != Some("notify"))
        .filter(|op| !(op.rc == Some(7) && op.is_probe()))
        .collect();
    ops.sort_by_key(|op| op.call_id);
    ops
}

/// An operation's name; a monitor that does not recur is a probe.
pub(crate) fn task(op: &HistoryOp) -> &str {
    if op.is_probe() { "probe" } else { op.operation.as_deref().unwrap_or_default() }
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
            let key = f.op.key.as_deref().unwrap_or_default();
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

impl Sections<'_> {
    fn summary(&self, out: &mut Out) {
        let Sections { cluster, report } = self;
        let mut list = List::new("Cluster Summary".into(), out);
        if report.has(Section::Stack) {
            let stack = cluster.model.options.raw("cluster-infrastructure").unwrap_or("unknown");
            list.open().item(&format!("Stack: {stack}"));
        }
        if report.has(Section::Dc) || cluster.view.dc.is_none() {
            let text = match cluster.view.dc {
                None => "NONE".to_string(),
                Some(dc) => {
                    let name = cluster.node_name(cluster.node(dc), report.show.detail);
                    let version = cluster.model.options.raw("dc-version").unwrap_or("unknown");
                    let mixed = if cluster.mixed_version() { "MIXED-VERSION " } else { "" };
                    let quorum = cib_model::is_true(cluster.cib_attr("have-quorum"));
                    let with = if quorum { "with" } else { "WITHOUT" };
                    format!("{name} (version {version}) - {mixed}partition {with} quorum")
                }
            };
            list.open().item(&format!("Current DC: {text}"));
        }
        if report.has(Section::Times) {
            let now = time_text(crate::dates::Date::now().epoch());
            let on = crate::live::local_name().map(|n| format!(" on {n}")).unwrap_or_default();
            list.open().item(&format!("Last updated: {now}{on}"));
            let part = |name: &str, word: &str| {
                cluster.cib_attr(name).map(|v| format!("{word}{v}")).unwrap_or_default()
            };
            let change = part("cib-last-written", "")
                + &part("update-user", " by ")
                + &part("update-client", " via ")
                + &part("update-origin", " on ");
            list.open().item(&format!("Last change:  {change}"));
        }
        if report.has(Section::Counts) {
            let view = &cluster.view;
            let plural = |n: usize| if n == 1 { "" } else { "s" };
            let (nodes, instances) = (view.nodes.len(), view.instances);
            list.open().item(&format!("{nodes} node{} configured", plural(nodes)));
            let mut parts = Vec::new();
            if view.disabled > 0 {
                parts.push(format!("{} DISABLED", view.disabled));
            }
            if view.blocked > 0 {
                parts.push(format!("{} BLOCKED from further action due to failure", view.blocked));
            }
            let mut text =
                format!("{instances} resource instance{} configured", plural(instances as usize));
            if !parts.is_empty() {
                text.push_str(&format!(" ({})", parts.join(", ")));
            }
            list.open().item(&text);
        }
        if report.has(Section::Options) {
            for text in self.options() {
                list.open().item(&text);
            }
        }
        list.close();
        if report.has(Section::Maintenance) {
            if cluster.view.in_maintenance {
                out.print(
                    "\n              *** Resource management is DISABLED ***\n  The cluster will \
                     not attempt to start, stop or recover services\n",
                );
            } else if cluster.view.stop_all {
                out.print(
                    "\n    *** Resource management is DISABLED ***\n  The cluster will keep all \
                     resources stopped\n",
                );
            }
        }
    }

    fn options(&self) -> Vec<String> {
        let options = &self.cluster.model.options;
        let yes = |name: &str| options.flag(name);
        let mut out = Vec::new();
        out.push(format!(
            "Fencing of failed nodes {}",
            if yes("fencing-enabled") { "enabled" } else { "disabled" }
        ));
        out.push(format!(
            "Cluster is {}",
            if yes("symmetric-cluster") { "symmetric" } else { "asymmetric" }
        ));
        let policy = match options.get("no-quorum-policy").unwrap_or("stop") {
            "freeze" => "No quorum policy: Freeze resources",
            "ignore" => "No quorum policy: Ignore",
            "demote" => {
                "No quorum policy: Demote promotable resources and stop all other resources"
            }
            "fence" | "suicide" => "No quorum policy: Fence nodes in partition",
            _ => "No quorum policy: Stop ALL resources",
        };
        out.push(policy.into());
        out
    }

    fn nodes(&self, out: &mut Out) {
        let Sections { cluster, report } = self;
        let show = report.show;
        let shown: Vec<&NodeView> =
            cluster.view.nodes.iter().filter(|n| report.nodes.has_node(&n.name)).collect();
        if shown.is_empty() {
            return;
        }
        out.spacer();
        out.open("Node List");
        let mut lists: [(&str, Vec<String>); 5] =
            ["Online", "OFFLINE", "RemoteOnline", "RemoteOFFLINE", "GuestOnline"]
                .map(|name| (name, Vec::new()));
        for node in shown {
            let special = node.unclean
                || node.pending
                || (node.fail_standby && node.online)
                || node.standby
                || node.maintenance
                || show.by_node
                || show.detail
                || node.health <= 0;
            if special {
                self.node(node, out);
                continue;
            }
            let place = match (node.sort, node.online) {
                (NodeSort::Cluster, true) => 0,
                (NodeSort::Cluster, false) => 1,
                (NodeSort::Remote, true) => 2,
                (NodeSort::Remote, false) => 3,
                (NodeSort::Guest, true) => 4,
                (NodeSort::Guest, false) => continue,
            };
            lists[place].1.push(cluster.node_name(node, show.detail));
        }
        for (title, names) in lists.iter().filter(|(_, names)| !names.is_empty()) {
            out.item(&format!("{title}: [ {} ]", names.join(" ")));
        }
        out.close();
    }

    fn node(&self, node: &NodeView, out: &mut Out) {
        let Sections { cluster, report } = self;
        let show = report.show;
        let kind = match node.sort {
            NodeSort::Cluster => "Node",
            NodeSort::Remote => "RemoteNode",
            NodeSort::Guest => "GuestNode",
        };
        let name = cluster.node_name(node, show.detail);
        let mut text = format!("{kind} {name}: {}", cluster.node_status(node));
        match node.health {
            ..0 => text.push_str(" (health is RED)"),
            0 => text.push_str(" (health is YELLOW)"),
            _ => {}
        }
        if show.detail
            && let Some(set) = cluster.feature_set(node)
        {
            text.push_str(&format!(", feature set {set}"));
        }
        if !show.by_node {
            out.item(&text);
            return;
        }
        if show.brief {
            let mut list = node.running.clone();
            list.retain(|r| cluster.listed(*r, &report.resources));
            if !list.is_empty() {
                out.open(&text);
                out.open("Resources");
                let show = Show { rsc_only: true, inactive: false, ..show };
                cluster.print_brief(&list, show, out);
                out.close();
                out.close();
            }
        } else {
            out.open(&text);
            out.open("Resources");
            let show = Show { rsc_only: true, ..show };
            for rsc in &node.running {
                cluster.print_rsc(*rsc, show, &report.nodes, &report.resources, out);
            }
            out.close();
            out.close();
        }
    }

    /// A section whose entries belong to nodes: `body` prints what is below one.
    fn by_node<T>(
        &self,
        title: &str,
        list: impl Iterator<Item = (usize, T)>,
        body: impl Fn(&Self, T, &mut Out),
        out: &mut Out,
    ) {
        let mut open = false;
        for (at, entry) in list {
            if !open {
                open = true;
                out.spacer();
                out.open(title);
            }
            let _ = at;
            body(self, entry, out);
        }
        if open {
            out.close();
        }
    }

    fn attributes(&self, out: &mut Out) {
        let Sections { cluster, report } = self;
        let nodes = cluster.view.nodes.iter().enumerate().filter(|(_, n)| {
            n.online && report.nodes.has_node(&n.name) && !cluster.attributes(n).is_empty()
        });
        let body = |this: &Self, node: &NodeView, out: &mut Out| {
            out.open(&format!("Node: {}", cluster.node_name(node, this.report.show.detail)));
            for (name, value, expected) in cluster.attributes(node) {
                let mut text = format!("{name:32}\t: {value:10}");
                if let Some(expected) = expected {
                    let score = cib_model::scan_min_int(Some(value), i32::MIN);
                    if score <= 0 {
                        text.push_str("\t: Connectivity is lost");
                    } else if score < expected {
                        text.push_str(&format!(
                            "\t: Connectivity is degraded (Expected={expected})"
                        ));
                    }
                }
                out.item(&text);
            }
            out.close();
        };
        self.by_node("Node Attributes", nodes, body, out);
    }

    fn history(&self, out: &mut Out) {
        let Sections { cluster, report } = self;
        let operations = report.has(Section::Operations);
        let title = if operations { "Operations" } else { "Migration Summary" };
        let nodes = cluster
            .view
            .history
            .iter()
            .filter(|h| report.nodes.has_node(&cluster.node(h.node).name))
            .map(|h| (h.node, h));
        self.by_node(title, nodes, |this, h, out| this.node_history(h, operations, out), out);
    }

    fn node_history(&self, history: &NodeHistoryView, operations: bool, out: &mut Out) {
        let Sections { cluster, report } = self;
        let name = cluster.node_name(cluster.node(history.node), report.show.detail);
        let mut list = List::new(format!("Node: {name}"), out);
        for entry in &history.resources {
            if cluster.history_hidden(entry.rsc, &report.resources) {
                continue;
            }
            let rsc = cluster.rsc(entry.rsc);
            let id = if operations { &rsc.shown_id } else { &entry.id };
            let mut text = format!("{id}: migration-threshold={}", rsc.ban_after);
            if entry.fail_count > 0 {
                text.push_str(&format!(" fail-count={}", entry.fail_count));
            }
            if entry.last_failure > 0 {
                text.push_str(&format!(" last-failure='{}'", time_text(entry.last_failure)));
            }
            if !operations {
                if entry.fail_count > 0 {
                    list.open().item(&text);
                }
                continue;
            }
            let ops = shown_ops(entry);
            if !ops.is_empty() {
                let out = list.open();
                out.open(&text);
                for op in ops {
                    out.item(&op_text(op, report.show.timing));
                }
                out.close();
            }
        }
        list.close();
    }

    fn failures(&self, out: &mut Out) {
        let mut open = false;
        for failure in self.cluster.failures(self.report) {
            if !open {
                open = true;
                out.spacer();
                out.open("Failed Resource Actions");
            }
            let node = &self.cluster.node(failure.node).name;
            out.item(&if self.report.show.failed_detail || self.report.show.detail {
                technical(&failure.op, node)
            } else {
                friendly(&failure.op, node)
            });
        }
        if open {
            out.close();
        }
    }

    fn tickets(&self, out: &mut Out) {
        let tickets = self.cluster.tickets();
        if tickets.is_empty() {
            return;
        }
        out.spacer();
        out.open("Tickets");
        for (id, attrs) in tickets {
            let get = |name: &str| attrs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
            let granted = cib_model::is_true(get("granted"));
            let mut text = format!("{id}\t{}", if granted { "granted" } else { "revoked" });
            if cib_model::is_true(get("standby")) {
                text.push_str(" [standby]");
            }
            if let Some(at) = get("last-granted").and_then(|t| t.parse().ok()) {
                text.push_str(&format!(" last-granted=\"{}\"", time_text(at)));
            }
            out.item(&text);
        }
        out.close();
    }

    fn bans(&self, out: &mut Out) {
        let Sections { cluster, report } = self;
        let mut open = false;
        for ban in cluster.bans(report) {
            if !open {
                open = true;
                out.spacer();
                out.open("Negative Location Constraints");
            }
            let role = if ban.role == Role::Promoted { "in Promoted role " } else { "" };
            let node = cluster.node_name(cluster.node(ban.node), report.show.detail);
            let rsc = &cluster.rsc(ban.rsc).id;
            out.item(&format!("{}\tprevents {rsc} from running {role}on {node}", ban.id));
        }
        if open {
            out.close();
        }
    }
}

fn op_text(op: &HistoryOp, timing: bool) -> String {
    let mut text = format!("({}) {}", op.call_id, task(op));
    if op.interval_ms != 0 || timing {
        text.push(':');
    }
    if op.interval_ms != 0 {
        text.push_str(&format!(" interval=\"{}ms\"", op.interval_ms));
    }
    if timing {
        if let Some(at) = op.last_rc_change.filter(|at| *at > 0) {
            text.push_str(&format!(" last-rc-change=\"{}\"", time_text(at)));
        }
        let (exec, queue) = &op.timings;
        for (name, value) in [("exec-time", exec), ("queue-time", queue)] {
            if let Some(value) = value {
                text.push_str(&format!(" {name}=\"{value}ms\""));
            }
        }
        let rc = op.rc.unwrap_or(0);
        text.push_str(&format!(" rc={rc} ({})", exit_status_text(rc)));
    }
    text
}

fn friendly(op: &HistoryOp, node: &str) -> String {
    let key = op.key.as_deref().unwrap_or_default();
    let (rsc, name, interval) =
        cib_model::parse_op_key(key).unwrap_or(("unknown resource", "unknown action", 0));
    let mut text = format!("{rsc} ");
    if interval != 0 {
        text.push_str(&format!("{}-interval ", interval_text(interval)));
    }
    let name = if name == "monitor" && interval == 0 { "probe" } else { name };
    text.push_str(&format!("{name} on {node}"));
    let reason = op.exit_reason.as_deref().filter(|r| !r.is_empty());
    if op.status.unwrap_or(0) == 0 {
        text.push_str(&format!(" returned '{}'", exit_status_text(op.rc.unwrap_or(0))));
        if let Some(reason) = reason {
            text.push_str(&format!(" ({reason})"));
        }
    } else {
        text.push_str(&format!(" could not be executed ({}", status_text(op.status)));
        if let Some(reason) = reason {
            text.push_str(&format!(": {reason}"));
        }
        text.push(')');
    }
    if let Some(at) = op.last_rc_change {
        text.push_str(&format!(" at {}", time_text(at)));
    }
    let exec = op.timings.0.as_deref().and_then(|t| t.parse::<u32>().ok());
    if let Some(ms) = exec.filter(|ms| *ms > 0) {
        text.push_str(&format!(" after {}", interval_text(ms)));
    }
    text
}

fn technical(op: &HistoryOp, node: &str) -> String {
    let key = op.key.as_deref().unwrap_or("unknown operation");
    let rc = op.rc.unwrap_or(0);
    let mut text = format!(
        "{key} on {node} '{}' ({rc}): call={}, status='{}'",
        exit_status_text(rc),
        op.call_id,
        status_text(op.status)
    );
    if let Some(reason) = op.exit_reason.as_deref().filter(|r| !r.is_empty()) {
        text.push_str(&format!(", exitreason='{reason}'"));
    }
    if let Some(at) = op.last_rc_change {
        text.push_str(&format!(", last-rc-change='{}'", time_text(at)));
    }
    let (exec, queue) = &op.timings;
    for (name, value) in [("queued", queue), ("exec", exec)] {
        if let Some(value) = value.as_deref().filter(|v| !v.is_empty()) {
            text.push_str(&format!(", {name}={value}ms"));
        }
    }
    text
}
