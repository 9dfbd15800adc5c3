//! The CIB on disk: durable, checked, with backups; a damaged file is set aside and named.
//!
//! `cib.xml` is replaced by rename. Its digest file is replaced first and holds the digest of the
//! new file and of the one before, so that there is no moment at which a crash leaves a file that
//! no digest vouches for.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cib_store::disk;
use cib_xml::{Doc, Style};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::folder::Folder;

/// How many former CIBs are kept.
const BACKUPS: u32 = 20;

/// Bytes that a node needs beyond its own CIB to join: what the cluster has by then may be larger.
const ROOM_TO_GROW: usize = 1 << 20;

/// Of several changes in this time only what was before the first is kept: the backups of a stream
/// of changes would otherwise all be of its last moment.
const BACKUP_PAUSE: Duration = Duration::from_secs(1);

/// The folder with `cib.xml` and its backups.
pub struct CibFiles {
    dir: PathBuf,
    backed_up: Mutex<Option<Instant>>,
}

/// What was found on disk.
pub struct Loaded {
    /// The CIB to start with.
    pub doc: Doc,
    /// What an operator has to know about how it was found.
    pub warnings: Vec<String>,
}

impl CibFiles {
    /// The files in `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn open(dir: &Path) -> io::Result<CibFiles> {
        fs::create_dir_all(dir)?;
        Ok(CibFiles { dir: dir.to_owned(), backed_up: Mutex::new(None) })
    }

    /// Where the files are.
    pub fn folder(&self) -> &Path {
        &self.dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Reads the CIB: `cib.xml`, else the newest backup that is whole, else an empty one.
    ///
    /// # Errors
    /// If a file is there but cannot be read, or a damaged one cannot be set aside: starting with
    /// something else would then lose it.
    pub fn load(&self) -> io::Result<Loaded> {
        let mut warnings = Vec::new();
        let path = self.path("cib.xml");
        let error = match read_checked(&path) {
            Ok(Some(doc)) => return Ok(Loaded { doc, warnings }),
            Ok(None) => None,
            Err(ReadError::Io(error)) => return Err(error),
            Err(ReadError::Damaged(reason)) => Some(reason),
        };
        if let Some(reason) = error {
            let aside = self.set_aside_name("damaged");
            fs::rename(&path, &aside)?;
            warnings.push(format!(
                "{} is damaged ({reason}); it is kept as {}",
                path.display(),
                aside.display()
            ));
        }
        for name in self.backups()? {
            if let Ok(Some(doc)) = read_checked(&self.path(&name)) {
                warnings.push(format!("starting with the backup {}", self.path(&name).display()));
                return Ok(Loaded { doc, warnings });
            }
        }
        if !warnings.is_empty() {
            warnings.push(
                "no backup is whole: starting with an empty CIB; the other nodes' CIB is taken \
                 over if there are any"
                    .to_owned(),
            );
        }
        Ok(Loaded { doc: cib_store::empty_cib(), warnings })
    }

    /// Makes `snapshot` durable: once this returns it survives a loss of power.
    ///
    /// # Errors
    /// If the disk is full or fails; the former CIB is then still there.
    pub fn save(&self, snapshot: &Doc) -> io::Result<()> {
        let files = disk::to_bytes(snapshot);
        let path = self.path("cib.xml");
        let sig = self.path("cib.xml.sig");
        let mut digests = files.sig.trim_ascii().to_vec();
        if let Ok(old) = fs::read(&sig)
            && let Some(first) = old.split(|b| *b == b'\n').next()
        {
            digests.push(b'\n');
            digests.extend_from_slice(first);
        }
        let new = self.path("cib.xml.spare");
        write_synced(&new, &files.xml)?;
        self.back_up(&path)?;
        let new_sig = self.path("cib.xml.sig.spare");
        write_synced(&new_sig, &digests)?;
        put_in_place(&new_sig, &sig)?;
        put_in_place(&new, &path)?;
        File::open(&self.dir)?.sync_all()
    }

    /// Writes a CIB with room to grow beside the one in force and removes it again: whoever cannot do
    /// that cannot keep what the cluster acknowledges, and should not join it.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub fn try_to_write(&self, doc: &Doc) -> io::Result<()> {
        let path = self.path("cib.xml.spare");
        let mut bytes = disk::to_bytes(doc).xml;
        bytes.resize(bytes.len() + ROOM_TO_GROW, b' ');
        let written = write_synced(&path, &bytes);
        let removed = fs::remove_file(&path);
        written.and(removed)
    }

    /// Keeps a CIB that lost against another one; returns where.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn set_aside(&self, doc: &Doc) -> io::Result<PathBuf> {
        let path = self.set_aside_name("lost");
        write_synced(&path, doc.root().to_xml(Style::Pretty).as_bytes())?;
        Ok(path)
    }

    fn set_aside_name(&self, why: &str) -> PathBuf {
        let free = |n: &u32| !self.path(&format!("cib.xml.{why}-{n}")).exists();
        let n = (1..).find(free).unwrap_or(0);
        self.path(&format!("cib.xml.{why}-{n}"))
    }

    /// The former CIB gets a second name, in a ring of numbers.
    fn back_up(&self, path: &Path) -> io::Result<()> {
        let mut backed_up = self.backed_up.lock().unwrap_or_else(PoisonError::into_inner);
        if backed_up.is_some_and(|at| at.elapsed() < BACKUP_PAUSE) {
            return Ok(());
        }
        let Ok(seq) = fs::read_to_string(self.path("cib.last")).or_else(|e| match e.kind() {
            io::ErrorKind::NotFound => Ok("0".to_owned()),
            _ => Err(e),
        }) else {
            return Ok(());
        };
        if !path.exists() {
            return Ok(());
        }
        let next = (seq.trim().parse::<u32>().unwrap_or(0) + 1) % BACKUPS;
        for (from, to) in [
            (path.to_owned(), self.path(&format!("cib-{next}.raw"))),
            (self.path("cib.xml.sig"), self.path(&format!("cib-{next}.raw.sig"))),
        ] {
            match fs::remove_file(&to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            match fs::hard_link(&from, &to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let mut last = Folder::open(&self.dir)?.create("cib.last")?;
        last.write_all(next.to_string().as_bytes())?;
        *backed_up = Some(Instant::now());
        Ok(())
    }

    /// Names of the backups, newest first.
    fn backups(&self) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("cib-") && name.ends_with(".raw") {
                found.push((entry.metadata()?.modified()?, name));
            }
        }
        found.sort();
        Ok(found.into_iter().rev().map(|(_, name)| name).collect())
    }
}

