//! A cluster's state, taken in by the scheduler, and which part of it is shown.

mod ops;
mod sections;
mod text;
mod xml;

use std::sync::Arc;

use cib_model::{Model, Role, Time};
use cib_store::StoreError;
use cib_xml::Doc;
use crm_scheduler::PlanFlags;
use crm_scheduler::overview::{NodeSort, NodeView, Overview, Present, RscView, overview};

use crate::cib::Cib;
use crate::dates::Date;

pub(crate) use ops::status_text;

/// A cluster at one moment.
pub(crate) struct Cluster {
    /// The CIB.
    pub doc: Arc<Doc>,
    /// The CIB as typed data.
    pub model: Arc<Model>,
    /// What is active where.
    pub view: Overview,
}

/// How resources and nodes are shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Show {
    /// What is not active.
    pub inactive: bool,
    /// Resources below their nodes.
    pub by_node: bool,
    /// Resources as numbers.
    pub brief: bool,
    /// Each instance, resources that the cluster made itself, ids, feature sets.
    pub detail: bool,
    /// Resources that the cluster made itself.
    pub implicit: bool,
    /// Notes for people.
    pub description: bool,
    /// How long operations took.
    pub timing: bool,
    /// Resources without nodes.
    pub rsc_only: bool,
    /// What is under way.
    pub pending: bool,
    /// Failures with all that was recorded.
    pub failed_detail: bool,
}

/// Names that something is limited to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter(Option<Vec<String>>);

impl Filter {
    pub(crate) fn all() -> Filter {
        Filter(None)
    }

    pub(crate) fn is_all(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.iter().any(|n| n == name))
    }

    pub(crate) fn has_node(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.iter().any(|n| n.eq_ignore_ascii_case(name)))
    }
}

/// The sections of a status report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Stack,
    Dc,
    Times,
    Counts,
    Options,
    Maintenance,
    Nodes,
    Resources,
    Attributes,
    Operations,
    FailCounts,
    Failures,
    FencingFailed,
    FencingPending,
    FencingDone,
    Tickets,
    Bans,
}

/// What a report consists of.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub sections: Vec<Section>,
    pub show: Show,
    pub nodes: Filter,
    pub resources: Filter,
    /// Only bans whose id starts so.
    pub bans: Option<String>,
}

impl Report {
    pub(crate) fn has(&self, section: Section) -> bool {
        self.sections.contains(&section)
    }
}

