//! Folders that another user may change: what is written there as root goes where it is meant to.
//!
//! The folder is opened once and not followed if it is a link; files are always
//! created new in it and change owner through their descriptor. So a link that somebody puts in the place of a file is replaced, never
//! written through.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::{OFlag, open, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};

/// An open folder.
pub(crate) struct Folder {
    fd: OwnedFd,
}

impl Folder {
    /// Opens a folder.
    pub(crate) fn open(path: &Path) -> io::Result<Folder> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
        Ok(Folder { fd: open(path, flags, Mode::empty())? })
    }

    /// A new file in it, for nobody else; what had the name is gone, unless it is a folder.
    pub(crate) fn create(&self, name: &str) -> io::Result<File> {
        self.remove(name)?;
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(File::from(openat(&self.fd, name, flags, Mode::from_bits_truncate(0o600))?))
    }

    /// Gives a file another name; what had that is gone.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.fd, from, &self.fd, to)?)
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(nix::errno::Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the folder itself to somebody.
    pub(crate) fn give(&self, user: Uid, group: Gid) -> io::Result<()> {
        Ok(fchown(&self.fd, Some(user), Some(group))?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_in_place_of_a_file_or_folder_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "untouched").unwrap();
        let inside = dir.path().join("inside");
        fs::create_dir(&inside).unwrap();
        symlink(&victim, inside.join("file")).unwrap();
        let folder = Folder::open(&inside).unwrap();
        folder.create("file").unwrap().write_all(b"new").unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(fs::read_to_string(inside.join("file")).unwrap(), "new");
        symlink(&inside, dir.path().join("link")).unwrap();
        assert!(Folder::open(&dir.path().join("link")).is_err());
    }
}
