//! Programs to compare with.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

/// A program of this name on `PATH` that is not this project's.
pub(crate) fn other_on_path(name: &str) -> anyhow::Result<Option<PathBuf>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name));
    let Some(found) = found.into_iter().find(|file| file.is_file()) else { return Ok(None) };
    let version = Command::new(&found).arg("--version").output();
    let version = version.with_context(|| format!("run {}", found.display()))?;
    let ours = version.stdout.starts_with(b"Systole");
    Ok((!ours && version.status.success()).then_some(found))
}
