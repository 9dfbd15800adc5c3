//! What resources were started with, kept for the next daemon on this host.
//!
//! One file a resource in the runtime folder, for root only: parameters may hold passwords. A loss of
//! power ends what was started together with the record of it, so nothing is synced; and each record
//! names the start of the host that it is from, in case the folder outlives it.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crm_executor::StartedWith;
use serde::{Deserialize, Serialize};
use tracing::error;

/// The longest name of a file.
const NAME_MAX: usize = 255;
/// What a record is called until it is whole. No resource's file has the name: `%` begins an escape.
const UNFINISHED: &str = "%new";

#[derive(Serialize, Deserialize)]
struct Record {
    /// Which start of the host.
    host: String,
    resource: String,
    with: StartedWith,
}

/// The folder with the records.
pub(crate) struct StartedFiles {
    folder: PathBuf,
    host: String,
}

impl StartedFiles {
    /// The records in the folder, which is made if it is not there. Returns them with the resources
    /// that are recorded since the host was started.
    ///
    /// # Errors
    /// If the folder cannot be used: without it nothing could be started.
    pub(crate) fn open(
        folder: PathBuf,
    ) -> io::Result<(StartedFiles, BTreeMap<String, StartedWith>)> {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let files = StartedFiles { folder, host: start_of_host()? };
        let mut started = BTreeMap::new();
        for entry in fs::read_dir(&files.folder)? {
            let path = entry?.path();
            match files.read(&path) {
                Ok(Some((resource, with))) => _ = started.insert(resource, with),
                Ok(None) => fs::remove_file(&path)?,
                Err(error) => error!(
                    "{} cannot be read ({error}): if the resource that it is named after still runs \
                     here, it will be stopped with the parameters that are configured now; check \
                     that nothing of it is left",
                    path.display()
                ),
            }
        }
        Ok((files, started))
    }

    /// Where the records are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Nothing for what an earlier start of the host has left behind.
    fn read(&self, path: &Path) -> io::Result<Option<(String, StartedWith)>> {
        if path.ends_with(UNFINISHED) {
            return Ok(None);
        }
        let Record { host, resource, with } = serde_json::from_slice(&fs::read(path)?)?;
        Ok((host == self.host).then_some((resource, with)))
    }

    /// Keeps what a resource was started with, or forgets it.
    ///
    /// # Errors
    /// If it cannot be written or removed.
    pub(crate) fn keep(&self, resource: &str, with: Option<StartedWith>) -> io::Result<()> {
        let path = self.folder.join(file_name(resource)?);
        let Some(with) = with else {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        };
        let record = Record { host: self.host.clone(), resource: resource.to_owned(), with };
        let new = self.folder.join(UNFINISHED);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&new)?.write_all(&serde_json::to_vec(&record)?)?;
        fs::rename(&new, &path)
    }
}

/// A file name for any resource's name.
fn file_name(resource: &str) -> io::Result<String> {
    let mut name = String::new();
    for (at, byte) in resource.bytes().enumerate() {
        match byte {
            b'.' if at == 0 => name.push_str("%2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b':' => {
                name.push(char::from(byte));
            }
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidFilename, "the name is too long"));
    }
    Ok(name)
}

/// Tells this start of the host from all others: of the machine by the kernel's number for it, of a
/// host made of namespaces by when its process 1 began.
fn start_of_host() -> io::Result<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let stat = fs::read_to_string("/proc/1/stat")?;
    // proc(5): after the name in parentheses come fields 3 and up; `starttime` is field 22.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let begun = fields.split_ascii_whitespace().nth(22 - 3).unwrap_or_default();
    Ok(format!("{} {begun}", boot.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(ip: &str) -> StartedWith {
        let name = "Ip".to_owned();
        let agent = crm_executor::Agent { class: "ocf".into(), provider: None, name };
        StartedWith { agent, params: vec![("ip".into(), ip.into())] }
    }

    #[test]
    fn what_is_kept_is_there_for_the_next_daemon_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let open = || StartedFiles::open(folder.path().join("started")).unwrap();
        let (files, started) = open();
        assert!(started.is_empty());
        for resource in ["vip", "../x y", ".", "pg:0", "vip"] {
            files.keep(resource, Some(with(resource))).unwrap();
        }
        let (files, started) = open();
        assert_eq!(started.keys().collect::<Vec<_>>(), [".", "../x y", "pg:0", "vip"]);
        assert_eq!(started["../x y"], with("../x y"));
        files.keep("vip", None).unwrap();
        files.keep("vip", None).unwrap();
        assert_eq!(open().1.len(), 3);
    }

    #[test]
    fn records_of_an_earlier_start_of_the_host_are_dropped_and_damaged_ones_do_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let (mut files, _) = StartedFiles::open(path.clone()).unwrap();
        files.keep("new", Some(with("1"))).unwrap();
        files.host = "an earlier one".into();
        files.keep("old", Some(with("1"))).unwrap();
        fs::write(path.join("damaged"), "{").unwrap();
        let (_, started) = StartedFiles::open(path.clone()).unwrap();
        assert_eq!(started.keys().collect::<Vec<_>>(), ["new"]);
        assert!(!path.join("old").exists() && path.join("damaged").exists());
    }

    #[test]
    fn a_name_that_is_too_long_for_a_file_is_an_error() {
        assert!(file_name(&"x".repeat(255)).is_ok());
        assert!(file_name(&"x".repeat(256)).is_err() && file_name("").is_err());
    }
}
