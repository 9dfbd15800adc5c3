//! Order of nodes by how well they suit.

use cib_model::INFINITY;
use smallvec::SmallVec;

use crate::base::{NodeIx, Placement, RscIx, Table, Ws, merge_sort};

impl Ws {
    /// Nodes of a row, best first. `active` is preferred among equals.
    pub(crate) fn sorted_nodes(&self, table: &Table, active: Option<NodeIx>) -> Vec<NodeIx> {
        let score = |n| {
            if self.available(n) { table.score(n).unwrap_or(-INFINITY) } else { -INFINITY }
        };
        let mut nodes: SmallVec<[(NodeIx, i32); 32]> =
            table.nodes().map(|n| (n, score(n))).collect();
        merge_sort(&mut nodes, &mut |a, b| self.compare_nodes(a, b, active));
        nodes.into_iter().map(|(node, _)| node).collect()
    }

    /// Order of nodes with their scores.
    fn compare_nodes(
        &self,
        (a, sa): (NodeIx, i32),
        (b, sb): (NodeIx, i32),
        active: Option<NodeIx>,
    ) -> i32 {
        let order = |less: bool| if less { -1 } else { 1 };
        if sa != sb {
            return order(sa > sb);
        }
        if self.config.placement != Placement::Minimal {
            if self.config.placement == Placement::Balanced {
                let capacity = self.compare_capacity(a, b);
                if capacity != 0 {
                    return capacity.signum();
                }
            }
            let (na, nb) = (self[a].num_resources, self[b].num_resources);
            if na != nb {
                return order(na < nb);
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
