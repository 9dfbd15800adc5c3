//! Secrets on disk, and what agents get of them.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crm_api::secret::{Change, MARK, Place, Secret};

/// The folder of all secrets.
#[derive(Clone)]
pub(crate) struct Secrets {
    folder: Arc<Path>,
}

impl Secrets {
    pub(crate) fn new(state_dir: &Path) -> Secrets {
        Secrets { folder: state_dir.join("lrm/secrets").into() }
    }

    /// Keeps a value, or forgets it; durable once this returns.
    pub(crate) fn keep(&self, change: &Change) -> Result<(), String> {
        let (path, sign_path) = change.place.files(&self.folder);
        let done = match &change.value {
            Some(secret) => write(&path, &sign_path, secret),
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

fn write(path: &Path, sign_path: &Path, secret: &Secret) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let value_new = write_beside(path, secret.expose())?;
    let sign_new = write_beside(sign_path, &secret.sign())?;
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
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
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
        secrets.keep(&change(Some("first"))).unwrap();
        secrets.keep(&change(Some("open sesame"))).unwrap();
        let filled = secrets.fill_in("rsc:1", params()).unwrap();
        assert_eq!(filled[0], ("user".to_owned(), "me".to_owned()));
        assert_eq!(filled[1], ("password".to_owned(), "open sesame".to_owned()));
        assert!(secrets.fill_in("other", params()).is_err());
    }

    #[test]
    fn only_root_can_read_them() {
        let dir = tempfile::tempdir().unwrap();
        Secrets::new(dir.path()).keep(&change(Some("x"))).unwrap();
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
        secrets.keep(&change(Some("sesame"))).unwrap();
        fs::write(dir.path().join("lrm/secrets/rsc/password"), "thistle\n").unwrap();
        let error = secrets.fill_in("rsc", params()).unwrap_err();
        assert!(error.contains("digest") && !error.contains("thistle"), "{error}");
    }

    #[test]
    fn what_is_forgotten_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(dir.path());
        secrets.keep(&change(Some("x"))).unwrap();
        secrets.keep(&change(None)).unwrap();
        secrets.keep(&change(None)).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("lrm/secrets")).unwrap().count(), 0);
    }
}
