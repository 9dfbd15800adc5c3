//! Users who may see a part of the cluster, or nothing, see no more in any tool's output. Runs only
//! in the end-to-end run (`SYSTOLE_E2E=1`, as root).

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tests_lab::{Cluster, asked_for};

/// Ids of what is denied, and values in it: never to be seen in an output.
const DENIED: &[&str] = &["murky", "s3cret", "node2", "fence-node", "hush"];

/// Adds users to the host for as long as it is on: `ann` is in the cluster's group, `eve` in none.
/// They find the tools in a folder that everybody may read.
const USERS: &str = r#"set -e
cp /etc/passwd /run/passwd
cp /etc/group /run/group
printf '%s\n' ann:x:5001:5001::/:/bin/sh eve:x:5002:5002::/:/bin/sh >>/run/passwd
printf '%s\n' ann:x:5001: eve:x:5002: >>/run/group
if grep -q ^haclient: /run/group; then
    sed -i 's/^haclient:\([^:]*:[^:]*\):.*/haclient:\1:ann/' /run/group
else
    echo haclient:x:5000:ann >>/run/group
fi
mount --bind /run/passwd /etc/passwd
mount --bind /run/group /etc/group
mkdir -m 755 /run/tools
cp "$(readlink -f "$(command -v systole)")" /run/tools/systole
for name in $(systole --tool-names); do
    ln -sf systole /run/tools/$name
done
"#;

/// What `ann` may read: one resource, the first node, the options.
const RULES: &str = r#"<acls>
<acl_role id="part"><acl_permission id="part-1" kind="write" xpath="//primitive[@id='plain']"/>
<acl_permission id="part-2" kind="read" xpath="//node[@id='1']"/>
<acl_permission id="part-3" kind="read" xpath="//crm_config"/>
</acl_role>
<acl_target id="ann"><role id="part"/></acl_target>
</acls>"#;

/// Questions, and guesses at what is hidden in the form of changes.
const ASKED: &[&str] = &[
    "cibadmin --query",
    "cibadmin --query --xpath \"//*[contains(@value,'cret')]\"",
    "cibadmin --query --xpath \"//primitive[@id='plain']/../primitive\"",
    "cibadmin --query --xpath \"//node/@uname\"",
    "cibadmin --query --xpath \"//nvpair\" --node-path",
    "cibadmin --query --scope status",
    "cibadmin --query --scope acls",
    "cibadmin --delete-all --force --xpath \"//primitive[starts-with(@id,'mur')]\"",
    "crm_mon -1 -A -n -f -o -t -m -r",
    "crm_mon -1 --output-as xml -A -m",
    "crm_resource --list",
    "crm_resource --list-ops",
    "crm_resource --list-raw",
    "crm_attribute --query --type nodes --node node1 --name size",
    "crm_attribute --query --type status --node node1 --name size",
    "attrd_updater --query --all --name size",
    "crm_node --list",
    "crm_node --partition",
    "crm_simulate --live-check --simulate --show-scores",
    "crm_verify --live-check -V",
    "crm_ticket --info",
    "crmadmin --nodes",
    "crmadmin --dc_lookup",
    "stonith_admin --history '*'",
    "stonith_admin --list-registered",
    "stonith_admin --list node1",
    "corosync-cmapctl",
    "corosync-quorumtool -l",
    "corosync-cfgtool -s",
    "systole status",
    "systole --json status",
    "systole explain plain",
    "systole --json explain plain",
    "systole resource list",
    "systole constraint list",
    "systole stonith list",
    "systole stonith history",
    "systole node transient node1",
    "systole cluster status",
    "systole cib show",
    "timeout 2 systole cluster watch",
    "timeout 2 systole status --watch",
];

struct Test {
    cluster: Cluster,
}

impl Test {
    /// What a command of a user prints on the first node, and whether it succeeds.
    fn run(&self, user: &str, command: &str) -> (bool, String) {
        let id = if user == "ann" { "5001" } else { "5002" };
        let script = format!(
            "PATH=/run/tools:/usr/sbin:/usr/bin:/sbin:/bin; cd /; exec setpriv --reuid {id} \
             --regid {id} --clear-groups sh -c '{}'",
            command.replace('\'', "'\\''")
        );
        let patience = Duration::from_secs(60);
        let output = self.cluster.exec("node1", &["sh", "-c", &script], patience).unwrap();
        (output.success(), format!("{}{}", output.stdout, output.stderr))
    }

    #[track_caller]
    fn tells_nothing(&self, user: &str, command: &str) -> String {
        let (_, said) = self.run(user, command);
        for word in DENIED {
            assert!(!said.contains(word), "{user} learns of {word} by '{command}':\n{said}");
        }
        said
    }
}

