//! The demo's folder: what the hosts are started with, and what they write.

use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::Context;
use cli_hosts::HostConfig;
use nix::fcntl::{Flock, FlockArg};

use super::NODES;

/// How the folders' names begin; a process number follows.
const PREFIX: &str = "systole-demo-";

/// The folder of one run.
pub(super) struct Work {
    pub(super) path: PathBuf,
    /// Locked while the run lasts, and removed at its end. None if the user has named the folder.
    lock: Option<Flock<File>>,
}

impl Work {
    /// The folder that the user has named, which is kept; or else one of our own, after the
    /// folders of runs that have crashed were removed.
    pub(super) fn new(named: Option<&Path>) -> anyhow::Result<Work> {
        if let Some(path) = named {
            fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
            let path = path.canonicalize().context("the folder's path cannot be resolved")?;
            return Ok(Work { path, lock: None });
        }
        let parent = std::env::temp_dir();
        sweep(&parent);
        let path = parent.join(format!("{PREFIX}{}", std::process::id()));
        let what = || format!("cannot make {} (TMPDIR names another place)", path.display());
        DirBuilder::new().mode(0o700).create(&path).with_context(what)?;
        let lock = lock(&path).context("the demo's folder is in use")?;
        Ok(Work { path, lock: Some(lock) })
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // The hosts are gone by now; what they wrote is of no further use.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn lock(folder: &Path) -> Option<Flock<File>> {
    let file = File::open(folder).ok()?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()
}

/// Removes what runs have left behind that were not given the time to do it. Their hosts ended
/// with them.
fn sweep(parent: &Path) {
    let user = nix::unistd::geteuid().as_raw();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_demo = entry.file_name().to_string_lossy().starts_with(PREFIX);
        // Of the entry itself, not of what a link leads to.
        let is_ours = entry.metadata().is_ok_and(|data| data.is_dir() && data.uid() == user);
        if is_demo && is_ours && lock(&entry.path()).is_some() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Removes what an earlier run in a folder that the user has named left there.
pub(super) fn clear(work: &Path) -> anyhow::Result<()> {
    for name in NODES {
        match fs::remove_dir_all(work.join(name).join("state")) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).context("cannot remove an earlier run's state");
            }
            _ => {}
        }
    }
    Ok(())
}

/// A host that runs the daemon.
pub(super) fn node(name: &str, work: &Path, exe: &Path) -> HostConfig {
    let exe = exe.to_string_lossy();
    let config = work.join("corosync.conf");
    let state = work.join(name).join("state");
    let command = [
        &exe,
        "daemon",
        "--config",
        &config.to_string_lossy(),
        "--state-dir",
        &state.to_string_lossy(),
        "--node",
        name,
    ];
    let mut host = HostConfig::new(name, &command);
    let bin = work.join("bin");
    for (key, value) in &mut host.env {
        if key == "PATH" {
            let mut path = bin.clone().into_os_string();
            path.push(":");
            path.push(&*value);
            *value = path;
        }
    }
    host.env.push(("HA_SBIN_DIR".into(), bin.into_os_string()));
    host
}

/// `corosync.conf` and the key, the same for all hosts.
pub(super) fn write_configuration(work: &Path) -> anyhow::Result<()> {
    let mut nodes = String::new();
    for (n, name) in (1..).zip(NODES) {
        nodes.push_str(&format!(
            "    node {{\n        nodeid: {n}\n        name: {name}\n        ring0_addr: 10.77.0.{n}\n    }}\n"
        ));
    }
    let key = work.join("authkey");
    let text = format!(
        "totem {{\n    version: 2\n    cluster_name: demo\n    transport: knet\n    keyfile: {}\n}}\n\
         nodelist {{\n{nodes}}}\nquorum {{\n    provider: corosync_votequorum\n}}\n",
        key.display()
    );
    fs::write(work.join("corosync.conf"), text).context("cannot write corosync.conf")?;
    match fs::remove_file(&key) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut secret = [0; 256];
    File::open("/dev/urandom")?.read_exact(&mut secret).context("no randomness")?;
    let mut file = File::options().write(true).create_new(true).mode(0o400).open(&key)?;
    Ok(file.write_all(&secret)?)
}

/// The compatible tools under their own names, for agents.
pub(super) fn link_tools(work: &Path, exe: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(work.join("bin")).context("cannot make the folder for the tools")?;
    for name in cli_tools::TOOLS {
        match symlink(exe, work.join("bin").join(name)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("cannot link {name}"));
            }
            _ => {}
        }
    }
    Ok(())
}
