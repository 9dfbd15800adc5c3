//! The record of what happened, on disk: a JSON object in each line of `history.jsonl`, oldest
//! first; once that is full it becomes `history.1.jsonl`, and so on, and the oldest goes.
//!
//! It is not made durable line by line: a loss of power may take the last entries.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crm_history::Entry;

/// Bytes at which a file is full.
const FILE_MAX: u64 = 8 << 20;
/// Full files that are kept.
const FULL_FILES: u32 = 8;

pub(crate) struct Record {
    dir: PathBuf,
    file_max: u64,
    open: Option<(File, u64)>,
}

impl Record {
    pub(crate) fn new(dir: &Path) -> Record {
        Record { dir: dir.to_owned(), file_max: FILE_MAX, open: None }
    }

    fn path(&self, number: u32) -> PathBuf {
        self.dir.join(match number {
            0 => "history.jsonl".to_owned(),
            number => format!("history.{number}.jsonl"),
        })
    }

    /// Appends an entry. After an error the file is opened anew for the next one.
    pub(crate) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let (mut file, mut size) = match self.open.take() {
            Some(open) => open,
            None => self.open()?,
        };
        if size > 0 && size + line.len() as u64 > self.file_max {
            drop(file);
            for number in (0..FULL_FILES).rev() {
                match fs::rename(self.path(number), self.path(number + 1)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            (file, size) = self.open()?;
        }
        file.write_all(&line)?;
        self.open = Some((file, size + line.len() as u64));
        Ok(())
    }

    fn open(&self) -> io::Result<(File, u64)> {
        // It may hold passwords.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let path = self.path(0);
        let mut options = File::options();
        options.read(true).append(true).create(true).mode(0o600);
        // Not through a link that somebody has put there.
        let mut file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
        let mut size = file.seek(SeekFrom::End(0))?;
        // What a crash has cut off must not take the next entry with it.
        if size > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                size += 1;
            }
        }
        Ok((file, size))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn full_files_are_put_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("systole");
        let mut record = Record { file_max: 100, ..Record::new(&dir) };
        for lost in 0..40 {
            record.append(&Entry::Gap { at_ms: 1, lost }).unwrap();
        }
        let mut names: Vec<_> =
            fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names.len(), 9, "{names:?}");
        let newest = fs::read_to_string(dir.join("history.jsonl")).unwrap();
        assert!(newest.trim_end().ends_with("\"lost\":39}"), "{newest}");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join("history.jsonl"))), (0o700, 0o600));
    }

    #[test]
    fn a_line_that_was_cut_off_takes_no_other_with_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("history.jsonl"), "{\"kind\":\"ga").unwrap();
        Record::new(dir.path()).append(&Entry::Gap { at_ms: 1, lost: 2 }).unwrap();
        let text = fs::read_to_string(dir.path().join("history.jsonl")).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.ends_with("\"lost\":2}\n"));
    }
}
