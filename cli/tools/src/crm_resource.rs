//! `crm_resource`: resources, their parameters, and where they run.

mod agents;
mod check;
mod constraints;
mod maintain;
mod params;
mod place;
mod report;

pub(crate) use report::hash;

use cib_store::StoreError;
use cib_xml::{Doc, Style};

use crate::args::{Given, Opt, Value, flag, opt, value};
use crate::cib::{Cib, connect};
use crate::exit;
use crate::output::{Element, Out};
use crate::show::{Cluster, Filter, Show};

pub(crate) const OPTIONS: &[Opt] = &[
    value("resource", 'r', "The resource"),
    value("node", 'N', "The node"),
    flag("list", 'L', "All resources with their state"),
    flag("list-raw", 'l', "Names of all resources"),
    flag("list-operations", 'O', "Operations that are in effect"),
    flag("list-all-operations", 'o', "All recorded operations"),
    value("list-options", ' ', "Known options: fencing or primitive"),
    flag("list-standards", ' ', "Classes of agents"),
    flag("list-ocf-providers", ' ', "Providers of OCF agents"),
    value("list-agents", ' ', "Agents of a class"),
    value("list-ocf-alternatives", ' ', "Providers of an OCF agent"),
    value("show-metadata", ' ', "What an agent says about itself"),
    flag("query-xml", 'q', "Configuration of a resource, with its template"),
    flag("query-xml-raw", 'w', "Configuration of a resource"),
    value("get-parameter", 'g', "Value of a parameter"),
    flag("locate", 'W', "Where a resource runs"),
    flag("constraints", 'a', "Constraints of a resource"),
    flag("stack", 'A', "Constraints of a resource and of those that it depends on"),
    flag("why", 'Y', "Why a resource does not run"),
    opt("validate", ' ', Value::Optional, "Let the agent check the parameters"),
    flag("cleanup", 'C', "Forget failures and look again"),
    flag("refresh", 'R', "Forget all results and look again"),
    value("set-parameter", 'p', "Set a parameter"),
    value("delete-parameter", 'd', "Delete a parameter"),
    flag("move", 'M', "Move a resource, with constraints"),
    flag("ban", 'B', "Keep a resource from a node"),
    flag("clear", 'U', "Remove what --move and --ban made"),
    flag("expired", 'e', "With --clear: only what is over"),
    value("lifetime", 'u', "How long --move and --ban are in effect"),
    flag("promoted", ' ', "Only the promoted role"),
    flag("master", ' ', ""),
    flag("delete", 'D', "Delete a resource"),
    flag("fail", 'F', "Make the cluster believe that a resource failed"),
    flag("restart", ' ', "Stop a resource and start it again"),
    flag("wait", ' ', "Wait until nothing is left to do"),
    flag("digests", ' ', "Digests of parameters"),
    flag("force-demote", ' ', "Demote a resource here, past the cluster"),
    flag("force-stop", ' ', "Stop a resource here, past the cluster"),
    flag("force-start", ' ', "Start a resource here, past the cluster"),
    flag("force-promote", ' ', "Promote a resource here, past the cluster"),
    opt("force-check", ' ', Value::Optional, "Check a resource here"),
    flag("recursive", ' ', "Also resources that depend on this one"),
    value("resource-type", 't', "Kind of element to delete"),
    value("parameter-value", 'v', "Value to set"),
    flag("meta", 'm', "A meta-attribute rather than a parameter"),
    flag("utilization", 'z', "A utilization attribute"),
    flag("element", ' ', "An attribute of the element"),
    value("operation", 'n', "Only this operation"),
    value("interval", 'I', "Only the operation with this interval"),
    value("class", ' ', "Class of the agent"),
    value("agent", ' ', "The agent"),
    value("provider", ' ', "Provider of the agent"),
    value("option", ' ', "A parameter name=value"),
    value("set-name", 's', "Id of the block"),
    value("nvpair", 'i', "Id of the nvpair"),
    value("timeout", 'T', "How long to wait"),
    flag("all", ' ', "Also options for experts"),
    flag("force", 'f', "Do just that, without second thoughts"),
    value("host-uname", 'H', ""),
    opt("quiet", 'Q', Value::No, ""),
];

/// A command with what it needs.
struct Command {
    option: &'static str,
    /// Whether it is about one resource, and must be told which.
    resource: bool,
    node: bool,
    /// Whether it looks up the resource.
    find: bool,
    /// Whether it refuses single instances of clones.
    whole: bool,
}

const fn command(option: &'static str, resource: bool, find: bool, whole: bool) -> Command {
    Command { option, resource, node: false, find, whole }
}

