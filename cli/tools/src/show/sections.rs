//! The sections of a status report as nested lists for people.

use cib_model::Role;
use crm_scheduler::overview::{NodeHistoryView, NodeSort, NodeView};

use super::ops::{friendly, op_text, shown_ops, technical};
use super::text::List;
use super::{Cluster, Report, Section, Show, time_text};
use crate::output::Out;

/// Prints sections with their titles.
pub(crate) struct Sections<'a> {
    cluster: &'a Cluster,
    report: &'a Report,
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
        let mut nodes = nodes.peekable();
        if nodes.peek().is_none() && report.nodes.is_all() {
            out.spacer();
            out.open(title);
            out.close();
        }
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
            let ops = shown_ops(&self.cluster.view, entry);
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
