//! Tools that need a running cluster: secrets, the monitor in the background, Corosync's tools,
//! fencing by hand. What they print as XML is what their schema says. Runs only in the end-to-end
//! run (`SYSTOLE_E2E=1`, as root); needs libxml2-utils, resource-agents and Pacemaker's agents.

#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::time::Duration;

use tests_lab::{Cluster, asked_for};

const LONG: Duration = Duration::from_secs(60);
const SECRET: &str = "open sesame";
const FOLDER: &str = "/var/lib/pacemaker/lrm/secrets";

struct Tools(Cluster);

impl Tools {
    fn start(name: &str, nodes: usize) -> Self {
        let cluster = Cluster::start(name, nodes);
        cluster.make_fence_devices();
        cluster.settle();
        Self(cluster)
    }

    /// Exit status and all that was printed.
    fn run(&self, node: &str, line: &str) -> (bool, String) {
        println!("{node} $ {line}");
        let output = self.0.exec(node, &["sh", "-c", line], LONG).unwrap();
        (output.success(), format!("{}{}", output.stdout, output.stderr))
    }

    #[track_caller]
    fn ok(&self, node: &str, line: &str) -> String {
        let (success, text) = self.run(node, line);
        assert!(success, "{line}: {text}");
        text
    }

    #[track_caller]
    fn says(&self, line: &str, expected: &[&str]) {
        let text = self.ok("node1", line);
        for part in expected {
            assert!(text.contains(part), "{line} does not say {part:?}: {text}");
        }
    }

    #[track_caller]
    fn refuses(&self, line: &str, reason: &str) {
        let (success, text) = self.run("node1", line);
        assert!(!success && text.contains(reason), "{line}, expected {reason:?}: {text}");
    }

    fn everywhere(&self, line: &str) -> Vec<String> {
        self.0.nodes().iter().map(|node| self.ok(node, line)).collect()
    }
}

#[test]
fn secrets_are_kept_beside_the_cib_and_reach_agents() {
    if !asked_for() {
        return;
    }
    let tools = Tools::start("secrets", 3);
    let cluster = &tools.0;
    cluster.must(
        "node1",
        "resource create r ocf:pacemaker:Dummy envfile=/run/told op monitor interval=5s",
    );
    cluster.settle();
    tools.ok("node1", &format!("cibsecret set r passwd '{SECRET}'"));
    let told = || {
        let told = format!("grep -qs 'OCF_RESKEY_passwd={SECRET}' /run/told");
        cluster.nodes().iter().any(|node| cluster.sh(node, &told).is_ok())
    };
    cluster.wait("the agent is told", told);
    tools.says("crm_resource -r r -g passwd", &["lrm://"]);
    let modes = format!("stat -c %a {FOLDER} {FOLDER}/r {FOLDER}/r/passwd {FOLDER}/r/passwd.sign");
    for text in tools.everywhere(&modes) {
        assert_eq!(text, "700\n700\n600\n600\n");
    }
    for text in tools.everywhere("cibsecret check r passwd && cibsecret get r passwd") {
        assert_eq!(text.trim_end(), SECRET);
    }
    for text in tools.everywhere("cibadmin -Q; cat /var/lib/pacemaker/cib/*") {
        assert!(!text.contains(SECRET), "{text}");
    }
    assert!(!cluster.consoles().contains(SECRET));
    tools.refuses("cibsecret stash r passwd", "already");
    tools.refuses("cibsecret set r ../passwd x", "name of a secret");
    tools.refuses("cibsecret -C stash r passwd", "-C");
    tools.refuses("setpriv --reuid=65534 --clear-groups cibsecret -C set r passwd x", "only root");
    missing_and_changed(&tools);
    set_while_a_node_is_away(&tools);

    // Out of the CIB and back; a value from the standard input.
    tools.ok("node1", "cibsecret unstash r passwd");
    tools.says("crm_resource -r r -g passwd", &[SECRET]);
    tools.everywhere(&format!("test ! -e {FOLDER}/r"));
    tools.ok("node1", "cibsecret stash r passwd && cibsecret delete r passwd");
    tools.ok("node1", "echo from-input | cibsecret set r passwd");
    tools.says("cibsecret get r passwd", &["from-input"]);

    // A device's secret reaches its agent: its monitor, and the fence itself.
    tools.ok("node1", "cibsecret stash fence-node3 password");
    cluster.settle();
    cluster.must("node1", "resource refresh fence-node3");
    cluster.settle();
    tools.ok("node1", "stonith_admin --query fence-node3");
    tools.ok("node1", "stonith_admin --reboot node3");
    cluster.wait_formed();
}

