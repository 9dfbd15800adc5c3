//! One daemon at a time: it holds a lock on its folders from before it touches anything in them
//! until its process ends.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};

use crate::Options;

/// The lock's file in each folder; it holds the number of the process.
const NAME: &str = "systole.lock";

/// Locks the folder of the socket and that of the state.
pub(crate) fn take(options: &Options) -> anyhow::Result<[File; 2]> {
    Ok([lock(&options.run_dir)?, lock(&options.state_dir)?])
}

fn lock(dir: &Path) -> anyhow::Result<File> {
    std::fs::create_dir_all(dir)
        .with_context(|| format!("cannot make the folder {}", dir.display()))?;
    let path = dir.join(NAME);
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only for the message: it is the same without.
            let _ = (&file).take(20).read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => String::new(),
                pid => format!(" (process {pid})"),
            };
            bail!(
                "another systole daemon{holder} runs on this node or has not ended yet: it holds \
                 {}. Nothing was changed. See 'systemctl status systole'; to replace it, stop it \
                 and wait until it has ended",
                path.display()
            );
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    // Only for the other one's message, so it is no reason not to start.
    let _ = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| write!(file, "{}", std::process::id()));
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(dir: &Path) -> Options {
        let (state_dir, run_dir) = (dir.join("state"), dir.join("run"));
        Options { state_dir, run_dir, ..Options::default() }
    }

    #[test]
    fn a_second_daemon_is_told_of_the_first_one_and_may_start_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = take(&options(dir.path())).unwrap();
        let error = take(&options(dir.path())).unwrap_err().to_string();
        let pid = std::process::id();
        assert!(error.contains(&format!("another systole daemon (process {pid})")), "{error}");
        drop(first);
        take(&options(dir.path())).unwrap();
    }

    #[test]
    fn one_with_the_same_state_but_another_socket_is_refused_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let _first = take(&options(dir.path())).unwrap();
        let other = Options { run_dir: dir.path().join("other"), ..options(dir.path()) };
        assert!(take(&other).is_err());
    }

    #[test]
    fn a_link_in_place_of_the_lock_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, run) = (dir.path().join("victim"), dir.path().join("run"));
        std::fs::write(&victim, "untouched").unwrap();
        std::fs::create_dir(&run).unwrap();
        std::os::unix::fs::symlink(&victim, run.join(NAME)).unwrap();
        assert!(take(&options(dir.path())).is_err());
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
    }
}
