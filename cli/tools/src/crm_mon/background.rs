//! `crm_mon` as a process of its own that goes on after the command has ended.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::args::Given;
use crate::exit;

/// Where the process's number stands unless it is said otherwise.
const PID_FILE: &str = "/tmp/ClusterMon.pid";

/// Options whose values are files, which are the same wherever the process works.
const FILES: [&str; 5] = ["output-to", "as-html", "pid-file", "external-agent", "xml-file"];

/// Starts this program once more with the same options, in the background, and writes its process
/// number to the file that is asked for.
///
/// # Errors
/// If it runs already, or cannot be started, or the file cannot be written.
pub(super) fn start(given: &Given) -> Result<(), (i32, String)> {
    if !["output-to", "as-html", "external-agent"].iter().any(|option| given.has(option)) {
        let text = "--daemonize needs --output-to or --external-agent";
        return Err((exit::USAGE, text.into()));
    }
    let pid_file = absolute(given.get("pid-file").unwrap_or(PID_FILE));
    if let Some(pid) = running(&pid_file) {
        return Err((exit::ERROR, format!("already running: process {pid} in {pid_file}")));
    }
    let mut command = Command::new("/proc/self/exe");
    command.arg0("crm_mon").arg(format!("--pid-file={pid_file}"));
    for (name, value) in given.iter().filter(|(n, _)| !matches!(*n, "daemonize" | "pid-file")) {
        command.arg(match value {
            Some(value) if FILES.contains(&name) => format!("--{name}={}", absolute(value)),
            Some(value) => format!("--{name}={value}"),
            None => format!("--{name}"),
        });
    }
    command.env(super::BACKGROUND, "1").current_dir("/").process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let failed = |e: std::io::Error| (exit::ERROR, format!("cannot go on in the background: {e}"));
    let mut child = command.spawn().map_err(failed)?;
    // Who reads the file next finds the process there.
    std::fs::write(&pid_file, format!("{}\n", child.id())).map_err(|e| {
        // It is of no use if nobody finds it; it may have ended already.
        let _ = child.kill();
        (exit::CANTCREAT, format!("{pid_file}: {e}"))
    })
}

fn absolute(path: &str) -> String {
    match std::path::absolute(path) {
        Ok(path) if !path.as_os_str().is_empty() => path.to_string_lossy().into_owned(),
        _ => path.to_string(),
    }
}

/// The process that the file names, if it is a living `crm_mon`.
fn running(pid_file: &str) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    let line = std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).ok()?;
    String::from_utf8_lossy(&line).contains("crm_mon").then_some(pid)
}
