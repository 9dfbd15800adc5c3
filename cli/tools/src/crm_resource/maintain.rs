//! Commands that make the cluster, or an agent, do something.

use std::time::{Duration, Instant};

use cib_model::{ResourceKind, Time};
use cib_xml::{Doc, Style};
use crm_api::Request;
use crm_scheduler::{PlanFlags, schedule_model};

use super::{Fail, Work, check, refused};
use crate::dates::Date;
use crate::exit;
use crate::live;
use crate::output::Out;
use crate::show::Cluster;

const STYLE: Style = Style::Compact;

/// Commands for the cluster.
pub(super) fn run(command: &str, work: &mut Work<'_>, out: &mut Out) -> Result<(), Fail> {
    match command {
        "cleanup" => forget(work, true, out),
        "refresh" => forget(work, false, out),
        "wait" => wait(work, &|_| true, out),
        "restart" => restart(work, out),
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
                let key = f.op.key().and_then(cib_model::parse_op_key);
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

/// How long to wait for the cluster.
fn patience(work: &Work<'_>) -> Duration {
    let ms = work.given.get("timeout").map(|t| cib_model::parse_interval_ms(Some(t)));
    Duration::from_millis(ms.map_or(3_600_000, u64::from))
}

/// Whether the cluster has anything to do, or is at it.
fn busy(cluster: &Cluster) -> bool {
    let pending = cluster
        .view
        .history
        .iter()
        .flat_map(|h| &h.resources)
        .flat_map(|r| cluster.view.ops(r))
        .any(|op| op.status == Some(-1));
    let now = Time::from_epoch(Date::now().epoch());
    let plan = schedule_model(cluster.model.clone(), now, PlanFlags::default(), 0);
    pending
        || plan.transition.synapses.iter().any(|s| s.action.kind != crm_graph::ActionKind::Pseudo)
}

/// Waits until the cluster has nothing to do and `done` holds.
fn wait(work: &mut Work<'_>, done: &dyn Fn(&Cluster) -> bool, out: &mut Out) -> Result<(), Fail> {
    let end = Instant::now() + patience(work);
    let mut said = false;
    loop {
        if !busy(&work.cluster) && done(&work.cluster) {
            return Ok(());
        }
        if !work.cib.is_live() {
            return Err((exit::ERROR, "There is no cluster to wait for".into()));
        }
        if !said {
            said = true;
            out.flush();
        }
        if Instant::now() > end {
            return Err((124, "The cluster did not finish in time".into()));
        }
        std::thread::sleep(Duration::from_millis(250));
        work.cluster = Cluster::load(work.cib.as_mut()).map_err(refused)?;
    }
}

/// Resources with the nodes where they are active.
fn active(cluster: &Cluster) -> Vec<(String, Vec<String>)> {
    let name = |n: &usize| cluster.node(*n).name.to_string();
    let primitives = cluster.view.resources.iter().filter(|r| r.children.is_empty());
    let running = primitives.filter(|r| !r.nodes.is_empty());
    running.map(|r| (r.id.to_string(), r.nodes.iter().map(name).collect())).collect()
}

/// Stops a resource, and starts it again.
fn restart(work: &mut Work<'_>, out: &mut Out) -> Result<(), Fail> {
    let at = work.rsc()?;
    let top = if work.force { at } else { work.cluster.top(at, true) };
    let rsc = work.cluster.rsc(top);
    let (id, managed, runs) = (rsc.def.id.to_string(), rsc.managed, rsc.partly_active);
    if !runs {
        return Err((
            exit::ERROR,
            format!("{id} is not running anywhere and so cannot be restarted"),
        ));
    }
    if !managed {
        return Err((exit::ERROR, "Unmanaged resources cannot be restarted.".into()));
    }
    if work.node.is_some() {
        let text = "--restart of one instance is not supported; use --ban and --clear";
        return Err((3, text.into()));
    }
    let before = active(&work.cluster);
    let former = crate::show::meta(rsc, "target-role").map(str::to_string);
    let kind = match rsc.def.kind {
        ResourceKind::Primitive => "primitive",
        ResourceKind::Group => "group",
        ResourceKind::Clone => "clone",
        ResourceKind::Bundle => "bundle",
    };
    let own = |work: &Work<'_>| {
        let found = work.cluster.doc.root().descendants().find(|n| n.attr("id") == Some(&id))?;
        let sets = found.children_named("meta_attributes");
        let mut pairs = sets.flat_map(|s| s.children_named("nvpair"));
        pairs.find(|p| p.attr("name") == Some("target-role")).map(|p| p.id())
    };
    // Id of the nvpair, and whether it was there before.
    let known = own(work).and_then(|n| work.cluster.doc.node(n).attr("id").map(str::to_string));
    let pair = known.clone().unwrap_or(format!("{id}-meta_attributes-target-role"));
    let change = |value: &str| match &known {
        Some(pair) => element("nvpair", &[("id", pair), ("value", value)]).root().to_xml(STYLE),
        None => {
            let mut doc = element(kind, &[("id", &id)]);
            let root = doc.root_id();
            let set = doc.append_element(root, "meta_attributes");
            doc.set_attr(set, "id", &format!("{id}-meta_attributes"));
            let new = doc.append_element(set, "nvpair");
            for (name, text) in [("id", pair.as_str()), ("name", "target-role"), ("value", value)] {
                doc.set_attr(new, name, text);
            }
            doc.root().to_xml(STYLE)
        }
    };
    work.cib.merge("resources", change("Stopped")).map_err(refused)?;
    out.line(&format!("Waiting for {id} to stop"));
    let stopped = |c: &Cluster| c.find(&id).is_none_or(|ix| !c.rsc(ix).partly_active);
    work.cluster = Cluster::load(work.cib.as_mut()).map_err(refused)?;
    let result = wait(work, &stopped, out);
    // Whatever happened, the resource is not left stopped.
    match (&known, former) {
        (Some(_), Some(former)) => work.cib.merge("resources", change(&former)),
        _ => {
            let xml = element("nvpair", &[("id", &pair)]).root().to_xml(STYLE);
            work.cib.delete("resources", xml)
        }
    }
    .map_err(refused)?;
    result?;
    out.line(&format!("Waiting for {} resources to start again", before.len()));
    let started = |c: &Cluster| {
        let now = active(c);
        before.iter().all(|(id, _)| now.iter().any(|(other, _)| other == id))
    };
    work.cluster = Cluster::load(work.cib.as_mut()).map_err(refused)?;
    wait(work, &started, out)
}

fn element(name: &str, attrs: &[(&str, &str)]) -> Doc {
    let mut doc = Doc::new(name);
    let root = doc.root_id();
    attrs.iter().for_each(|(name, value)| doc.set_attr(root, name, value));
    doc
}
