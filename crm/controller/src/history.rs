//! What one node's executor has done, in the form in which the CIB keeps it.
//!
//! Names and meaning of the attributes: Pacemaker Explained, "Status", "Operation history".

use std::collections::BTreeMap;

use cib_xml::{Doc, Style, quoted};
use crm_executor::{Agent, Operation, Status};
use serde::{Deserialize, Serialize};

use crate::agent::{Traits, operation_digest};
use crate::{CibWrite, WireReport};

/// `op-status` and `rc-code` of what has no result yet.
const PENDING: &str = "-1";
const UNKNOWN: &str = "193";

/// Marks a failure for which its node is not fenced; see `HistoryOp::is_fence_held` of the model.
const FENCE_HELD: &str = "fence-held";

/// Attributes of an entry with their values.
type Attributes = Vec<(String, String)>;

/// Everything that a node has done, by resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History(pub BTreeMap<String, ResourceHistory>);

/// What a node has done with one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceHistory {
    /// The agent that was called.
    pub agent: Agent,
    /// Attributes of each `lrm_rsc_op`, by its id.
    pub operations: BTreeMap<String, Vec<(String, String)>>,
}

impl History {
    /// Notes that an operation is about to begin; says whether it is one that is kept.
    pub(crate) fn begin(&mut self, node: &str, operation: &Operation, at_s: u64) -> bool {
        if !is_kept(operation) {
            return false;
        }
        let id = pending_id(operation);
        let attributes = pending(&id, node, operation, at_s);
        let entry = self.of(operation);
        entry.operations.insert(id, attributes);
        true
    }

    fn of(&mut self, operation: &Operation) -> &mut ResourceHistory {
        let new =
            || ResourceHistory { agent: operation.agent.clone(), operations: BTreeMap::new() };
        let entry = self.0.entry(operation.resource.clone()).or_insert_with(new);
        entry.agent.clone_from(&operation.agent);
        entry
    }

    /// Takes a result in; returns how the CIB is told, if it is worth telling.
    pub(crate) fn record(
        &mut self,
        node_id: &str,
        report: &WireReport,
        traits: Option<&Traits>,
    ) -> Vec<CibWrite> {
        let operation = &report.operation;
        if !is_kept(operation) {
            return Vec::new();
        }
        let entry = self.of(operation);
        let pending = pending_id(operation);
        let begun =
            |op: &mut Attributes| is_pending(op) && has(op, "transition-key", &operation.tag);
        let mut ended = entry.operations.get_mut(&pending).is_some_and(begun);
        if ended {
            entry.operations.remove(&pending);
        }
        let mut writes = Vec::new();
        // A cancelled operation says nothing about the resource.
        if report.outcome.status != Status::Cancelled {
            let prefix = format!("{}_monitor_", operation.resource);
            match operation.action.as_str() {
                // A stop makes the recurring results of before meaningless.
                "stop" if succeeded(report) => {
                    entry.operations.retain(|id, _| !id.starts_with(&prefix));
                }
                // The executor has ended the monitors: as the resource stays after all, the next plan
                // has to see that nothing monitors it.
                "migrate_to" if !succeeded(report) => {
                    let ended = entry.operations.extract_if(.., |id, _| id.starts_with(&prefix));
                    let ids: Vec<String> = ended.map(|(id, _)| id).collect();
                    let delete = |id| in_cib(node_id, &operation.resource, id);
                    writes.extend(ids.iter().map(|id| CibWrite::Delete(delete(id))));
                }
                _ => {}
            }
            let mut ids = vec![operation_id(operation)];
            if failed(report) {
                ids.push(format!("{}_last_failure_0", operation.resource));
            }
            ended &= !ids.contains(&pending);
            let mut told =
                ResourceHistory { agent: entry.agent.clone(), operations: BTreeMap::new() };
            for id in ids {
                let attributes = attributes(&id, report, traits);
                entry.operations.insert(id.clone(), attributes.clone());
                told.operations.insert(id, attributes);
            }
            let told = History(BTreeMap::from([(operation.resource.clone(), told)]));
            writes.push(CibWrite::Status(told.to_xml(node_id, &report.node)));
        }
        if ended {
            writes.push(CibWrite::Delete(in_cib(node_id, &operation.resource, &pending)));
        }
        writes
    }

    /// Forgets a resource, except what is under way; returns that.
    pub(crate) fn forget(&mut self, resource: &str) -> Option<History> {
        let mut entry = self.0.remove(resource)?;
        entry.operations.retain(|_, op| is_pending(op));
        if entry.operations.is_empty() {
            return None;
        }
        self.0.insert(resource.to_owned(), entry.clone());
        Some(History(BTreeMap::from([(resource.to_owned(), entry)])))
    }

