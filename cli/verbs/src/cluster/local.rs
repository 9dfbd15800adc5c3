//! What `systole cluster` does with this node's own files and service, without the daemon.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use membership_conf::{Config, parse_named};
use serde::Serialize;

use super::conf::{self, NewNode};
use crate::print_json;

/// The unit that runs the daemon.
const UNIT: &str = "systole.service";

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Write corosync.conf for a new cluster, and say what to do next
    Setup {
        /// The cluster's name
        name: String,
        /// The nodes, each as NAME=ADDRESS[,ADDRESS…] with an address for each link
        #[arg(required = true)]
        nodes: Vec<NewNode>,
        /// Replace a file that is there already
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        place: Place,
    },
    /// This node's corosync.conf
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Add or remove a node in this node's corosync.conf
    #[command(subcommand)]
    Node(NodeVerb),
    /// Start the daemon on this node
    Start(Service),
    /// Have the daemon started when this node boots
    Enable(Service),
    /// Do not have the daemon started when this node boots
    Disable(Service),
    /// Say how to bring corosync.conf and the key to the other nodes
    Sync {
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Subcommand)]
pub(crate) enum ConfigVerb {
    /// Print what the file says
    Show {
        #[command(flatten)]
        place: Place,
    },
    /// Check the file
    Validate {
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Subcommand)]
pub(crate) enum NodeVerb {
    /// Add a node
    Add {
        /// The node, as NAME=ADDRESS[,ADDRESS…] with an address for each link
        node: NewNode,
        #[command(flatten)]
        place: Place,
    },
    /// Remove a node
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Args)]
pub(crate) struct Place {
    /// The file
    #[arg(long = "config", default_value = "/etc/corosync/corosync.conf")]
    file: PathBuf,
}

#[derive(Args)]
pub(crate) struct Service {
    #[arg(long, hide = true)]
    all: bool,
}

pub(crate) fn run(verb: Verb, json: bool) -> anyhow::Result<()> {
    match verb {
        Verb::Setup { name, nodes, force, place } => setup(&name, &nodes, force, &place.file),
        Verb::Config(ConfigVerb::Show { place }) => show(&place.file, json),
        Verb::Config(ConfigVerb::Validate { place }) => validate(&place.file, json),
        Verb::Node(NodeVerb::Add { node, place }) => {
            change(&place.file, |text, config| conf::with_node(text, config, &node))
        }
        Verb::Node(NodeVerb::Remove { name, place }) => {
            change(&place.file, |text, config| conf::without_node(text, config, &name))?;
            outln!("Make the cluster forget it afterwards: crm_node --remove {name}");
            Ok(())
        }
        Verb::Start(service) => systemctl("start", service.all),
        Verb::Enable(service) => systemctl("enable", service.all),
        Verb::Disable(service) => systemctl("disable", service.all),
        Verb::Sync { place } => {
            let (_, config) = read(&place.file)?;
            copy_advice(&place.file, &config);
            bail!("nothing was copied: Systole does not log in to other nodes")
        }
    }
}

/// The answer to what is asked for all nodes at once.
pub(super) fn refuse_all(all: bool) -> anyhow::Result<()> {
    ensure!(!all, "Systole does not log in to other nodes: run this on each of them");
    Ok(())
}

fn setup(name: &str, nodes: &[NewNode], force: bool, file: &Path) -> anyhow::Result<()> {
    let shown = file.display();
    ensure!(force || !file.exists(), "{shown} exists; --force replaces it");
    let text = conf::new_file(name, nodes)?;
    write(file, &text)?;
    let config = parse_named(&shown.to_string(), &text)?;
    outln!("{shown} is written for {} nodes.", nodes.len());
    let key = key_of(file, &config);
    if !key.exists() {
        outln!("Make the key once, on this node:\n  systole keygen --out {}", key.display());
    }
    copy_advice(file, &config);
    outln!("On every node:\n  systole cluster enable\n  systole cluster start");
    Ok(())
}

fn key_of(file: &Path, config: &Config) -> PathBuf {
    config.totem.keyfile.as_ref().map_or_else(|| file.with_file_name("authkey"), PathBuf::from)
}

fn copy_advice(file: &Path, config: &Config) {
    outln!("Every node needs the same files, such as by:");
    let key = if config.totem.encrypted {
        format!(" {}", key_of(file, config).display())
    } else {
        String::new()
    };
    let folder = file.parent().unwrap_or(Path::new("/")).display();
    for node in &config.nodes {
        let address = node.addresses.values().next().map(String::as_str);
        let to = node.name.as_deref().or(address).unwrap_or_default();
        outln!("  scp -p {}{key} {to}:{folder}/", file.display());
    }
}

