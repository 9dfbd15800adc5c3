//! `cibsecret`: parameters of resources whose values are kept beside the CIB.
//!
//! Changes go through the local daemon to all members; what is kept here is read from the files.

use std::path::{Path, PathBuf};

use crm_api::secret::{Change, MARK, Place, Secret};
use crm_api::{Request, Response};

use crate::args::{self, Given, Opt, flag};
use crate::exit;
use crate::live::ask;
use crate::output::Out;

pub(crate) const OPTIONS: &[Opt] = &[flag("no-cib", 'C', "Neither read nor write the CIB")];

const USAGE: &str = "a command is needed: set RESOURCE PARAMETER [VALUE] (the value is read from \
                     the standard input if it is not given, and so stays out of process lists), \
                     get, check, stash, unstash or delete RESOURCE PARAMETER, or sync";

const FOLDER: &str = "/var/lib/pacemaker/lrm/secrets";

type Fail = (i32, String);

pub(crate) fn run(given: &Given, out: &mut Out) -> i32 {
    match perform(given, out) {
        Ok(()) => exit::OK,
        Err((code, text)) => {
            out.fail(&text);
            code
        }
    }
}

fn perform(given: &Given, out: &mut Out) -> Result<(), Fail> {
    let words: Vec<&str> = given.rest.iter().map(String::as_str).collect();
    if words[..] == ["sync"] {
        return sync(out);
    }
    let (command, resource, parameter, value) = match words[..] {
        ["set", resource, parameter, value] => ("set", resource, parameter, Some(value)),
        [command, resource, parameter] => (command, resource, parameter, None),
        _ => return Err((exit::USAGE, USAGE.into())),
    };
    let place = Place::new(resource, parameter).map_err(|e| (exit::USAGE, e))?;
    let work = Work { resource, parameter, place, cib: !given.has("no-cib") };
    if matches!(command, "stash" | "unstash") && !work.cib {
        return Err((exit::USAGE, format!("'{command}' needs the CIB: leave out -C")));
    }
    match command {
        "set" => work.set(value, out),
        "get" => {
            let secret = work.check()?;
            out.line(secret.expose());
            Ok(())
        }
        "check" => work.check().map(|_| ()),
        "stash" => work.stash(out),
        "unstash" => work.unstash(out),
        "delete" => work.delete(out),
        _ => Err((exit::USAGE, USAGE.into())),
    }
}

/// One parameter of one resource.
struct Work<'a> {
    resource: &'a str,
    parameter: &'a str,
    place: Place,
    /// Whether the CIB is read and written.
    cib: bool,
}

impl Work<'_> {
    fn set(&self, value: Option<&str>, out: &mut Out) -> Result<(), Fail> {
        let value = match value {
            Some(value) => value.to_string(),
            None => read_value()?,
        };
        let current = self.configured()?;
        if let Some(current) = current.filter(|c| self.cib && c != MARK && *c != value) {
            let text = format!(
                "the CIB has another value of {} ({} characters): delete it first, or use 'stash'",
                self.place,
                current.chars().count()
            );
            return Err((exit::CONFIG, text));
        }
        self.keep(value, out)
    }

    fn stash(&self, out: &mut Out) -> Result<(), Fail> {
        match self.configured()? {
            None => Err((exit::NOSUCH, format!("{} is not set", self.place))),
            Some(value) if value == MARK => {
                Err((exit::EXISTS, format!("{} is a secret already", self.place)))
            }
            Some(value) => self.keep(value, out),
        }
    }

    fn keep(&self, value: String, out: &mut Out) -> Result<(), Fail> {
        let secret = Secret::new(value).map_err(|e| (exit::DATAERR, e))?;
        change(&self.place, Some(secret))?;
        self.configure(&["--set-parameter", self.parameter, "--parameter-value", MARK])?;
        tell_absent(out);
        Ok(())
    }

    fn unstash(&self, out: &mut Out) -> Result<(), Fail> {
        let missing = |_| (exit::NOSUCH, format!("{} has no secret here", self.place));
        std::fs::metadata(self.place.files(Path::new(FOLDER)).0).map_err(missing)?;
        let secret = read(&self.place)?;
        if self.configured()?.as_deref() != Some(MARK) {
            out.error(&format!(
                "WARNING: {} is no secret in the CIB; its value here is taken all the same",
                self.place
            ));
        }
        let (name, value) = (self.parameter, secret.expose());
        self.configure(&["--set-parameter", name, "--parameter-value", value])?;
        change(&self.place, None)?;
        tell_absent(out);
        Ok(())
    }

    fn delete(&self, out: &mut Out) -> Result<(), Fail> {
        self.configured()?;
        change(&self.place, None)?;
        self.configure(&["--delete-parameter", self.parameter])?;
        tell_absent(out);
        Ok(())
    }

    /// The secret as it is kept here, if it is whole.
    fn check(&self) -> Result<Secret, Fail> {
        if self.cib && self.configured()?.as_deref() != Some(MARK) {
            return Err((exit::CONFIG, format!("{} is no secret", self.place)));
        }
        read(&self.place)
    }

    /// What the CIB says.
    fn configured(&self) -> Result<Option<String>, Fail> {
        if !self.cib {
            return Ok(None);
        }
        let text = self.resource_tool(&["--get-parameter", self.parameter])?;
        let value = text.strip_suffix('\n').unwrap_or(&text);
        Ok((!value.is_empty()).then(|| value.to_string()))
    }

    fn configure(&self, words: &[&str]) -> Result<(), Fail> {
        if self.cib {
            self.resource_tool(words)?;
        }
        Ok(())
    }

    /// What `crm_resource` does and prints.
    fn resource_tool(&self, words: &[&str]) -> Result<String, Fail> {
        let words = ["--resource", self.resource].into_iter().chain(words.iter().copied());
        let words: Vec<String> = words.map(str::to_string).collect();
        let given = args::parse(crate::crm_resource::OPTIONS, &words)
            .map_err(|text| (exit::USAGE, text))?;
        let mut inner = Out::plain("cibsecret");
        inner.hold_errors();
        match crate::crm_resource::run_unchecked(&given, &mut inner) {
            exit::OK => Ok(inner.take()),
            code => Err((code, inner.held_errors())),
        }
    }
}

