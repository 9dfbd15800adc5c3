//! Inputs of plans on disk, where other programs look for them: `pe-input-N.bz2`, `pe-warn-N.bz2`
//! if something was to be warned of (a fence, say), `pe-error-N.bz2` if something had to be
//! ignored. Each series counts from 0 to the maximum that the CIB's option says, then starts
//! again; `SERIES.last` holds the next number. An input that is the same as the one before is not
//! written again: the plan then goes by that file.
//!
//! They hold the CIB with everything in it, so only root and the cluster's user may read them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use bzip2::Compression;
use bzip2::write::BzEncoder;
use cib_store::Version;
use cib_xml::{Doc, Style};
use nix::unistd::{Gid, Group, Uid, User, fchown};

use crate::folder::Folder;

/// What kind of plan an input led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Series {
    Error,
    Warn,
    Input,
}

impl Series {
    const ALL: [Series; 3] = [Series::Error, Series::Warn, Series::Input];

    fn name(self) -> &'static str {
        match self {
            Series::Error => "pe-error",
            Series::Warn => "pe-warn",
            Series::Input => "pe-input",
        }
    }

    /// The cluster option that says how many are kept.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Series::Error => "pe-error-series-max",
            Series::Warn => "pe-warn-series-max",
            Series::Input => "pe-input-series-max",
        }
    }

    /// The option's default.
    pub(crate) fn default_max(self) -> i64 {
        match self {
            Series::Error => -1,
            Series::Warn => 5000,
            Series::Input => 4000,
        }
    }
}

/// Hands out numbers. It touches no disk after it was made.
pub(crate) struct Numbers {
    dir: PathBuf,
    /// The next number of each series.
    next: [u64; 3],
    last: Option<(Version, PathBuf)>,
}

/// An input that is to be written.
pub(crate) struct New {
    pub(crate) path: PathBuf,
    /// The series' `.last` file, and the number to be put there.
    last: (PathBuf, u64),
    /// For [`Numbers::take_back`].
    series: Series,
    before: (u64, Option<(Version, PathBuf)>),
}

impl Numbers {
    pub(crate) fn read(dir: &Path) -> Numbers {
        let next = Series::ALL.map(|series| {
            let text = fs::read_to_string(last_file(dir, series)).unwrap_or_default();
            text.trim().parse().unwrap_or(0)
        });
        Numbers { dir: dir.to_owned(), next, last: None }
    }

    /// The file that a plan's input is in, and whether it is yet to be written; none if the series
    /// is not kept.
    pub(crate) fn file(
        &mut self,
        version: Version,
        series: Series,
        max: i64,
    ) -> Option<(PathBuf, Option<New>)> {
        if max == 0 {
            self.last = None;
            return None;
        }
        if let Some((of, path)) = &self.last
            && *of == version
        {
            return Some((path.clone(), None));
        }
        let limit = u64::try_from(max).unwrap_or(u64::MAX);
        let next = &mut self.next[series as usize];
        let next_before = *next;
        let number = if *next < limit { *next } else { 0 };
        *next = if number + 1 < limit { number + 1 } else { 0 };
        let path = self.dir.join(format!("{}-{number}.bz2", series.name()));
        let last = (last_file(&self.dir, series), *next);
        let before = (next_before, self.last.replace((version, path.clone())));
        Some((path.clone(), Some(New { path, last, series, before })))
    }

    /// What was handed out last is not written.
    pub(crate) fn take_back(&mut self, new: New) {
        (self.next[new.series as usize], self.last) = new.before;
    }
}

fn last_file(dir: &Path, series: Series) -> PathBuf {
    dir.join(format!("{}.last", series.name()))
}

/// Who the files belong to: the cluster's user and group where the system has them.
pub(crate) struct Owner(Option<(Uid, Gid)>);

impl Owner {
    pub(crate) fn look_up() -> Owner {
        let user = User::from_name("hacluster").ok().flatten();
        let group = Group::from_name("haclient").ok().flatten();
        Owner(user.zip(group).map(|(user, group)| (user.uid, group.gid)))
    }

    fn give_folder(&self, folder: &Folder) -> io::Result<()> {
        match self.0 {
            Some((user, group)) => folder.give(user, group),
            None => Ok(()),
        }
    }

    fn give(&self, file: &File) -> io::Result<()> {
        match self.0 {
            Some((user, group)) => Ok(fchown(file, Some(user), Some(group))?),
            None => Ok(()),
        }
    }
}

