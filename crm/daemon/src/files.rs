//! The CIB on disk: durable, checked, with backups; a damaged file is set aside and named.
//!
//! `cib.xml` is replaced by rename. Its digest file is replaced first and holds the digest of the
//! new file and of the one before, so that there is no moment at which a crash leaves a file that
//! no digest vouches for.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use cib_store::disk;
use cib_xml::{Doc, Style};

/// How many former CIBs are kept.
const BACKUPS: u32 = 20;

/// The folder with `cib.xml` and its backups.
pub struct CibFiles {
    dir: PathBuf,
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
        Ok(CibFiles { dir: dir.to_owned() })
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
        let new = self.path("cib.xml.new");
        write_synced(&new, &files.xml)?;
        self.back_up(&path)?;
        let new_sig = self.path("cib.xml.sig.new");
        write_synced(&new_sig, &digests)?;
        fs::rename(&new_sig, &sig)?;
        fs::rename(&new, &path)?;
        File::open(&self.dir)?.sync_all()
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
        fs::write(self.path("cib.last"), next.to_string())
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
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
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