/// The value from the standard input, without the line's end.
fn read_value() -> Result<String, Fail> {
    if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        crate::print::complain(format_args!("Enter value: "));
    }
    let mut line = String::new();
    let failed = |e: std::io::Error| (exit::NOINPUT, format!("cannot read the value: {e}"));
    std::io::stdin().read_line(&mut line).map_err(failed)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_string())
}

/// The secret as it is kept on this machine.
///
/// # Errors
/// If it is not there, or was changed.
pub(crate) fn read(place: &Place) -> Result<Secret, Fail> {
    let (value, sign) = place.files(Path::new(FOLDER));
    let text = |path: &PathBuf| {
        let failed =
            |e| (exit::OSFILE, format!("{place} has no secret here: {}: {e}", path.display()));
        std::fs::read_to_string(path).map_err(failed)
    };
    let (value, sign) = (text(&value)?, text(&sign)?);
    Secret::open(&value, &sign).map_err(|e| (exit::DIGEST, format!("the secret of {place}: {e}")))
}

fn change(place: &Place, value: Option<Secret>) -> Result<(), Fail> {
    let change = Change { place: place.clone(), value };
    ask(&Request::KeepSecret(change)).map(|_| ())
}

/// Names the nodes that are not members: they have not heard of a change.
fn tell_absent(out: &mut Out) {
    let Ok(Response::Info(info)) = ask(&Request::Info) else { return };
    let absent: Vec<&str> =
        info.nodes.iter().filter(|(_, _, here)| !here).map(|(_, name, _)| name.as_str()).collect();
    if !absent.is_empty() {
        out.error(&format!(
            "WARNING: not in the cluster: {}; they are told when they are back",
            absent.join(", ")
        ));
    }
}

/// Gives all members what is kept here.
fn sync(out: &mut Out) -> Result<(), Fail> {
    let list = |path: &Path| -> Result<Vec<String>, Fail> {
        let failed = |e: std::io::Error| (exit::OSFILE, format!("{}: {e}", path.display()));
        let mut names = Vec::new();
        match std::fs::read_dir(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e)),
            Ok(entries) => {
                for entry in entries {
                    let name = entry.map_err(failed)?.file_name();
                    names.push(name.to_string_lossy().into_owned());
                }
            }
        }
        names.retain(|name| !name.starts_with('.') && !name.ends_with(".sign"));
        names.sort();
        Ok(names)
    };
    let folder = Path::new(FOLDER);
    // All are read before the first is sent: a damaged one is not half a sync.
    let mut all = Vec::new();
    for resource in list(folder)? {
        for parameter in list(&folder.join(&resource))? {
            let place = Place::new(&resource, &parameter).map_err(|e| (exit::DATAERR, e))?;
            let secret = read(&place)?;
            all.push((place, secret));
        }
    }
    for (place, secret) in &all {
        change(place, Some(secret.clone()))?;
    }
    let plural = if all.len() == 1 { "" } else { "s" };
    out.line(&format!("{} secret{plural} given to all nodes of the cluster", all.len()));
    tell_absent(out);
    Ok(())
}