/// A node that was off has the new value when it is back, without anybody asking for that.
fn set_while_a_node_is_away(tools: &Tools) {
    let cluster = &tools.0;
    cluster.must("node1", "property set stonith-action=off");
    cluster.power_off("node3").unwrap();
    cluster.wait("node3 is fenced", || {
        cluster.ok("node1", "status").is_ok_and(|text| text.contains("off of node3: done"))
    });
    let told = tools.ok("node1", "cibsecret set r passwd 'set meanwhile' 2>&1");
    assert!(told.contains("not in the cluster: node3"), "{told}");
    cluster.power_on("node3").unwrap();
    cluster.wait_formed();
    cluster.settle();
    for text in tools.everywhere("cibsecret check r passwd && cibsecret get r passwd") {
        assert_eq!(text.trim_end(), "set meanwhile");
    }
    assert!(!cluster.consoles().contains("set meanwhile"));
    cluster.must("node1", "property unset stonith-action");
    tools.ok("node1", &format!("cibsecret set r passwd '{SECRET}'"));
}

/// What happens where a secret is not as it was kept.
fn missing_and_changed(tools: &Tools) {
    let cluster = &tools.0;
    tools.ok("node3", &format!("rm -r {FOLDER}"));
    tools.says("cibsecret sync", &["1 secret"]);
    tools.says("cibsecret check r passwd", &[]);
    tools.ok("node3", "cibsecret check r passwd");

    cluster.must("node1", "resource disable r");
    cluster.settle();
    tools.everywhere(&format!("echo thistle > {FOLDER}/r/passwd"));
    tools.refuses("cibsecret check r passwd", "digest");
    cluster.must("node1", "resource enable r");
    cluster.wait("the start is refused", || {
        let text = cluster.sh("node1", "crm_mon -1 --include=failures").unwrap_or_default();
        text.contains("digest")
    });
    tools.ok("node1", &format!("cibsecret set r passwd '{SECRET}'"));
    cluster.must("node1", "resource cleanup r");
    cluster.wait("it runs", || {
        cluster.sh("node1", "crm_resource -r r -W").is_ok_and(|text| text.contains("running on:"))
    });
    cluster.settle();
}

#[test]
fn a_monitor_runs_in_the_background() {
    if !asked_for() {
        return;
    }
    let tools = Tools::start("monitor", 2);
    let cluster = &tools.0;
    let page = "/run/page.html";
    cluster.must(
        "node1",
        &format!(
            "resource create mon ocf:pacemaker:ClusterMon update=1 htmlfile={page} \
             pidfile=/run/mon.pid extra_options=-r op monitor interval=5s"
        ),
    );
    let home = || {
        let has = format!("test -s {page}");
        cluster.nodes().iter().find(|node| cluster.sh(node, &has).is_ok()).cloned()
    };
    // The page is empty for a moment each time that it is written.
    let found = std::cell::OnceCell::new();
    cluster.wait("the page is there", || home().is_some_and(|node| found.set(node).is_ok()));
    let home = found.into_inner().unwrap();
    let shows = |what: &str| cluster.sh(&home, &format!("grep -q '{what}' {page}")).is_ok();
    cluster.must("node1", "resource create later ocf:heartbeat:Dummy");
    cluster.wait("the page is renewed", || shows("later.*Started"));
    assert!(shows("http-equiv=\"refresh\"") && shows("<li>"));
    cluster.settle();
    cluster.must("node1", "resource cleanup mon");
    cluster.must("node1", "resource disable mon");
    let gone = "! test -e /run/mon.pid && ! ps -eo args | grep '[c]rm_mon'";
    cluster.wait("it has stopped", || cluster.sh(&home, gone).is_ok());
    cluster.settle();
    let failures = tools.ok("node1", "crm_mon -1 --include=none,failures");
    assert!(!failures.contains("mon"), "{failures}");

    // By hand: refused where it cannot be heard of; once only; told of what happens.
    tools.refuses("crm_mon -d", "--output-to");
    tools.ok(
        "node1",
        "printf '#!/bin/sh\\necho \"$CRM_notify_recipient $CRM_notify_rsc $CRM_notify_task \
         $CRM_notify_rc\" >> /run/told\\n' > /run/agent; chmod +x /run/agent",
    );
    let start = "crm_mon -d -i 1 -p /run/own.pid -E /run/agent -e me -W";
    tools.ok("node1", start);
    tools.refuses(start, "already running");
    std::thread::sleep(Duration::from_secs(1));
    cluster.must("node1", "resource disable later");
    let told = "grep -q 'me later stop 0' /run/told";
    cluster.wait("the program is told", || cluster.sh("node1", told).is_ok());
    tools.ok("node1", "kill $(cat /run/own.pid)");
}

