//! Texts of `corosync.conf`: a new one, and one with a node more or less. Everything else in a
//! file stays as its owner wrote it.

use std::fmt::Write;
use std::ops::Range;

use anyhow::{Context, bail, ensure};
use membership_conf::{Config, Node, parse_named};

/// A node to be, as `NAME=ADDRESS[,ADDRESS…]`; a name alone is its own address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewNode {
    pub(crate) name: String,
    addresses: Vec<String>,
}

impl std::str::FromStr for NewNode {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<NewNode> {
        let (name, addresses) = text.split_once('=').unwrap_or((text, text));
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:%".contains(c);
        let addresses: Vec<String> = addresses.split(',').map(str::to_owned).collect();
        let good = |word: &str| !word.is_empty() && word.chars().all(plain);
        ensure!(
            good(name) && addresses.iter().all(|address| good(address)),
            "'{text}' is not of the form NAME=ADDRESS[,ADDRESS…], with an address for each link"
        );
        Ok(NewNode { name: name.to_owned(), addresses })
    }
}

fn block(node: &NewNode, id: u32) -> String {
    let mut text = format!("    node {{\n        nodeid: {id}\n        name: {}\n", node.name);
    for (link, address) in node.addresses.iter().enumerate() {
        _ = writeln!(text, "        ring{link}_addr: {address}");
    }
    text.push_str("    }\n");
    text
}

/// A file for a new cluster.
///
/// # Errors
/// What the reader of the file says about it.
pub(super) fn new_file(cluster: &str, nodes: &[NewNode]) -> anyhow::Result<String> {
    let blocks: String = (1..).zip(nodes).map(|(id, node)| block(node, id)).collect();
    let two_node = if nodes.len() == 2 { TWO_NODE } else { "" };
    let text = format!(
        "totem {{\n    version: 2\n    cluster_name: {cluster}\n    transport: knet\n    \
         crypto_cipher: aes256\n    crypto_hash: sha256\n}}\n\nnodelist {{\n{blocks}}}\n\n\
         quorum {{\n    provider: corosync_votequorum\n{two_node}}}\n\n\
         logging {{\n    to_syslog: yes\n    timestamp: on\n}}\n"
    );
    check(&text)?;
    Ok(text)
}

const TWO_NODE: &str = "    two_node: 1\n";

fn check(text: &str) -> anyhow::Result<Config> {
    parse_named("the new corosync.conf", text).context("this would be no valid configuration")
}

/// `text` with a node more, which gets the next free number.
///
/// # Errors
/// If the node is there already, or the result would not be valid.
pub(super) fn with_node(text: &str, config: &Config, node: &NewNode) -> anyhow::Result<String> {
    if config.nodes.iter().any(|known| known.name.as_deref() == Some(&node.name)) {
        bail!("there is a node {} already", node.name);
    }
    let links = config.nodes.iter().map(|known| known.addresses.len()).max().unwrap_or(1);
    ensure!(
        node.addresses.len() == links,
        "{} has {} addresses, the other nodes have {links}: give one for each link",
        node.name,
        node.addresses.len()
    );
    let id = config.nodes.iter().map(|known| known.id.0).max().unwrap_or(0) + 1;
    let lines: Vec<&str> = text.lines().collect();
    let list = section(&lines, 0, "nodelist").context("the file has no nodelist")?;
    let before = lines[..list.end - 1].join("\n");
    let after = lines[list.end - 1..].join("\n");
    let text = format!("{before}\n{}{after}\n", block(node, id));
    settle(&text, config, config.nodes.len() + 1)
}

/// `text` without a node.
///
/// # Errors
/// If there is no such node, or the result would not be valid.
pub(super) fn without_node(text: &str, config: &Config, name: &str) -> anyhow::Result<String> {
    let is_it = |node: &&Node| {
        node.name.as_deref() == Some(name) || node.addresses.values().any(|a| a == name)
    };
    let node = config.nodes.iter().find(is_it);
    let node = node.with_context(|| format!("the file has no node {name}"))?;
    let lines: Vec<&str> = text.lines().collect();
    let block = section(&lines, node.line - 1, "node").context("the node's end is not found")?;
    let kept: Vec<&str> = [&lines[..block.start], &lines[block.end..]].concat();
    settle(&kept.join("\n"), config, config.nodes.len() - 1)
}

