//! The cluster's key file.
//!
//! As `corosync-keygen` makes it: random bytes, nothing else, readable by its owner alone.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};

const LEN_MIN: u64 = 128;
const LEN_MAX: u64 = 4096;
const LEN_MADE: usize = 256;

/// The content of a key file. It does not show itself in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Vec<u8>);

impl Key {
    /// A key from bytes, for tests and tools; files are read by [`load_key`].
    pub fn from_bytes(bytes: Vec<u8>) -> Key {
        Key(bytes)
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} bytes)", self.0.len())
    }
}

/// Why a key file cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is none.
    #[error(
        "there is no key file {0}; make one with `systole keygen` and copy it to all nodes, or \
         switch encryption off in corosync.conf with `crypto_cipher: none` and `crypto_hash: none`"
    )]
    Missing(PathBuf),
    /// Others may read it.
    #[error("the key file {path} has mode {mode:04o}; run `chmod 0400 {path}`")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error("the key file {path} belongs to user {owner}; run `chown root {path}`")]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
    },
    /// Too short to be a secret, or too long to be a key.
    #[error("the key file {path} has {len} bytes, not {LEN_MIN} to {LEN_MAX}; make a new one")]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length.
        len: u64,
    },
    /// All bytes are the same, so it was not made at random.
    #[error("the key file {0} is not random; make a new one")]
    NotRandom(PathBuf),
    /// A key exists already and is not overwritten.
    #[error("the key file {0} exists already; remove it first if all nodes shall get a new key")]
    Exists(PathBuf),
    /// It cannot be read or written.
    #[error("the key file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Reads a key file and checks that it is secret.
///
/// # Errors
/// See [`KeyError`].
pub fn load_key(path: &Path) -> Result<Key, KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(KeyError::Missing(path.to_owned()));
        }
        Err(e) => return Err(io(e)),
    };
    let meta = file.metadata().map_err(io)?;
    let mode = meta.mode() & 0o7777;
    if mode & 0o177 != 0 {
        return Err(KeyError::Mode { path: path.to_owned(), mode });
    }
    let owner = meta.uid();
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        return Err(KeyError::Owner { path: path.to_owned(), owner });
    }
    if !(LEN_MIN..=LEN_MAX).contains(&meta.len()) {
        return Err(KeyError::Length { path: path.to_owned(), len: meta.len() });
    }
    let mut bytes = Vec::new();
    file.take(LEN_MAX).read_to_end(&mut bytes).map_err(io)?;
    if bytes.iter().all(|b| Some(b) == bytes.first()) {
        return Err(KeyError::NotRandom(path.to_owned()));
    }
    Ok(Key(bytes))
}

/// Makes a new key file of mode 0400; an existing one is never overwritten.
///
/// # Errors
/// See [`KeyError`].
pub fn keygen(path: &Path) -> Result<(), KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let mut bytes = vec![0; LEN_MADE];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| io(io::Error::other("the system gives no random numbers")))?;
    let made = OpenOptions::new().write(true).create_new(true).mode(0o400).open(path);
    let mut file = match made {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            return Err(KeyError::Exists(path.to_owned()));
        }
        Err(e) => return Err(io(e)),
    };
    file.write_all(&bytes).map_err(io)?;
    file.sync_all().map_err(io)
}

/// Eight random bytes as a number.
pub(crate) fn random_u64() -> io::Result<u64> {
    let mut bytes = [0; 8];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_made_key_is_secret_random_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        keygen(&a).unwrap();
        keygen(&b).unwrap();
        assert_eq!(std::fs::metadata(&a).unwrap().permissions().mode() & 0o7777, 0o400);
        let (ka, kb) = (load_key(&a).unwrap(), load_key(&b).unwrap());
        assert_ne!(ka, kb);
        assert_eq!(format!("{ka:?}"), "Key(256 bytes)");
        assert!(matches!(keygen(&a), Err(KeyError::Exists(_))));
        assert_eq!(load_key(&a).unwrap(), ka);
    }

    #[test]
    fn doubtful_key_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert!(matches!(load_key(&path), Err(KeyError::Missing(_))));
        let content: Vec<u8> = (0..200).collect();
        write(&path, &content).unwrap();
        for mode in [0o644, 0o440, 0o404, 0o700] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(matches!(load_key(&path), Err(KeyError::Mode { .. })), "{mode:o}");
        }
        set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(load_key(&path).is_ok());
        write(&path, &content[..127]).unwrap();
        assert!(matches!(load_key(&path), Err(KeyError::Length { len: 127, .. })));
        write(&path, [0; 200]).unwrap();
        assert!(matches!(load_key(&path), Err(KeyError::NotRandom(_))));
    }
}
