//! Files of the field, and what is said about wrong ones.

use membership_base::NodeId;
use membership_conf::{Config, TieBreaker, Transport, parse};
use std::time::Duration;

const PCS: &str = "
totem {
    version: 2
    cluster_name: alpha
    transport: knet
    crypto_cipher: aes256
    crypto_hash: sha256
    interface {
        linknumber: 1
        mcastport: 6000
    }
}

nodelist {
    node {
        ring0_addr: 192.0.2.1
        ring1_addr: 198.51.100.1
        name: one
        nodeid: 1
    }

    node {
        ring0_addr: 192.0.2.2
        ring1_addr: 198.51.100.2
        name: two
        nodeid: 2
    }
}

quorum {
    provider: corosync_votequorum
    two_node: 1
}

logging {
    to_logfile: yes
    logfile: /var/log/cluster/corosync.log
    to_syslog: yes
    timestamp: on
}
";

fn good(text: &str) -> Config {
    parse(text).expect("the file is right")
}

fn bad(text: &str) -> String {
    parse(text).expect_err("the file is wrong").to_string()
}

#[test]
fn a_file_as_pcs_writes_it() {
    let c = good(PCS);
    assert_eq!(c.warnings, vec![]);
    assert_eq!(c.totem.cluster_name, "alpha");
    assert_eq!(c.totem.transport, Transport::Knet);
    assert!(c.totem.encrypted);
    assert_eq!(c.totem.token, Duration::from_millis(3000));
    assert_eq!((c.port(0), c.port(1), c.port(2)), (5405, 6000, 5407));
    assert_eq!(c.nodes.len(), 2);
    assert_eq!(c.nodes[1].addresses[&1], "198.51.100.2");
    assert_eq!(c.node_name(NodeId(2)), Some("two"));
    assert!(c.quorum.two_node && c.quorum.wait_for_all && c.quorum.enabled);
    assert_eq!(c.expected_votes(), 2);
    assert_eq!(c.logging.logfile.as_deref(), Some("/var/log/cluster/corosync.log"));
}

#[test]
fn the_flat_map_has_types() {
    let shown: Vec<String> = good(PCS).cmap.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "logging.logfile (str) = /var/log/cluster/corosync.log",
            "logging.timestamp (str) = on",
            "logging.to_logfile (str) = yes",
            "logging.to_syslog (str) = yes",
            "nodelist.node.0.name (str) = one",
            "nodelist.node.0.nodeid (u32) = 1",
            "nodelist.node.0.ring0_addr (str) = 192.0.2.1",
            "nodelist.node.0.ring1_addr (str) = 198.51.100.1",
            "nodelist.node.1.name (str) = two",
            "nodelist.node.1.nodeid (u32) = 2",
            "nodelist.node.1.ring0_addr (str) = 192.0.2.2",
            "nodelist.node.1.ring1_addr (str) = 198.51.100.2",
            "quorum.provider (str) = corosync_votequorum",
            "quorum.two_node (u8) = 1",
            "totem.cluster_name (str) = alpha",
            "totem.crypto_cipher (str) = aes256",
            "totem.crypto_hash (str) = sha256",
            "totem.interface.1.linknumber (u32) = 1",
            "totem.interface.1.mcastport (u16) = 6000",
            "totem.transport (str) = knet",
            "totem.version (u32) = 2",
        ]
    );
}

fn with_totem(lines: &str) -> String {
    format!("totem {{\n{lines}\n}}\nnodelist {{\nnode {{\nring0_addr: a\nnodeid: 1\n}}\n}}\n")
}

#[test]
fn encryption_is_off_only_in_words() {
    let cases = [
        ("", true),
        ("secauth: on", true),
        ("secauth: off", false),
        ("crypto_cipher: none\ncrypto_hash: none", false),
        ("crypto_cipher: none", false),
        ("crypto_cipher: none\ncrypto_hash: sha256", true),
        ("crypto_hash: sha1", true),
        ("secauth: off\ncrypto_cipher: aes256", true),
    ];
    for (lines, encrypted) in cases {
        assert_eq!(good(&with_totem(lines)).totem.encrypted, encrypted, "{lines}");
    }
}

#[test]
fn unknown_and_idle_keys_are_told() {
    let c = good(&with_totem("tokn: 5\nthreads: 2\nfoo {\nbar: 1\n}"));
    let shown: Vec<String> = c.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "line 2: totem.tokn: unknown key, ignored",
            "line 3: totem.threads: accepted, but has no effect",
            "line 4: totem.foo: unknown section, ignored",
        ]
    );
}

#[test]
fn wrong_values_are_all_told_with_line_and_remedy() {
    let text = with_totem("token: soon\ncrypto_cipher: rot13\nheartbeat_suspect: 60");
    assert_eq!(
        bad(&text),
        "corosync.conf:2: totem.token: \"soon\" is not a number of milliseconds from 1 to \
         4294967295; write for example `token: 1000`\n\
         corosync.conf:3: totem.crypto_cipher: \"rot13\" is not one of none, aes256, aes192, \
         aes128, 3des; write for example `crypto_cipher: none`\n\
         corosync.conf:4: totem.heartbeat_suspect: a node would be suspected after 60 ms although \
         its heartbeats come every 50 ms; make heartbeat_suspect at least twice \
         heartbeat_interval, better five times"
    );
    let node =
        "nodelist {\nnode {\nring0_addr: a\nnodeid: 1\n}\nnode {\nring0_addr: a\nnodeid: 1\n}\n}";
    assert_eq!(
        bad(node),
        "corosync.conf:6: nodelist.node.nodeid: 1 is also the number of the node in line 2; give \
         every node a number of its own\n\
         corosync.conf:6: nodelist.node.ring0_addr: a is also of the node in line 2; give every \
         node its own address"
    );
    assert!(bad("").starts_with("corosync.conf:1: nodelist: no node is configured"));
    assert!(bad("totem {").contains("corosync.conf:1: totem: the section has no end"));
    assert!(bad("}").contains("no section is open"));
    assert!(bad("hello world").contains("neither `key: value`"));
}

#[test]
fn quorum_rules_are_checked() {
    let three = |lines: &str| {
        let node = |n: u32| format!("node {{\nring0_addr: n{n}\nnodeid: {n}\n}}\n");
        let nodes: String = (1..=3).map(node).collect();
        format!("quorum {{\nprovider: corosync_votequorum\n{lines}\n}}\nnodelist {{\n{nodes}}}\n")
    };
    assert!(bad(&three("two_node: 1")).contains("quorum.two_node: 3 nodes with 3 expected votes"));
    assert!(bad(&three("auto_tie_breaker: 1\nauto_tie_breaker_node: 9")).contains("configured"));
    let c = good(&three("auto_tie_breaker: 1\nauto_tie_breaker_node: 2 1"));
    assert_eq!(c.quorum.auto_tie_breaker, Some(TieBreaker::List(vec![NodeId(2), NodeId(1)])));
    assert_eq!(c.totem.token, Duration::from_millis(3650));
}

#[test]
fn no_text_can_crash_the_reader() {
    let mut rng = membership_base::Rng::new(7);
    let words = ["totem", "{", "}", ":", "\n", "node", "nodelist", "nodeid: 1", "#", " ", "é"];
    for _ in 0..3000 {
        let pick = |_| words[usize::try_from(rng.below(11)).unwrap()];
        let text: String = (0..40).map(pick).collect();
        let _ = parse(&text);
    }
    let _ = parse(&"a {\n".repeat(5000));
}
