//! `crm` and `pcs`, unmodified, on a running cluster of three nodes. Runs only in the end-to-end
//! run (`SYSTOLE_E2E=1`, as root); needs crmsh and pcs unpacked, which `cargo xtask test` does.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tests_lab::{BMC_PASSWORD, BMC_USER, Cluster, asked_for};

/// They are slow to start, and some verbs wait for the cluster.
const LONG: Duration = Duration::from_secs(90);

struct Peers {
    cluster: Cluster,
}

impl Peers {
    fn start(name: &str) -> Self {
        let lab = Cluster::lab(name, 3).peers().unwrap().build();
        let cluster = Cluster::start_lab(lab.expect("a lab (root, openipmi)"));
        cluster.make_fence_devices();
        cluster.settle();
        Self { cluster }
    }

    /// Runs a shell's line on the first node; what it printed, and whether it ended with 0.
    fn run(&self, line: &str) -> (bool, String) {
        println!("$ {line}");
        let output = self.cluster.exec("node1", &["sh", "-c", line], LONG).unwrap();
        (output.success(), format!("{}{}", output.stdout, output.stderr))
    }

    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let (success, text) = self.run(line);
        assert!(success, "{line}: {text}");
        text
    }

    #[track_caller]
    fn all(&self, lines: &[&str]) {
        lines.iter().for_each(|line| drop(self.ok(line)));
    }

    #[track_caller]
    fn says(&self, line: &str, expected: &str) {
        let text = self.ok(line);
        assert!(text.contains(expected), "{line} does not say {expected:?}: {text}");
    }

    #[track_caller]
    fn refuses(&self, line: &str, reason: &str) {
        let (success, text) = self.run(line);
        assert!(!success && text.contains(reason), "{line}, expected {reason:?}: {text}");
    }

    /// The nodes on which a resource is active.
    fn nodes(&self, id: &str) -> Vec<String> {
        let ask = ["crm_resource", "--locate", "--resource", id];
        let output = self.cluster.exec("node1", &ask, LONG).unwrap();
        let lines = output.stdout.lines();
        let place = lines.filter_map(|line| line.split_once("running on: "));
        place.filter_map(|(_, node)| node.split(' ').next().map(str::to_owned)).collect()
    }

    #[track_caller]
    fn wait_on(&self, id: &str, node: &str) {
        self.cluster.wait(&format!("{id} is on {node}"), || self.nodes(id) == [node]);
    }

    #[track_caller]
    fn wait_stopped(&self, id: &str) {
        self.cluster.wait(&format!("{id} is stopped"), || self.nodes(id).is_empty());
        self.cluster.settle();
    }
}

