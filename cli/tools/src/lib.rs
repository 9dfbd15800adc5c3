//! Pacemaker's and Corosync's tools under their own names.
//!
//! [`run`] is called with the name under which the binary was started and the arguments after it.
//! Each tool is a module with its options as a table and a function that does the work; results go
//! to [`output::Out`], which prints them as text or XML.

pub mod args;
pub mod cib;
mod cibadmin;
mod crm_diff;
mod crm_error;
mod crm_shadow;
pub mod exit;
pub mod input;
mod live;
pub mod output;
pub mod patch_text;

use args::{Given, Opt};
use output::Out;

type Run = fn(&Given, &mut Out) -> i32;

struct Tool {
    name: &'static str,
    about: &'static str,
    options: &'static [Opt],
    run: Run,
}

const TABLE: &[Tool] = &[
    Tool {
        name: "cibadmin",
        about: "Reads and changes the cluster's configuration and status",
        options: cibadmin::OPTIONS,
        run: cibadmin::run,
    },
    Tool {
        name: "crm_diff",
        about: "Makes and applies XML patchsets",
        options: crm_diff::OPTIONS,
        run: crm_diff::run,
    },
    Tool {
        name: "crm_error",
        about: "Says what an error code means",
        options: crm_error::OPTIONS,
        run: crm_error::run,
    },
    Tool {
        name: "crm_shadow",
        about: "Works on a copy of the cluster's configuration",
        options: crm_shadow::OPTIONS,
        run: crm_shadow::run,
    },
];

/// The names that [`run`] knows.
pub const TOOLS: &[&str] = &NAMES;

const NAMES: [&str; TABLE.len()] = {
    let mut names = [""; TABLE.len()];
    let mut ix = 0;
    while ix < names.len() {
        names[ix] = TABLE[ix].name;
        ix += 1;
    }
    names
};

/// Runs the tool `name` with the arguments after it and returns its exit status, 127 if there is no
/// tool of this name.
pub fn run(name: &str, args: &[String]) -> i32 {
    match TABLE.iter().find(|t| t.name == name) {
        Some(tool) => start(tool, args),
        None => {
            eprintln!("{name}: not a known tool");
            127
        }
    }
}

fn start(tool: &Tool, args: &[String]) -> i32 {
    let fail = |text: &str| {
        let mut out = Out::plain(tool.name);
        out.fail(text);
        out.finish(exit::USAGE)
    };
    let given = match args::parse(tool.options, args) {
        Ok(given) => given,
        Err(text) => return fail(&text),
    };
    let mut out = match Out::new(tool.name, args, &given) {
        Ok(out) => out,
        Err(text) => return fail(&text),
    };
    let code = if given.has("help") || given.has("help-all") {
        print_help(tool, &mut out);
        exit::OK
    } else if given.has("version") {
        out.line(&format!("Systole {} ({})", env!("CARGO_PKG_VERSION"), tool.name));
        exit::OK
    } else {
        (tool.run)(&given, &mut out)
    };
    out.finish(code)
}

fn print_help(tool: &Tool, out: &mut Out) {
    out.line(&format!("{} - {}\n\nOptions:", tool.name, tool.about));
    let hidden = |o: &&Opt| !o.help.is_empty();
    for opt in tool.options.iter().chain(args::COMMON.iter()).filter(hidden) {
        let short = opt.short.map(|c| format!("-{c}, ")).unwrap_or("    ".into());
        let value = match opt.value {
            args::Value::No => "",
            args::Value::Required => "=VALUE",
            args::Value::Optional => "[=VALUE]",
        };
        out.line(&format!("  {short}--{:28} {}", format!("{}{value}", opt.long), opt.help));
    }
}