    /// Marks what has failed of a resource as no reason to fence this node; returns how the CIB is
    /// told, if anything has.
    pub(crate) fn hold(
        &mut self,
        node_id: &str,
        node: &str,
        resource: &str,
        reason: &str,
    ) -> Vec<CibWrite> {
        let Some(entry) = self.0.get_mut(resource) else { return Vec::new() };
        let mut told = ResourceHistory { agent: entry.agent.clone(), operations: BTreeMap::new() };
        for (id, op) in &mut entry.operations {
            if is_failure(op) && !has(op, FENCE_HELD, "true") {
                for (_, value) in op.iter_mut().filter(|(name, _)| name == "exit-reason") {
                    let before = if value.is_empty() { "it failed" } else { value.as_str() };
                    *value = format!("{before}; {reason}");
                }
                op.push((FENCE_HELD.to_owned(), "true".to_owned()));
                told.operations.insert(id.clone(), op.clone());
            }
        }
        if told.operations.is_empty() {
            return Vec::new();
        }
        let told = History(BTreeMap::from([(resource.to_owned(), told)]));
        vec![CibWrite::Status(told.to_xml(node_id, node))]
    }

    /// Forgets a recurring operation; returns an expression that finds it in the CIB.
    pub fn remove_recurring(&mut self, node_id: &str, operation: &Operation) -> String {
        let id = operation_id(operation);
        if let Some(resource) = self.0.get_mut(&operation.resource) {
            resource.operations.remove(&id);
        }
        in_cib(node_id, &operation.resource, &id)
    }

    /// The `<node_state>` fragment with all of the history in it.
    pub fn to_xml(&self, node_id: &str, uname: &str) -> String {
        let mut doc = Doc::new("node_state");
        let root = doc.root_id();
        doc.set_attr(root, "id", node_id);
        doc.set_attr(root, "uname", uname);
        let lrm = doc.append_element(root, "lrm");
        doc.set_attr(lrm, "id", node_id);
        let resources = doc.append_element(lrm, "lrm_resources");
        for (id, resource) in &self.0 {
            let element = doc.append_element(resources, "lrm_resource");
            doc.set_attr(element, "id", id);
            doc.set_attr(element, "class", &resource.agent.class);
            if let Some(provider) = &resource.agent.provider {
                doc.set_attr(element, "provider", provider);
            }
            doc.set_attr(element, "type", &resource.agent.name);
            for attributes in resource.operations.values() {
                let op = doc.append_element(element, "lrm_rsc_op");
                for (name, value) in attributes {
                    doc.set_attr(op, name, value);
                }
            }
        }
        doc.root().to_xml(Style::Compact)
    }
}

/// Whether the result is what the transition key says was expected.
pub(crate) fn succeeded(report: &WireReport) -> bool {
    report.outcome.status == Status::Done
        && Tag::parse(&report.operation.tag).is_none_or(|tag| tag.target_rc == report.outcome.code)
}

fn failed(report: &WireReport) -> bool {
    // A probe that finds what was not expected is a finding, not a failure.
    let probe = report.operation.action == "monitor" && report.operation.interval_ms == 0;
    let finding = probe
        && report.outcome.status == Status::Done
        && matches!(report.outcome.code, 0 | 5 | 7 | 8);
    !finding && !succeeded(report)
}

/// Recurring operations and probes that failed have an entry each; of all others the last counts.
fn operation_id(operation: &Operation) -> String {
    if operation.interval_ms > 0 {
        format!("{}_{}_{}", operation.resource, operation.action, operation.interval_ms)
    } else {
        format!("{}_last_0", operation.resource)
    }
}

/// Where an operation is told of while it is under way: beside the last one that changed the
/// resource, from which its state before is known until it has become another.
fn pending_id(operation: &Operation) -> String {
    let Operation { resource, action, interval_ms, .. } = operation;
    match action.as_str() {
        "monitor" => operation_id(operation),
        _ => format!("{resource}_{action}_{interval_ms}"),
    }
}

fn is_kept(operation: &Operation) -> bool {
    !matches!(operation.action.as_str(), "notify" | "meta-data" | "validate-all")
}

fn has(op: &Attributes, name: &str, value: &str) -> bool {
    op.iter().any(|(n, v)| n == name && v == value)
}

fn is_pending(op: &Attributes) -> bool {
    has(op, "op-status", PENDING)
}