enum ReadError {
    Io(io::Error),
    Damaged(String),
}

fn read_checked(path: &Path) -> Result<Option<Doc>, ReadError> {
    let xml = match fs::read(path) {
        Ok(xml) => xml,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ReadError::Io(error)),
    };
    let mut sig_path = path.as_os_str().to_owned();
    sig_path.push(".sig");
    let sigs = match fs::read(sig_path) {
        Ok(sigs) => sigs,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(ReadError::Io(error)),
    };
    // A file without a digest is one that an operator put there.
    if sigs.is_empty() {
        let doc = disk::from_bytes(&xml, None);
        return doc.map(Some).map_err(|e| ReadError::Damaged(e.to_string()));
    }
    let mut reason = String::new();
    for sig in sigs.split(|b| *b == b'\n') {
        match disk::from_bytes(&xml, Some(sig)) {
            Ok(doc) => return Ok(Some(doc)),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(ReadError::Damaged(reason))
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = open_to_write(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Opens a file that has no other name and is for nobody else, without content. What is there is
/// used again if it is such a one: making and deleting files costs more than writing them.
fn open_to_write(path: &Path) -> io::Result<File> {
    // Not through a link: the folder belongs to another user.
    let options = || -> OpenOptions {
        let mut options = File::options();
        options.write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        options
    };
    match options().open(path) {
        Ok(file) => {
            let found = file.metadata()?;
            let own = found.uid() == nix::unistd::geteuid().as_raw();
            if found.is_file() && found.nlink() == 1 && own && found.mode() & 0o7777 == 0o600 {
                file.set_len(0)?;
                return Ok(file);
            }
            fs::remove_file(path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // A link, or a pipe that nobody reads.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO)) => {
            fs::remove_file(path)?;
        }
        Err(error) => return Err(error),
    }
    options().create_new(true).open(path)
}

/// Gives `new` the name `path`, and what has that name the one that `new` had, where the file
/// system can do so at once; otherwise that is gone.
fn put_in_place(new: &Path, path: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, new, AT_FDCWD, path, RenameFlags::RENAME_EXCHANGE) {
        Ok(()) => Ok(()),
        Err(_) => fs::rename(new, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cib(epoch: u32) -> Doc {
        let text = format!(
            "<cib admin_epoch=\"0\" epoch=\"{epoch}\" num_updates=\"0\" \
             validate-with=\"pacemaker-4.0\"><configuration><crm_config/><nodes/><resources/>\
             <constraints/></configuration><status/></cib>"
        );
        Doc::parse(&text).unwrap()
    }

    fn epoch(loaded: &Loaded) -> &str {
        loaded.doc.root().attr("epoch").unwrap()
    }

    #[test]
    fn whether_a_cib_can_be_written_is_found_out_without_touching_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let files = CibFiles::open(folder.path()).unwrap();
        let doc = cib_store::empty_cib();
        files.save(&doc).unwrap();
        let before = fs::read(folder.path().join("cib.xml")).unwrap();
        files.try_to_write(&doc).unwrap();
        assert_eq!(fs::read(folder.path().join("cib.xml")).unwrap(), before);
        assert!(!folder.path().join("cib.xml.spare").exists());
        fs::create_dir(folder.path().join("cib.xml.spare")).unwrap();
        assert!(files.try_to_write(&doc).is_err());
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let files = CibFiles::open(dir.path()).unwrap();
        assert_eq!(epoch(&files.load().unwrap()), "0");
        for n in 1..30 {
            files.save(&cib(n)).unwrap();
            let loaded = files.load().unwrap();
            assert_eq!(epoch(&loaded), n.to_string());
            assert!(loaded.warnings.is_empty());
        }
    }

    #[test]
    fn a_crash_between_the_two_renames_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let files = CibFiles::open(dir.path()).unwrap();
        files.save(&cib(1)).unwrap();
        let old = fs::read(dir.path().join("cib.xml")).unwrap();
        files.save(&cib(2)).unwrap();
        fs::write(dir.path().join("cib.xml"), old).unwrap();
        assert_eq!(epoch(&files.load().unwrap()), "1");
    }

    #[test]
    fn a_backup_is_never_written_to_and_a_stream_of_changes_leaves_one() {
        let dir = tempfile::tempdir().unwrap();
        let files = CibFiles::open(dir.path()).unwrap();
        let backups = |of: &CibFiles| of.backups().unwrap().len();
        for n in 1..10 {
            files.save(&cib(n)).unwrap();
        }
        assert_eq!(backups(&files), 1);
        let first = fs::read_to_string(dir.path().join("cib-1.raw")).unwrap();
        assert!(first.contains("epoch=\"1\""), "{first}");
        let later = CibFiles::open(dir.path()).unwrap();
        (10..20).for_each(|n| later.save(&cib(n)).unwrap());
        assert_eq!(backups(&later), 2);
        let second = fs::read_to_string(dir.path().join("cib-2.raw")).unwrap();
        assert!(second.contains("epoch=\"9\""), "{second}");
        assert_eq!(fs::read_to_string(dir.path().join("cib-1.raw")).unwrap(), first);
    }

    #[test]
    fn what_an_operator_put_there_does_not_become_readable_to_others() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cib.xml");
        fs::write(&path, cib(1).root().to_xml(Style::Pretty)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let files = CibFiles::open(dir.path()).unwrap();
        for n in 2..6 {
            files.save(&cib(n)).unwrap();
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "after change {n}");
        }
    }

    #[test]
    fn links_that_the_folders_owner_puts_there_are_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, folder) = (dir.path().join("victim"), dir.path().join("cib"));
        let files = CibFiles::open(&folder).unwrap();
        files.save(&cib(1)).unwrap();
        let put_links = || {
            fs::write(&victim, "untouched").unwrap();
            let own = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(&victim, own).unwrap();
            for name in ["cib.xml.spare", "cib.xml.sig.spare", "cib.last", "cib.xml.lost-1"] {
                let _ = fs::remove_file(folder.join(name));
                std::os::unix::fs::symlink(&victim, folder.join(name)).unwrap();
            }
        };
        put_links();
        CibFiles::open(&folder).unwrap().save(&cib(2)).unwrap();
        put_links();
        files.set_aside(&cib(3)).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(epoch(&files.load().unwrap()), "2");
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_a_backup_taken() {
        let dir = tempfile::tempdir().unwrap();
        let files = CibFiles::open(dir.path()).unwrap();
        files.save(&cib(1)).unwrap();
        files.save(&cib(2)).unwrap();
        let path = dir.path().join("cib.xml");
        let damaged = fs::read_to_string(&path).unwrap().replace("epoch=\"2\"", "epoch=\"9\"");
        fs::write(&path, &damaged).unwrap();
        let loaded = files.load().unwrap();
        assert_eq!(epoch(&loaded), "1");
        assert!(loaded.warnings[0].contains("damaged"), "{:?}", loaded.warnings);
        let kept = fs::read_to_string(dir.path().join("cib.xml.damaged-1")).unwrap();
        assert_eq!(kept, damaged);
    }
}