#[test]
fn crm_works() {
    if !asked_for() {
        return;
    }
    let peers = Peers::start("crm");
    peers.says("crm status", "Online: [ node1 node2 node3 ]");
    peers.all(&[
        "crm configure property no-quorum-policy=stop",
        "crm configure rsc_defaults resource-stickiness=10",
        "crm configure op_defaults timeout=30s",
        "crm configure primitive p1 ocf:heartbeat:Dummy op monitor interval=10s timeout=20s",
        "crm configure primitive p2 ocf:heartbeat:Dummy",
        "crm configure primitive p3 ocf:systole:dummy",
        "crm configure primitive p4 ocf:systole:dummy",
        "crm configure primitive p5 ocf:heartbeat:Dummy",
        "crm configure primitive s1 ocf:systole:stateful op monitor interval=10s role=Promoted \
         op monitor interval=11s role=Unpromoted",
        "crm configure clone ms1 s1 meta promotable=true promoted-max=1 clone-max=2",
        "crm configure clone c4 p4",
        "crm configure group g1 p1 p2",
        "crm configure location l1 g1 100: node2",
        "crm configure location l2 p3 rule -inf: '#uname' eq node3",
        "crm configure colocation col1 inf: p3 g1",
        "crm configure order o1 Mandatory: g1 p3",
        "crm configure verify",
    ]);
    peers.wait_on("p1", "node2");
    peers.wait_on("p3", "node2");
    peers.says("crm configure show", "colocation col1 inf: p3 g1");
    peers.refuses("crm configure location l9 nothing 100: node2", "nothing");

    // Changed by a file; renewed whole by another; a promotable clone in its former spelling.
    peers.all(&[
        "crm configure save /run/saved.crm",
        "sed -i 's/100: node2/101: node2/' /run/saved.crm",
        "crm configure load update /run/saved.crm",
    ]);
    peers.says("crm configure show l1", "101: node2");
    peers.all(&["crm resource stop p5"]);
    peers.wait_stopped("p5");
    peers.all(&["crm configure delete p5"]);
    peers.all(&["printf '%s\\n' 'schema pacemaker-3.10' \
         'primitive s2 ocf:systole:stateful' 'ms ms2 s2 meta master-max=1' commit | crm configure"]);
    peers.says("cibadmin -Q --xpath //master", "ms2");
    peers.all(&["crm configure upgrade force"]);
    peers.says("crm configure show ms2", "promotable=true");
    peers.ok("crm configure graph dot /run/graph.dot && grep -q digraph /run/graph.dot");

    // In a file: where no engine runs, the agents' stops fail, and so the nodes are fenced.
    peers.all(&[
        "cibadmin -Q > /run/b.xml",
        "CIB_file=/run/b.xml crm configure bundle b1 docker image=x replicas=2 network \
         ip-range-start=10.77.0.70 control-port=9999 port-mapping port=80 \
         storage storage-mapping source-dir=/srv target-dir=/srv",
        "CIB_file=/run/b.xml crm configure primitive b1r ocf:heartbeat:Dummy",
        "CIB_file=/run/b.xml crm configure verify",
    ]);
    peers.says("CIB_file=/run/b.xml crm configure show b1", "docker image=x replicas=2");
    peers.says("CIB_file=/run/b.xml crm_mon -1 -r", "Container bundle set: b1 [x]");
    peers.all(&["CIB_file=/run/b.xml crm configure delete b1"]);

    let mon = peers.ok("crm_mon -1 --output-as=xml");
    assert_eq!(mon.matches("feature_set=\"3.").count(), 3, "{mon}");

    crm_resources(&peers);
    crm_nodes(&peers);
}

fn crm_resources(peers: &Peers) {
    peers.cluster.settle();
    peers.says("crm resource locate p3", "running on: node2");
    peers.all(&["crm resource ban p3 node2 PT10M", "crm resource clear p3"]);
    peers.all(&["crm configure delete l1", "crm configure delete l2", "crm configure delete col1"]);
    peers.all(&["crm resource move p3 node1 force"]);
    peers.wait_on("p3", "node1");
    peers.all(&["crm resource clear p3", "crm resource ban p3 node1"]);
    peers.cluster.wait("p3 leaves", || !peers.nodes("p3").contains(&"node1".to_owned()));
    peers.all(&[
        "crm resource clear p3",
        "crm resource cleanup p3",
        "crm resource refresh p3",
        "crm resource restart p3",
        "crm resource promote ms1",
        "crm resource demote ms1",
        "crm resource param p3 set fake abc",
        "crm resource maintenance p3 on",
        "crm resource maintenance p3 off",
    ]);
    peers.says("crm resource failcount p3 show node1", "name=fail-count-p3 value=0");
    peers.all(&[
        "crm resource secret p1 set passwd 'open sesame'",
        "crm resource secret p1 check passwd",
        "crm resource secret p1 unstash passwd",
        "crm resource secret p1 stash passwd",
    ]);
    peers.says("crm resource secret p1 show passwd", "open sesame");
    peers.says("crm resource param p1 show passwd", "lrm://");
    peers.all(&["crm resource secret p1 delete passwd"]);
    peers.all(&["crm resource failcount p3 delete node1", "crm resource stop p3"]);
    peers.wait_stopped("p3");
    peers.all(&["crm resource start p3"]);
    peers.cluster.wait("p3 runs", || !peers.nodes("p3").is_empty());
}

fn crm_nodes(peers: &Peers) {
    peers.all(&["crm node standby node2"]);
    let elsewhere = || peers.nodes("p1").first().is_some_and(|node| node != "node2");
    peers.cluster.wait("p1 leaves the node", elsewhere);
    peers.all(&[
        "crm node online node2",
        "crm node maintenance node3",
        "crm node ready node3",
        "crm node attribute node1 set size 4096",
    ]);
    peers.says("crm node attribute node1 show size", "value=4096");
    peers.all(&["crm node attribute node1 delete size"]);
}