/// Bools as the XML results have them.
pub(crate) fn flag(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// A time for people.
pub(crate) fn time_text(seconds: i64) -> String {
    cib_model::ctime_text(seconds)
}

impl Cluster {
    /// Reads the CIB and takes it in.
    pub(crate) fn load(cib: &mut dyn Cib) -> Result<Cluster, StoreError> {
        Ok(Cluster::from_doc(cib.read()?))
    }

    /// Takes a CIB in.
    pub(crate) fn from_doc(doc: Doc) -> Cluster {
        let now = Time::from_epoch(Date::now().epoch());
        let doc = Arc::new(doc);
        let model = Arc::new(Model::from_doc(&doc, now));
        let view = overview(model.clone(), now);
        Cluster::new(doc, model, view)
    }

    /// Takes a CIB in as it is at a time, without regard to constraints; also for planning.
    pub(crate) fn present(doc: Arc<Doc>, now: Time, flags: PlanFlags) -> (Cluster, Present) {
        let model = Arc::new(Model::from_doc(&doc, now));
        let mut present = Present::new(model.clone(), now, flags);
        let view = present.overview();
        (Cluster::new(doc, model, view), present)
    }

    fn new(doc: Arc<Doc>, model: Arc<Model>, view: Overview) -> Cluster {
        for (_, text) in view.problems.iter().filter(|(error, _)| *error) {
            crate::log::error("unpack", "unpack", text);
        }
        Cluster { doc, model, view }
    }

    pub(crate) fn rsc(&self, ix: usize) -> &RscView {
        &self.view.resources[ix]
    }

    pub(crate) fn node(&self, ix: usize) -> &NodeView {
        &self.view.nodes[ix]
    }

    /// The resource at the top of what this is part of; a bundle counts only on request.
    pub(crate) fn top(&self, ix: usize, bundle: bool) -> usize {
        let mut at = ix;
        while let Some(parent) = self.rsc(at).parent {
            if !bundle && !self.rsc(parent).replicas.is_empty() {
                break;
            }
            at = parent;
        }
        at
    }

    /// The resource of this name: exact, as nodes name it, or without the number of the instance.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        let all = &self.view.resources;
        let exact = all.iter().position(|r| r.id.as_ref() == name);
        exact
            .or_else(|| all.iter().position(|r| r.shown_id.as_ref() == name || base(&r.id) == name))
    }

    /// Nodes that `--node` means: the one of this name, or those with this tag.
    pub(crate) fn node_filter(&self, name: Option<&str>) -> Filter {
        let Some(name) = name.filter(|n| *n != "*") else { return Filter::all() };
        if self.view.nodes.iter().any(|n| n.name.eq_ignore_ascii_case(name)) {
            return Filter(Some(vec![name.into()]));
        }
        let nodes = self.tagged(name);
        let by_id = nodes.iter().filter_map(|id| self.view.nodes.iter().find(|n| n.id == *id));
        Filter(Some(by_id.map(|n| n.name.to_string()).collect()))
    }

    /// Resources that `--resource` means: the one of this name, or those with this tag.
    pub(crate) fn rsc_filter(&self, name: Option<&str>) -> Filter {
        let Some(name) = name.filter(|n| *n != "*") else { return Filter::all() };
        if let Some(found) = self.find(name) {
            let rsc = self.rsc(found);
            let shown = if name.contains(':') { &rsc.id } else { &rsc.shown_id };
            return Filter(Some(vec![shown.to_string()]));
        }
        let ids = self.tagged(name);
        let found = ids.iter().filter_map(|id| self.find(id));
        Filter(Some(found.map(|r| self.rsc(r).shown_id.to_string()).collect()))
    }

    fn tagged(&self, tag: &str) -> Vec<cib_model::Str> {
        let found = self.model.tags.iter().find(|(name, _)| name.as_ref() == tag);
        found.map(|(_, members)| members.clone()).unwrap_or_default()
    }

    /// Whether the filter leaves the resource out.
    pub(crate) fn hidden(&self, ix: usize, only: &Filter, check_parent: bool) -> bool {
        use cib_model::ResourceKind::{Bundle, Clone, Group, Primitive};
        let rsc = self.rsc(ix);
        if only.has(&rsc.shown_id) {
            return false;
        }
        let below = || rsc.children.iter().all(|c| self.hidden(*c, only, false));
        match rsc.def.kind {
            Primitive => {
                if only.has(&rsc.id) {
                    return false;
                }
                match rsc.parent {
                    Some(_) if check_parent => self.hidden(self.top(ix, true), only, false),
                    _ => true,
                }
            }
            Group => {
                if check_parent && only.has(&self.rsc(self.top(ix, false)).shown_id) {
                    return false;
                }
                !(rsc.id.contains(':') && only.has(&rsc.id)) && below()
            }
            Clone => {
                let child = rsc.def.children.first();
                !child.is_some_and(|c| only.has(&c.id)) && below()
            }
            Bundle => rsc.replicas.iter().all(|r| {
                let parts = [r.ip, r.child, Some(r.container), r.remote];
                parts.into_iter().flatten().all(|p| self.hidden(p, only, false))
            }),
        }
    }

    /// Whether it is active on any of these nodes.
    pub(crate) fn runs_on(&self, ix: usize, only: &Filter) -> bool {
        self.rsc(ix).nodes.iter().any(|n| only.has_node(&self.node(*n).name))
    }

    /// Whether it is active, but only on other nodes.
    pub(crate) fn elsewhere(&self, ix: usize, only: &Filter) -> bool {
        self.rsc(ix).partly_active && !self.runs_on(ix, only)
    }

    /// Whether all of its parts are shown because it is named itself.
    pub(crate) fn whole(&self, ix: usize, only: &Filter) -> bool {
        let rsc = self.rsc(ix);
        only.has(&rsc.shown_id) || (rsc.id.contains(':') && only.has(&rsc.id))
    }

    /// Whether a member of a group is left out.
    pub(crate) fn skipped(
        &self,
        child: usize,
        parent_passes: bool,
        only: &Filter,
        show: Show,
    ) -> bool {
        let hidden = self.hidden(child, only, false);
        if !only.is_all() && !hidden {
            return false;
        }
        let visible = self.rsc(child).partly_active || show.inactive;
        !(visible && (!hidden || parent_passes))
    }

    pub(crate) fn role(&self, ix: usize) -> Role {
        let rsc = self.rsc(ix);
        if rsc.role == Role::Started && self.rsc(self.top(ix, false)).promotable {
            Role::Unpromoted
        } else {
            rsc.role
        }
    }

    /// What it does, in a word.
    pub(crate) fn state(&self, ix: usize, pending: bool) -> &'static str {
        match self.rsc(ix).pending.as_deref().filter(|_| pending) {
            Some("start") => "Starting",
            Some("stop") => "Stopping",
            Some("migrate_to" | "migrate_from") => "Migrating",
            Some("promote") => "Promoting",
            Some("demote") => "Demoting",
            _ => self.role(ix).text(),
        }
    }

    /// Class, provider and name of its agent.
    pub(crate) fn agent(&self, ix: usize, provider_by_class: bool) -> String {
        let def = &self.rsc(ix).def;
        let class = def.class.as_deref().unwrap_or("unknown");
        let kind = def.agent.as_deref().unwrap_or("unknown");
        let wanted = !provider_by_class || cib_model::capabilities(Some(class)).provider;
        match def.provider.as_deref().filter(|_| wanted) {
            Some(provider) => format!("{class}:{provider}:{kind}"),
            None => format!("{class}:{kind}"),
        }
    }

    /// The feature set of a node that runs the cluster's software.
    pub(crate) fn feature_set(&self, node: &NodeView) -> Option<String> {
        if !node.online || !node.expected_up || node.sort != NodeSort::Cluster {
            return None;
        }
        let attr = node.attrs.iter().find(|(name, _)| name.as_ref() == "#feature-set");
        Some(attr.map_or("<3.15.1".into(), |(_, value)| value.to_string()))
    }

    /// Whether nodes have different feature sets.
    pub(crate) fn mixed_version(&self) -> bool {
        let mut sets = self.view.nodes.iter().filter_map(|n| self.feature_set(n));
        let first = sets.next();
        sets.any(|s| Some(s) != first)
    }

    /// An attribute of the CIB.
    pub(crate) fn cib_attr(&self, name: &str) -> Option<&str> {
        self.doc.root().attr(name)
    }

    /// The fencing timeout and the like: raw values of options.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.model.options.get(name)
    }

    /// Attributes that are of interest to people, by name.
    pub(crate) fn attributes<'a>(
        &'a self,
        node: &'a NodeView,
    ) -> Vec<(&'a str, &'a str, Option<i32>)> {
        const HIDDEN: [&str; 6] =
            ["shutdown", "fail-count", "last-failure", "terminate", "standby", "#"];
        let shown = |name: &str| !HIDDEN.iter().any(|h| name.starts_with(h));
        let mut out: Vec<_> = node
            .attrs
            .iter()
            .filter(|(name, _)| shown(name))
            .map(|(name, value)| {
                let expected = node.expected.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
                (name.as_ref(), value.as_ref(), expected.map(|(_, score)| *score))
            })
            .collect();
        out.sort_unstable();
        out
    }

    /// Tickets with their attributes: those that have a state, and those of constraints.
    pub(crate) fn tickets(&self) -> Vec<(String, Vec<(String, String)>)> {
        let mut out: Vec<(String, Vec<(String, String)>)> = Vec::new();
        for ticket in &self.model.tickets {
            let attrs = ticket.attrs.iter().filter(|(n, _)| n.as_ref() != "id");
            let attrs = attrs.map(|(n, v)| (n.to_string(), v.to_string())).collect();
            out.push((ticket.id.to_string(), attrs));
        }
        let root = self.doc.root();
        let constraints = root.child("configuration").and_then(|c| c.child("constraints"));
        for constraint in constraints.iter().flat_map(|c| c.children_named("rsc_ticket")) {
            let Some(id) = constraint.attr("ticket") else { continue };
            if !out.iter().any(|(name, _)| name == id) {
                out.push((id.into(), Vec::new()));
            }
        }
        out.sort();
        out
    }
}

