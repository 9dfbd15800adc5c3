//! Who may be fenced for what.
//!
//! The rule (invariant 5, "nobody is fenced without need"): each fault has suspects, the hosts
//! that others may take for lost or broken because of it. A host may be fenced twice for each
//! fault that it is a suspect of: once for what happened to it, and once more because its next
//! life was hit by that fence or came back while the fault was still there. Nobody else may be
//! fenced; but where the suspects of all faults together leave no majority of other hosts, those
//! that remain may find each other lost as well, and everybody is a suspect of every fault.

use crate::faults::{Command, Host, Kind, Script};

/// Fences of a suspect for a fault.
const PER_FAULT: usize = 2;

/// The hosts that a fault gives others reason to fence.
fn suspects(kind: &Kind, hosts: usize) -> Vec<Host> {
    match kind {
        Kind::CutPower(hit) => hit.clone(),
        Kind::KillDaemon(host)
        | Kind::StopDaemon(host)
        | Kind::Freeze(host)
        | Kind::Flap(host)
        | Kind::Lose(host, _)
        | Kind::FillDisk(host)
        | Kind::Hog(host)
        | Kind::Operator(Command::Fence(host)) => vec![*host],
        Kind::OneWay(from, to) => vec![*from, *to],
        Kind::Split(groups) => match groups.iter().find(|group| group.len() * 2 > hosts) {
            Some(majority) => (1..=hosts).filter(|host| !majority.contains(host)).collect(),
            // Nobody has quorum, unless there are two nodes.
            None if hosts == 2 => vec![1, 2],
            None => Vec::new(),
        },
        // What cannot be stopped there may still run.
        Kind::Agent(_, action, host, _) if action == "stop" => vec![*host],
        Kind::Agent(..) | Kind::Device(..) | Kind::Operator(_) => Vec::new(),
    }
}

/// How often each host may be fenced, host 1 first.
pub fn fences_allowed(script: &Script) -> Vec<usize> {
    let all: Vec<Host> = (1..=script.hosts).collect();
    let kinds = script.faults.iter().map(|fault| &fault.kind);
    let mut suspected: Vec<Vec<Host>> =
        kinds.map(|kind| suspects(kind, script.hosts)).filter(|hosts| !hosts.is_empty()).collect();
    let healthy = all.iter().filter(|host| !suspected.iter().any(|s| s.contains(host))).count();
    if healthy * 2 <= script.hosts {
        suspected.iter_mut().for_each(|suspects| suspects.clone_from(&all));
    }
    let faults = |host| suspected.iter().filter(|suspects| suspects.contains(host)).count();
    all.iter().map(|host| PER_FAULT * faults(host)).collect()
}

#[cfg(test)]
mod tests {
    use super::fences_allowed;

    fn allowed(hosts: usize, faults: &[&str]) -> Vec<usize> {
        let mut text = format!("hosts {hosts} boot 0\n");
        faults.iter().for_each(|fault| text.push_str(&format!("at 0 for 1 {fault}\n")));
        fences_allowed(&text.parse().unwrap())
    }

    #[test]
    fn only_the_host_that_a_fault_hits_is_fenced() {
        assert_eq!(allowed(3, &["freeze node2"]), [0, 2, 0]);
        assert_eq!(allowed(3, &["freeze node2", "cut-power node2"]), [0, 4, 0]);
        assert_eq!(allowed(5, &["freeze node2", "flap node4"]), [0, 2, 0, 2, 0]);
        assert_eq!(allowed(3, &["split node1,node2 node3"]), [0, 0, 2]);
    }

    #[test]
    fn devices_agents_and_commands_are_no_reason_to_fence() {
        let harmless = ["device node1 hangs", "agent alpha monitor node1 hangs", "operator create"];
        assert_eq!(allowed(3, &harmless), [0, 0, 0]);
        assert_eq!(allowed(3, &["agent alpha stop node1 fails"]), [2, 0, 0]);
        assert_eq!(allowed(3, &["operator fence node3"]), [0, 0, 2]);
    }

    #[test]
    fn without_a_majority_of_others_everybody_is_a_suspect() {
        assert_eq!(allowed(2, &["freeze node2"]), [2, 2]);
        assert_eq!(allowed(2, &["device node2 slow"]), [0, 0]);
        assert_eq!(allowed(3, &["freeze node2", "freeze node1"]), [4, 4, 4]);
        assert_eq!(allowed(3, &["one-way node1 node2"]), [2, 2, 2]);
    }

    #[test]
    fn where_nobody_has_quorum_nobody_is_fenced() {
        assert_eq!(allowed(3, &["split node1 node2 node3"]), [0, 0, 0]);
        assert_eq!(allowed(5, &["split node1,node2 node3,node4 node5"]), [0; 5]);
        assert_eq!(allowed(2, &["split node1 node2"]), [2, 2]);
    }
}
