//! Commands that make the cluster, or an agent, do something.

use crm_api::Request;

use super::{Fail, Work, check, usage};
use crate::args::Given;
use crate::exit;
use crate::live;
use crate::output::Out;

/// Agents that are installed.
pub(super) fn agents(command: &str, given: &Given, out: &mut Out) -> Result<(), Fail> {
    let _ = (given, &out);
    Err((3, format!("--{command} is not supported")))
}

/// Commands for the cluster.
pub(super) fn run(command: &str, work: &mut Work<'_>, out: &mut Out) -> Result<(), Fail> {
    match command {
        "cleanup" => forget(work, true, out),
        "refresh" => forget(work, false, out),
        other => Err((3, format!("--{other} is not supported"))),
    }
}

/// Primitives below a resource.
fn primitives(work: &Work<'_>, ix: usize, list: &mut Vec<usize>) {
    let rsc = work.cluster.rsc(ix);
    if rsc.children.is_empty() {
        list.push(ix);
    }
    rsc.children.iter().for_each(|c| primitives(work, *c, list));
}

/// Makes nodes forget results, of failed resources or of all.
fn forget(work: &mut Work<'_>, failed_only: bool, out: &mut Out) -> Result<(), Fail> {
    let host = work.node_name();
    let on = host.clone().unwrap_or("all nodes".into());
    let rsc = work.rsc.map(|at| if work.force { at } else { work.cluster.top(at, true) });
    if !work.cib.is_live() {
        let what = match rsc {
            Some(rsc) => format!("{} on {on}", work.cluster.rsc(rsc).id),
            None => on,
        };
        out.line(&format!("Dry run: skipping clean-up of {what} due to CIB_file"));
        if let Some(rsc) = rsc {
            check::show(&work.cluster, rsc, work.node, out);
        }
        return Ok(());
    }
    let mut list = Vec::new();
    match rsc {
        Some(rsc) => primitives(work, rsc, &mut list),
        None => work.cluster.view.top.iter().for_each(|r| primitives(work, *r, &mut list)),
    }
    let operation = work.given.get("operation");
    let interval = work.given.get("interval").map(|i| cib_model::parse_interval_ms(Some(i)));
    let mut done: Vec<(String, String)> = Vec::new();
    for ix in list {
        let rsc = work.cluster.rsc(ix);
        let id = rsc.history_id.as_deref().unwrap_or(&rsc.def.id).to_string();
        for history in &work.cluster.view.history {
            let name = work.cluster.node(history.node).name.to_string();
            let known = history.resources.iter().any(|r| *r.id == *id);
            if host.as_ref().is_some_and(|h| *h != name) || !known {
                continue;
            }
            let failed = work.cluster.view.failed.iter().any(|f| {
                let key = f.op.key.as_deref().and_then(cib_model::parse_op_key);
                key.is_some_and(|(rsc, op, ms)| {
                    rsc == id
                        && f.node == history.node
                        && operation.is_none_or(|o| o == op)
                        && interval.is_none_or(|i| i == ms)
                })
            });
            let pair = (id.clone(), name);
            if (failed || !failed_only) && !done.contains(&pair) {
                done.push(pair);
            }
        }
    }
    for (id, node) in &done {
        for prefix in [format!("fail-count-{id}"), format!("last-failure-{id}")] {
            let node = node.clone();
            live::ask(&Request::ClearAttributes { node, prefix })?;
        }
        let (node_name, resource) = (Some(node.clone()), Some(id.clone()));
        live::ask(&Request::ForgetResource { node: node_name, resource })?;
        out.line(&format!("Cleaned up {id} on {node}"));
    }
    if let Some(rsc) = rsc {
        check::show(&work.cluster, rsc, work.node, out);
    } else if failed_only && done.is_empty() {
        out.line("No failures to clean up");
    }
    Ok(())
}

/// Runs the agent on this machine, past the cluster.
pub(super) fn execute(command: &str, work: &Work<'_>, out: &mut Out) -> Result<(), Fail> {
    let _ = (work.force, &out);
    if command.is_empty() {
        return usage("No command specified");
    }
    Err((exit::ERROR, format!("--{command} is not supported")))
}