/// An id without the number of the instance.
pub(crate) fn base(id: &str) -> &str {
    cib_model::base_name(id)
}

/// A meta-attribute.
pub(crate) fn meta<'a>(rsc: &'a RscView, name: &str) -> Option<&'a str> {
    rsc.meta.iter().find(|(n, _)| n.as_ref() == name).map(|(_, value)| value.as_ref())
}

#[cfg(test)]
mod tests {
    use cib_xml::Doc;

    use super::{Cluster, Filter, Report, Section, Show};
    use crate::args::Given;
    use crate::output::Out;

    const CIB: &str = r#"<cib validate-with="pacemaker-4.0" have-quorum="1" dc-uuid="1">
<configuration><crm_config><cluster_property_set id="p">
<nvpair id="p-f" name="fencing-enabled" value="false"/></cluster_property_set></crm_config>
<nodes><node id="1" uname="a"/><node id="2" uname="b"/></nodes>
<resources>
<group id="g"><primitive id="g1" class="ocf" provider="pacemaker" type="Dummy"/>
<primitive id="g2" class="ocf" provider="pacemaker" type="Dummy"/></group>
<clone id="c"><primitive id="x" class="systemd" type="web"/></clone>
</resources><constraints>
<rsc_location id="not-b" rsc="g" node="b" score="-INFINITY"/></constraints></configuration>
<status>
<node_state id="1" uname="a" in_ccm="true" crmd="online" join="member" expected="member">
<lrm id="1"><lrm_resources>
<lrm_resource id="g1" class="ocf" provider="pacemaker" type="Dummy">
<lrm_rsc_op id="g1_last_0" operation_key="g1_start_0" operation="start" call-id="3" rc-code="0"
 op-status="0" interval="0" transition-magic="0:0;1:1:0:u" transition-key="1:1:0:u"/>
</lrm_resource>
<lrm_resource id="x" class="systemd" type="web">
<lrm_rsc_op id="x_last_0" operation_key="x_start_0" operation="start" call-id="4" rc-code="0"
 op-status="0" interval="0" transition-magic="0:0;2:1:0:u" transition-key="2:1:0:u"/>
</lrm_resource>
</lrm_resources></lrm></node_state>
</status></cib>"#;

