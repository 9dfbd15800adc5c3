//! What must survive a restart: the ring number's reserve and the incarnation.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use membership_base::Incarnation;

/// No cluster comes to a higher one.
const RING_SEQ_MAX: u64 = 1 << 61;

/// The file's content: two numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) ring_seq: u64,
    pub(crate) incarnation: Incarnation,
}

fn path_of(dir: &Path) -> PathBuf {
    dir.join("ring-state")
}

/// Reads what was saved; a file that is absent or damaged counts as zero, and so does a number that
/// no cluster comes to.
pub(crate) fn load(dir: &Path) -> Saved {
    let text = fs::read_to_string(path_of(dir)).unwrap_or_default();
    let mut words = text.split_whitespace().map(str::parse);
    let mut next = || words.next().and_then(Result::ok).unwrap_or(0);
    let (ring_seq, incarnation) = (next(), next());
    if ring_seq > RING_SEQ_MAX || incarnation > Incarnation::MAX.0 {
        tracing::error!(
            file = %path_of(dir).display(),
            ring_seq,
            incarnation,
            "a number in this file is impossibly high and is not used; if the ring is not \
             encrypted, somebody on the network may have made it so"
        );
    }
    let within = |value, max| if value > max { 0 } else { value };
    Saved {
        ring_seq: within(ring_seq, RING_SEQ_MAX),
        incarnation: Incarnation(within(incarnation, Incarnation::MAX.0)),
    }
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

/// Begins a new incarnation of this node, on disk before it is used anywhere.
pub(crate) fn begin_incarnation(dir: &Path) -> io::Result<Incarnation> {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let saved = load(dir);
    let incarnation = saved.incarnation.next(clock);
    save(dir, Saved { incarnation, ..saved })?;
    Ok(incarnation)
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
        let first = begin_incarnation(&inner).unwrap();
        assert!(first > Incarnation(1_000_000_000_000_000), "{first}: microseconds");
        assert_eq!(load(&inner).incarnation, first);
        let far = Saved { ring_seq: 7, incarnation: Incarnation(Incarnation::MAX.0 - 1) };
        save(&inner, far).unwrap();
        assert_eq!(begin_incarnation(&inner).unwrap(), Incarnation(Incarnation::MAX.0));
        assert_eq!(load(&inner).ring_seq, 7);
        fs::write(path_of(&inner), "rubbish").unwrap();
        assert_eq!(load(&inner), Saved::default());
    }
}
