//! `crm_report`: what is needed to find out later what happened, in one archive.
//!
//! Each node has a folder in it. Secrets are taken out of everything that is written: values of
//! options whose names say that they are, and the like in logs.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cib_xml::{Doc, Style};
use regex::Regex;

use crate::args::{Given, Opt, Value, flag, opt, value};
use crate::cib::connect;
use crate::dates::Date;
use crate::exit;
use crate::output::Out;

pub(crate) const OPTIONS: &[Opt] = &[
    value("from", 'f', "When it started to happen"),
    value("to", 't', "When it was over (default: now)"),
    value("nodes", 'n', "Nodes to collect from (default: all of the cluster, by ssh)"),
    flag("single-node", 'S', "Collect from this node only"),
    value("dest", ' ', "Name of the archive, without ending; - for the standard output"),
    flag("as-directory", 'd', "Leave it as a directory"),
    value("logfile", 'l', "A log file to take along"),
    value("sanitize", 'p', "Names of options that are secret too, as a regular expression"),
    value("user", 'u', "User for ssh"),
    value("rsh", 'e', "Command to use in place of ssh"),
    flag("sos-mode", ' ', "As sosreport wants it: this node only"),
    opt("version", 'v', Value::No, ""),
    // How to look for what is always in the same place here.
    flag("no-search", 'M', ""),
    flag("corosync", 'C', ""),
    value("cluster", 'c', ""),
    value("max-depth", 'D', ""),
    value("patterns", 'L', ""),
    value("cts", 'T', ""),
    value("cts-log", ' ', ""),
];

/// Names of options whose values are nobody's business.
const SECRET: &str = "passw|pswd|secret|token|credential|private.?key";
/// Where plan inputs are kept.
const INPUTS: &str = "/var/lib/pacemaker/pengine";
const CONFIG: &str = "/etc/corosync/corosync.conf";
const SAVED_CIB: &str = "/var/lib/pacemaker/cib/cib.xml";

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

struct Report<'a> {
    given: &'a Given,
    secret: Regex,
    from: SystemTime,
    to: SystemTime,
}

fn io<T>(path: &Path, result: std::io::Result<T>) -> Result<T, Fail> {
    result.map_err(|e| (exit::CANTCREAT, format!("Couldn't write {}: {e}", path.display())))
}

fn perform(given: &Given, out: &mut Out) -> Result<(), Fail> {
    let pattern = given.get("sanitize").map_or(SECRET.into(), |more| format!("{SECRET}|{more}"));
    let secret = Regex::new(&format!("(?i){pattern}"))
        .map_err(|e| (exit::USAGE, format!("--sanitize is no regular expression: {e}")))?;
    let (from, to) = (time(given.get("from"), 12 * 3600)?, time(given.get("to"), 0)?);
    if from >= to {
        return Err((exit::USAGE, "--from has to be before --to".into()));
    }
    let report = Report { given, secret, from, to };
    let stream = given.get("dest") == Some("-");
    let target = match given.get("dest").or(given.rest.first().map(String::as_str)) {
        Some("-") | None => {
            let stamp = since_epoch(SystemTime::now());
            std::env::temp_dir().join(format!("crm_report-{stamp}-{}", std::process::id()))
        }
        Some(path) => PathBuf::from(path),
    };
    let top = target.file_name().map(PathBuf::from);
    let top = top.ok_or((exit::USAGE, format!("{} is no name of a file", target.display())))?;
    // Another user must neither read it nor put something in its place.
    io(&target, fs::DirBuilder::new().mode(0o700).create(&target))?;
    let local = crate::nvattrs::local_node();
    report.collect(&target.join(&local))?;
    for node in report.others(&local) {
        if !report.fetch(&node, &target) {
            out.error(&format!("WARNING: cannot collect from {node}: run crm_report -S there"));
        }
    }
    if given.has("as-directory") && !stream {
        out.line(&format!("Collected results are available in {}", target.display()));
        return Ok(());
    }
    let parent = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (flag, ending) = match Command::new("bzip2").arg("--version").output() {
        Ok(_) if !stream => ("-cjf", "tar.bz2"),
        _ => ("-czf", "tar.gz"),
    };
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(parent).arg(flag).arg("-").arg(&top);
    let archive = PathBuf::from(format!("{}.{ending}", target.display()));
    if !stream {
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&archive);
        tar.stdout(Stdio::from(io(&archive, file)?));
    }
    let packed = tar.status();
    // What could not be removed is only a copy.
    let _ = fs::remove_dir_all(&target);
    if !packed.is_ok_and(|status| status.success()) {
        return Err((exit::CANTCREAT, "tar could not make the archive".into()));
    }
    if !stream {
        out.line(&format!("Collected results are available in {}", archive.display()));
    }
    Ok(())
}

