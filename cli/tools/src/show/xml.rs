//! State as XML for programs.

use cib_model::{ResourceKind, Role, exit_status_text};
use crm_scheduler::overview::{NodeHistoryView, NodeSort, NodeView};

use super::ops::{shown_ops, status_text, task};
use super::{Cluster, Filter, Report, Section, Show, flag, meta, time_text};
use crate::output::Element;

impl Cluster {
    /// Adds a report to the XML result.
    pub(crate) fn to_xml(&self, report: &Report) -> Vec<Element> {
        let mut out = Vec::new();
        let summary = self.summary_xml(report);
        if !summary.is_empty() {
            out.push(summary);
        }
        let show = Show { brief: false, ..report.show };
        if report.has(Section::Nodes) {
            out.push(self.nodes_xml(report, show));
        }
        if report.has(Section::Resources)
            && let Some(list) = self.resources_xml(show, &report.nodes, &report.resources)
        {
            out.push(list);
        }
        if report.has(Section::Attributes) {
            let list = self.attributes_xml(report);
            if !list.is_empty() {
                out.push(list);
            }
        }
        if report.has(Section::Operations) || report.has(Section::FailCounts) {
            self.history_xml(report).into_iter().for_each(|e| out.push(e));
        }
        for (section, list) in [
            (Section::Failures, self.failures_xml(report)),
            (Section::Tickets, self.tickets_xml()),
            (Section::Bans, self.bans_xml(report)),
        ] {
            if report.has(section) && !list.is_empty() {
                out.push(list);
            }
        }
        out
    }

    fn summary_xml(&self, report: &Report) -> Element {
        let mut out = Element::new("summary");
        let options = &self.model.options;
        if report.has(Section::Stack) {
            let stack = options.raw("cluster-infrastructure").unwrap_or("unknown");
            out.push(Element::new("stack").attr("type", stack));
        }
        if report.has(Section::Dc) || self.view.dc.is_none() {
            out.push(match self.view.dc {
                None => Element::new("current_dc").attr("present", "false"),
                Some(dc) => {
                    let quorum = cib_model::is_true(self.cib_attr("have-quorum"));
                    Element::new("current_dc")
                        .attr("present", "true")
                        .attr("version", options.raw("dc-version").unwrap_or(""))
                        .attr("name", &self.node(dc).name)
                        .attr("id", &self.node(dc).id)
                        .attr("with_quorum", flag(quorum))
                        .attr("mixed_version", flag(self.mixed_version()))
                }
            });
        }
        if report.has(Section::Times) {
            let now = time_text(crate::dates::Date::now().epoch());
            let update = Element::new("last_update").attr("time", now);
            out.push(update.maybe("origin", crate::live::local_name()));
            let get = |name: &str| self.cib_attr(name).unwrap_or("").to_string();
            out.push(
                Element::new("last_change")
                    .attr("time", get("cib-last-written"))
                    .attr("user", get("update-user"))
                    .attr("client", get("update-client"))
                    .attr("origin", get("update-origin")),
            );
        }
        if report.has(Section::Counts) {
            let nodes = Element::new("nodes_configured");
            out.push(nodes.attr("number", self.view.nodes.len()));
            out.push(
                Element::new("resources_configured")
                    .attr("number", self.view.instances)
                    .attr("disabled", self.view.disabled)
                    .attr("blocked", self.view.blocked),
            );
        }
        if report.has(Section::Options) {
            let fencing = flag(options.flag("fencing-enabled"));
            let timeout = options.duration_ms("fencing-timeout");
            let policy = match options.get("no-quorum-policy").unwrap_or("stop") {
                "suicide" => "fence",
                other => other,
            };
            out.push(
                Element::new("cluster_options")
                    .attr("fencing-enabled", fencing)
                    .attr("fencing-timeout-ms", timeout)
                    .attr("symmetric-cluster", flag(options.flag("symmetric-cluster")))
                    .attr("no-quorum-policy", policy)
                    .attr("maintenance-mode", flag(self.view.in_maintenance))
                    .attr("stop-all-resources", flag(self.view.stop_all))
                    .attr(
                        "priority-fencing-delay-ms",
                        options.duration_ms("priority-fencing-delay"),
                    )
                    .attr("stonith-enabled", fencing)
                    .attr("stonith-timeout-ms", timeout),
            );
        }
        out
    }

