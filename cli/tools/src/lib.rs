//! Pacemaker's and Corosync's tools under their own names.
//!
//! [`run`] is called with the name under which the binary was started and the arguments after it.
//! Each tool is a module with its options as a table and a function that does the work; results go
//! to [`output::Out`], which prints them as text or XML.

#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

/// Prints a line on the standard error.
macro_rules! complain {
    ($($part:tt)*) => { $crate::print::complain(format_args!("{}\n", format_args!($($part)*))) };
}

pub mod agents;
pub mod args;
mod attrd_updater;
pub mod checks;
pub mod cib;
mod cibadmin;
mod cibsecret;
mod cmapctl;
mod corosync;
mod crm_attribute;
mod crm_diff;
mod crm_error;
mod crm_mon;
mod crm_node;
mod crm_report;
mod crm_resource;
mod crm_rule;
mod crm_shadow;
mod crm_simulate;
mod crm_ticket;
mod crm_verify;
mod crmadmin;
mod daemons;
pub mod dates;
mod devices;
pub mod exit;
mod html;
pub mod input;
mod iso8601;
mod keygen;
mod live;
pub mod log;
pub mod nvattrs;
pub mod options;
pub mod output;
pub mod patch_text;
pub mod print;
mod schema;
mod show;
mod stonith_admin;

pub use crm_verify::verify;

use args::{Given, Opt};
use output::Out;

type Run = fn(&Given, &mut Out) -> i32;

struct Tool {
    name: &'static str,
    about: &'static str,
    options: &'static [Opt],
    run: Run,
}

const fn tool(name: &'static str, options: &'static [Opt], run: Run, about: &'static str) -> Tool {
    Tool { name, about, options, run }
}

const TABLE: &[Tool] = &[
    tool(
        "attrd_updater",
        attrd_updater::OPTIONS,
        attrd_updater::run,
        "Reads and changes transient node attributes",
    ),
    tool(
        "cibadmin",
        cibadmin::OPTIONS,
        cibadmin::run,
        "Reads and changes the cluster's configuration and status",
    ),
    tool(
        "cibsecret",
        cibsecret::OPTIONS,
        cibsecret::run,
        "Keeps values of parameters beside the CIB",
    ),
    tool("corosync", daemons::COROSYNC_OPTIONS, daemons::corosync, "The membership layer"),
    tool(
        "corosync-cfgtool",
        corosync::CFG_OPTIONS,
        corosync::cfgtool,
        "Shows the links to other nodes",
    ),
    tool(
        "corosync-cmapctl",
        cmapctl::OPTIONS,
        cmapctl::run,
        "Shows the settings of the membership layer",
    ),
    tool("corosync-keygen", keygen::OPTIONS, keygen::run, "Makes the key of a cluster"),
    tool(
        "corosync-quorumtool",
        corosync::QUORUM_OPTIONS,
        corosync::quorumtool,
        "Shows quorum and members",
    ),
    tool(
        "crm_attribute",
        crm_attribute::OPTIONS,
        crm_attribute::run,
        "Reads and changes cluster options and node attributes",
    ),
    tool("crm_diff", crm_diff::OPTIONS, crm_diff::run, "Makes and applies XML patchsets"),
    tool("crm_error", crm_error::OPTIONS, crm_error::run, "Says what an error code means"),
    tool(
        "crm_failcount",
        crm_attribute::FAILCOUNT_OPTIONS,
        crm_attribute::run_failcount,
        "Reads and clears fail counts",
    ),
    tool(
        "crm_master",
        crm_attribute::MASTER_OPTIONS,
        crm_attribute::run_master,
        "Reads and changes promotion scores",
    ),
    tool("crm_mon", crm_mon::OPTIONS, crm_mon::run, "Shows the state of the cluster"),
    tool("crm_node", crm_node::OPTIONS, crm_node::run, "Shows the local node and the membership"),
    tool(
        "crm_report",
        crm_report::OPTIONS,
        crm_report::run,
        "Collects what is needed to find out later what happened",
    ),
    tool(
        "crm_resource",
        crm_resource::OPTIONS,
        crm_resource::run,
        "Shows and changes resources, and where they run",
    ),
    tool("crm_rule", crm_rule::OPTIONS, crm_rule::run, "Checks whether rules are in effect"),
    tool(
        "crm_shadow",
        crm_shadow::OPTIONS,
        crm_shadow::run,
        "Works on a copy of the cluster's configuration",
    ),
    tool(
        "crm_standby",
        crm_attribute::STANDBY_OPTIONS,
        crm_attribute::run_standby,
        "Puts nodes into standby and back",
    ),
    tool(
        "crm_simulate",
        crm_simulate::OPTIONS,
        crm_simulate::run,
        "Shows what the cluster would do in a given state",
    ),
    tool("crm_ticket", crm_ticket::OPTIONS, crm_ticket::run, "Shows and changes tickets"),
    tool(
        "crm_verify",
        crm_verify::OPTIONS,
        crm_verify::run,
        "Checks whether a configuration is valid",
    ),
    tool(
        "crmadmin",
        crmadmin::OPTIONS,
        crmadmin::run,
        "Shows nodes, the DC and the state of the daemon",
    ),
    tool("iso8601", iso8601::OPTIONS, iso8601::run, "Shows dates, durations and periods"),
    tool(
        "pacemaker-based",
        daemons::OPTIONS_OF_DAEMONS,
        daemons::daemon,
        "Cluster options of the part that keeps the CIB",
    ),
    tool(
        "pacemaker-controld",
        daemons::OPTIONS_OF_DAEMONS,
        daemons::daemon,
        "Cluster options of the part that carries plans out",
    ),
    tool(
        "pacemaker-fenced",
        daemons::OPTIONS_OF_DAEMONS,
        daemons::daemon,
        "Parameters of fencing devices",
    ),
    tool(
        "pacemaker-schedulerd",
        daemons::OPTIONS_OF_DAEMONS,
        daemons::daemon,
        "Cluster options of the part that plans",
    ),
    tool("pacemakerd", daemons::PACEMAKERD_OPTIONS, daemons::pacemakerd, "What the cluster can do"),
    tool(
        "stonith_admin",
        stonith_admin::OPTIONS,
        stonith_admin::run,
        "Fences nodes, shows devices and history",
    ),
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

/// The schema of results as XML, as RELAX NG: `api/api-result.rng`, for programs that read it.
pub fn results_schema() -> String {
    cib_schema::relax_ng_of(include_str!("results.grammar"))
}

/// Runs the tool `name` with the arguments after it and returns its exit status, 127 if there is no
/// tool of this name.
pub fn run(name: &str, args: &[String]) -> i32 {
    match TABLE.iter().find(|t| t.name == name) {
        Some(tool) => start(tool, args),
        None => {
            complain!("{name}: not a known tool");
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
        let own = || format!("Systole {} ({})", env!("CARGO_PKG_VERSION"), tool.name);
        out.line(&daemons::version_text(tool.name).unwrap_or_else(own));
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
