//! Secrets on disk, and what agents get of them.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crm_api::secret::{Change, MARK, Place, Secret};
use tracing::{info, warn};

/// The folder of all secrets.
#[derive(Clone)]
pub(crate) struct Secrets {
    folder: Arc<Path>,
}

impl Secrets {
    pub(crate) fn new(state_dir: &Path) -> Secrets {
        Secrets { folder: state_dir.join("lrm/secrets").into() }
    }

    /// Keeps a value, or forgets it; durable once this returns. The file's time says of when the
    /// value is, in milliseconds since the epoch: the same on all nodes.
    pub(crate) fn keep(&self, change: &Change, at_ms: u64) -> Result<(), String> {
        let (path, sign_path) = change.place.files(&self.folder);
        let done = match &change.value {
            Some(secret) => write(&path, &sign_path, secret, at_ms),
            None => remove(&path).and_then(|()| remove(&sign_path)),
        };
        done.map_err(|error| format!("the secret {} cannot be kept: {error}", path.display()))?;
        if change.value.is_none()
            && let Some(folder) = path.parent()
        {
            // It goes with its last secret; while there is another one this fails.
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }

    /// Keeps a value that a member tells to those who were away, unless what is here is as new.
    pub(crate) fn keep_newer(&self, change: &Change, at_ms: u64) {
        let place = &change.place;
        if self.time(place).is_some_and(|kept| kept >= at_ms) {
            return;
        }
        match self.keep(change, at_ms) {
            Ok(()) => info!("the secret value of {place} was set while this node was away"),
            Err(reason) => {
                warn!("{reason}; run 'cibsecret sync' on another node when that is mended")
            }
        }
    }

    /// Of when a value is that can be used.
    fn time(&self, place: &Place) -> Option<u64> {
        self.read(place).ok()?;
        let modified = fs::metadata(place.files(&self.folder).0).and_then(|m| m.modified()).ok()?;
        let since = modified.duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok()
    }

    /// Which of these are here, and of when they are.
    pub(crate) fn times(&self, places: Vec<Place>) -> Vec<(Place, u64)> {
        let found = |place: Place| self.time(&place).map(|at_ms| (place, at_ms));
        places.into_iter().filter_map(found).collect()
    }

    /// The values of these, as far as they are still of that time.
    pub(crate) fn to_tell(&self, places: Vec<(Place, u64)>) -> Vec<(u64, Change)> {
        let same = places.into_iter().filter(|(place, at_ms)| self.time(place) == Some(*at_ms));
        let change = |(place, at_ms)| {
            let value = self.read(&place).ok();
            value.map(|value| (at_ms, Change { place, value: Some(value) }))
        };
        same.filter_map(change).collect()
    }

    /// The parameters of a resource with its secrets in place of what marks them.
    pub(crate) fn fill_in(
        &self,
        resource: &str,
        params: Vec<(String, String)>,
    ) -> Result<Vec<(String, String)>, String> {
        let fill = |(name, value): (String, String)| {
            if value != MARK {
                return Ok((name, value));
            }
            let place = Place::new(resource, &name)?;
            let secret = self.read(&place)?;
            Ok((name, secret.expose().to_owned()))
        };
        params.into_iter().map(fill).collect()
    }

    /// [`Secrets::fill_in`] on a thread that may wait for the disk.
    pub(crate) async fn filled_in(
        &self,
        resource: String,
        params: Vec<(String, String)>,
    ) -> Result<Vec<(String, String)>, String> {
        if params.iter().all(|(_, value)| value != MARK) {
            return Ok(params);
        }
        let secrets = self.clone();
        let read = tokio::task::spawn_blocking(move || secrets.fill_in(&resource, params));
        read.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    fn read(&self, place: &Place) -> Result<Secret, String> {
        let (path, sign_path) = place.files(&self.folder);
        let text = |path: &PathBuf| {
            fs::read_to_string(path).map_err(|error| {
                format!(
                    "the secret value of {place} is not on this node ({}: {error}): run \
                     'cibsecret sync' on a node that has it, or 'cibsecret set'",
                    path.display()
                )
            })
        };
        Secret::open(&text(&path)?, &text(&sign_path)?).map_err(|reason| {
            format!(
                "the secret value of {place} ({}) is not used: {reason}; run 'cibsecret set' to \
                 set it again",
                path.display()
            )
        })
    }
}

fn write(path: &Path, sign_path: &Path, secret: &Secret, at_ms: u64) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let value_new = write_beside(path, secret.expose())?;
    let sign_new = write_beside(sign_path, &secret.sign())?;
    File::open(&value_new)?.set_modified(UNIX_EPOCH + Duration::from_millis(at_ms))?;
    fs::rename(value_new, path)?;
    fs::rename(sign_new, sign_path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Writes what a file is to contain to one beside it, whose name no secret can have.
fn write_beside(path: &Path, text: &str) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.new"));
    // Created new, so that a link in its place is not written through.
    remove(&new)?;
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    Ok(new)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn change(value: Option<&str>) -> Change {
        let place = Place::new("rsc", "password").unwrap();
        Change { place, value: value.map(|v| Secret::new(v).unwrap()) }
    }

    fn params() -> Vec<(String, String)> {
        [("user", "me"), ("password", MARK)].map(|(n, v)| (n.into(), v.into())).to_vec()
    }

    #[test]
    fn agents_get_what_is_kept_for_their_resource() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(dir.path());
        secrets.keep(&change(Some("first")), 1).unwrap();
        secrets.keep(&change(Some("open sesame")), 1).unwrap();
        let filled = secrets.fill_in("rsc:1", params()).unwrap();
        assert_eq!(filled[0], ("user".to_owned(), "me".to_owned()));
        assert_eq!(filled[1], ("password".to_owned(), "open sesame".to_owned()));
        assert!(secrets.fill_in("other", params()).is_err());
    }

    #[test]
    fn only_root_can_read_them() {
        let dir = tempfile::tempdir().unwrap();
        Secrets::new(dir.path()).keep(&change(Some("x")), 1).unwrap();
        let mode = |name: &str| {
            let path = dir.path().join("lrm/secrets").join(name);
            fs::metadata(path).unwrap().permissions().mode() & 0o777
        };
        let modes = ["", "rsc", "rsc/password", "rsc/password.sign"].map(mode);
        assert_eq!(modes, [0o700, 0o700, 0o600, 0o600]);
    }

    #[test]
    fn missing_and_changed_secrets_are_named_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(dir.path());
        let error = secrets.fill_in("rsc", params()).unwrap_err();
        assert!(error.contains("cibsecret sync") && error.contains("rsc"), "{error}");
        secrets.keep(&change(Some("sesame")), 1).unwrap();
        fs::write(dir.path().join("lrm/secrets/rsc/password"), "thistle\n").unwrap();
        let error = secrets.fill_in("rsc", params()).unwrap_err();
        assert!(error.contains("digest") && !error.contains("thistle"), "{error}");
    }

