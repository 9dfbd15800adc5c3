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

/// The suites' names, each with a list in `tests/conformance`.
const NAMES: [&str; 3] = ["scheduler", "cli", "upgrade"];

/// One suite.
pub(crate) struct Suite {
    name: &'static str,
    folder: PathBuf,
}

/// The suites. One that is not at hand is an error, unless `optional`: then it is left out.
pub(crate) fn suites(root: &Path, optional: bool) -> anyhow::Result<Vec<Suite>> {
    let base = root.join("../shared/conformance");
    let all = NAMES.map(|name| Suite { name, folder: base.join(name) });
    let (there, missing): (Vec<Suite>, Vec<Suite>) =
        all.into_iter().partition(|s| s.folder.join("run.py").exists());
    for suite in &missing {
        if !optional {
            bail!(
                "conformance suite {}: there is no {}. Put the suites there, or run 'cargo xtask \
                 quick', which does without them",
                suite.name,
                suite.folder.join("run.py").display()
            );
        }
        println!("\n== conformance {}: not at hand, left out", suite.name);
    }
    Ok(there)
}

/// The cases of a list. Its first line says how many there are, so that none is lost unnoticed.
fn listed(text: &str) -> anyhow::Result<BTreeSet<String>> {
    let (first, cases) = text.split_once('\n').unwrap_or((text, ""));
    let count = first.strip_prefix("# ").and_then(|rest| rest.strip_suffix(" cases"));
    let count: usize =
        count.and_then(|n| n.parse().ok()).context("the first line is not '# N cases'")?;
    let cases: BTreeSet<String> = cases.lines().map(str::to_owned).collect();
    if cases.len() != count {
        bail!("the first line says {count} cases, but {} are listed", cases.len());
    }
    Ok(cases)
}

/// A list as [`listed`] reads it.
fn written(cases: &BTreeSet<String>) -> String {
    let lines: String = cases.iter().map(|case| format!("{case}\n")).collect();
    format!("# {} cases\n{lines}", cases.len())
}

impl Suite {
    fn list(&self, root: &Path) -> PathBuf {
        root.join("tests/conformance").join(format!("{}.txt", self.name))
    }

    /// The cases that must pass.
    fn listed(&self, root: &Path) -> anyhow::Result<BTreeSet<String>> {
        let path = self.list(root);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        listed(&text).with_context(|| path.display().to_string())
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
        match std::fs::remove_file(&out) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", out.display()));
            }
            _ => {}
        }
        // The runner's status says whether all pass; here it is the list that decides. A runner that
        // crashed has written no result.
        let status = command.status().context("cannot run python3")?;
        let text = std::fs::read_to_string(&out)
            .with_context(|| format!("the {} suite left no result ({status})", self.name))?;
        passing(&serde_json::from_str(&text)?)
    }

    /// Runs the suite and fails what is on the list and does not pass.
    pub(crate) fn check(&self, root: &Path, target: &Path) -> anyhow::Result<Count> {
        println!("\n== conformance {}", self.name);
        let listed = self.listed(root)?;
        let passing = self.run(target)?;
        for lost in listed.difference(&passing) {
            println!("passed before and fails now: {lost}");
        }
        let new = passing.difference(&listed).count();
        if new > 0 {
            println!("{new} more cases pass: take them in with 'cargo xtask ratchet'");
        }
        let failed = listed.difference(&passing).count() as u64;
        println!("{} cases of conformance {} pass", passing.len(), self.name);
        Ok(Count { passed: listed.len() as u64 - failed, failed, not_run: 0 })
    }

    /// Takes newly passing cases into the list; nothing is taken out.
    pub(crate) fn update(&self, root: &Path, target: &Path) -> anyhow::Result<()> {
        let path = self.list(root);
        let old = self.listed(root)?;
        let mut all = self.run(target)?;
        let lost: Vec<String> = old.difference(&all).cloned().collect();
        if !lost.is_empty() {
            bail!("{}: these passed before and fail now: {}", self.name, lost.join(", "));
        }
        all.extend(old);
        std::fs::write(&path, written(&all))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository, its suites beside it and a target folder. The binary lists no tools.
    fn suite(runner: &str, list: &str) -> (tempfile::TempDir, Suite, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("repository");
        let target = folder.path().join("target");
        let suite = Suite { name: "upgrade", folder: folder.path().join("suite") };
        for folder in [&suite.folder, &root.join("tests/conformance"), &target] {
            std::fs::create_dir_all(folder).unwrap();
        }
        symlink("/bin/true", target.join("systole")).unwrap();
        std::fs::write(suite.folder.join("run.py"), runner).unwrap();
        std::fs::write(suite.list(&root), list).unwrap();
        (folder, suite, root, target)
    }

    const ONE_PASSES: &str = r#"
import sys
open(sys.argv[sys.argv.index("--json") + 1], "w").write('[{"name": "a", "passed": true}]')
sys.exit(1)
"#;

    #[test]
    fn every_list_has_as_many_cases_as_its_first_line_says() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for name in NAMES {
            let suite = Suite { name, folder: PathBuf::new() };
            assert!(!suite.listed(&root).unwrap().is_empty(), "{name}");
        }
        assert!(listed("# 2 cases\na\n").is_err());
        assert!(listed("a\nb\n").is_err());
        let cases = ["a", "b"].map(str::to_owned).into();
        assert_eq!(listed(&written(&cases)).unwrap(), cases);
    }

    #[test]
    fn suites_that_are_not_at_hand_fail_the_whole_test_only() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("repository");
        assert!(suites(&root, true).unwrap().is_empty());
        assert!(suites(&root, false).is_err());
    }

    #[test]
    fn what_is_listed_and_does_not_pass_fails() {
        let (_folder, suite, root, target) = suite(ONE_PASSES, "# 2 cases\na\nb\n");
        let count = suite.check(&root, &target).unwrap();
        assert_eq!((count.passed, count.failed), (1, 1));
        assert!(suite.update(&root, &target).is_err(), "what is lost stays on the list");
    }

    #[test]
    fn a_runner_that_crashes_does_not_pass_on_an_old_result() {
        let (_folder, suite, root, target) = suite(ONE_PASSES, "# 1 cases\na\n");
        assert_eq!(suite.check(&root, &target).unwrap().failed, 0);
        std::fs::write(suite.folder.join("run.py"), "raise SystemExit(2)").unwrap();
        assert!(suite.check(&root, &target).is_err());
    }
}
