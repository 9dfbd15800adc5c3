//! Why a resource does not run, or not where it should.

use cib_model::Role;

use super::{Fail, Work};
use crate::output::{Element, Out};
use crate::show::{Cluster, meta};

/// Reasons in the configuration for which a resource stays stopped.
struct Checks {
    remain_stopped: bool,
    unpromotable: bool,
    unmanaged: bool,
    locked_to: Option<String>,
    unhealthy: bool,
}

fn unhealthy(cluster: &Cluster, node: usize) -> bool {
    let health = cluster.node(node).health;
    match cluster.option("node-health-strategy").map(str::to_ascii_lowercase).as_deref() {
        Some("migrate-on-red") => health < 0,
        Some("only-green") => health <= 0,
        _ => false,
    }
}

fn checks(cluster: &Cluster, ix: usize, node: Option<usize>) -> Checks {
    let rsc = cluster.rsc(ix);
    let top = cluster.rsc(cluster.top(ix, false));
    let role = meta(rsc, "target-role").and_then(Role::parse);
    let managed = meta(rsc, "is-managed");
    Checks {
        remain_stopped: role == Some(Role::Stopped),
        unpromotable: role == Some(Role::Unpromoted) && top.promotable,
        unmanaged: managed.is_some() && !cib_model::is_true(managed),
        locked_to: rsc.locked_to.map(|n| cluster.node(n).name.to_string()),
        unhealthy: match node {
            Some(node) => unhealthy(cluster, node),
            None => !rsc.allowed.is_empty() && rsc.allowed.iter().all(|n| unhealthy(cluster, *n)),
        },
    }
}

/// Shows what keeps a resource from running.
pub(super) fn show(cluster: &Cluster, ix: usize, node: Option<usize>, out: &mut Out) {
    let top = &cluster.rsc(cluster.top(ix, false)).id;
    let found = checks(cluster, ix, node);
    if found.remain_stopped {
        out.line(&format!("Configuration specifies '{top}' should remain stopped"));
    }
    if found.unpromotable {
        out.line(&format!("Configuration specifies '{top}' should not be promoted"));
    }
    if found.unmanaged {
        out.line(&format!(
            "Configuration prevents cluster from stopping or starting unmanaged '{top}'"
        ));
    }
    if let Some(node) = found.locked_to {
        out.line(&format!("'{top}' is locked to node {node} due to shutdown"));
    }
    if found.unhealthy {
        let strategy = cluster.option("node-health-strategy").unwrap_or_default();
        out.line(&format!(
            "'{top}' cannot run on unhealthy nodes due to node-health-strategy='{strategy}'"
        ));
    }
}

fn element(cluster: &Cluster, ix: usize, node: Option<usize>) -> Element {
    let found = checks(cluster, ix, node);
    Element::new("check")
        .attr("id", &cluster.rsc(cluster.top(ix, false)).id)
        .maybe("remain_stopped", found.remain_stopped.then_some("true"))
        .maybe("promotable", found.unpromotable.then_some("false"))
        .maybe("unmanaged", found.unmanaged.then_some("true"))
        .maybe("locked-to", found.locked_to)
        .maybe("unhealthy", found.unhealthy.then_some("true"))
}

/// Whether any part of the resource runs, on a node or anywhere.
fn runs(cluster: &Cluster, ix: usize, node: Option<usize>) -> bool {
    let rsc = cluster.rsc(ix);
    match node {
        Some(node) => rsc.nodes.contains(&node),
        None => !rsc.nodes.is_empty(),
    }
}

pub(super) fn why(work: &Work<'_>, out: &mut Out) -> Result<(), Fail> {
    let cluster = &work.cluster;
    let mut reason = Element::new("reason");
    match (work.rsc, work.node) {
        (Some(rsc), node) => {
            let active = runs(cluster, rsc, node);
            let not = if active { "" } else { "not " };
            let id = &cluster.rsc(rsc).id;
            match work.node_name() {
                Some(host) => {
                    out.line(&format!("Resource {id} is {not}running on host {host}"));
                    reason = reason.maybe("running_on", active.then_some(host));
                }
                None => {
                    out.line(&format!("Resource {id} is {not}running"));
                    reason = reason.attr("running", active);
                }
            }
            show(cluster, rsc, node, out);
            reason.push(element(cluster, rsc, node));
        }
        (None, node) => {
            let host = work.node_name();
            let list = match node {
                Some(node) => &cluster.node(node).running,
                None => &cluster.view.top,
            };
            let mut resources = Element::new("resources");
            for rsc in list {
                let active = runs(cluster, *rsc, node);
                let id = &cluster.rsc(*rsc).id;
                let not = if active { "" } else { "not " };
                let on = host.as_ref().map(|h| format!(" on host {h}")).unwrap_or_default();
                out.line(&format!("Resource {id} is {not}running{on}"));
                show(cluster, *rsc, node, out);
                let each = Element::new("resource").attr("id", id).attr("running", active);
                resources
                    .push(each.maybe("host", host.as_ref()).child(element(cluster, *rsc, node)));
            }
            reason.push(resources);
        }
    }
    out.xml(reason);
    Ok(())
}
