//! What an operator does with a running cluster besides watching it. Runs only in the end-to-end
//! run (`SYSTOLE_E2E=1`, as root).

#![allow(clippy::unwrap_used)]

use tests_lab::{Cluster, asked_for};

/// Writes a file on a node.
fn put(cluster: &Cluster, node: &str, path: &str, text: &str) {
    cluster.sh(node, &format!("cat > {path} <<'END'\n{text}\nEND")).unwrap();
}

const SITE: &str = r#"<configuration>
  <crm_config>
    <cluster_property_set id="cib-bootstrap-options">
      <nvpair id="no-fencing" name="stonith-enabled" value="false"/>
    </cluster_property_set>
  </crm_config>
  <resources>
    <primitive id="one" class="ocf" provider="systole" type="dummy"/>
    <primitive id="two" class="ocf" provider="systole" type="dummy"/>
  </resources>
  <constraints>
    <rsc_location id="one-home" rsc="one" node="node1" score="100"/>
    <rsc_colocation id="two-with-one" rsc="two" with-rsc="one" score="INFINITY"/>
  </constraints>
</configuration>"#;

#[test]
fn a_configuration_is_applied_and_explained() {
    if !asked_for() {
        return;
    }
    let cluster = Cluster::start("operator", 2);
    put(&cluster, "node1", "/run/site.xml", SITE);
    let look =
        cluster.sh("node1", "systole apply /run/site.xml --dry-run; echo status $?").unwrap();
    assert!(look.contains("+ primitive one in resources"), "{look}");
    assert!(look.contains("status 10"), "{look}");
    assert!(look.contains("Start one ( node1 )"), "{look}");
    let unasked = cluster.must_fail("node1", "apply /run/site.xml");
    assert!(unasked.contains("--yes"), "{unasked}");
    cluster.must("node1", "apply /run/site.xml --yes");
    cluster.wait("both run where one is at home", || {
        let status = cluster.must("node1", "status");
        let runs =
            |id: &str| status.lines().any(|l| l.contains(id) && l.contains("Started on node1"));
        runs("one") && runs("two")
    });
    let again = "systole cib show > /run/cib.xml && systole apply /run/cib.xml --yes";
    let again = cluster.sh("node2", again).unwrap();
    assert!(again.contains("nothing to do"), "{again}");
    let again = cluster.must("node1", "apply /run/site.xml --yes");
    assert!(again.contains("nothing to do"), "{again}");

    let why = cluster.must("node2", "explain two --node node2");
    assert!(why.contains("colocation two-with-one: together with one (on node1)"), "{why}");
    let why = cluster.must("node1", "--json explain one");
    let why: serde_json::Value = serde_json::from_str(&why).unwrap();
    assert_eq!(why["verdict"], "one runs on node1.");
    assert_eq!(why["nodes"][1]["reasons"][0]["text"], "location constraint one-home", "{why}");

    // What is wrong changes nothing.
    put(
        &cluster,
        "node1",
        "/run/wrong.xml",
        &SITE.replace("primitive id=\"two\"", "primitiv id=\"two\""),
    );
    let wrong = cluster.must_fail("node1", "apply /run/wrong.xml --yes");
    assert!(wrong.contains("primitiv"), "{wrong}");
    assert!(cluster.must("node1", "apply /run/site.xml --yes").contains("nothing to do"));
}