const COMMANDS: [Command; 32] = [
    command("ban", true, true, true),
    command("cleanup", false, true, false),
    command("clear", true, true, true),
    command("constraints", true, true, false),
    command("stack", true, true, false),
    command("delete", true, false, true),
    command("delete-parameter", true, true, false),
    Command { option: "digests", resource: true, node: true, find: true, whole: false },
    command("force-demote", true, true, false),
    command("force-stop", true, true, false),
    command("force-start", true, true, false),
    command("force-promote", true, true, false),
    command("force-check", true, true, false),
    command("validate", true, true, false),
    Command { option: "fail", resource: true, node: true, find: true, whole: false },
    command("get-parameter", true, true, false),
    command("list-operations", false, false, false),
    command("list-all-operations", false, false, false),
    command("list-raw", false, false, false),
    command("list", false, false, false),
    command("list-options", false, false, false),
    command("list-standards", false, false, false),
    command("list-ocf-providers", false, false, false),
    command("list-agents", false, false, false),
    command("list-ocf-alternatives", false, false, false),
    command("show-metadata", false, false, false),
    command("locate", true, true, false),
    command("move", true, true, true),
    command("query-xml", true, true, false),
    command("refresh", false, true, false),
    command("set-parameter", true, true, false),
    command("why", false, true, false),
];

const MORE: [Command; 3] = [
    command("query-xml-raw", true, true, false),
    command("restart", true, true, true),
    command("wait", false, false, false),
];

type Fail = (i32, String);

/// Everything that a command works with.
struct Work<'a> {
    given: &'a Given,
    cib: Box<dyn Cib>,
    cluster: Cluster,
    /// Name of the resource as given.
    name: String,
    rsc: Option<usize>,
    node: Option<usize>,
    force: bool,
    /// Whether a parameter has to be one that its agent takes.
    checked: bool,
}

impl Work<'_> {
    fn rsc(&self) -> Result<usize, Fail> {
        self.rsc.ok_or((exit::USAGE, "Must supply a resource ID with -r/--resource".into()))
    }

    fn node_name(&self) -> Option<String> {
        self.node.map(|n| self.cluster.node(n).name.to_string())
    }
}

fn refused(error: StoreError) -> Fail {
    (error.exit_code(), String::new())
}

pub(crate) fn run(given: &Given, out: &mut Out) -> i32 {
    result_of(perform(given, true, out), out)
}

/// As [`run`], for a tool that has its own rules on which parameters it sets.
pub(crate) fn run_unchecked(given: &Given, out: &mut Out) -> i32 {
    result_of(perform(given, false, out), out)
}

fn result_of(done: Result<(), Fail>, out: &mut Out) -> i32 {
    match done {
        Ok(()) => exit::OK,
        Err((exit::USAGE, text)) => {
            out.fail(&text);
            exit::USAGE
        }
        Err((code, text)) => {
            let what = format!("Error performing operation: {}", exit::exit_text(code));
            out.fail(&if text.is_empty() { what } else { format!("{text}\n{what}") });
            code
        }
    }
}

fn usage<T>(text: &str) -> Result<T, Fail> {
    Err((exit::USAGE, text.into()))
}

