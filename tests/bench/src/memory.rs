//! What a daemon occupies.

use anyhow::Context;
use tests_lab::Cluster;

/// Memory of one process in KiB.
#[derive(Debug, PartialEq)]
pub(crate) struct Memory {
    /// Its share of all pages: pages of the binary count once for all daemons on this machine.
    pub(crate) share: f64,
    /// All its pages, as on a machine with one daemon.
    pub(crate) resident: f64,
}

fn parse(rollup: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches("kB").trim().parse().ok()
    };
    Some(Memory { share: field("Pss:")?, resident: field("Rss:")? })
}

/// Memory of the daemon on a node.
pub(crate) fn of_daemon(cluster: &Cluster, node: &str) -> anyhow::Result<Memory> {
    let processes = cluster.processes(node)?;
    let daemon = processes.iter().find(|(_, line)| line.ends_with("systole daemon"));
    let (pid, _) = daemon.with_context(|| format!("no daemon on {node}: {processes:?}"))?;
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    parse(&text).with_context(|| format!("{path} has no Pss and Rss"))
}

#[cfg(test)]
mod tests {
    use super::{Memory, parse};

    #[test]
    fn the_rollup_is_understood() {
        let text = "5580-7ffe ---p 00000000 00:00 0    [rollup]\n\
                    Rss:               20480 kB\nPss:               10240 kB\n\
                    Pss_Anon:           4096 kB\n";
        assert_eq!(parse(text), Some(Memory { share: 10240.0, resident: 20480.0 }));
        assert_eq!(parse("Rss: 1 kB\n"), None);
    }
}