#[test]
fn what_is_denied_is_in_no_output() {
    if !asked_for() {
        return;
    }
    let cluster = Cluster::start("acl", 2);
    cluster.make_fence_devices();
    for command in [
        "systole resource create plain ocf:systole:dummy",
        "systole resource create murky ocf:systole:dummy fake=s3cret",
        "attrd_updater --name hush --update s3cret --node node1",
        "systole constraint location murky prefers node2 || true",
        "cibadmin --query --scope resources >/run/resources.xml",
    ] {
        cluster.sh("node1", command).unwrap();
    }
    cluster.settle();
    cluster.sh("node1", "stonith_admin --reboot node2 --timeout 60").unwrap();
    cluster.wait_formed();
    cluster.settle();
    cluster.sh("node1", USERS).unwrap();
    cluster
        .sh(
            "node1",
            &format!(
                "cibadmin --replace --scope acls --xml-text '{}' || \
        cibadmin --create --scope configuration --xml-text '{}'",
                RULES.replace('\'', "'\\''"),
                RULES.replace('\'', "'\\''")
            ),
        )
        .unwrap();
    let test = Test { cluster };

    // Not of the group: nothing at all, with or without rules.
    for acl in ["false", "true"] {
        test.cluster.must("node1", &format!("property set enable-acl={acl}"));
        for command in
            ["cibadmin --query", "systole status", "crm_mon -1", "attrd_updater -Q -n hush"]
        {
            let (success, said) = test.run("eve", command);
            assert!(!success && !said.is_empty(), "eve by '{command}': {said}");
            assert!(!said.contains("plain") && !said.contains("s3cret"), "{command}: {said}");
        }
        assert!(test.run("eve", "systole status").1.contains("group haclient"));
        let erase = test.run("eve", "cibadmin --erase --force");
        assert!(!erase.0, "{}", erase.1);
    }

    // Of the group: what the rules say.
    let (success, cib) = test.run("ann", "cibadmin --query");
    assert!(success && cib.contains("plain") && cib.contains("node1"), "{cib}");
    for command in ASKED {
        test.tells_nothing("ann", command);
    }
    let (_, refused) = test.run("ann", "crm_resource --query-xml --resource murky");
    assert!(!refused.contains("s3cret") && !refused.contains("ocf"), "{refused}");
    let (_, refused) = test.run("ann", "systole explain murky");
    assert!(!refused.contains("s3cret") && !refused.contains("node2"), "{refused}");
    let (_, hush) = test.run("ann", "attrd_updater --query --name hush --all");
    assert!(!hush.contains("s3cret"), "{hush}");

    // A right guess and a wrong one come to the same.
    let guess = |value: &str| {
        let xpath = format!("//primitive[@id='plain'][//nvpair[@value='{value}']]");
        let delete = test.run("ann", &format!("cibadmin --delete --xpath \"{xpath}\""));
        let modify = "<instance_attributes id=\"murky-instance_attributes\"/>";
        let xml = format!("<primitive id=\"murky\">{modify}</primitive>");
        let same =
            test.run("ann", &format!("cibadmin --modify --scope resources --xml-text '{xml}'"));
        let search = format!("<nvpair name=\"fake\" value=\"{value}\"/>");
        let found =
            test.run("ann", &format!("cibadmin --delete --scope resources --xml-text '{search}'"));
        (delete, same, found)
    };
    assert_eq!(guess("s3cret"), guess("s4cret"));
    let resources = test.cluster.sh("node1", "cibadmin --query --scope resources").unwrap();
    assert!(resources.contains("\"plain\"") && resources.contains("s3cret"), "{resources}");

    // What needs more than a look needs root.
    for command in [
        "attrd_updater --name x --update 1",
        "stonith_admin --reboot node1",
        "stonith_admin --confirm node1",
        "cibadmin --modify --scope crm_config --xml-text '<cluster_property_set \
         id=\"cib-bootstrap-options\"><nvpair id=\"z\" name=\"enable-acl\" value=\"false\"/>\
         </cluster_property_set>'",
    ] {
        let (success, said) = test.run("ann", command);
        assert!(!success, "ann may '{command}': {said}");
    }
    // And what is allowed is done.
    let change = "cibadmin --modify --scope resources --xml-text '<primitive id=\"plain\">\
        <meta_attributes id=\"plain-meta\"><nvpair id=\"plain-meta-1\" name=\"priority\" value=\"3\"/>\
        </meta_attributes></primitive>'";
    let (success, said) = test.run("ann", change);
    assert!(success, "{said}");
}
