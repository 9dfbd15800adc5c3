//! The record as it is on disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use crm_history::Entry;

/// Full files that the daemon keeps beside the one that it writes to.
const FULL_FILES: u32 = 8;

pub(super) struct Record {
    /// The daemon's folder.
    pub(super) state_dir: PathBuf,
    dir: PathBuf,
}

impl Record {
    pub(super) fn of(state_dir: &Path) -> Record {
        Record { state_dir: state_dir.to_owned(), dir: state_dir.join("systole") }
    }

    /// Entries, newest first, as far as `wanted` wants them: it says whether to go on.
    pub(super) fn newest_first(&self, mut wanted: impl FnMut(Entry) -> bool) -> anyhow::Result<()> {
        let mut found = false;
        for number in 0..=FULL_FILES {
            let name = match number {
                0 => "history.jsonl".to_owned(),
                number => format!("history.{number}.jsonl"),
            };
            let path = self.dir.join(name);
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    bail!("only root may read the history in {}", self.dir.display());
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot read {}", path.display()));
                }
            };
            found = true;
            // A line that a crash has cut off, or that a later version has written, is left out.
            let lines = bytes.split(|b| *b == b'\n').rev();
            for entry in lines.filter_map(|line| serde_json::from_slice(line).ok()) {
                if !wanted(entry) {
                    return Ok(());
                }
            }
        }
        if !found {
            bail!(
                "there is no history in {}: the daemon of this node has kept none yet",
                self.dir.display()
            );
        }
        Ok(())
    }

    /// The newest entry of this name. Of a transition the number will do.
    pub(super) fn find(&self, id: &str) -> anyhow::Result<Entry> {
        let mut found = None;
        self.newest_first(|entry| {
            let number = |t: &str| t.split_once('-').is_some_and(|(number, _)| number == id);
            let is = match &entry {
                Entry::Transition(t) => t.id == id || number(&t.id),
                other => other.id() == Some(id),
            };
            if is {
                found = Some(entry);
            }
            !is
        })?;
        found.with_context(|| {
            format!("the history of this node has no '{id}': 'systole history list' names them")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_name_the_newest_first() {
        let root = std::env::temp_dir().join(format!("systole-history-{}", std::process::id()));
        let dir = root.join("systole");
        fs::create_dir_all(&dir).unwrap();
        let change = |id: &str, user: &str| {
            format!(
                "{{\"kind\":\"change\",\"id\":\"{id}\",\"at_ms\":1,\"from\":\"\",\"to\":\"\",\
                 \"user\":\"{user}\",\"client\":\"\",\"operation\":\"\",\"node\":\"\"}}\n"
            )
        };
        fs::write(dir.join("history.1.jsonl"), change("0.1", "a") + &change("0.2", "a")).unwrap();
        fs::write(dir.join("history.jsonl"), change("0.2", "b") + "{\"kind\":\"ch").unwrap();
        let record = Record::of(&root);
        let user = |id: &str| match record.find(id) {
            Ok(Entry::Change(change)) => Some(change.user),
            _ => None,
        };
        assert_eq!((user("0.1").as_deref(), user("0.2").as_deref()), (Some("a"), Some("b")));
        assert!(record.find("0.3").is_err());
        assert!(Record::of(&root.join("nowhere")).find("0.1").is_err());
        fs::remove_dir_all(&root).unwrap();
    }
}
