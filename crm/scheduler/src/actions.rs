//! The action table, and which actions each kind of resource needs.

mod changes;
mod fencing;
mod instances;
mod meta;
mod migration;
mod notify;
mod primitive;
mod probes;
mod recurring;
mod remote;
mod table;

use crate::base::Ws;

impl Ws {
    /// Makes all actions of all resources.
    pub(crate) fn schedule_resource_actions(&mut self) {
        self.late_checks();
        if self.config.probe_resources {
            self.schedule_probes();
        }
        if self.config.stop_removed {
            self.clear_removed_failures();
        }
        for rsc in self.top.clone() {
            self.create_actions(rsc);
        }
    }
}
