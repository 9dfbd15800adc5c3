//! Where tools get the CIB from, and how they change it.
//!
//! `CIB_shadow` names a shadow CIB and goes before `CIB_file`, which names a file (or `-` for the
//! standard input); without both it is the running cluster's.

use std::path::PathBuf;

use cib_store::{Applied, Context, ErrorKind, Operation, StoreError, Target, Version, Who, apply};
use cib_xml::{Doc, Style};

use crate::log::{self, Level};

/// A CIB that can be read and changed.
pub trait Cib {
    /// Reads or changes it.
    ///
    /// # Errors
    /// If it is refused or cannot be reached.
    fn apply(&mut self, op: &Operation, force: bool) -> Result<Applied, StoreError>;

    /// Whether it is a running cluster's.
    fn is_live(&self) -> bool;

    /// All of it, as far as the user may read it.
    ///
    /// # Errors
    /// If it cannot be reached, or nothing of it may be read.
    fn read(&mut self) -> Result<Doc, StoreError> {
        let applied = self.apply(&Operation::query_all(), false)?;
        applied.output.ok_or(ErrorKind::NoSuchItem.into())
    }

    /// Merges an element into a section.
    ///
    /// # Errors
    /// If it is refused or cannot be reached.
    fn merge(&mut self, section: &str, xml: String) -> Result<(), StoreError> {
        self.apply(&merging(section, xml), false).map(|_| ())
    }

    /// Deletes the first element of a section that matches.
    ///
    /// # Errors
    /// If it is refused or cannot be reached.
    fn delete(&mut self, section: &str, xml: String) -> Result<(), StoreError> {
        let target = Target::Section(section.into());
        self.apply(&Operation::Delete { target, xml: Some(xml) }, false).map(|_| ())
    }
}

/// Merging an element into a section, as an operation.
pub(crate) fn merging(section: &str, xml: String) -> Operation {
    let target = Target::Section(section.into());
    Operation::Modify { target, xml, allow_create: true, score: true }
}

/// A CIB in a file.
pub struct FileCib {
    path: Option<PathBuf>,
    doc: Doc,
    who: Who,
}

impl FileCib {
    /// Reads the file `path`, `-` for the standard input.
    ///
    /// # Errors
    /// If it cannot be read or is not XML.
    pub fn open(path: &str, who: Who) -> Result<FileCib, StoreError> {
        let text = if path == "-" {
            std::io::read_to_string(std::io::stdin())
        } else {
            crate::input::read_file(path.as_ref())
        };
        let text = text.map_err(|e| StoreError::new(ErrorKind::NoSuchItem, e.to_string()))?;
        let doc =
            Doc::parse(&text).map_err(|e| StoreError::new(ErrorKind::NoSuchItem, e.to_string()))?;
        let path = (path != "-").then(|| PathBuf::from(path));
        Ok(FileCib { path, doc, who })
    }
}

impl FileCib {
    /// Writes to the log what access control says to a change, if anybody wants to know.
    fn log_decisions(&self, op: &Operation, cx: &Context<'_>) {
        let part = |creation| if creation { "pcmk__apply_creation_acl" } else { "pcmk__check_acl" };
        let wanted = |creation| log::wanted(part(creation), Level::Trace, 0);
        if op.is_query() || !(wanted(true) || wanted(false)) {
            return;
        }
        let mut after = self.doc.clone();
        let everything = Who::default();
        if apply(&mut after, op, &Context { who: &everything, ..*cx }).is_err() {
            return;
        }
        // Counting the change is not the user's doing; a version in what replaces a CIB is.
        let given = match op {
            Operation::Replace { target: Target::Whole, xml } => Doc::parse(xml).ok(),
            _ => None,
        };
        let given = given.as_ref().filter(|d| d.root().name() == "cib").unwrap_or(&self.doc);
        Version::of(given).write(&mut after);
        for decision in cib_store::acl::decisions(&self.doc, &after, &self.who) {
            log::write(part(decision.creation), "acl", Level::Trace, 0, &decision.text);
        }
    }
}

impl Cib for FileCib {
    fn apply(&mut self, op: &Operation, _force: bool) -> Result<Applied, StoreError> {
        let cx = Context {
            who: &self.who,
            origin: "",
            now_seconds: None,
            validate: true,
            valid: false,
            check_features: false,
        };
        self.log_decisions(op, &cx);
        let applied = apply(&mut self.doc, op, &cx)?;
        if applied.patch.is_some()
            && let Some(path) = &self.path
        {
            write_file(path, &self.doc.root().to_xml(Style::Pretty))
                .map_err(|e| StoreError::new(ErrorKind::Corrupt, e.to_string()))?;
        }
        Ok(applied)
    }

    fn is_live(&self) -> bool {
        false
    }
}

/// Writes a file's new content. It stays the same file, because the program that runs a tool may
/// hold it open and read the result from there.
///
/// # Errors
/// If it cannot be written.
pub fn write_file(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    std::fs::write(path, text)
}

/// On whose behalf a tool works: the superuser may name somebody else in `CIB_user`.
pub fn user() -> Who {
    let user = std::env::var("CIB_user").unwrap_or_default();
    let groups = if user.is_empty() { Vec::new() } else { groups_of(&user) };
    Who { user, groups, ..Who::default() }
}

/// The groups that the user belongs to, by `/etc/group` and `/etc/passwd`.
fn groups_of(user: &str) -> Vec<String> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let passwd = read("/etc/passwd");
    let primary = passwd
        .lines()
        .map(|l| l.split(':').collect::<Vec<_>>())
        .find(|f| f.first() == Some(&user))
        .and_then(|f| f.get(3).map(|g| g.to_string()));
    let mut groups = Vec::new();
    for line in read("/etc/group").lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, id, members] = fields[..] else { continue };
        if Some(id) == primary.as_deref() || members.split(',').any(|m| m == user) {
            groups.push(name.to_string());
        }
    }
    groups
}

/// The directory of shadow CIBs.
pub fn shadow_dir() -> PathBuf {
    if let Ok(dir) = std::env::var("CIB_shadow_dir") {
        return PathBuf::from(dir);
    }
    match std::env::var("HOME") {
        Ok(home) if !home.is_empty() && !nix::unistd::geteuid().is_root() => {
            PathBuf::from(home).join(".cib")
        }
        _ => PathBuf::from("/var/lib/pacemaker/cib"),
    }
}

/// The file of a shadow CIB.
pub fn shadow_file(name: &str) -> PathBuf {
    shadow_dir().join(format!("shadow.{name}"))
}

/// The environment variable's value, if it is set to something.
pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// The file that the environment names, if the CIB is not that of the running cluster.
pub fn local_path() -> Option<PathBuf> {
    let shadow = env("CIB_shadow").map(|name| shadow_file(&name));
    shadow.or_else(|| env("CIB_file").filter(|path| path != "-").map(PathBuf::from))
}

/// The CIB that the environment says.
///
/// # Errors
/// If it cannot be reached.
pub fn connect() -> Result<Box<dyn Cib>, StoreError> {
    match env("CIB_shadow") {
        Some(name) => {
            let path = shadow_file(&name);
            Ok(Box::new(FileCib::open(&path.to_string_lossy(), user())?))
        }
        None => connect_real(),
    }
}

/// The CIB that the environment says, without regard to shadow CIBs.
///
/// # Errors
/// If it cannot be reached.
pub fn connect_real() -> Result<Box<dyn Cib>, StoreError> {
    match env("CIB_file") {
        Some(path) => Ok(Box::new(FileCib::open(&path, user())?)),
        None => crate::live::connect(),
    }
}
