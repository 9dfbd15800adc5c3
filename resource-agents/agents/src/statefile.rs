//! A small file whose existence and content is a pretend resource's state.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::ocf::{Context, ExitCode, Failure};

/// Content of a state file is one short word; more than this is not ours.
const CONTENT_BYTES_MAX: usize = 4096;

pub(crate) struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// The file named by the parameter `state`, or one in the state folder named after the agent
    /// and the resource.
    pub(crate) fn of(context: &Context, agent: &str) -> Result<Self, Failure> {
        if let Some(path) = context.parameter("state") {
            let path = PathBuf::from(path);
            if !path.is_absolute() {
                let reason = format!("state={} is not an absolute path", path.display());
                return Err(Failure::new(ExitCode::Configured, reason));
            }
            return Ok(Self { path });
        }
        let instance = context.instance().replace('/', "_");
        Ok(Self { path: context.state_folder().join(format!("{agent}-{instance}.state")) })
    }

    /// The same for a look at what is there: none if the parameter names no file that a start could
    /// have written.
    pub(crate) fn possible(context: &Context, agent: &str) -> Option<Self> {
        Self::of(context, agent).ok()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The state, or `None` when the file is not there.
    pub(crate) fn read(&self) -> Result<Option<String>, Failure> {
        match fs::read(&self.path) {
            Ok(mut bytes) => {
                bytes.truncate(CONTENT_BYTES_MAX);
                Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read", &error)),
        }
    }

    /// Writes the state whole or not at all.
    pub(crate) fn write(&self, state: &str) -> Result<(), Failure> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).map_err(|error| self.failed("make the folder of", &error))?;
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(format!(".{}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let write = || -> std::io::Result<()> {
            let mut file = fs::File::create(&temporary)?;
            file.write_all(state.as_bytes())?;
            file.write_all(b"\n")?;
            fs::rename(&temporary, &self.path)
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&temporary);
            self.failed("write", &error)
        })
    }

    /// Removes the file; one that is not there is fine.
    pub(crate) fn remove(&self) -> Result<(), Failure> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.failed("remove", &error)),
            _ => Ok(()),
        }
    }

    fn failed(&self, verb: &str, error: &std::io::Error) -> Failure {
        let code = match error.kind() {
            ErrorKind::PermissionDenied => ExitCode::Permission,
            _ => ExitCode::Generic,
        };
        Failure::new(code, format!("Cannot {verb} state file {}: {error}", self.path.display()))
    }
}
