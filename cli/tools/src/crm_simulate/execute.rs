//! Pretending to carry a transition out: every action succeeds, except those that are to fail.

use std::collections::BTreeSet;

use cib_model::INFINITY;
use crm_graph::{Action, ActionKind, Str, Transition};
use crm_scheduler::Plan;

use super::Session;
use super::inject::Spec;
use super::state::{Record, State};
use crate::output::Element;

/// What is kept while a transition is under way.
struct Run<'a> {
    transition: &'a Transition,
    /// Ids of resources of the transition that are called otherwise in the configuration.
    renamed: &'a BTreeSet<Str>,
    /// Nothing of a lower priority is started any more.
    abort_priority: i32,
    /// What is done, where that is to be shown as XML.
    xml: Option<Element>,
}

impl Run<'_> {
    /// Tells what is done, where that is shown as XML.
    fn show(&mut self, what: impl FnOnce() -> Element) {
        if let Some(xml) = &mut self.xml {
            xml.push(what());
        }
    }
}

impl Session<'_> {
    /// Carries the plan out. Says whether all of it, or what a failure left of it, was reached.
    pub(super) fn execute(&mut self, state: &mut State, plan: Plan) -> bool {
        let known = |id: &str| plan.has_resource(id);
        let resources = plan.transition.synapses.iter().filter_map(|s| s.action.resource.as_ref());
        let renamed = resources
            .filter(|r| !known(&r.id) && r.long_id.as_deref().is_some_and(known))
            .map(|r| r.id.clone())
            .collect();
        // Carrying it out needs the memory of what was planned with.
        let transition = &plan.into_transition();
        if !self.quiet {
            self.out.spacer();
            self.out.open("Executing Cluster Transition");
        }
        let mut run = Run {
            transition,
            renamed: &renamed,
            abort_priority: i32::MIN,
            xml: self.out.is_xml().then(|| Element::new("transition")),
        };
        let mut confirmed: BTreeSet<u32> = BTreeSet::new();
        let mut open: Vec<usize> = (0..transition.synapses.len()).collect();
        loop {
            let before = open.len();
            open.retain(|at| {
                let synapse = &transition.synapses[*at];
                let ready = synapse.priority >= run.abort_priority
                    && synapse.inputs.iter().all(|input| confirmed.contains(input));
                if ready && self.perform(state, &mut run, &synapse.action) {
                    confirmed.insert(synapse.action.id);
                }
                !ready
            });
            if open.is_empty() || open.len() == before {
                break;
            }
        }
        if !self.quiet {
            self.out.close();
            run.xml.into_iter().for_each(|xml| self.out.xml(xml));
        }
        open.is_empty() || run.abort_priority > i32::MIN
    }

    /// Carries one action out. Says whether it succeeded.
    fn perform(&mut self, state: &mut State, run: &mut Run<'_>, action: &Action) -> bool {
        let node = action.on_node.as_deref();
        let on = node.unwrap_or("");
        match action.kind {
            ActionKind::Pseudo => {
                let text = node.map_or(String::new(), |n| format!(" on {n}"));
                self.item(&format!("Pseudo action:   {}{text}", action.key));
                run.show(|| {
                    let element = Element::new("pseudo_action").attr("task", &action.key);
                    element.maybe("node", node)
                });
            }
            ActionKind::Cluster if &*action.operation == "stonith" => {
                let op = action.attribute("CRM_meta_stonith_action").unwrap_or("");
                self.item(&format!("Fencing {on} ({op})"));
                run.show(|| Element::new("fencing_action").attr("target", on).attr("op", op));
                if !op.eq_ignore_ascii_case("on") {
                    let entry = state.node(on, action.on_node_uuid.as_deref());
                    state.set_member(entry, false);
                    state.forget(entry);
                }
            }
            ActionKind::Cluster => {
                let what = &action.operation;
                let rsc = action.resource.as_ref().map(|r| &*r.id);
                let about = rsc.map_or(String::new(), |id| format!(" for {id}"));
                self.item(&format!("Cluster action:  {what}{about} on {on}"));
                run.show(|| {
                    let element = Element::new("cluster_action").attr("task", what);
                    element.attr("node", on).maybe("id", rsc)
                });
            }
            ActionKind::Resource => return self.operate(state, run, action),
        }
        true
    }

    fn operate(&mut self, state: &mut State, run: &mut Run<'_>, action: &Action) -> bool {
        let (Some(rsc), Some(node)) = (&action.resource, action.on_node.as_deref()) else {
            return true;
        };
        let long = rsc.long_id.as_ref().filter(|_| run.renamed.contains(&rsc.id));
        let name = long.unwrap_or(&rsc.id);
        let operation = &*action.operation;
        let recorded = !matches!(operation, "delete" | "meta-data");
        let interval_ms: u32 = action
            .attribute("CRM_meta_interval")
            .filter(|_| recorded)
            .and_then(|i| i.parse().ok())
            .unwrap_or(0);
        let each = if interval_ms > 0 { format!("={interval_ms}") } else { String::new() };
        self.item(&format!("Resource action: {name:<15} {operation}{each} on {node}"));
        run.show(|| {
            let element = Element::new("rsc_action").attr("resource", name).attr("op", operation);
            element.attr("node", node).maybe("interval", Some(interval_ms).filter(|ms| *ms > 0))
        });
        if !recorded {
            return true;
        }
        let id = match &action.router_node {
            Some(_) => node,
            None => action.on_node_uuid.as_deref().unwrap_or(node),
        };
        let entry = state.node(node, Some(id));
        let expected = action.attribute("CRM_meta_op_target_rc").and_then(cib_model::scan_int);
        let target_rc = expected.unwrap_or(0);
        let failure = self.failure_of(&[name, &rsc.id], operation, interval_ms, node);
        if let Some((who, rc)) = &failure {
            let id = action.id;
            if !self.quiet {
                self.out.line(&format!("Pretending action {id} failed with rc={rc}"));
            }
            run.abort_priority = INFINITY;
            let offset = match operation {
                "start" => run.transition.failed_start_offset.as_str(),
                "stop" => run.transition.failed_stop_offset.as_str(),
                _ => "",
            };
            let result = (*rc, offset == "INFINITY");
            let mut unseen = Element::new("transition");
            let xml = run.xml.as_mut().unwrap_or(&mut unseen);
            self.failure(state, entry, (who, operation, interval_ms), result, xml);
        }
        let meta = |name| action.attribute(name);
        let record = Record {
            resource: &rsc.id,
            operation,
            interval_ms,
            rc: failure.as_ref().map_or(target_rc, |(_, rc)| *rc),
            target_rc,
            reason: "User-injected result",
            node,
            notify: (
                meta("CRM_meta_notify_type").unwrap_or(""),
                meta("CRM_meta_notify_operation").unwrap_or(""),
            ),
            migration: (meta("CRM_meta_migrate_source"), meta("CRM_meta_migrate_target")),
            params: Some(digested(action, interval_ms)),
        };
        state.step(|doc| {
            let agent = (&*rsc.class, rsc.provider.as_deref(), &*rsc.agent);
            let history = State::history(doc, entry, &[name, &rsc.id], agent);
            State::record(doc, history, &record);
        });
        failure.is_none()
    }

    /// Under which name, and with what, an operation is to fail.
    fn failure_of(
        &mut self,
        names: &[&str],
        operation: &str,
        interval_ms: u32,
        node: &str,
    ) -> Option<(String, i64)> {
        for text in self.given.all("op-fail") {
            for name in names {
                let key = format!("{name}_{operation}_{interval_ms}@{node}=");
                let same = text.get(..key.len()).is_some_and(|t| t.eq_ignore_ascii_case(&key));
                if !same {
                    continue;
                }
                match Spec::parse(text) {
                    Ok(spec) => return Some((name.to_string(), spec.rc)),
                    Err(_) => self.out.error(&format!(
                        "Invalid failed operation '{text}' (result code must be integer)"
                    )),
                }
            }
        }
        None
    }
}

/// The parameters of an action that count for its digest: those of the resource, and the time-out
/// of what recurs.
fn digested(action: &Action, interval_ms: u32) -> Vec<(Str, Str)> {
    let own = |name: &str| {
        !name.starts_with("CRM_meta_") && name != "crm_feature_set"
            || (interval_ms > 0 && name == "CRM_meta_timeout")
    };
    let all = action.attributes.iter().chain(&action.params);
    all.filter(|(name, _)| own(name)).cloned().collect()
}