/// Whether it is not pending and did not end as expected.
fn is_failure(op: &Attributes) -> bool {
    let get = |name: &str| op.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str());
    let expected = Tag::parse(get("transition-key")).map_or(0, |tag| tag.target_rc);
    !is_pending(op) && (get("op-status") != "0" || get("rc-code") != expected.to_string())
}

/// An expression that finds the history of a resource.
pub(crate) fn resource_in_cib(node_id: &str, resource: &str) -> String {
    let (node_id, resource) = (quoted(node_id), quoted(resource));
    format!("/cib/status/node_state[@id={node_id}]/lrm/lrm_resources/lrm_resource[@id={resource}]")
}

fn in_cib(node_id: &str, resource: &str, id: &str) -> String {
    format!("{}/lrm_rsc_op[@id={}]", resource_in_cib(node_id, resource), quoted(id))
}

/// What is known of an operation before it has a result.
fn head(id: &str, node: &str, operation: &Operation) -> Attributes {
    let Operation { resource, action, interval_ms, tag, params, .. } = operation;
    let mut out: Attributes = Vec::with_capacity(20);
    let mut put = |name: &str, value: &str| out.push((name.to_owned(), value.to_owned()));
    put("id", id);
    put("operation_key", &format!("{resource}_{action}_{interval_ms}"));
    put("operation", action);
    put("crm-debug-origin", "controller");
    put("crm_feature_set", cib_model::FEATURE_SET);
    put("transition-key", tag);
    put("on_node", node);
    put("interval", &interval_ms.to_string());
    for name in ["migrate_source", "migrate_target"] {
        let meta = format!("CRM_meta_{name}");
        if let Some((_, value)) = params.iter().find(|p| p.0 == meta) {
            put(name, value);
        }
    }
    put("op-digest", &operation_digest(params, *interval_ms));
    out
}

fn pending(id: &str, node: &str, operation: &Operation, at_s: u64) -> Attributes {
    let mut out = head(id, node, operation);
    let mut put = |name: &str, value: String| out.push((name.to_owned(), value));
    put("transition-magic", format!("{PENDING}:{UNKNOWN};{}", operation.tag));
    put("exit-reason", String::new());
    put("call-id", "-1".to_owned());
    put("rc-code", UNKNOWN.to_owned());
    put("op-status", PENDING.to_owned());
    put("last-rc-change", at_s.to_string());
    put("exec-time", "0".to_owned());
    put("queue-time", "0".to_owned());
    out
}

fn attributes(id: &str, report: &WireReport, traits: Option<&Traits>) -> Attributes {
    let WireReport { node, operation, call, outcome, started_s, ran_ms, queued_ms } = report;
    let status = outcome.status.number();
    let mut out = head(id, node, operation);
    let mut lasting = operation.action.as_str();
    // After a reload the resource is as after a start with the new parameters.
    if lasting == "reload-agent" {
        lasting = if succeeded(report) { "start" } else { "monitor" };
        for (name, value) in &mut out {
            match name.as_str() {
                "operation" => *value = lasting.to_owned(),
                "operation_key" => *value = format!("{}_{lasting}_0", operation.resource),
                _ => {}
            }
        }
    }
    if matches!(lasting, "start" | "monitor" | "promote" | "demote" | "migrate_from")
        && let Some(traits) = traits
    {
        out.extend(traits.digests(&operation.params, operation.interval_ms));
    }
    let mut put = |name: &str, value: String| out.push((name.to_owned(), value));
    put("transition-magic", format!("{status}:{};{}", outcome.code, operation.tag));
    put("exit-reason", outcome.reason.clone());
    put("call-id", call.to_string());
    put("rc-code", outcome.code.to_string());
    put("op-status", status.to_string());
    put("last-rc-change", started_s.to_string());
    put("exec-time", ran_ms.to_string());
    put("queue-time", queued_ms.to_string());
    out
}

/// A transition key: `ACTION:TRANSITION:EXPECTED-CODE:DC-UUID`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) action: u32,
    pub(crate) transition: u32,
    pub(crate) target_rc: i32,
    pub(crate) uuid: String,
}

impl Tag {
    pub(crate) fn parse(text: &str) -> Option<Tag> {
        let mut parts = text.splitn(4, ':');
        Some(Tag {
            action: parts.next()?.parse().ok()?,
            transition: parts.next()?.parse().ok()?,
            target_rc: parts.next()?.parse().ok()?,
            uuid: parts.next()?.to_owned(),
        })
    }
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}:{}", self.action, self.transition, self.target_rc, self.uuid)
    }
}
