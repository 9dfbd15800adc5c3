//! A CIB that a simulation changes, with the versions that a running cluster would count.

use std::sync::Arc;

use cib_store::Version;
use cib_xml::{Doc, Node, NodeId, patch};

use crate::crm_resource::hash;

/// The CIB.
pub(super) struct State {
    pub(super) doc: Arc<Doc>,
    /// Whether nodes that come up are also added to the configuration.
    pub(super) add_nodes: bool,
}

/// A result to be recorded.
pub(super) struct Record<'a> {
    /// The resource, as its nodes call it.
    pub(super) resource: &'a str,
    pub(super) operation: &'a str,
    pub(super) interval_ms: u32,
    /// What the agent returned, and what was expected.
    pub(super) rc: i64,
    pub(super) target_rc: i64,
    /// Why it failed, if it did.
    pub(super) reason: &'a str,
    pub(super) node: &'a str,
    /// Type and operation of a notification.
    pub(super) notify: (&'a str, &'a str),
    /// Source and target of a migration.
    pub(super) migration: (Option<&'a str>, Option<&'a str>),
    /// Parameters that the agent was called with, if they are known.
    pub(super) params: Option<Vec<(crm_graph::Str, crm_graph::Str)>>,
}

fn find(doc: &Doc, parent: NodeId, test: impl Fn(Node<'_>) -> bool) -> Option<NodeId> {
    doc.node(parent).children().find(|c| test(*c)).map(Node::id)
}

/// The child of this name, made if there is none.
fn child(doc: &mut Doc, parent: NodeId, name: &str) -> NodeId {
    match find(doc, parent, |c| c.name() == name) {
        Some(found) => found,
        None => doc.append_element(parent, name),
    }
}

/// As [`child`], with an id if it is made.
fn child_with_id(doc: &mut Doc, parent: NodeId, name: &str, id: &str) -> NodeId {
    match find(doc, parent, |c| c.name() == name) {
        Some(found) => found,
        None => {
            let made = doc.append_element(parent, name);
            doc.set_attr(made, "id", id);
            made
        }
    }
}

impl State {
    /// Makes one change, and counts it.
    pub(super) fn step<T>(&mut self, change: impl FnOnce(&mut Doc) -> T) -> T {
        let doc = Arc::make_mut(&mut self.doc);
        doc.begin();
        let result = change(doc);
        if let Some(config) = patch::pending_change(doc) {
            let version = Version::of(doc);
            let next = match config {
                true => Version { epoch: version.epoch + 1, num_updates: 0, ..version },
                false => Version { num_updates: version.num_updates + 1, ..version },
            };
            next.write(doc);
        }
        doc.commit();
        result
    }

    /// The id that the configuration has for a node of this name.
    fn node_id(&self, name: &str) -> Option<String> {
        let nodes = self.doc.root().child("configuration")?.child("nodes")?;
        let node = nodes.children_named("node").find(|n| n.attr("uname") == Some(name))?;
        node.attr("id").map(str::to_string)
    }

    /// The state entry of a node, made if there is none.
    pub(super) fn node(&mut self, name: &str, id: Option<&str>) -> NodeId {
        if self.add_nodes && self.node_id(name).is_none() {
            self.step(|doc| {
                let root = doc.root_id();
                let configuration = child(doc, root, "configuration");
                let nodes = child(doc, configuration, "nodes");
                let made = doc.append_element(nodes, "node");
                doc.set_attr(made, "id", name);
                doc.set_attr(made, "uname", name);
            });
        }
        let id = id.map(str::to_string).or_else(|| self.node_id(name));
        let id = id.unwrap_or_else(|| name.to_string());
        self.step(|doc| {
            let root = doc.root_id();
            let status = child(doc, root, "status");
            let is = |attr: &'static str, value: &str| {
                let value = value.to_string();
                move |c: Node<'_>| c.name() == "node_state" && c.attr(attr) == Some(&value)
            };
            if let Some(found) = find(doc, status, is("uname", name)) {
                return found;
            }
            let state = match find(doc, status, is("id", &id)) {
                Some(found) => found,
                None => {
                    let made = doc.append_element(status, "node_state");
                    doc.set_attr(made, "id", &id);
                    made
                }
            };
            doc.set_attr(state, "uname", name);
            state
        })
    }

    /// Writes whether a node is a member.
    pub(super) fn set_member(&mut self, state: NodeId, up: bool) {
        let values = if up {
            [("in_ccm", "true"), ("crmd", "online"), ("join", "member"), ("expected", "member")]
        } else {
            [("in_ccm", "false"), ("crmd", "offline"), ("join", "down"), ("expected", "down")]
        };
        self.step(|doc| {
            values.iter().for_each(|(name, value)| doc.set_attr(state, name, value));
            doc.set_attr(state, "crm-debug-origin", "crm_simulate");
        });
    }

    /// Forgets what was recorded about a node.
    pub(super) fn forget(&mut self, state: NodeId) {
        for name in ["lrm", "transient_attributes"] {
            self.step(|doc| {
                while let Some(found) = find(doc, state, |c| c.name() == name) {
                    doc.detach(found);
                }
            });
        }
    }

    /// Sets a transient attribute of a node.
    pub(super) fn set_attribute(doc: &mut Doc, state: NodeId, name: &str, value: &str) {
        let id = doc.node(state).attr("id").unwrap_or_default().to_string();
        let all = child_with_id(doc, state, "transient_attributes", &id);
        let block = child_with_id(doc, all, "instance_attributes", &format!("status-{id}"));
        let pair = match find(doc, block, |c| c.attr("name") == Some(name)) {
            Some(found) => found,
            None => {
                let parent = doc.node(block).attr("id").unwrap_or_default();
                let made_of = format!("{parent}-{name}");
                let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
                let pair_id = made_of.replace(|c| !allowed(c), ".");
                let made = doc.append_element(block, "nvpair");
                doc.set_attr(made, "id", &pair_id);
                doc.set_attr(made, "name", name);
                made
            }
        };
        doc.set_attr(pair, "value", value);
    }

    /// A transient attribute of a node.
    pub(super) fn attribute(doc: &Doc, state: NodeId, name: &str) -> Option<String> {
        let blocks = doc.node(state).child("transient_attributes")?;
        let mut pairs = blocks.descendants().filter(|n| n.name() == "nvpair");
        let pair = pairs.find(|p| p.attr("name") == Some(name))?;
        pair.attr("value").map(str::to_string)
    }

    /// The history of a resource on a node: what is there under any of `names`, else a new one under
    /// the last of them. The agent is class, provider and type.
    pub(super) fn history(
        doc: &mut Doc,
        state: NodeId,
        names: &[&str],
        agent: (&str, Option<&str>, &str),
    ) -> NodeId {
        let id = doc.node(state).attr("id").unwrap_or_default().to_string();
        let lrm = child_with_id(doc, state, "lrm", &id);
        let list = child(doc, lrm, "lrm_resources");
        for name in names {
            let own = |c: Node<'_>| c.name() == "lrm_resource" && c.attr("id") == Some(name);
            if let Some(found) = find(doc, list, own) {
                return found;
            }
        }
        let entry = doc.append_element(list, "lrm_resource");
        doc.set_attr(entry, "id", names.last().unwrap_or(&""));
        doc.set_attr(entry, "class", agent.0);
        if let Some(provider) = agent.1 {
            doc.set_attr(entry, "provider", provider);
        }
        doc.set_attr(entry, "type", agent.2);
        entry
    }

    /// Writes a result into a history.
    pub(super) fn record(doc: &mut Doc, history: NodeId, record: &Record<'_>) {
        let Record { resource, interval_ms, target_rc, .. } = record;
        // Reloading brings a resource to where a start would have.
        let task = match record.operation {
            "reload" | "reload-agent" => "start",
            other => other,
        };
        // That a notification fails does not matter.
        let rc = if task == "notify" { 0 } else { record.rc };
        let failed = rc != *target_rc;
        let calls = doc.node(history).children().filter_map(|c| c.attr("call-id"));
        let call = calls.filter_map(cib_model::scan_int).fold(0, i64::max) + 1;
        let key = format!("{resource}_{task}_{interval_ms}");
        let ids = match task {
            "notify" => {
                vec![format!("{resource}_{}_notify_{}_0", record.notify.0, record.notify.1)]
            }
            "migrate_to" | "migrate_from" => vec![key.clone()],
            _ if failed && *interval_ms == 0 => {
                vec![format!("{resource}_last_failure_0"), format!("{resource}_last_0")]
            }
            _ if failed => vec![format!("{resource}_last_failure_0")],
            _ if *interval_ms > 0 => vec![key.clone()],
            _ => vec![format!("{resource}_last_0")],
        };
        let tag = format!("{call}:-1:{target_rc}:xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
        let seconds = crate::dates::Date::now().epoch().to_string();
        for id in ids {
            let op = match find(doc, history, |c| c.attr("id") == Some(&id)) {
                Some(found) => found,
                None => doc.append_element(history, "lrm_rsc_op"),
            };
            let mut put = |name: &str, value: &str| doc.set_attr(op, name, value);
            put("id", &id);
            put("operation_key", &key);
            put("operation", task);
            put("crm-debug-origin", "crm_simulate");
            put("crm_feature_set", cib_model::FEATURE_SET);
            put("transition-key", &tag);
            put("transition-magic", &format!("0:{rc};{tag}"));
            put("exit-reason", if failed { record.reason } else { "" });
            put("on_node", record.node);
            put("call-id", &call.to_string());
            put("rc-code", &rc.to_string());
            put("op-status", "0");
            put("interval", &interval_ms.to_string());
            put("last-rc-change", &seconds);
            put("exec-time", "0");
            put("queue-time", "0");
            if let (Some(source), Some(target)) = record.migration {
                put("migrate_source", source);
                put("migrate_target", target);
            }
            if let Some(params) = &record.params {
                put("op-digest", &hash(params));
            }
        }
    }
}