/// A time given by somebody, or some seconds before now.
fn time(text: Option<&str>, before_s: u64) -> Result<SystemTime, Fail> {
    let Some(text) = text else { return Ok(SystemTime::now() - Duration::from_secs(before_s)) };
    let date = Date::parse(text).ok_or((exit::USAGE, format!("'{text}' is no time")))?;
    let seconds = u64::try_from(date.epoch()).unwrap_or(0);
    Ok(UNIX_EPOCH + Duration::from_secs(seconds))
}

fn since_epoch(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

impl Report<'_> {
    /// Nodes to collect from beside this one.
    fn others(&self, local: &str) -> Vec<String> {
        if self.given.has("single-node") || self.given.has("sos-mode") {
            return Vec::new();
        }
        let mut nodes: Vec<String> = match self.given.get("nodes") {
            Some(list) => list.split([' ', ',']).map(str::to_string).collect(),
            None => {
                let doc = connect().and_then(|mut cib| cib.read()).ok();
                let doc = doc.unwrap_or_else(|| Doc::new("cib"));
                let names = doc.root().descendants().filter(|n| n.name() == "node");
                names.filter_map(|n| n.attr("uname")).map(str::to_string).collect()
            }
        };
        nodes.retain(|n| !n.is_empty() && n != local);
        nodes.sort();
        nodes.dedup();
        nodes
    }

    /// Puts the part of another node into `target`. Says whether that worked.
    fn fetch(&self, node: &str, target: &Path) -> bool {
        if node.starts_with('-') {
            return false;
        }
        let shell = self.given.get("rsh").unwrap_or("ssh -o BatchMode=yes -o ConnectTimeout=10");
        let mut words = shell.split_whitespace();
        let mut ssh = Command::new(words.next().unwrap_or("ssh"));
        ssh.args(words);
        if let Some(user) = self.given.get("user") {
            ssh.args(["-l", user]);
        }
        let (from, to) = (since_epoch(self.from), since_epoch(self.to));
        let utc = |s: u64| Date::from_epoch(i64::try_from(s).unwrap_or(0)).text(true);
        let times = format!("--from '{}' --to '{}'", utc(from), utc(to));
        ssh.arg(node).arg(format!("crm_report --single-node {times} --dest -"));
        let Ok(mut remote) = ssh.stdin(Stdio::null()).stdout(Stdio::piped()).spawn() else {
            return false;
        };
        let Some(stream) = remote.stdout.take() else { return false };
        let mut tar = Command::new("tar");
        tar.args(["-xz", "--strip-components=1", "--no-same-owner", "-C"]).arg(target);
        let unpacked = tar.arg("-f").arg("-").stdin(Stdio::from(stream)).status();
        remote.wait().is_ok_and(|s| s.success()) && unpacked.is_ok_and(|s| s.success())
    }

    /// Writes this node's part.
    fn collect(&self, folder: &Path) -> Result<(), Fail> {
        io(folder, fs::DirBuilder::new().mode(0o700).create(folder))?;
        let put = |name: &str, text: &str| {
            let path = folder.join(name);
            let mut file = io(&path, fs::File::create(&path))?;
            io(&path, file.write_all(self.clean(text).as_bytes()))
        };
        let saved = || fs::read_to_string(SAVED_CIB).ok().and_then(|t| Doc::parse(&t).ok());
        let live = connect().and_then(|mut cib| cib.read()).ok();
        let source = if live.is_some() { "the running cluster" } else { "the saved file" };
        if let Some(mut doc) = live.or_else(saved) {
            self.clean_cib(&mut doc);
            put("cib.xml", &doc.root().to_xml(Style::Pretty))?;
        }
        put("sysinfo.txt", &format!("cib.xml is from {source}\n{}", sysinfo()))?;
        if let Ok(text) = fs::read_to_string(CONFIG) {
            put("corosync.conf", &text)?;
        }
        for (name, tool, args) in [
            ("crm_mon.txt", "crm_mon", &["-1", "-r", "-A", "-f", "-c"][..]),
            ("crm_verify.txt", "crm_verify", &["-V", "--live-check"]),
            ("members.txt", "crm_node", &["-p"]),
            ("quorum.txt", "corosync-quorumtool", &["-s"]),
            ("links.txt", "corosync-cfgtool", &["-s"]),
            ("cmap.txt", "corosync-cmapctl", &[]),
            ("fencing.txt", "stonith_admin", &["-H", "*"]),
        ] {
            put(name, &own(tool, args))?;
        }
        put("journal.log", &self.journal())?;
        for (ix, path) in self.given.all("logfile").iter().enumerate() {
            if let Ok(bytes) = fs::read(path) {
                let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
                put(&format!("log-{ix}-{name}"), &String::from_utf8_lossy(&bytes))?;
            }
        }
        self.inputs(folder)
    }

    /// Plan inputs of the time in question.
    fn inputs(&self, folder: &Path) -> Result<(), Fail> {
        let Ok(entries) = fs::read_dir(INPUTS) else { return Ok(()) };
        let target = folder.join("pengine");
        io(&target, fs::create_dir(&target))?;
        for path in entries.flatten().map(|e| e.path()) {
            let changed = path.metadata().and_then(|m| m.modified());
            let wanted = changed.is_ok_and(|at| self.from <= at && at <= self.to);
            let text = match path.extension().and_then(|e| e.to_str()) {
                _ if !wanted => None,
                Some("bz2" | "xml") => crate::input::read_file(&path).ok(),
                _ => None,
            };
            // What cannot be read cannot be cleaned of secrets, so it stays here.
            let Some(mut doc) = text.and_then(|t| Doc::parse(&t).ok()) else { continue };
            self.clean_cib(&mut doc);
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let name = format!("{}.xml", name.trim_end_matches(".xml"));
            let path = target.join(name);
            io(&path, fs::write(&path, doc.root().to_xml(Style::Pretty)))?;
        }
        Ok(())
    }

    fn journal(&self) -> String {
        let (from, to) = (since_epoch(self.from), since_epoch(self.to));
        let mut journal = Command::new("journalctl");
        journal.args(["--no-pager", "-o", "short-iso"]);
        journal.arg(format!("--since=@{from}")).arg(format!("--until=@{to}"));
        output(&mut journal).unwrap_or_else(|| "there is no journal on this node\n".into())
    }

    /// A text without what looks like a secret: what follows a name of one after `=` or `:`.
    fn clean(&self, text: &str) -> String {
        let pattern =
            format!(r#"(?i)(\b\w*(?:{})\w*"?\s*[=:]\s*)("[^"]*"|\S+)"#, self.secret.as_str());
        match Regex::new(&pattern) {
            Ok(pair) => pair.replace_all(text, "$1****").into_owned(),
            Err(_) => text.to_string(),
        }
    }

    /// A CIB without the values of secret options.
    fn clean_cib(&self, doc: &mut Doc) {
        let secret = |n: &cib_xml::Node<'_>| {
            n.attr("name").is_some_and(|name| self.secret.is_match(name))
                && n.attr("value").is_some()
        };
        let pairs: Vec<_> = doc.root().descendants().filter(secret).map(|n| n.id()).collect();
        pairs.into_iter().for_each(|id| doc.set_attr(id, "value", "****"));
        // Recorded operations can hold parameters as attributes.
        let mut held = Vec::new();
        for node in doc.root().descendants() {
            let names =
                node.attrs().map(|(name, _)| name).filter(|name| self.secret.is_match(name));
            // Lists and digests of secret parameters tell nothing.
            let names = names.filter(|name| !name.starts_with("op-"));
            held.extend(names.map(|name| (node.id(), name.to_string())));
        }
        held.iter().for_each(|(id, name)| doc.set_attr(*id, name, "****"));
    }
}

