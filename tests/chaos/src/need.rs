//! Who may be fenced for what.
//!
//! The rule (invariant 5, "nobody is fenced without need"): each fault has suspects, the hosts
//! that others may take for lost or broken because of it. A host may be fenced twice for each
//! fault that it is a suspect of: once for what happened to it, and once more because its next
//! life was hit by that fence or came back while the fault was still there. Each outage of a cable
//! that flaps counts as one more. Nobody else may be fenced; but where the suspects of all faults
//! together leave no majority of other hosts, those that remain may find each other lost as well:
//! then everybody is a suspect of every fault, and only the sum stays as it is.

use crate::faults::{Command, Fault, Host, Kind, OUTAGE_MS, Script};

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
        Kind::Agent(_, action, host, _) if action == "stop" || action == "demote" => vec![*host],
        Kind::Agent(..) | Kind::Device(..) | Kind::Operator(_) => Vec::new(),
    }
}

/// Fences that there is a reason for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// Of each host, host 1 first.
    pub each: Vec<usize>,
    /// Of all hosts together.
    pub all: usize,
}

/// How often hosts may be fenced.
pub fn fences_allowed(script: &Script) -> Allowed {
    let hosts = 1..=script.hosts;
    let mut causes: Vec<(usize, Vec<Host>)> = script
        .faults
        .iter()
        .map(|fault| (fences_for(fault), suspects(&fault.kind, script.hosts)))
        .filter(|(_, suspects)| !suspects.is_empty())
        .collect();
    let all = causes.iter().map(|(fences, suspects)| fences * suspects.len()).sum();
    let suspected = |host: &Host| causes.iter().any(|(_, suspects)| suspects.contains(host));
    let healthy = hosts.clone().filter(|host| !suspected(host)).count();
    if healthy * 2 <= script.hosts {
        causes.iter_mut().for_each(|(_, suspects)| *suspects = hosts.clone().collect());
    }
    let of_host = |host| {
        let causes = causes.iter().filter(|(_, suspects)| suspects.contains(&host));
        causes.map(|(fences, _)| fences).sum()
    };
    Allowed { each: hosts.map(of_host).collect(), all }
}

/// Fences of one suspect.
fn fences_for(fault: &Fault) -> usize {
    match fault.kind {
        Kind::Flap(_) => PER_FAULT + (fault.for_ms / OUTAGE_MS) as usize,
        _ => PER_FAULT,
    }
}

#[cfg(test)]
mod tests {
    use super::fences_allowed;

    fn allowed(hosts: usize, faults: &[&str]) -> Vec<usize> {
        let mut text = format!("hosts {hosts} boot 0\n");
        faults.iter().for_each(|fault| text.push_str(&format!("at 0 for 1 {fault}\n")));
        fences_allowed(&text.parse().unwrap()).each
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
    fn the_sum_does_not_grow_with_the_suspects() {
        let text = "hosts 2 boot 0\nat 0 for 1 freeze node2\nat 9 for 1 one-way node1 node2\n";
        let allowed = fences_allowed(&text.parse().unwrap());
        assert_eq!((allowed.each, allowed.all), (vec![4, 4], 6));
    }

    #[test]
    fn each_outage_of_a_flapping_cable_is_a_reason() {
        let text = "hosts 3 boot 0\nat 0 for 2100 flap node2\n";
        assert_eq!(fences_allowed(&text.parse().unwrap()).each, [0, 5, 0]);
    }

    #[test]
    fn where_nobody_has_quorum_nobody_is_fenced() {
        assert_eq!(allowed(3, &["split node1 node2 node3"]), [0, 0, 0]);
        assert_eq!(allowed(5, &["split node1,node2 node3,node4 node5"]), [0; 5]);
        assert_eq!(allowed(2, &["split node1 node2"]), [2, 2]);
    }
}