    fn nodes_xml(&self, report: &Report, show: Show) -> Element {
        let mut out = Element::new("nodes");
        for node in self.view.nodes.iter().filter(|n| report.nodes.has_node(&n.name)) {
            let mut element = self.node_xml(node);
            if show.by_node {
                let show = Show { rsc_only: true, ..show };
                for rsc in &node.running {
                    let found = self.rsc_xml(*rsc, show, &report.nodes, &report.resources);
                    found.into_iter().for_each(|e| element.push(e));
                }
            }
            out.push(element);
        }
        out
    }

    fn node_xml(&self, node: &NodeView) -> Element {
        let health = match node.health {
            ..0 => "red",
            0 => "yellow",
            _ => "green",
        };
        let is_dc = self.view.dc.is_some_and(|dc| self.node(dc).id == node.id);
        let launcher = node.launcher.filter(|_| node.sort == NodeSort::Guest);
        Element::new("node")
            .attr("name", &node.name)
            .attr("id", &node.id)
            .attr("online", flag(node.online))
            .attr("standby", flag(node.standby))
            .attr("standby_onfail", flag(node.fail_standby))
            .attr("maintenance", flag(node.maintenance))
            .attr("pending", flag(node.pending))
            .attr("unclean", flag(node.unclean))
            .attr("health", health)
            .maybe("feature_set", self.feature_set(node))
            .attr("shutdown", flag(node.shutdown))
            .attr("expected_up", flag(node.expected_up))
            .attr("is_dc", flag(is_dc))
            .attr("resources_running", node.running.len())
            .attr("type", if node.sort == NodeSort::Cluster { "member" } else { "remote" })
            .maybe("id_as_resource", launcher.map(|l| self.rsc(l).id.to_string()))
    }

    /// All resources that are to be shown; `None` if nothing can be said.
    pub(crate) fn resources_xml(
        &self,
        show: Show,
        nodes: &Filter,
        only: &Filter,
    ) -> Option<Element> {
        if show.by_node && !show.inactive {
            return None;
        }
        let mut out = Element::new("resources");
        let mut any = false;
        for ix in &self.view.top {
            let rsc = self.rsc(*ix);
            let skip = if rsc.removed && !rsc.active {
                true
            } else if show.by_node {
                rsc.active
            } else if !rsc.partly_active {
                !show.inactive
            } else {
                !self.runs_on(*ix, nodes)
            };
            if !skip {
                any = true;
                if let Some(element) = self.rsc_xml(*ix, show, nodes, only) {
                    out.push(element);
                }
            }
        }
        any.then_some(out)
    }

    /// A resource with its parts.
    pub(crate) fn rsc_xml(
        &self,
        ix: usize,
        show: Show,
        nodes: &Filter,
        only: &Filter,
    ) -> Option<Element> {
        if self.hidden(ix, only, true) {
            return None;
        }
        let rsc = self.rsc(ix);
        let note = self.description(ix, show);
        match rsc.def.kind {
            ResourceKind::Primitive => Some(self.primitive_xml(ix, show)),
            ResourceKind::Group => {
                let whole = self.whole(ix, only);
                let shown = |c: &usize| !self.skipped(*c, whole, only, show);
                let first = rsc.children.iter().position(shown)?;
                let mut out = Element::new("group")
                    .attr("id", &rsc.id)
                    .attr("number_resources", rsc.children.len() - first)
                    .attr("maintenance", flag(rsc.maintenance))
                    .attr("managed", flag(rsc.managed))
                    .attr("disabled", flag(rsc.disabled))
                    .maybe("description", note);
                for child in rsc.children.iter().filter(|c| shown(c)) {
                    let found = self.rsc_xml(*child, show, nodes, only);
                    found.into_iter().for_each(|e| out.push(e));
                }
                Some(out)
            }
            ResourceKind::Clone => {
                let whole = self.whole(ix, only);
                let target = meta(rsc, "target-role");
                let mut out = Element::new("clone")
                    .attr("id", &rsc.id)
                    .attr("multi_state", flag(rsc.promotable))
                    .attr("unique", flag(rsc.unique))
                    .attr("maintenance", flag(rsc.maintenance))
                    .attr("managed", flag(rsc.managed))
                    .attr("disabled", flag(rsc.disabled))
                    .attr("failed", flag(rsc.failed))
                    .attr("failure_ignored", flag(rsc.failure_ignored))
                    .maybe("target_role", target)
                    .maybe("description", note);
                let mut any = false;
                for child in rsc.children.iter().copied() {
                    if !self.elsewhere(child, nodes) && !self.hidden(child, only, whole) {
                        any = true;
                        let found = self.rsc_xml(child, show, nodes, &Filter::all());
                        found.into_iter().for_each(|e| out.push(e));
                    }
                }
                any.then_some(out)
            }
            ResourceKind::Bundle => self.bundle_xml(ix, show, nodes, only),
        }
    }