/// Makes `two_node` right for a number of nodes, and checks the whole.
fn settle(text: &str, old: &Config, nodes: usize) -> anyhow::Result<String> {
    let lines: Vec<&str> = text.lines().collect();
    let quorum = section(&lines, 0, "quorum").unwrap_or(0..0);
    let says = |line: &&str| line.trim_start().starts_with("two_node:");
    let mut own: Vec<&str> = lines[quorum.clone()].iter().copied().filter(|l| !says(l)).collect();
    if nodes == 2 && old.quorum.enabled && !own.is_empty() {
        own.insert(own.len() - 1, TWO_NODE.trim_end());
    }
    let all = [&lines[..quorum.start], &own, &lines[quorum.end..]].concat();
    let text = format!("{}\n", all.join("\n"));
    check(&text)?;
    Ok(text)
}

/// The lines of the first section `name` at or after `from`, with its first and its last.
fn section(lines: &[&str], from: usize, name: &str) -> Option<Range<usize>> {
    let opens = |line: &str| line.trim().strip_suffix('{').is_some_and(|head| head.trim() == name);
    let start = (from..lines.len()).find(|at| opens(lines[*at]))?;
    let mut depth = 0;
    for (at, line) in lines.iter().enumerate().skip(start) {
        match line.trim() {
            line if line.starts_with('#') => {}
            line if line.ends_with('{') => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(start..at + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(words: &[&str]) -> Vec<NewNode> {
        words.iter().map(|word| word.parse().unwrap()).collect()
    }

    fn names(text: &str) -> Vec<String> {
        let nodes = parse_named("test", text).unwrap().nodes;
        nodes.into_iter().map(|node| format!("{}={}", node.id, node.name.unwrap())).collect()
    }

    #[test]
    fn a_new_file_is_read_again() {
        let text = new_file("demo", &nodes(&["a=10.0.0.1,10.1.0.1", "b=10.0.0.2,10.1.0.2"]));
        let config = parse_named("test", &text.unwrap()).unwrap();
        assert_eq!(config.totem.cluster_name, "demo");
        assert!(config.totem.encrypted && config.quorum.two_node, "{config:?}");
        assert_eq!(config.nodes[1].addresses[&1], "10.1.0.2");
        assert!(new_file("demo", &nodes(&["a=10.0.0.1", "a=10.0.0.2"])).is_err());
        for bad in ["", "=1.2.3.4", "a=", "a=1.2.3.4,", "a b=1", "a=1\n}"] {
            assert!(bad.parse::<NewNode>().is_err(), "{bad}");
        }
    }

    #[test]
    fn nodes_come_and_go_and_the_rest_stays() {
        let two = new_file("demo", &nodes(&["a=10.0.0.1", "b=10.0.0.2"])).unwrap();
        let two = format!("# ours\n{two}");
        let config = |text: &str| parse_named("test", text).unwrap();
        let add = |text: &str, word: &str| with_node(text, &config(text), &word.parse().unwrap());
        let three = add(&two, "c=10.0.0.3").unwrap();
        assert_eq!(names(&three), ["1=a", "2=b", "3=c"]);
        assert!(three.starts_with("# ours\n") && !config(&three).quorum.two_node, "{three}");
        assert!(add(&three, "c=10.0.0.9").unwrap_err().to_string().contains("already"));
        assert!(add(&three, "d=10.0.0.4,10.1.0.4").unwrap_err().to_string().contains("each link"));
        let remove = |text: &str, name: &str| without_node(text, &config(text), name);
        let less = remove(&three, "b").unwrap();
        assert_eq!(names(&less), ["1=a", "3=c"]);
        assert!(config(&less).quorum.two_node, "{less}");
        assert_eq!(remove(&three, "c").unwrap(), two);
        assert!(remove(&three, "z").unwrap_err().to_string().contains("no node z"));
    }
}
