//! Conformance suites of an independent implementation, where they are at hand (in the folder
//! `shared/conformance` beside the repository), with a ratchet: what has passed once must go on
//! passing.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::Count;

/// One suite.
pub(crate) struct Suite {
    name: &'static str,
    folder: PathBuf,
}

/// The suites that are at hand.
pub(crate) fn suites(root: &Path) -> Vec<Suite> {
    let base = root.join("../shared/conformance");
    let all = ["scheduler", "cli", "upgrade"].map(|name| Suite { name, folder: base.join(name) });
    let (there, missing): (Vec<Suite>, Vec<Suite>) =
        all.into_iter().partition(|s| s.folder.join("run.py").exists());
    for suite in missing {
        println!("\n== conformance {}: not at hand, left out", suite.name);
    }
    there
}

impl Suite {
    fn list(&self, root: &Path) -> PathBuf {
        root.join("tests/conformance").join(format!("{}.txt", self.name))
    }

    /// Names of the cases that pass.
    fn run(&self, target: &Path) -> anyhow::Result<BTreeSet<String>> {
        let out = target.join(format!("conformance-{}.json", self.name));
        let systole = target.join("systole");
        let mut command = Command::new("python3");
        command.arg(self.folder.join("run.py"));
        match self.name {
            "scheduler" => {
                let link = target.join("conformance-bin");
                links(&link, &systole)?;
                command.arg(link.join("crm_simulate")).arg("--failures-only");
            }
            _ => {
                let link = target.join("conformance-bin");
                links(&link, &systole)?;
                command.arg("--bindir").arg(link);
            }
        }
        if self.name == "cli" {
            command.args(["--logs", "message", "--without", "prose", "--check-streams"]);
        }
        command.arg("--json").arg(&out).stdout(Stdio::null()).stderr(Stdio::null());
        // The runner's status says whether all pass; here it is the list that decides.
        command.status().context("cannot run python3")?;
        let text = std::fs::read_to_string(&out)
            .with_context(|| format!("the {} suite left no result", self.name))?;
        passing(&serde_json::from_str(&text)?)
    }

    /// Runs the suite and fails what is on the list and does not pass.
    pub(crate) fn check(&self, root: &Path, target: &Path) -> anyhow::Result<Count> {
        println!("\n== conformance {}", self.name);
        let passing = self.run(target)?;
        let path = self.list(root);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let listed: BTreeSet<String> = text.lines().map(str::to_owned).collect();
        for lost in listed.difference(&passing) {
            println!("passed before and fails now: {lost}");
        }
        let new = passing.difference(&listed).count();
        if new > 0 {
            println!("{new} more cases pass: take them in with 'cargo xtask ratchet'");
        }
        let failed = listed.difference(&passing).count() as u64;
        println!("{} cases of conformance {} pass", passing.len(), self.name);
        Ok(Count { passed: listed.len() as u64 - failed, failed })
    }

    /// Takes newly passing cases into the list; nothing is taken out.
    pub(crate) fn update(&self, root: &Path, target: &Path) -> anyhow::Result<()> {
        let path = self.list(root);
        let old: BTreeSet<String> =
            std::fs::read_to_string(&path).unwrap_or_default().lines().map(str::to_owned).collect();
        let mut all = self.run(target)?;
        let lost: Vec<String> = old.difference(&all).cloned().collect();
        if !lost.is_empty() {
            bail!("{}: these passed before and fail now: {}", self.name, lost.join(", "));
        }
        all.extend(old);
        let mut text = all.iter().cloned().collect::<Vec<_>>().join("\n");
        text.push('\n');
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, text)?;
        println!("{}: {} cases", path.display(), all.len());
        Ok(())
    }
}

/// Names of the cases of a result file that passed, whichever of the runners wrote it.
fn passing(document: &Value) -> anyhow::Result<BTreeSet<String>> {
    let cases = match document {
        Value::Array(cases) => cases,
        Value::Object(fields) => {
            fields.values().find_map(Value::as_array).context("the result file lists no cases")?
        }
        _ => bail!("the result file lists no cases"),
    };
    let name = |case: &Value| {
        let id = case.get("name").or_else(|| case.get("id")).or_else(|| case.get("case"))?;
        let suite = case.get("suite").and_then(Value::as_str);
        let id = id.as_str()?;
        Some(match suite {
            Some(suite) if !id.starts_with(suite) => format!("{suite}/{id}"),
            _ => id.to_owned(),
        })
    };
    let passed = |case: &&Value| {
        case.get("passed").or_else(|| case.get("pass")).and_then(Value::as_bool) == Some(true)
            || case.get("status").and_then(Value::as_str) == Some("passed")
            || case.get("result").and_then(Value::as_str) == Some("passed")
    };
    Ok(cases.iter().filter(passed).filter_map(name).collect())
}

/// A folder with links to the binary under all names that the suites call.
fn links(folder: &Path, systole: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let output = Command::new(systole).arg("--tool-names").output()?;
    for name in String::from_utf8_lossy(&output.stdout).lines() {
        match symlink(systole, folder.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error.into());
            }
            _ => {}
        }
    }
    Ok(())
}