    fn bundle_xml(&self, ix: usize, show: Show, nodes: &Filter, only: &Filter) -> Option<Element> {
        let rsc = self.rsc(ix);
        let note = self.description(ix, show);
        let whole = only.has(&rsc.id);
        let bundle = rsc.def.bundle.as_ref();
        let mut out = Element::new("bundle")
            .attr("id", &rsc.id)
            .attr("type", bundle.map_or("", |b| b.agent))
            .maybe("image", bundle.and_then(|b| b.image.as_ref()))
            .attr("unique", flag(rsc.unique))
            .attr("maintenance", flag(rsc.maintenance))
            .attr("managed", flag(rsc.managed))
            .attr("failed", flag(rsc.failed))
            .maybe("description", note);
        let mut any = false;
        for replica in &rsc.replicas {
            if self.elsewhere(replica.container, nodes) {
                continue;
            }
            let parts = [replica.ip, replica.child, Some(replica.container), replica.remote];
            let parts: Vec<usize> =
                parts.into_iter().flatten().filter(|p| !self.hidden(*p, only, whole)).collect();
            if !whole && parts.is_empty() {
                continue;
            }
            any = true;
            let mut element = Element::new("replica").attr("id", replica.offset);
            for part in parts {
                let found = self.rsc_xml(part, show, nodes, only);
                found.into_iter().for_each(|e| element.push(e));
            }
            out.push(element);
        }
        any.then_some(out)
    }

    fn primitive_xml(&self, ix: usize, show: Show) -> Element {
        let rsc = self.rsc(ix);
        let note = self.description(ix, show);
        let pending = show.pending && rsc.pending.as_deref() == Some("monitor");
        let locked = rsc.locked_to.map(|n| self.node(n).name.to_string());
        let mut out = Element::new("resource")
            .attr("id", &rsc.shown_id)
            .attr("resource_agent", self.agent(ix, false))
            .attr("role", self.state(ix, show.pending))
            .maybe("target_role", meta(rsc, "target-role"))
            .attr("active", flag(rsc.active))
            .attr("orphaned", flag(rsc.removed))
            .attr("removed", flag(rsc.removed))
            .attr("blocked", flag(rsc.blocked))
            .attr("maintenance", flag(rsc.maintenance))
            .attr("managed", flag(rsc.managed))
            .attr("failed", flag(rsc.failed))
            .attr("failure_ignored", flag(rsc.failure_ignored))
            .attr("nodes_running_on", rsc.nodes.len())
            .maybe("pending", pending.then_some("Monitoring"))
            .maybe("locked_to", locked)
            .maybe("description", note);
        for node in rsc.nodes.iter().map(|n| self.node(*n)) {
            out.push(
                Element::new("node")
                    .attr("name", &node.name)
                    .attr("id", &node.id)
                    .attr("cached", flag(node.online)),
            );
        }
        out
    }

    fn attributes_xml(&self, report: &Report) -> Element {
        let mut out = Element::new("node_attributes");
        for node in self.view.nodes.iter().filter(|n| n.online) {
            let attrs = self.attributes(node);
            if attrs.is_empty() || !report.nodes.has_node(&node.name) {
                continue;
            }
            let mut element = Element::new("node").attr("name", &node.name);
            for (name, value, expected) in attrs {
                let attr = Element::new("attribute").attr("name", name).attr("value", value);
                element.push(attr.maybe("expected", expected));
            }
            out.push(element);
        }
        out
    }