    #[test]
    fn what_is_told_to_those_who_were_away_replaces_only_what_is_older() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(dir.path());
        let place = Place::new("rsc", "password").unwrap();
        let kept = || secrets.read(&place).unwrap().expose().to_owned();
        secrets.keep_newer(&change(Some("first")), 2000);
        assert_eq!(secrets.times(vec![place.clone()]), [(place.clone(), 2000)]);
        secrets.keep_newer(&change(Some("older")), 1000);
        assert_eq!(kept(), "first");
        secrets.keep_newer(&change(Some("newer")), 3000);
        assert_eq!(kept(), "newer");
        assert_eq!(secrets.to_tell(vec![(place.clone(), 2000)]), []);
        assert_eq!(secrets.to_tell(vec![(place.clone(), 3000)]).len(), 1);
        // What was damaged is as good as not there.
        fs::write(dir.path().join("lrm/secrets/rsc/password"), "thistle\n").unwrap();
        assert_eq!(secrets.times(vec![place.clone()]), []);
        secrets.keep_newer(&change(Some("newer")), 3000);
        assert_eq!(kept(), "newer");
    }

    #[test]
    fn what_is_forgotten_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(dir.path());
        secrets.keep(&change(Some("x")), 1).unwrap();
        secrets.keep(&change(None), 1).unwrap();
        secrets.keep(&change(None), 1).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("lrm/secrets")).unwrap().count(), 0);
    }
}
