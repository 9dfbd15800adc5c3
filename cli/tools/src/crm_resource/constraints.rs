//! Which constraints a resource is subject to.

use std::collections::HashSet;

use cib_model::{Role, readable_score};
use crm_scheduler::overview::ColocationView;

use super::{Fail, Work};
use crate::output::{Element, Out};
use crate::show::Cluster;

/// From which side colocations are followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Those who depend on the resource.
    Dependents,
    /// Those that it depends on.
    Primaries,
}

pub(super) fn list(work: &Work<'_>, recursive: bool, out: &mut Out) -> Result<(), Fail> {
    let mut rsc = work.rsc()?;
    if !work.force {
        // Constraints are on the whole, not on members and instances.
        while let Some(parent) = work.cluster.rsc(rsc).parent {
            if !work.cluster.rsc(parent).replicas.is_empty() {
                break;
            }
            rsc = parent;
        }
    }
    let cluster = &work.cluster;
    let mut xml = Element::new("constraints");
    locations(cluster, rsc, out);
    locations_xml(cluster, rsc, &mut xml);
    for side in [Side::Dependents, Side::Primaries] {
        colocations(cluster, rsc, side, recursive, &mut HashSet::new(), out);
        colocations_xml(cluster, rsc, side, recursive, &mut HashSet::new(), &mut xml);
    }
    out.xml(xml);
    Ok(())
}

fn locations(cluster: &Cluster, ix: usize, out: &mut Out) {
    let rsc = cluster.rsc(ix);
    let mut open = false;
    for location in rsc.locations.iter().map(|l| &cluster.view.locations[*l]) {
        for (node, score) in &location.nodes {
            if !open {
                open = true;
                out.open("Locations");
            }
            out.item(&format!(
                "Node {} (score={}, id={}, rsc={})",
                cluster.node(*node).name,
                readable_score(*score),
                location.id,
                rsc.id
            ));
        }
    }
    if open {
        out.close();
    }
}

fn locations_xml(cluster: &Cluster, ix: usize, xml: &mut Element) {
    let rsc = cluster.rsc(ix);
    for location in rsc.locations.iter().map(|l| &cluster.view.locations[*l]) {
        for (node, score) in &location.nodes {
            xml.push(
                Element::new("rsc_location")
                    .attr("node", &cluster.node(*node).name)
                    .attr("rsc", &rsc.id)
                    .attr("id", &location.id)
                    .attr("score", readable_score(*score)),
            );
        }
    }
}

fn of(cluster: &Cluster, ix: usize, side: Side) -> Vec<(&ColocationView, usize)> {
    let rsc = cluster.rsc(ix);
    let list = if side == Side::Dependents { &rsc.with_this } else { &rsc.this_with };
    let all = list.iter().map(|c| &cluster.view.colocations[*c]);
    all.map(|c| (c, if side == Side::Dependents { c.dependent } else { c.primary })).collect()
}

fn colocations(
    cluster: &Cluster,
    ix: usize,
    side: Side,
    recursive: bool,
    seen: &mut HashSet<usize>,
    out: &mut Out,
) {
    if !seen.insert(ix) {
        return;
    }
    let list = of(cluster, ix, side);
    if list.is_empty() {
        return;
    }
    let id = &cluster.rsc(ix).id;
    out.open(&match side {
        Side::Dependents => format!("Resources colocated with {id}"),
        Side::Primaries => format!("Resources {id} is colocated with"),
    });
    for (colocation, other) in list {
        let name = &cluster.rsc(other).id;
        if seen.contains(&other) {
            out.item(&format!("{name} (id={} - loop)", colocation.id));
            continue;
        }
        let score = readable_score(colocation.score);
        let role = if colocation.primary_role > Role::Started {
            let word = if side == Side::Dependents { "needs" } else { "with" };
            format!(" {word} role={},", colocation.primary_role.text())
        } else {
            String::new()
        };
        out.item(&format!("{name} (score={score},{role} id={})", colocation.id));
        out.indent();
        locations(cluster, other, out);
        if recursive {
            colocations(cluster, other, side, recursive, seen, out);
        }
        out.close();
    }
    out.close();
}

fn colocations_xml(
    cluster: &Cluster,
    ix: usize,
    side: Side,
    recursive: bool,
    seen: &mut HashSet<usize>,
    xml: &mut Element,
) {
    if !seen.insert(ix) {
        return;
    }
    for (colocation, other) in of(cluster, ix, side) {
        let role = |r: Role| (r != Role::Unknown).then(|| r.text());
        xml.push(
            Element::new("rsc_colocation")
                .attr("id", &colocation.id)
                .attr("rsc", &cluster.rsc(colocation.dependent).id)
                .attr("with-rsc", &cluster.rsc(colocation.primary).id)
                .attr("score", readable_score(colocation.score))
                .attr("node-attribute", &colocation.attr)
                .maybe("rsc-role", role(colocation.dependent_role))
                .maybe("with-rsc-role", role(colocation.primary_role)),
        );
        if seen.contains(&other) {
            continue;
        }
        locations_xml(cluster, other, xml);
        if recursive {
            colocations_xml(cluster, other, side, recursive, seen, xml);
        }
    }
}