    /// What was done on the nodes that are asked for; `None` if none of them is there.
    fn history_xml(&self, report: &Report) -> Option<Element> {
        let operations = report.has(Section::Operations);
        let asked_for = |h: &&NodeHistoryView| report.nodes.has_node(&self.node(h.node).name);
        let mut histories = self.view.history.iter().filter(asked_for).peekable();
        if histories.peek().is_none() && !report.nodes.is_all() {
            return None;
        }
        let mut out = Element::new("node_history");
        for history in histories {
            let name = &self.node(history.node).name;
            let mut element = Element::new("node").attr("name", name);
            for entry in &history.resources {
                let ops = shown_ops(&self.view, entry);
                let empty = if operations { ops.is_empty() } else { entry.fail_count <= 0 };
                if empty || self.history_hidden(entry.rsc, &report.resources) {
                    continue;
                }
                let rsc = self.rsc(entry.rsc);
                let id = if operations { &rsc.shown_id } else { &entry.id };
                let failures = Some(entry.fail_count).filter(|n| *n > 0);
                let last = Some(entry.last_failure).filter(|t| *t > 0).map(time_text);
                let mut resource = Element::new("resource_history")
                    .attr("id", id)
                    .attr("orphan", "false")
                    .attr("removed", "false")
                    .attr("migration-threshold", rsc.ban_after)
                    .maybe("fail-count", failures)
                    .maybe("last-failure", last);
                for op in ops.into_iter().filter(|_| operations) {
                    let rc = op.rc.unwrap_or(0);
                    let interval = (op.interval_ms != 0).then(|| format!("{}ms", op.interval_ms));
                    let mut each = Element::new("operation_history")
                        .attr("call", op.call_id)
                        .attr("task", task(op))
                        .attr("rc", rc)
                        .attr("rc_text", exit_status_text(rc))
                        .maybe("interval", interval);
                    if report.show.timing {
                        let ms = |t: Option<&str>| t.map(|t| format!("{t}ms"));
                        each = each
                            .maybe(
                                "last-rc-change",
                                op.last_rc_change().filter(|t| *t > 0).map(time_text),
                            )
                            .maybe("exec-time", ms(op.exec_time()))
                            .maybe("queue-time", ms(op.queue_time()));
                    }
                    resource.push(each);
                }
                element.push(resource);
            }
            if !element.is_empty() {
                out.push(element);
            }
        }
        Some(out)
    }

    fn failures_xml(&self, report: &Report) -> Element {
        let mut out = Element::new("failures");
        for failure in self.failures(report) {
            let op = &failure.op;
            let rc = op.rc.unwrap_or(0);
            let named = if op.key() == op.id() { "id" } else { "op_key" };
            let mut element = Element::new("failure")
                .maybe(named, op.key().as_ref())
                .attr("node", &self.node(failure.node).name)
                .attr("exitstatus", exit_status_text(rc))
                .attr("exitreason", op.exit_reason().unwrap_or("none"))
                .attr("exitcode", rc)
                .attr("call", op.call_id)
                .attr("status", status_text(op.status));
            if let Some(at) = op.last_rc_change().filter(|t| *t > 0) {
                element = element
                    .attr("last-rc-change", crate::dates::Date::from_epoch(at).text(true))
                    .maybe("queued", op.queue_time())
                    .maybe("exec", op.exec_time())
                    .attr("interval", op.interval_ms)
                    .maybe("task", op.operation().as_ref());
            }
            out.push(element);
        }
        out
    }

    fn tickets_xml(&self) -> Element {
        let mut out = Element::new("tickets");
        for (id, attrs) in self.tickets() {
            let get = |name: &str| attrs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
            let granted = cib_model::is_true(get("granted"));
            let last = get("last-granted").and_then(|t| t.parse().ok()).map(time_text);
            let mut element = Element::new("ticket")
                .attr("id", id)
                .attr("status", if granted { "granted" } else { "revoked" })
                .attr("standby", flag(cib_model::is_true(get("standby"))))
                .maybe("last-granted", last);
            for (name, value) in &attrs {
                if !matches!(name.as_str(), "last-granted" | "expires" | "standby") {
                    element = element.attr(name, value);
                }
            }
            out.push(element);
        }
        out
    }

    fn bans_xml(&self, report: &Report) -> Element {
        let mut out = Element::new("bans");
        for ban in self.bans(report) {
            let promoted = flag(ban.role == Role::Promoted);
            out.push(
                Element::new("ban")
                    .attr("id", &ban.id)
                    .attr("resource", &self.rsc(ban.rsc).id)
                    .attr("node", &self.node(ban.node).name)
                    .attr("weight", ban.score)
                    .attr("promoted-only", promoted)
                    .attr("master_only", promoted),
            );
        }
        out
    }
}
