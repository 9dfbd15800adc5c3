//! What members tell each other of operations that have not ended.

use crm_executor::{Agent, Operation};
use crm_graph::Action;
use serde::{Deserialize, Serialize};

use crate::agent::operation_digest;

/// Something that a node was told to do and has not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Underway {
    /// The transition key.
    pub tag: String,
    /// Name of the node that it is for.
    pub node: String,
    /// The resource, as the executor knows it.
    pub resource: String,
    /// The resource is an instance of an anonymous clone: the same name on another node is another
    /// one.
    pub instance: bool,
    /// `start`, `stop`, `monitor`, …, or `cancel`, `delete` or `search`.
    pub action: String,
    /// Milliseconds between runs, 0 for once.
    pub interval_ms: u64,
    /// Milliseconds that it may take once it begins.
    pub timeout_ms: u64,
    /// What else tells it from others of its kind: agent, parameters, where it migrates to.
    pub digest: String,
}

impl Underway {
    /// An operation that an executor was given, for a node.
    pub fn of_operation(operation: &Operation, node: &str, instance: bool) -> Underway {
        let Agent { class, provider, name } = &operation.agent;
        let meta = |name: &str| {
            let found = operation.params.iter().find(|(n, _)| n == name);
            found.map_or("", |(_, value)| value.as_str())
        };
        Underway {
            tag: operation.tag.clone(),
            node: node.to_owned(),
            resource: operation.resource.clone(),
            instance,
            action: operation.action.clone(),
            interval_ms: operation.interval_ms,
            timeout_ms: operation.timeout_ms.saturating_add(operation.start_delay_ms),
            digest: format!(
                "{} {class}:{}:{name} {}>{}",
                operation_digest(&operation.params, operation.interval_ms),
                provider.as_deref().unwrap_or_default(),
                meta("CRM_meta_migrate_source"),
                meta("CRM_meta_migrate_target"),
            ),
        }
    }

    /// The end of a recurring operation.
    pub(crate) fn cancel(
        tag: String,
        node: &str,
        resource: &str,
        action: &str,
        interval_ms: u64,
    ) -> Underway {
        Underway {
            tag,
            node: node.to_owned(),
            resource: resource.to_owned(),
            instance: false,
            action: "cancel".to_owned(),
            interval_ms,
            timeout_ms: 0,
            digest: action.to_owned(),
        }
    }

    /// What an action of a plan would be once it is under way; nothing if it is none for an
    /// executor.
    pub(crate) fn of_action(action: &Action, tag: String) -> Option<Underway> {
        let resource = action.resource.as_ref()?;
        let node = action.on_node.as_deref().unwrap_or_default();
        let meta = |name: &str| action.attribute(name).unwrap_or_default();
        match &*action.operation {
            "cancel" => {
                let interval_ms = meta("CRM_meta_interval").parse().unwrap_or(0);
                let what = meta("CRM_meta_operation");
                Some(Underway::cancel(tag, node, &resource.id, what, interval_ms))
            }
            "delete" | "lrm_delete" => Some(Underway {
                action: "delete".to_owned(),
                ..Underway::cancel(tag, node, &resource.id, "", 0)
            }),
            _ => {
                let operation = operation(action, tag)?;
                Some(Underway::of_operation(&operation, node, resource.long_id.is_some()))
            }
        }
    }

    /// A resource is to be looked for again on a node. Until that has been said there, nothing is done
    /// with it anywhere.
    pub(crate) fn search(tag: String, node: &str, resource: &str) -> Underway {
        Underway { action: "search".to_owned(), ..Underway::cancel(tag, node, resource, "", 0) }
    }

    /// Whether it is one of [`Underway::search`].
    pub(crate) fn is_search(&self) -> bool {
        self.action == "search"
    }

    /// Whether it concerns what the node's executor keeps rather than the resource itself.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.action.as_str(), "cancel" | "delete" | "notify")
    }
}

/// The node that an operation migrates its resource to, if it does.
pub(crate) fn migrates_to(operation: &Operation) -> Option<&str> {
    let target = operation.params.iter().find(|(name, _)| name == "CRM_meta_migrate_target");
    target.filter(|_| operation.action == "migrate_to").map(|(_, name)| name.as_str())
}

/// An action as the executor takes it.
pub(crate) fn operation(action: &Action, tag: String) -> Option<Operation> {
    let resource = action.resource.as_ref()?;
    let number = |name: &str| action.attribute(name).and_then(|v| v.parse::<u64>().ok());
    let params = action.attributes.iter().chain(&action.params);
    Some(Operation {
        resource: resource.id.to_string(),
        action: action.operation.to_string(),
        interval_ms: number("CRM_meta_interval").unwrap_or(0),
        timeout_ms: number("CRM_meta_timeout").unwrap_or(20_000),
        start_delay_ms: number("CRM_meta_start_delay").unwrap_or(0),
        agent: Agent {
            class: resource.class.to_string(),
            provider: resource.provider.as_deref().map(str::to_owned),
            name: resource.agent.to_string(),
        },
        params: params.map(|(n, v)| (n.to_string(), v.to_string())).collect(),
        tag,
    })
}
