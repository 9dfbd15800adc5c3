//! Recorded history, found by the names of node and resource.

use crate::base::{HistRsc, HistoryIndex, OpRef, Ws};

impl Ws {
    /// Where the history of a resource on a node is recorded.
    pub(crate) fn history_of<'a>(
        &'a self,
        node: &'a str,
        rsc: &str,
    ) -> impl Iterator<Item = HistRsc> + 'a {
        let index = self.by_history.get_or_init(|| self.index_history());
        let entries = index.get(rsc).map_or(&[][..], Vec::as_slice).iter().copied();
        entries.filter(move |at| {
            self.model.node_states[at.state as usize].name.as_deref() == Some(node)
        })
    }

    /// All that is recorded of a resource on a node.
    pub(crate) fn ops_of(&self, node: &str, rsc: &str) -> Vec<OpRef> {
        let mut out = Vec::new();
        for entry in self.history_of(node, rsc) {
            let history = self.model.node_states[entry.state as usize].history.as_ref();
            let ops = history.map_or(0, |h| h[entry.rsc as usize].ops.len());
            out.extend((0..ops as u32).map(|op| OpRef { state: entry.state, rsc: entry.rsc, op }));
        }
        out
    }

    fn index_history(&self) -> HistoryIndex {
        let mut index = HistoryIndex::default();
        for (s, state) in self.model.node_states.iter().enumerate() {
            for (r, rsc) in state.history.iter().flatten().enumerate() {
                let Some(id) = rsc.id() else { continue };
                let at = HistRsc { state: s as u32, rsc: r as u32 };
                match index.get_mut(id) {
                    Some(known) => known.push(at),
                    None => {
                        index.insert(id.into(), vec![at]);
                    }
                }
            }
        }
        index
    }
}
