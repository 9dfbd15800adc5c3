//! A lab whose hosts run the cluster.

use std::path::PathBuf;

use crate::{Lab, LabBuilder};

/// Folders of a cluster node that outlive a power cycle.
const FOLDERS: &[&str] = &[
    "/etc/corosync",
    "/etc/pacemaker",
    "/var/lib/corosync",
    "/var/lib/pacemaker",
    "/var/log/pacemaker",
    AGENTS,
];

/// Where our own agents are installed.
const AGENTS: &str = "/usr/lib/ocf/resource.d/systole";

/// The `systole` binary: `SYSTOLE_BIN`, or the one built next to the running test.
pub fn systole() -> PathBuf {
    if let Some(path) = std::env::var_os("SYSTOLE_BIN") {
        return path.into();
    }
    // A test runs as target/PROFILE/deps/NAME-HASH.
    let test = std::env::current_exe().unwrap_or_default();
    let profile = test.ancestors().find(|folder| folder.join("systole").is_file());
    profile.map_or_else(|| "systole".into(), |folder| folder.join("systole"))
}

/// `corosync.conf` for hosts `names` with addresses from the lab's plan.
pub(crate) fn corosync_conf(names: &[String], totem: &str) -> String {
    let mut nodes = String::new();
    for (number, name) in (1..).zip(names) {
        nodes.push_str(&format!(
            "    node {{\n        ring0_addr: 10.77.0.{number}\n        name: {name}\n        \
             nodeid: {number}\n    }}\n"
        ));
    }
    let two_node = if names.len() == 2 { "    two_node: 1\n" } else { "" };
    format!(
        "totem {{\n    version: 2\n    cluster_name: lab\n    transport: knet\n    \
         crypto_cipher: aes256\n    crypto_hash: sha256\n{totem}}}\n\nnodelist {{\n{nodes}}}\n\n\
         quorum {{\n    provider: corosync_votequorum\n{two_node}}}\n\n\
         logging {{\n    to_stderr: yes\n    timestamp: hires\n}}\n"
    )
}

/// 128 bytes nobody knows.
fn authkey() -> Vec<u8> {
    let mut key = vec![0; 128];
    fence_agents_ipmi::Entropy::fill(&mut fence_agents_ipmi::OsEntropy, &mut key);
    key
}

impl Lab {
    /// A lab with `count` hosts that run `systole daemon` with `corosync.conf` and a key in
    /// place, all tools in the PATH, and the native agents installed.
    pub fn cluster(name: &str, count: usize) -> LabBuilder {
        Self::cluster_with(name, count, "")
    }

    /// The same with further lines in the `totem` section of `corosync.conf`.
    pub fn cluster_with(name: &str, count: usize, totem: &str) -> LabBuilder {
        let program = systole();
        let mut builder = Self::builder(name, count)
            .command([program.as_os_str().to_owned(), "daemon".into()])
            .tool("systole", &program);
        for folder in FOLDERS {
            builder = builder.persistent(*folder);
        }
        for tool in fence_agents_ipmi::NAMES.iter().chain(TOOLS) {
            builder = builder.tool(tool, &program);
        }
        for agent in resource_agents_agents::names() {
            builder = builder.link(format!("{AGENTS}/{agent}"), &program);
        }
        let conf = corosync_conf(&builder.hosts, totem);
        builder
            .content("/etc/corosync/corosync.conf", conf)
            .secret("/etc/corosync/authkey", authkey())
    }
}

/// Names of the compatible tools that the binary answers to.
const TOOLS: &[&str] = &[
    "attrd_updater",
    "cibadmin",
    "cibsecret",
    "corosync-cfgtool",
    "corosync-cmapctl",
    "corosync-keygen",
    "corosync-quorumtool",
    "crm_attribute",
    "crm_diff",
    "crm_error",
    "crm_failcount",
    "crm_master",
    "crm_mon",
    "crm_node",
    "crm_resource",
    "crm_shadow",
    "crm_simulate",
    "crm_standby",
    "crm_ticket",
    "crm_verify",
    "crmadmin",
    "pacemakerd",
    "iso8601",
    "stonith_admin",
];

#[cfg(test)]
mod tests {
    use super::corosync_conf;

    #[test]
    fn two_nodes_say_so() {
        let names = ["node1".to_owned(), "node2".to_owned()];
        let conf = corosync_conf(&names, "    token: 500\n");
        assert!(conf.contains("two_node: 1") && conf.contains("token: 500"));
        assert!(conf.contains("ring0_addr: 10.77.0.2\n        name: node2\n        nodeid: 2"));
        assert!(!corosync_conf(&names[..1], "").contains("two_node"));
        assert_eq!(conf.matches('{').count(), conf.matches('}').count());
    }
}
