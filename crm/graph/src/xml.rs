//! The graph as XML: `<transition_graph>`.

use std::collections::BTreeMap;

use cib_xml::{Doc, NodeId};

use crate::{Action, ActionKind, Transition};

impl Transition {
    /// The graph as a document.
    pub fn to_doc(&self) -> Doc {
        let mut doc = Doc::new("transition_graph");
        let root = doc.root_id();
        doc.set_attr(root, "cluster-delay", &self.cluster_delay);
        doc.set_attr(root, "fencing-timeout", &self.fencing_timeout);
        doc.set_attr(root, "failed-stop-offset", &self.failed_stop_offset);
        doc.set_attr(root, "failed-start-offset", &self.failed_start_offset);
        doc.set_attr(root, "batch-limit", &self.batch_limit.to_string());
        doc.set_attr(root, "transition_id", &self.id.to_string());
        if let Some(limit) = self.migration_limit {
            doc.set_attr(root, "migration-limit", &limit.to_string());
        }
        if let Some(at) = self.recheck_by {
            doc.set_attr(root, "recheck-by", &at.to_string());
        }
        let planned = self.synapses.iter().map(|s| &s.action);
        let by_id: BTreeMap<u32, &Action> =
            planned.chain(&self.outside).map(|a| (a.id, a)).collect();
        for synapse in &self.synapses {
            let element = doc.append_element(root, "synapse");
            doc.set_attr(element, "id", &synapse.id.to_string());
            if synapse.priority > 0 {
                doc.set_attr(element, "priority", &synapse.priority.to_string());
            }
            let set = doc.append_element(element, "action_set");
            let inputs = doc.append_element(element, "inputs");
            let action = write_head(&mut doc, set, &synapse.action);
            write_details(&mut doc, action, &synapse.action);
            for input in &synapse.inputs {
                let trigger = doc.append_element(inputs, "trigger");
                if let Some(input) = by_id.get(input) {
                    write_head(&mut doc, trigger, input);
                }
            }
        }
        doc
    }
}

fn write_head(doc: &mut Doc, parent: NodeId, action: &Action) -> NodeId {
    let name = match action.kind {
        ActionKind::Resource => "rsc_op",
        ActionKind::Pseudo => "pseudo_event",
        ActionKind::Cluster => "crm_event",
    };
    let element = doc.append_element(parent, name);
    if *action.operation == *"lrm_delete" {
        doc.set_attr(element, "mode", "cib");
    }
    doc.set_attr(element, "id", &action.id.to_string());
    doc.set_attr(element, "operation", &action.operation);
    doc.set_attr(element, "operation_key", &action.key);
    let optional = [
        ("internal_operation_key", action.internal_key.as_deref()),
        ("on_node", action.on_node.as_deref()),
        ("on_node_uuid", action.on_node_uuid.as_deref()),
        ("router_node", action.router_node.as_deref()),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            doc.set_attr(element, name, value);
        }
    }
    element
}

fn write_details(doc: &mut Doc, element: NodeId, action: &Action) {
    if let Some(lock) = action.shutdown_lock {
        doc.set_attr(element, "shutdown-lock", &lock.to_string());
    }
    if let Some(resource) = &action.resource {
        let rsc = doc.append_element(element, "primitive");
        doc.set_attr(rsc, "id", &resource.id);
        if let Some(long) = &resource.long_id {
            doc.set_attr(rsc, "long-id", long);
        }
        if !resource.class.is_empty() {
            doc.set_attr(rsc, "class", &resource.class);
        }
        if let Some(provider) = &resource.provider {
            doc.set_attr(rsc, "provider", provider);
        }
        if !resource.agent.is_empty() {
            doc.set_attr(rsc, "type", &resource.agent);
        }
    }
    let attributes = doc.append_element(element, "attributes");
    for (name, value) in &action.attributes {
        doc.set_attr(attributes, name, value);
    }
    for (name, value) in &action.params {
        let param = doc.append_element(attributes, "param");
        doc.set_attr(param, "name", name);
        doc.set_attr(param, "value", value);
    }
    if !action.downed.is_empty() {
        let downed = doc.append_element(element, "downed");
        for id in &action.downed {
            let node = doc.append_element(downed, "node");
            doc.set_attr(node, "id", id);
        }
    }
    if !action.maintenance.is_empty() {
        let maintenance = doc.append_element(element, "maintenance");
        for (id, on) in &action.maintenance {
            let node = doc.append_element(maintenance, "node");
            doc.set_attr(node, "id", id);
            doc.set_attr(node, "node_in_maintenance", if *on { "1" } else { "0" });
        }
    }
}