#[test]
fn pcs_works() {
    if !asked_for() {
        return;
    }
    let peers = Peers::start("pcs");
    peers.says("pcs status", "Online: [ node1 node2 node3 ]");
    peers.says(
        "pcs resource create q1 ocf:systole:dummy op monitor interval=10s --wait=30",
        "is running on node",
    );
    peers.all(&[
        "pcs resource create q2 ocf:heartbeat:Dummy --wait=30",
        "pcs resource create q3 ocf:heartbeat:Dummy clone",
        "pcs resource create q4 ocf:systole:stateful promotable promoted-max=1",
        "pcs resource meta q1 resource-stickiness=7",
        "pcs resource defaults update resource-stickiness=1",
        "pcs resource disable q1 --wait=30",
        "pcs resource enable q1 --wait=30",
        "pcs constraint location q1 prefers node1=50",
        "pcs constraint location q1 avoids node2=10",
        "pcs constraint location q1 rule score=5 '#uname' eq node1",
        "pcs constraint order q1 then q3-clone",
        "pcs constraint colocation add q2 with q1 50",
        "pcs constraint config --full",
        "pcs constraint delete colocation-q2-q1-50",
    ]);
    peers.refuses("pcs resource create q7 ocf:heartbeat:Nothing", "not installed");
    peers.refuses("pcs resource create q6 ocf:heartbeat:IPaddr2", "'ip' is missing");

    // The constraint that moves it is gone when it has moved.
    peers.wait_on("q1", "node1");
    peers.cluster.settle();
    peers.all(&["pcs constraint location remove location-q1-node1-50"]);
    peers.says("pcs resource move q1 node3", "moved");
    peers.wait_on("q1", "node3");
    assert!(!peers.ok("pcs constraint config --full").contains("cli-"));
    peers.all(&[
        "pcs resource ban q1 node3 --wait=30",
        "pcs resource clear q1",
        "pcs resource restart q1",
        "pcs resource cleanup q1",
        "pcs resource refresh q1",
        "pcs resource failcount",
    ]);
    pcs_cluster(&peers);
}

fn pcs_cluster(peers: &Peers) {
    peers.ok(&format!(
        "pcs stonith create st1 fence_systole_ipmi ip=10.77.1.1 username={BMC_USER} \
         password={BMC_PASSWORD} cipher=3 pcmk_host_list=node1"
    ));
    peers.refuses("pcs stonith create st3 fence_nothing", "not installed");
    peers.all(&[
        "pcs stonith level add 1 node1 fence-node1",
        "pcs stonith level verify",
        "pcs stonith history",
        "pcs stonith delete st1",
        "pcs property set no-quorum-policy=stop",
        "pcs property unset no-quorum-policy",
    ]);
    peers.refuses("pcs property set nonsense=1", "nonsense");
    peers.all(&[
        "pcs node attribute node1 a=b",
        "pcs node standby node2 --wait=30",
        "pcs node unstandby node2 --wait=30",
        "pcs node maintenance node3",
        "pcs node unmaintenance node3",
        "pcs status --full",
        "pcs quorum status",
        "pcs cluster verify --full",
        "pcs cluster cib /run/old.xml",
        "cp /run/old.xml /run/new.xml",
        "pcs -f /run/new.xml resource create x1 ocf:heartbeat:Dummy",
        "pcs cluster cib-push /run/new.xml diff-against=/run/old.xml",
    ]);
    peers.says("pcs resource config x1", "ocf");
    peers.says("pcs property config --all", "no-quorum-policy");
    peers.all(&[
        "pcs tag create t1 q1 q2",
        "pcs tag update t1 remove q2",
        "pcs tag delete t1",
        "pcs acl role create rd read xpath /cib",
        "pcs acl user create bob rd",
        "pcs acl role create wr write id q1",
        "pcs acl permission add wr deny xpath /cib/status",
        "pcs acl group create operators wr",
        "pcs acl role assign wr bob",
        "pcs acl config",
        "pcs acl role unassign wr bob",
        "pcs acl role delete wr",
        "pcs acl group delete operators",
        "pcs acl enable",
        "pcs acl disable",
        // In a file: where no engine runs, the agents' stops fail, and so the nodes are fenced.
        "pcs cluster cib /run/b.xml",
        "pcs -f /run/b.xml resource bundle create b1 container docker image=x replicas=2 network \
         control-port=9999 ip-range-start=10.77.0.70 port-map port=80 --disabled",
        "pcs -f /run/b.xml resource create b1r ocf:heartbeat:Dummy bundle b1",
        "pcs -f /run/b.xml resource bundle update b1 container replicas=3",
        "pcs -f /run/b.xml resource config b1",
        "pcs -f /run/b.xml resource delete b1",
        "pcs alert create path=/bin/true id=al1",
        "pcs alert recipient add al1 value=/run/x",
        "pcs alert delete al1",
        "pcs config",
    ]);
}