#[test]
fn tools_about_members_and_fencing_answer_all_that_they_are_asked() {
    if !asked_for() {
        return;
    }
    let tools = Tools::start("tools", 2);
    tools.says("corosync-quorumtool -s -p", &["Quorate:          Yes", "node1 (local)"]);
    tools.says("corosync-quorumtool -l -i -oi", &["10.77.0.1", "10.77.0.2"]);
    tools.says("corosync-quorumtool -s -H", &["Node ID:          0x00000001"]);
    tools.refuses("corosync-quorumtool -v 2 -n 1", "corosync.conf");
    tools.says("corosync-cfgtool -s", &["LINK ID 0", "connected"]);
    tools.says("corosync-cfgtool -b -s -i 0", &["status\t= n3"]);
    tools.says("corosync-cfgtool -n", &["nodeid: 2 reachable"]);
    tools.says("corosync-cfgtool -a 2", &["10.77.0.2"]);
    tools.refuses("corosync-cfgtool -R", "corosync.conf");
    tools.says("corosync-cmapctl", &["totem.cluster_name (str) = lab", "nodelist.node.0.nodeid"]);
    tools.says("corosync-cmapctl -b nodelist.", &["nodelist.node.1.name (str) = node2"]);
    tools.says("corosync-cmapctl -q -g totem.cluster_name", &["lab"]);
    tools.says("corosync-cmapctl -m stats", &["stats.knet.node2.link0.connected (u8) = 1"]);
    tools.refuses("corosync-cmapctl -g nothing", "CS_ERR_NOT_EXIST");
    tools.refuses("corosync-cmapctl -d totem.token", "corosync.conf");
    tools.refuses("corosync-cmapctl -s totem.token u32 500", "corosync.conf");
    tools.ok("node1", "corosync-cmapctl -s quorum.cancel_wait_for_all u8 1");
    tools.says("corosync-keygen -l -k /run/key && stat -c '%a %s' /run/key", &["400 256"]);

    tools.says("stonith_admin -I", &["fence_systole_ipmi"]);
    tools.says("stonith_admin -L", &["fence-node1", "2 fence devices found"]);
    tools.says("stonith_admin -l node1", &["fence-node1", "1 fence device found"]);
    tools.says("stonith_admin -s fence-node1", &["node1", "1 fence target found"]);
    tools.says("stonith_admin -M -a fence_systole_ipmi", &["<resource-agent", "parameter name"]);
    tools.ok("node1", "stonith_admin -Q fence-node1");
    tools.refuses("stonith_admin -Q nothing", "nothing");
    tools.refuses("stonith_admin -M -a fence_nothing", "not installed");
    tools.refuses("stonith_admin -R x -a fence_systole_ipmi", "CIB");
    tools.says("stonith_admin -B node2 --tag test", &[]);
    tools.0.wait_formed();
    tools.says("stonith_admin -B node2 --tolerance 10m", &[]);
    tools.says("stonith_admin -H node2 -V", &["1 event found"]);
    tools.says("stonith_admin -h 2 -n", &["Node node2 last fenced at"]);
    tools.says("crm_mon -s", &["CLUSTER OK: 2 nodes online, 2 resource instances configured"]);
    results_are_what_their_schema_says(&tools);
}

/// The XML that the tools print is valid against the schema that is written for other programs.
fn results_are_what_their_schema_says(tools: &Tools) {
    tools.0.must("node1", "resource create r ocf:heartbeat:Dummy op monitor interval=5s");
    tools.0.settle();
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(tests_lab::systole())
        .args(["cib", "schemas"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success());
    let schema = folder.path().join("api/api-result.rng");
    for line in [
        "crm_mon",
        "crm_mon --group-by-node --show-detail --timing-details",
        "crm_mon --fence-history=3",
        "crm_resource -L",
        "crm_resource -r r -W",
        "crm_resource -r r --why",
        "crm_resource -r r -q",
        "crm_resource -r r -g fake",
        "crm_resource -r r --digests -N node1",
        "crm_resource -r r --force-check",
        "crm_resource --list-operations",
        "crm_resource --list-agents ocf:systole",
        "crm_resource --show-metadata ocf:heartbeat:Dummy",
        "crm_resource --validate --class ocf --provider heartbeat --agent Dummy",
        "crm_attribute -t crm_config -n cluster-name -G",
        "crm_attribute --list-options=cluster --all",
        "crm_node -l",
        "crm_node -q",
        "crm_node -n",
        "crm_node -i",
        "crm_node -p",
        "crmadmin -D",
        "crmadmin -S node1",
        "crmadmin -N",
        "crmadmin -P",
        "crm_simulate -L",
        "crm_simulate -L -s -S",
        "crm_verify -L",
        "cibadmin -Q",
        "stonith_admin -L",
        "stonith_admin -I",
        "stonith_admin -H '*'",
        "stonith_admin -h node2",
        "stonith_admin -s fence-node1",
        "stonith_admin -M -a fence_systole_ipmi",
        "attrd_updater -n nothing -Q",
        "pacemakerd --features",
    ] {
        let text = tools.0.exec("node1", &["sh", "-c", &format!("{line} --output-as=xml")], LONG);
        let file = folder.path().join("result.xml");
        let text = text.unwrap().stdout;
        assert!(text.contains("<pacemaker-result"), "{line}: {text}");
        std::fs::write(&file, &text).unwrap();
        let mut check = Command::new("xmllint");
        let check = check.args(["--noout", "--relaxng"]).arg(&schema).arg(&file).output();
        let check = check.expect("xmllint (package libxml2-utils)");
        let why = String::from_utf8_lossy(&check.stderr);
        assert!(check.status.success(), "{line}: {why}\n{text}");
    }
}
