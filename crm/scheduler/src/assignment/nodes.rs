//! Order of nodes by how well they suit.

use cib_model::INFINITY;

use crate::base::{NodeIx, Placement, RscIx, Table, Ws, merge_sort};

/// A node with what is compared most.
#[derive(Clone, Copy)]
struct Candidate {
    node: NodeIx,
    score: i32,
    /// How many resources it has.
    resources: i32,
}

impl Ws {
    fn candidates(&self, table: &Table) -> impl Iterator<Item = Candidate> {
        table.iter().map(|(node, slot)| {
            let score = if self.available(node) { slot.score } else { -INFINITY };
            Candidate { node, score, resources: self[node].num_resources }
        })
    }

    /// Nodes of a row, best first. `active` is preferred among equals.
    pub(crate) fn sorted_nodes(&self, table: &Table, active: Option<NodeIx>) -> Vec<NodeIx> {
        let mut nodes: Vec<Candidate> = self.candidates(table).collect();
        merge_sort(&mut nodes, &mut |a, b| self.compare_nodes(a, b, active));
        nodes.into_iter().map(|candidate| candidate.node).collect()
    }

    /// The best node of a row. `active` is preferred among equals.
    pub(crate) fn best_node(&self, table: &Table, active: Option<NodeIx>) -> Option<NodeIx> {
        // Capacities need not be consistent: what is best then depends on how it is looked for.
        if self.config.placement == Placement::Balanced {
            return self.sorted_nodes(table, active).first().copied();
        }
        let better = |best: Candidate, next: Candidate| {
            if self.compare_nodes(best, next, active) > 0 { next } else { best }
        };
        self.candidates(table).reduce(better).map(|candidate| candidate.node)
    }

    fn compare_nodes(&self, one: Candidate, other: Candidate, active: Option<NodeIx>) -> i32 {
        let order = |less: bool| if less { -1 } else { 1 };
        if one.score != other.score {
            return order(one.score > other.score);
        }
        let (a, b) = (one.node, other.node);
        if self.config.placement != Placement::Minimal {
            if self.config.placement == Placement::Balanced {
                let capacity = self.compare_capacity(a, b);
                if capacity != 0 {
                    return capacity.signum();
                }
            }
            if one.resources != other.resources {
                return order(one.resources < other.resources);
            }
            if active == Some(a) {
                return -1;
            }
            if active == Some(b) {
                return 1;
            }
        }
        match self[a].name.cmp(&self[b].name) {
            std::cmp::Ordering::Less => -1,
            std::cmp::Ordering::Equal => 0,
            std::cmp::Ordering::Greater => 1,
        }
    }

    /// Order of resources where capacity matters: by priority, then by where they would rather be.
    pub(crate) fn sort_resources(&mut self) {
        let nodes = self.sorted_nodes(&self.base_row(), None);
        let mut top = std::mem::take(&mut self.top);
        // What is looked at while sorting are rows and colocations, not the list itself.
        merge_sort(&mut top, &mut |a, b| self.compare_resources(a, b, &nodes));
        self.top = top;
    }

    fn compare_resources(&mut self, a: RscIx, b: RscIx, nodes: &[NodeIx]) -> i32 {
        let order = |x: i32, y: i32| (y > x) as i32 - (x > y) as i32;
        let priority = order(self[a].priority, self[b].priority);
        if priority != 0 {
            return priority;
        }
        let (ra, rb) = (self.colocated_row(a), self.colocated_row(b));
        let score =
            |row: &Table, n: Option<NodeIx>| n.and_then(|n| row.score(n)).unwrap_or(-INFINITY);
        let here = |ws: &Ws, r: RscIx| {
            if ws[r].active.is_empty() { None } else { ws.current_node(r) }
        };
        let current = order(score(&ra, here(self, a)), score(&rb, here(self, b)));
        if current != 0 {
            return current;
        }
        let mut by_node = nodes.iter().map(|n| order(score(&ra, Some(*n)), score(&rb, Some(*n))));
        by_node.find(|o| *o != 0).unwrap_or(0)
    }

    /// A resource's row with the wishes of what it depends on.
    fn colocated_row(&mut self, rsc: RscIx) -> Table {
        let mut row = None;
        self.add_colocated_scores(
            rsc,
            None,
            &mut row,
            None,
            1.0,
            super::colocation::select::THIS_WITH,
        );
        row.unwrap_or_default()
    }
}