/// What a program prints, if it can be run.
fn output(command: &mut Command) -> Option<String> {
    let done = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}

/// What one of our own tools prints, errors too.
fn own(tool: &str, args: &[&str]) -> String {
    let Ok(program) = std::env::current_exe() else { return String::new() };
    match Command::new(program).arg(tool).args(args).stdin(Stdio::null()).output() {
        Ok(done) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            text(&done.stdout) + &text(&done.stderr)
        }
        Err(e) => format!("{tool} cannot be run: {e}\n"),
    }
}

fn sysinfo() -> String {
    let mut text = format!("Systole {}\n", env!("CARGO_PKG_VERSION"));
    text += &output(Command::new("uname").arg("-a")).unwrap_or_default();
    for file in ["/etc/os-release", "/proc/loadavg", "/proc/uptime", "/proc/meminfo"] {
        text += &format!("\n{file}:\n{}", fs::read_to_string(file).unwrap_or_default());
    }
    text += &output(Command::new("df").arg("-h")).unwrap_or_default();
    text
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use cib_xml::{Doc, Style};
    use regex::Regex;

    use super::{Report, SECRET};
    use crate::args::Given;

    #[test]
    fn secrets_are_taken_out() {
        let given = Given::default();
        let secret = Regex::new(&format!("(?i){SECRET}")).expect("it is one");
        let now = SystemTime::now();
        let report = Report { given: &given, secret, from: now, to: now };
        let text = report.clean("user=admin passwd=s3cret\nlogin: x password: \"a b\" end");
        assert_eq!(text, "user=admin passwd=****\nlogin: x password: **** end");
        let cib = r#"<cib><nvpair id="1" name="passwd" value="x"/>
            <nvpair id="2" name="ip" value="y"/><parameters password="z"/></cib>"#;
        let mut doc = Doc::parse(cib).expect("it is XML");
        report.clean_cib(&mut doc);
        assert_eq!(
            doc.root().to_xml(Style::Compact),
            "<cib><nvpair id=\"1\" name=\"passwd\" value=\"****\"/><nvpair id=\"2\" name=\"ip\" \
             value=\"y\"/><parameters password=\"****\"/></cib>"
        );
    }
}