/// The log of a node as its journal would have it: the daemon writes to standard error.
fn keep_log(cluster: &Cluster, node: &str) {
    let file = cluster.folder(node).unwrap().join("console.log");
    let console = std::fs::read_to_string(file).unwrap();
    let timed = console.lines().filter(|line| line.starts_with("20"));
    let lines = timed.map(|line| {
        let second = line.get(..19).unwrap();
        format!("{second}+0000 {node} systole[1]: {line}\n")
    });
    let path = "/var/log/pacemaker/pacemaker.log";
    let text: String = lines.collect();
    cluster
        .sh(node, &format!("mkdir -p /var/log/pacemaker; cat > {path} <<'END'\n{text}END"))
        .unwrap();
}

#[test]
fn crm_reads_the_history() {
    if !asked_for() {
        return;
    }
    let peers = Peers::start("crmhist");
    peers.all(&["crm configure primitive p1 ocf:systole:dummy", "crm resource locate p1"]);
    peers.cluster.settle();
    peers.all(&["crm resource stop p1"]);
    peers.wait_stopped("p1");
    let status = peers.cluster.json("node1", "cluster status").unwrap();
    let dc = status["dc"].as_str().unwrap().to_owned();
    keep_log(&peers.cluster, &dc);
    let run = |verb: &str| {
        let line = format!("crm -H /run/report.tar.bz2 history {verb}");
        let output = peers.cluster.exec(&dc, &["sh", "-c", &line], LONG).unwrap();
        let text = format!("{}{}", output.stdout, output.stderr);
        println!("{dc}$ {line}\n{text}");
        text
    };
    let report = ["sh", "-c", "crm report -S /run/report"];
    let report = peers.cluster.exec(&dc, &report, LONG).unwrap();
    assert!(report.success(), "{}", report.stderr);
    assert!(run("info").contains("Resources: fence-node1 fence-node2 fence-node3 p1"));
    assert!(run("transitions").contains("pe-input-1"));
    assert!(run("peinputs v").contains("cibadmin"));
    let again = run("transition 0 nograph");
    assert!(again.contains("Stop       p1"), "{again}");
    assert!(again.contains("Complete"), "{again}");
    assert!(run("transition log").contains("Calculated transition"));
    assert!(run("show 0").contains("target-role=Stopped"));
    assert!(run("diff -1 0").contains("target-role"));
    let of_it = run("resource p1");
    assert!(of_it.contains("p1_start_0 on ") && of_it.contains("p1_stop_0 on "), "{of_it}");
    // A node that is lost and fenced, and what went on meanwhile.
    let lost = peers.cluster.another(&["node1", &dc]).to_owned();
    peers.cluster.power_off(&lost).unwrap();
    peers.cluster.wait_formed();
    peers.cluster.settle();
    keep_log(&peers.cluster, &dc);
    let report = ["sh", "-c", "crm report -S /run/report2"];
    assert!(peers.cluster.exec(&dc, &report, LONG).unwrap().success());
    for verb in [format!("node {lost}"), "events".to_owned()] {
        let line = format!("crm -H /run/report2.tar.bz2 history {verb}");
        let output = peers.cluster.exec(&dc, &["sh", "-c", &line], LONG).unwrap();
        println!("{dc}$ {line}\n{}{}", output.stdout, output.stderr);
        assert!(output.stdout.contains(&format!("Node {lost} will be fenced")));
        assert!(output.stdout.contains(&format!("lost: {lost} left the membership")));
    }
}