    fn show(sections: &[Section], show: Show, node: Option<&str>) -> String {
        let cluster = Cluster::from_doc(Doc::parse(CIB).expect("the test is XML"));
        let report = Report {
            sections: sections.to_vec(),
            show,
            nodes: cluster.node_filter(node),
            resources: Filter::all(),
            bans: None,
        };
        let mut out = Out::new("crm_mon", &[], &Given::default()).expect("text");
        cluster.print(&report, &mut out);
        out.take()
    }

    #[test]
    fn resources_are_shown_with_their_parts() {
        let usual = Show { pending: true, ..Show::default() };
        let text = show(&[Section::Nodes, Section::Resources], usual, None);
        assert_eq!(
            text,
            "Node List:\n  * Online: [ a ]\n  * OFFLINE: [ b ]\n\nActive Resources:\n  * Resource \
             Group: g (1 member inactive):\n    * g1\t(ocf:pacemaker:Dummy):\t Started a\n  * \
             Clone Set: c [x]:\n    * Started: [ a ]\n"
        );
        let all = Show { inactive: true, ..usual };
        let text = show(&[Section::Resources], all, None);
        assert!(text.contains("    * g2\t(ocf:pacemaker:Dummy):\t Stopped\n"), "{text}");
        assert!(text.contains("    * Stopped: [ b ]\n"), "{text}");
    }

    #[test]
    fn nothing_runs_on_the_other_node() {
        let usual = Show { pending: true, ..Show::default() };
        let text = show(&[Section::Resources], usual, Some("b"));
        assert_eq!(text, "Active Resources:\n  * No active resources\n");
        let text = show(&[Section::Bans], usual, None);
        assert_eq!(
            text,
            "Negative Location Constraints:\n  * not-b\tprevents g from running on b\n"
        );
    }
}
