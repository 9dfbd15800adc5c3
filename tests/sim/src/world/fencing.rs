//! The fence devices.

use crm_node::Input;
use membership_base::NodeId;

use super::{What, World};

impl World {
    /// A fence agent has cut the power, if the BMC answers, and has yet to see that it is off, to
    /// switch it on again and to say so: what else happens meanwhile, the target's next life
    /// included, happens before anybody knows.
    pub(super) fn power_switched(
        &mut self,
        id: NodeId,
        life: u64,
        run: crm_fencer::RunId,
        action: String,
        target: NodeId,
    ) {
        if !self.alive(id, life) {
            return;
        }
        if self.faults.dead_bmcs.contains(&target) || target == NodeId(0) {
            let result = Err("the BMC does not answer".to_owned());
            self.tell_fenced(target, None);
            self.input(id, Input::FenceAgentFinished { run, result });
            return;
        }
        if matches!(action.as_str(), "off" | "reboot") {
            self.counts[2] += 1;
            if self.faults.agents_fail_per_mille == 0 {
                self.checker.power_cut(target);
            }
            if self.faults.lying_bmcs.contains(&target) {
                self.trace(|| format!("the device of {target} does nothing"));
                self.checker.fence_claimed(target);
            } else {
                self.cut_power(target);
            }
        }
        let slow = self.faults.slow_bmc_ms;
        self.after(10 + slow, 300 + slow, What::FenceDone { host: id, life, run, action, target });
    }

    pub(super) fn fence_done(
        &mut self,
        id: NodeId,
        life: u64,
        run: crm_fencer::RunId,
        action: &str,
        target: NodeId,
    ) {
        // An agent that is lost with its host has not switched the power on again.
        if !self.alive(id, life) {
            return;
        }
        self.tell_fenced(target, Some(action));
        if matches!(action, "off" | "reboot") {
            self.checker.fenced(target);
            if action == "reboot" {
                let (low, high) = if self.faults.fast_boots { (50, 300) } else { (500, 3000) };
                self.after(low, high, What::Boot(target));
            }
        }
        self.input(id, Input::FenceAgentFinished { run, result: Ok(String::new()) });
    }
}
