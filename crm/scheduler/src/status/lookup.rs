//! Recorded history, found by the names of node and resource.

use crate::base::Ws;
use crate::base::ws_types::{HistRsc, HistoryIndex, OpRef};

impl Ws {
    /// Where the history of a resource on a node is recorded.
    pub(crate) fn history_of(&self, node: &str, rsc: &str) -> &[HistRsc] {
        let index = self.by_history.get_or_init(|| self.index_history());
        index.get(node).and_then(|s| s.get(rsc)).map_or(&[], Vec::as_slice)
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
            let (Some(name), Some(history)) = (&state.name, &state.history) else { continue };
            let entry = index.entry(name.clone()).or_default();
            for (r, rsc) in history.iter().enumerate() {
                if let Some(id) = rsc.id_text() {
                    let at = HistRsc { state: s as u32, rsc: r as u32 };
                    entry.entry(id).or_default().push(at);
                }
            }
        }
        index
    }
}
