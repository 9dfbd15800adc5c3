//! The one binary: what it does depends on the name it is called by, or on its first argument.

#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cli_tools::print::{complain, exit_status, print};
use cli_verbs::Outer;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let path = args.first().map(PathBuf::from).unwrap_or_default();
    let words: Vec<String> =
        args.iter().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    if let Some(agent) = resource_agents_agents::name_from_path(&path) {
        return exit(resource_agents_agents::run(agent, &words));
    }
    let called = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if let Some(status) = by_name(&called, &words) {
        return exit(status);
    }
    if let Some((first, rest)) = words.split_first() {
        if first == "--tool-names" {
            let names = [cli_tools::TOOLS, fence_agents_ipmi::NAMES].concat();
            print(format_args!("{}\n", names.join("\n")));
            return exit(exit_status(0));
        }
        if first == "agent" {
            let name = rest.first().map_or("", String::as_str);
            return exit(resource_agents_agents::run(name, rest.get(1..).unwrap_or_default()));
        }
        if let Some(status) = by_name(first, rest) {
            return exit(status);
        }
    }
    match cli_verbs::run(args) {
        Ok(status) => exit(status),
        Err(Outer::Daemon(args)) => exit(daemon(args)),
        Err(Outer::Keygen(path)) => exit(keygen(&path)),
    }
}

/// The tool or fence agent of that name, if it is one.
fn by_name(name: &str, words: &[String]) -> Option<i32> {
    if fence_agents_ipmi::NAMES.contains(&name) {
        return Some(fence_agents_ipmi::run(name, words));
    }
    cli_tools::TOOLS.contains(&name).then(|| {
        keep_memory();
        cli_tools::run(name, words)
    })
}

/// Has the allocator keep what is given back for what is wanted next, rather than return it to the
/// system and ask for it again: new memory costs a tool more time than most of what it does.
fn keep_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets two numbers of the allocator, before there is another thread.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 1 << 30);
    }
}

fn exit(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}

fn daemon(args: cli_verbs::DaemonArgs) -> i32 {
    let defaults = crm_daemon::Options::default();
    let options = crm_daemon::Options {
        config: args.config,
        state_dir: args.state_dir,
        run_dir: args.run_dir.unwrap_or(defaults.run_dir),
        node: args.node,
    };
    crm_daemon::start_logging();
    crm_daemon::run(options).unwrap_or_else(|error| {
        complain(format_args!("systole daemon: {error:#}\n"));
        1
    })
}

fn keygen(path: &Path) -> i32 {
    match membership_transport::keygen(path) {
        Ok(()) => {
            let path = path.display();
            print(format_args!("wrote {path}: copy it to the same place on every node\n"));
            exit_status(0)
        }
        Err(error) => {
            complain(format_args!("systole keygen: {error}\n"));
            1
        }
    }
}