/// Writes an input, as it was at `now_s` seconds since the epoch.
pub(crate) fn write(new: &New, cib: &Doc, now_s: u64, owner: &Owner) -> io::Result<()> {
    let dir = new.path.parent().unwrap_or(Path::new("/"));
    let is_new = !dir.is_dir();
    if is_new {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
    }
    // Its owner may have put links there.
    let folder = Folder::open(dir)?;
    if is_new {
        owner.give_folder(&folder)?;
    }
    let mut doc = cib.clone();
    let root = doc.root_id();
    doc.set_attr(root, "execution-date", &now_s.to_string());
    let name = file_name(&new.path);
    let part = format!("{name}.part");
    let xml = doc.root().to_xml(Style::Pretty);
    let mut packed = BzEncoder::new(folder.create(&part)?, level(xml.len()));
    packed.write_all(xml.as_bytes())?;
    owner.give(&packed.finish()?)?;
    folder.rename(&part, &name)?;
    let mut last = folder.create(&file_name(&new.last.0))?;
    last.write_all(new.last.1.to_string().as_bytes())?;
    owner.give(&last)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The level whose block, 100 kB for each, takes the whole text: a larger one packs no better, and
/// costs the memory and the time to clear it.
fn level(bytes: usize) -> Compression {
    let blocks = u32::try_from(bytes.div_ceil(100_000)).unwrap_or(u32::MAX);
    Compression::new(blocks.clamp(1, 9))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn version(num_updates: u64) -> Version {
        Version { admin_epoch: 0, epoch: 1, num_updates }
    }

    fn name(file: &Path) -> &str {
        file.file_name().unwrap().to_str().unwrap()
    }

    #[test]
    fn an_input_is_kept_packed_with_its_time_and_for_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("pengine");
        let mut numbers = Numbers::read(&dir);
        let (path, new) = numbers.file(version(1), Series::Warn, -1).unwrap();
        let cib = Doc::parse("<cib epoch=\"1\"/>").unwrap();
        write(&new.unwrap(), &cib, 42, &Owner(None)).unwrap();
        assert_eq!(name(&path), "pe-warn-0.bz2");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut text = String::new();
        bzip2::read::BzDecoder::new(fs::File::open(&path).unwrap())
            .read_to_string(&mut text)
            .unwrap();
        assert!(text.contains("execution-date=\"42\""), "{text}");
        let mut again = Numbers::read(&dir);
        let (path, _) = again.file(version(2), Series::Warn, -1).unwrap();
        assert_eq!(name(&path), "pe-warn-1.bz2");
    }

    #[test]
    fn links_that_the_folders_owner_puts_there_are_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, folder) = (dir.path().join("victim"), dir.path().join("pengine"));
        fs::write(&victim, "untouched").unwrap();
        fs::create_dir(&folder).unwrap();
        for name in ["pe-warn-0.part", "pe-warn-0.bz2.part", "pe-warn-0.bz2", "pe-warn.last"] {
            std::os::unix::fs::symlink(&victim, folder.join(name)).unwrap();
        }
        let (_, new) = Numbers::read(&folder).file(version(1), Series::Warn, -1).unwrap();
        let cib = Doc::parse("<cib epoch=\"1\"/>").unwrap();
        write(&new.unwrap(), &cib, 42, &Owner(None)).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(fs::read_to_string(folder.join("pe-warn.last")).unwrap(), "1");
    }

    #[test]
    fn a_series_starts_again_and_what_is_the_same_is_not_written_twice() {
        let mut numbers = Numbers::read(Path::new("/nonexistent"));
        let mut file = |v, max| {
            let (path, new) = numbers.file(version(v), Series::Input, max)?;
            Some((name(&path).to_owned(), new.is_some()))
        };
        let is = |number: u32, new| Some((format!("pe-input-{number}.bz2"), new));
        assert_eq!(file(1, 2), is(0, true));
        assert_eq!(file(1, 2), is(0, false));
        assert_eq!(file(2, 2), is(1, true));
        assert_eq!(file(3, 2), is(0, true));
        assert_eq!(file(4, 0), None);
        assert_eq!(file(5, 1), is(0, true));
    }

    #[test]
    fn a_number_that_is_taken_back_is_handed_out_again() {
        let mut numbers = Numbers::read(Path::new("/nonexistent"));
        let mut file = |v| numbers.file(version(v), Series::Input, -1).unwrap();
        let (first, _) = file(1);
        let (refused, new) = file(2);
        numbers.take_back(new.unwrap());
        let mut file = |v| numbers.file(version(v), Series::Input, -1).unwrap();
        let (again, new) = file(1);
        assert!(again == first && new.is_none());
        let (again, new) = file(2);
        assert!(again == refused && new.is_some());
    }
}
