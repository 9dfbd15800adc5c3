//! What the machines say, as facts of the record.

use std::sync::Arc;

use cib_store::Version;
use cib_xml::Doc;
use crm_controller::WireReport;
use crm_executor::Status;
use crm_history::{Action, Asked, Changed, Fact};

/// A change of the configuration.
pub(crate) fn changed(
    (from, to): (Version, Version),
    patch: Arc<Doc>,
    node: String,
    asked: Option<cib_store::Asked>,
) -> Fact {
    let asked = asked.map(|asked| Asked {
        user: asked.who.user,
        client: asked.who.client,
        command: asked.who.command,
        operation: asked.operation.to_owned(),
    });
    Fact::Changed(Changed { from: from.to_string(), to: to.to_string(), patch, node, asked })
}

/// What came of an operation.
pub(crate) fn result(at_ms: u64, report: &WireReport) -> Action {
    Action {
        at_ms,
        node: report.node.clone(),
        resource: report.operation.resource.clone(),
        action: report.operation.action.clone(),
        interval_ms: report.operation.interval_ms,
        ran_ms: Some(report.ran_ms),
        code: Some(report.outcome.code),
        good: report.outcome.status == Status::Done,
        earlier: false,
        text: report.outcome.reason.clone(),
    }
}

/// What came of a fence.
pub(crate) fn fence(at_ms: u64, record: &crm_fencer::Record, error: Option<&str>) -> Action {
    let confirmed = record.device.as_ref().map(|device| format!("confirmed by {device}"));
    Action {
        at_ms,
        node: record.target.clone(),
        action: record.action.clone(),
        good: error.is_none(),
        text: error.map(str::to_owned).or(confirmed).unwrap_or_default(),
        ..Action::default()
    }
}
