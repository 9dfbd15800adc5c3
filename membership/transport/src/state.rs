//! What must survive a restart: the ring number's reserve and the incarnation.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// The file's content: two numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) ring_seq: u64,
    pub(crate) incarnation: u64,
}

fn path_of(dir: &Path) -> PathBuf {
    dir.join("ring-state")
}

/// Reads what was saved; a file that is absent or damaged counts as zero, which is harmless as
/// long as the clock goes forward.
pub(crate) fn load(dir: &Path) -> Saved {
    let text = fs::read_to_string(path_of(dir)).unwrap_or_default();
    let mut words = text.split_whitespace().map(str::parse);
    let mut next = || words.next().and_then(Result::ok).unwrap_or(0);
    Saved { ring_seq: next(), incarnation: next() }
}

/// Writes durably: a new file takes the old one's place.
pub(crate) fn save(dir: &Path, saved: Saved) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let path = path_of(dir);
    let temporary = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    writeln!(file, "{} {}", saved.ring_seq, saved.incarnation)?;
    file.sync_all()?;
    fs::rename(&temporary, &path)?;
    File::open(dir)?.sync_all()
}

/// The incarnation of this start: later than any before, even if the clock was set back.
pub(crate) fn next_incarnation(saved: Saved) -> u64 {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = u64::try_from(clock.as_micros()).unwrap_or(0);
    micros.max(saved.incarnation.saturating_add(1))
}

/// Writes on a thread of its own, because a disk may take seconds.
pub(crate) fn writer(dir: PathBuf) -> io::Result<Sender<Saved>> {
    let (sender, receiver): (Sender<Saved>, Receiver<Saved>) = channel();
    thread::Builder::new().name("ring-state".to_owned()).spawn(move || {
        while let Ok(mut saved) = receiver.recv() {
            while let Ok(newer) = receiver.try_recv() {
                saved = newer;
            }
            if let Err(error) = save(&dir, saved) {
                tracing::warn!(%error, dir = %dir.display(), "cannot save the ring's number");
            }
        }
    })?;
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_and_grows() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("deep");
        assert_eq!(load(&inner), Saved::default());
        let far = Saved { ring_seq: 7, incarnation: u64::MAX - 1 };
        save(&inner, far).unwrap();
        assert_eq!(load(&inner), far);
        assert_eq!(next_incarnation(far), u64::MAX);
        assert!(next_incarnation(Saved::default()) > 1_000_000_000_000_000);
        fs::write(path_of(&inner), "rubbish").unwrap();
        assert_eq!(load(&inner), Saved::default());
    }
}
