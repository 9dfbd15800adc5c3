//! The configuration as it was at some place of the history.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use cib_xml::{Doc, patch};
use crm_history::{Change, Entry, Transition};

use crate::cib::read_cib;
use crate::history::record::Record;
use crate::session::Session;

/// How often, and how far apart, the record is looked at for a change that was just made.
const TRIES: (u32, Duration) = (20, Duration::from_millis(100));

/// The CIB, without status, with the configuration that the entry `id` led to (a change) or had
/// (a transition); `now` is that of the running cluster.
pub(super) fn configuration(record: &Record, id: &str) -> anyhow::Result<Doc> {
    let mut doc = match id {
        "now" => Session::connect(false)?.cib()?,
        id => match record.find(id)? {
            Entry::Transition(transition) => match input(record, &transition) {
                Ok(path) => read_cib(&path)?,
                Err(_) => back_to(record, &transition.configuration)?,
            },
            _ => back_to(record, id)?,
        },
    };
    let root = doc.root();
    let own: Vec<String> = root.attrs().map(|(name, _)| name.to_owned()).collect();
    let status = root.child("status").map(|status| status.id());
    status.into_iter().for_each(|status| doc.detach(status));
    // Who changed it last is no part of it.
    let root = doc.root_id();
    for name in own.iter().filter(|name| *name != "validate-with") {
        doc.remove_attr(root, name);
    }
    Ok(doc)
}

/// The file with the input of a transition's plan, if this node has it.
pub(super) fn input(record: &Record, transition: &Transition) -> anyhow::Result<PathBuf> {
    let id = &transition.id;
    let path = transition.input.as_ref();
    let path = path.with_context(|| format!("the input of transition {id} was not kept"))?;
    let name = path.rsplit('/').next().unwrap_or_default();
    let (dc, here) = (&transition.dc, local_name());
    // Every node that was the DC once counts its files from 0.
    ensure!(
        here.as_ref() == Some(dc),
        "the input of transition {id} is {name} on {dc}, which planned it: run 'systole history \
         replay {id}' there"
    );
    // The folder is where this node has it.
    let path = record.state_dir.join("pengine").join(name);
    ensure!(path.is_file(), "the input of transition {id}, {name}, was overwritten or removed");
    Ok(path)
}

/// This node's name in the cluster; that of the host while the daemon is down.
fn local_name() -> Option<String> {
    let told = Session::connect(false).and_then(|mut session| session.info());
    let host = || nix::unistd::gethostname().ok()?.into_string().ok();
    told.ok().map(|info| info.name).or_else(host)
}

/// The running cluster's CIB with the changes since `id` taken back.
fn back_to(record: &Record, id: &str) -> anyhow::Result<Doc> {
    let mut doc = Session::connect(false)?.cib()?;
    let part = |name| doc.root().attr(name).unwrap_or("0");
    let now = format!("{}.{}", part("admin_epoch"), part("epoch"));
    let changes = since(record, id, &now)?;
    let mut at = now;
    for change in changes {
        ensure!(
            change.id == at,
            "the history of this node lacks what was between {} and {at}",
            change.id
        );
        let reverse = change.reverse.as_deref();
        let reverse = reverse.with_context(|| format!("the way back from {at} was not kept"))?;
        let reverse = Doc::parse(reverse).with_context(|| format!("{at} cannot be read"))?;
        patch::apply(&mut doc, &reverse, false)
            .with_context(|| format!("{at} does not fit the configuration"))?;
        if let Some((schema, _)) = &change.schema {
            let root = doc.root_id();
            doc.set_attr(root, "validate-with", schema);
        }
        at = version_id(&change.from);
    }
    ensure!(at == id, "the history of this node does not go back to {id} without a gap");
    Ok(doc)
}

/// The changes from `now` back to, but without, `id`. The record may be a moment behind.
fn since(record: &Record, id: &str, now: &str) -> anyhow::Result<Vec<Change>> {
    if id == now {
        return Ok(Vec::new());
    }
    for _ in 0..TRIES.0 {
        let mut found = Vec::new();
        let mut newer = true;
        record.newest_first(|entry| {
            let Entry::Change(change) = entry else { return true };
            newer &= change.id != now;
            let more = change.id != id;
            if !newer && more {
                found.push(change);
            }
            more
        })?;
        if !newer {
            return Ok(found);
        }
        std::thread::sleep(TRIES.1);
    }
    bail!("the history of this node does not have the configuration in force, {now}")
}

/// Administrators' and own epoch of a version.
fn version_id(version: &str) -> String {
    version.rsplit_once('.').map_or(version, |(id, _)| id).to_owned()
}