fn read(file: &Path) -> anyhow::Result<(String, Config)> {
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read {shown}; 'systole cluster setup' makes one"))?;
    let config = parse_named(&shown, &text)?;
    Ok((text, config))
}

/// Replaces the file as a whole: it is the old or the new one at any moment.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let what = || format!("cannot write {}", file.display());
    let folder = file.parent().with_context(what)?;
    std::fs::create_dir_all(folder).with_context(what)?;
    let new = file.with_extension("conf.new");
    let mut out = File::create(&new).with_context(what)?;
    out.write_all(text.as_bytes()).and_then(|()| out.sync_all()).with_context(what)?;
    std::fs::rename(&new, file).with_context(what)
}

fn change(
    file: &Path,
    edit: impl FnOnce(&str, &Config) -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    let (text, config) = read(file)?;
    let text = edit(&text, &config)?;
    write(file, &text)?;
    outln!("{} is changed.", file.display());
    copy_advice(file, &parse_named(&file.display().to_string(), &text)?);
    outln!(
        "A daemon reads it when it starts. When all nodes have it, on every node:\n  systole \
         cluster stop\nand then on every node:\n  systole cluster start"
    );
    Ok(())
}

#[derive(Serialize)]
struct Shown {
    cluster: String,
    transport: String,
    encrypted: bool,
    token_ms: u128,
    expected_votes: u32,
    two_node: bool,
    wait_for_all: bool,
    nodes: Vec<ShownNode>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct ShownNode {
    id: u32,
    name: Option<String>,
    addresses: Vec<String>,
    votes: u32,
}

fn show(file: &Path, json: bool) -> anyhow::Result<()> {
    let (_, config) = read(file)?;
    let nodes = config.nodes.iter().map(|node| ShownNode {
        id: node.id.0,
        name: node.name.clone(),
        addresses: node.addresses.values().cloned().collect(),
        votes: node.votes,
    });
    let shown = Shown {
        cluster: config.totem.cluster_name.clone(),
        transport: format!("{:?}", config.totem.transport).to_lowercase(),
        encrypted: config.totem.encrypted,
        token_ms: config.totem.token.as_millis(),
        expected_votes: config.expected_votes(),
        two_node: config.quorum.two_node,
        wait_for_all: config.quorum.wait_for_all,
        nodes: nodes.collect(),
        warnings: config.warnings.iter().map(ToString::to_string).collect(),
    };
    if json {
        print_json(&shown);
        return Ok(());
    }
    let encrypted = if shown.encrypted { "encrypted" } else { "NOT encrypted" };
    outln!("Cluster {}, {}, {encrypted}", shown.cluster, shown.transport);
    outln!("Token timeout {} ms, {} votes expected", shown.token_ms, shown.expected_votes);
    let options = [("two_node", shown.two_node), ("wait_for_all", shown.wait_for_all)];
    for (option, _) in options.iter().filter(|(_, on)| *on) {
        outln!("{option} is on");
    }
    for node in &shown.nodes {
        let name = node.name.as_deref().unwrap_or("(no name)");
        outln!("  {:>3} {name:<20} {}", node.id, node.addresses.join(", "));
    }
    shown.warnings.iter().for_each(|warning| outln!("warning: {warning}"));
    Ok(())
}

fn validate(file: &Path, json: bool) -> anyhow::Result<()> {
    let (_, config) = read(file)?;
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    if json {
        print_json(&serde_json::json!({ "valid": true, "warnings": warnings }));
        return Ok(());
    }
    warnings.iter().for_each(|warning| outln!("warning: {warning}"));
    outln!("{} is valid: {} nodes", file.display(), config.nodes.len());
    Ok(())
}

fn systemctl(action: &str, all: bool) -> anyhow::Result<()> {
    refuse_all(all)?;
    // sd_booted(3)
    ensure!(
        Path::new("/run/systemd/system").exists(),
        "systemd does not run this node; have 'systole daemon' run by what does"
    );
    let status = Command::new("systemctl").args([action, UNIT]).status();
    let status = status.context("cannot run systemctl")?;
    ensure!(status.success(), "systemctl {action} {UNIT} failed; see 'journalctl -u {UNIT}'");
    let done = match action {
        "start" => "The daemon of this node is started.",
        "enable" => "The daemon is started when this node boots.",
        _ => "The daemon is not started when this node boots.",
    };
    outln!("{done}");
    Ok(())
}