fn perform(given: &Given, checked: bool, out: &mut Out) -> Result<(), Fail> {
    let names: Vec<&'static str> = COMMANDS.iter().chain(&MORE).map(|c| c.option).collect();
    let chosen = given.last_of(&names).unwrap_or("list");
    let command = COMMANDS.iter().chain(&MORE).find(|c| c.option == chosen);
    let Some(command) = command else { return usage("No command specified") };
    let agent = ["class", "agent", "provider"].iter().any(|o| given.has(o));
    let runs = command.option.starts_with("force-") || command.option == "validate";
    if agent && given.has("resource") {
        return usage("--class, --agent, and --provider cannot be used with -r/--resource");
    }
    if agent && !runs {
        let text =
            "--class, --agent, and --provider can only be used with --validate and --force-*";
        return usage(text);
    }
    if given.has("expired") && command.option != "clear" {
        return usage("--expired requires --clear or -U");
    }
    let overrides = runs || matches!(command.option, "digests" | "restart");
    if !given.rest.is_empty() && !overrides {
        let count = given.rest.len();
        let mut text = "non-option ARGV-elements:".to_string();
        for (ix, arg) in given.rest.iter().enumerate() {
            text.push_str(&format!("\n[{} of {count}] {arg}", ix + 1));
        }
        return usage(&text);
    }
    match command.option {
        "list-options" => return list_options(given, out),
        "list-standards"
        | "list-ocf-providers"
        | "list-agents"
        | "list-ocf-alternatives"
        | "show-metadata" => return agents::list(command.option, given, out),
        option if agent => return agents::execute_given(option, given, out),
        _ => {}
    }
    if command.resource && !given.has("resource") && !given.has("expired") {
        return usage("Must supply a resource ID with -r/--resource");
    }
    let node = given.last_of(&["node", "host-uname"]).and_then(|o| given.get(o));
    if command.node && node.is_none() {
        return usage("Must supply a node name with -N/--node");
    }
    let mut cib = connect()
        .map_err(|e| (e.exit_code(), format!("Could not connect to the CIB: {}", e.kind.text())))?;
    let cluster = Cluster::load(cib.as_mut()).map_err(|e| {
        out.error(&format!("Could not obtain the current CIB: {}", e.kind.text()));
        refused(e)
    })?;
    let node = match node {
        None => None,
        Some(name) => {
            let named = |n: &crm_scheduler::overview::NodeView| n.name.eq_ignore_ascii_case(name);
            let found = cluster.view.nodes.iter().position(named);
            Some(found.ok_or((exit::NOSUCH, format!("Node '{name}' not found")))?)
        }
    };
    let name = given.get("resource").unwrap_or_default().to_string();
    let mut rsc = None;
    if command.find && !name.is_empty() {
        let found = cluster.find(&name);
        let at = found.ok_or((exit::NOSUCH, format!("Resource '{name}' not found")))?;
        let parent = cluster.rsc(at).parent;
        let instance =
            parent.is_some_and(|p| cluster.rsc(p).def.kind == cib_model::ResourceKind::Clone);
        if command.whole && instance && name.contains(':') {
            let text = format!("Cannot operate on clone resource instance '{name}'");
            return Err((exit::INVALID_PARAM, text));
        }
        rsc = Some(at);
    }
    let force = given.has("force");
    let mut work = Work { given, cib, cluster, name, rsc, node, force, checked };
    dispatch(command.option, &mut work, out)
}

fn dispatch(command: &str, work: &mut Work<'_>, out: &mut Out) -> Result<(), Fail> {
    match command {
        "list" => {
            list(work, out);
            Ok(())
        }
        "list-raw" => report::names(work, out),
        "list-operations" => report::operations(work, true, out),
        "list-all-operations" => report::operations(work, false, out),
        "query-xml" => report::config(work, true, out),
        "query-xml-raw" => report::config(work, false, out),
        "locate" => report::locate(work, out),
        "digests" => report::digests(work, out),
        "why" => check::why(work, out),
        "constraints" => constraints::list(work, false, out),
        "stack" => constraints::list(work, true, out),
        "get-parameter" => params::get(work, out),
        "set-parameter" => params::set(work, out),
        "delete-parameter" => params::delete(work, out),
        "move" => place::move_to(work, out),
        "ban" => place::ban(work, out),
        "clear" => place::clear(work, out),
        "delete" => delete(work),
        "cleanup" | "refresh" | "fail" | "restart" | "wait" => maintain::run(command, work, out),
        _ => agents::execute(command, work, out),
    }
}

fn list(work: &Work<'_>, out: &mut Out) {
    let all = Filter::all();
    let show = Show { inactive: true, pending: true, ..Show::default() };
    if out.is_xml() {
        let found = work.cluster.resources_xml(show, &all, &all);
        out.xml(found.unwrap_or(Element::new("resources")));
    } else {
        let cluster = &work.cluster;
        cluster.print_resources(Show { ..show }, true, &all, &all, out);
    }
}

fn list_options(given: &Given, out: &mut Out) -> Result<(), Fail> {
    let kind = match given.get("list-options") {
        Some("fencing") => crate::options::Kind::Fencing,
        Some("primitive") => crate::options::Kind::Primitive,
        _ => {
            // As any option that cannot be read: in plain text.
            *out = Out::plain("crm_resource");
            return usage("Error parsing option --list-options");
        }
    };
    crate::options::list(kind, given.has("all"), out);
    Ok(())
}

fn delete(work: &mut Work<'_>) -> Result<(), Fail> {
    let Some(kind) = work.given.get("resource-type") else {
        return usage("You need to specify a resource type with -t");
    };
    let mut doc = Doc::new(kind);
    let root = doc.root_id();
    doc.set_attr(root, "id", &work.name);
    let xml = doc.root().to_xml(Style::Compact);
    work.cib.delete("resources", xml).map_err(|e| {
        let text = format!("Could not delete resource {}: {}", work.name, e.kind.text());
        (e.exit_code(), text)
    })
}
