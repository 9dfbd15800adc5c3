//! `crm_attribute`: cluster options and node attributes. `crm_standby`, `crm_failcount` and
//! `crm_master` are the same for one purpose each.

use cib_store::ErrorKind;
use regex::Regex;

use crate::args::{Given, Opt, Value, flag, opt, value};
use crate::cib::{Cib, connect, env};
use crate::exit;
use crate::live;
use crate::nvattrs::{self, Failure, Pair, Place};
use crate::output::{Element, Out};

pub(crate) const OPTIONS: &[Opt] = &[
    value("name", 'n', "Name of the attribute or option"),
    value("pattern", 'P', "All node attributes whose name matches this regular expression"),
    opt("promotion", 'p', Value::Optional, "The promotion score of a resource"),
    value("id", 'i', "Id of the nvpair"),
    value("set-name", 's', "Id of the block that it stands in"),
    flag("delete", 'D', "Delete it"),
    flag("query", 'G', "Print its value"),
    value("update", 'v', "Set it to this value"),
    value("default", 'd', "Print this if there is no value"),
    value("lifetime", 'l', "forever or reboot"),
    value("node", 'N', "Of this node"),
    value("type", 't', "Section: crm_config, nodes, status, rsc_defaults, op_defaults, tickets"),
    flag("utilization", 'z', "A utilization attribute"),
    flag("score", ' ', "Take values such as value++ as arithmetic"),
    value("list-options", 'L', "Print all options of this kind (cluster)"),
    flag("all", 'a', "With --list-options: also those for experts"),
    value("wait", 'W', "Until when to wait: no, local or cluster"),
    value("attr-name", ' ', ""),
    flag("get-value", ' ', ""),
    value("node-uname", 'U', ""),
    opt("quiet", 'Q', Value::No, ""),
    flag("inhibit-policy-engine", '!', ""),
];

type Fail = (i32, String);

pub(crate) fn run(given: &Given, out: &mut Out) -> i32 {
    match perform(given, out) {
        Ok(()) => exit::OK,
        Err((code, text)) => {
            if !text.is_empty() {
                out.fail(&text);
            }
            code
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug)]
enum Command {
    Query,
    Update(String),
    Delete,
}

struct Job {
    command: Command,
    place: Place,
    /// Section as it is shown.
    scope: String,
    uname: Option<String>,
    id: Option<String>,
    name: Option<String>,
    pattern: Option<Regex>,
    default: Option<String>,
}

fn perform(given: &Given, out: &mut Out) -> Result<(), Fail> {
    if let Some(kind) = given.get("list-options") {
        if kind != "cluster" {
            let text = format!("Invalid --list-options value '{kind}'. Allowed values: cluster");
            return Err((exit::USAGE, text));
        }
        crate::options::list(crate::options::Kind::Cluster, given.has("all"), out);
        return Ok(());
    }
    let command = match given.last_of(&["delete", "query", "get-value", "update"]) {
        Some("delete") => Command::Delete,
        Some("update") => Command::Update(given.get("update").unwrap_or_default().into()),
        _ => Command::Query,
    };
    let mut name = None;
    let mut promotion = false;
    for (option, value) in given.iter() {
        match option {
            "name" | "attr-name" => {
                promotion = false;
                name = value.map(str::to_string);
            }
            "promotion" => {
                promotion = true;
                let resource = value.filter(|v| !v.is_empty()).map(str::to_string);
                let resource = resource.or_else(|| env("OCF_RESOURCE_INSTANCE"));
                name = resource.map(|r| format!("master-{r}"));
            }
            _ => {}
        }
    }
    if promotion && name.is_none() {
        let text = "-p/--promotion must be called from an OCF resource agent or with a resource \
                    ID specified";
        return Err((exit::USAGE, text.into()));
    }
    let mut cib = connect()
        .map_err(|e| (e.exit_code(), format!("Could not connect to the CIB: {}", e.kind.text())))?;
    let job = prepare(given, cib.as_mut(), command, name, promotion)?;
    if job.scope == "status" && cib.is_live() && !matches!(job.command, Command::Query) {
        return update_live(&job);
    }
    let result = match &job.command {
        Command::Query => query(&job, cib.as_mut(), out),
        Command::Update(value) => update(&job, value, cib.as_mut(), out),
        Command::Delete => delete(&job, cib.as_mut(), out),
    };
    result.map_err(|failure| explain(failure, &job, out))
}

fn explain(failure: Failure, job: &Job, out: &mut Out) -> Fail {
    match failure {
        Failure::Several(pairs) => {
            show_several(&pairs, job.name.as_deref().unwrap_or_default(), out);
            let text = "Please choose from one of the matches below and supply the 'id' with \
                        --attr-id";
            (exit::MULTIPLE, text.into())
        }
        Failure::Cib(error) => {
            (error.exit_code(), format!("Error performing operation: {}", error.kind.text()))
        }
    }
}

pub(crate) fn show_several(pairs: &[Pair], name: &str, out: &mut Out) {
    out.line(&format!("Multiple attributes match name={name}"));
    for pair in pairs {
        out.line(&format!("  Value: {} \t(id={})", pair.value, pair.id));
    }
}

fn prepare(
    given: &Given,
    cib: &mut dyn Cib,
    command: Command,
    name: Option<String>,
    promotion: bool,
) -> Result<Job, Fail> {
    let mut uname = given
        .last_of(&["node", "node-uname"])
        .and_then(|which| given.get(which))
        .map(str::to_string);
    let utilization = given.has("utilization");
    let kind = given.last_of(&["type", "lifetime", "utilization"]);
    let section = match kind {
        Some("utilization") => "nodes",
        Some(which) => match given.get(which).unwrap_or_default() {
            "reboot" => "status",
            "forever" => "nodes",
            other => other,
        },
        None if promotion => "status",
        None if uname.is_some() => "nodes",
        None => "crm_config",
    };
    let mut place = Place {
        section: section.to_string(),
        set_name: given.get("set-name").map(str::to_string),
        set_type: utilization.then(|| "utilization".to_string()),
        ..Place::default()
    };
    if !matches!(section, "crm_config" | "tickets" | "rsc_defaults" | "op_defaults") {
        let target = match uname.as_deref() {
            Some("auto" | "localhost") | None => nvattrs::local_node(),
            Some(name) => name.to_string(),
        };
        let (id, remote) = nvattrs::node_id(cib, &target).map_err(|e| match e.kind {
            ErrorKind::NoSuchItem => {
                (exit::NOSUCH, format!("Could not map name={target} to a UUID"))
            }
            _ => (e.exit_code(), format!("Could not map name={target} to a UUID")),
        })?;
        (place.node, place.remote) = (Some(id), remote);
        uname = Some(target);
    }
    let pattern = match given.get("pattern") {
        None => None,
        Some(_) if name.is_some() => {
            let text = "Error: --name and --pattern cannot be used at the same time";
            return Err((exit::USAGE, text.into()));
        }
        Some(text) => Some(
            Regex::new(text)
                .map_err(|e| (exit::USAGE, format!("Invalid regular expression: {e}")))?,
        ),
    };
    if name.is_none() && pattern.is_none() {
        let what = match command {
            Command::Delete => "delete",
            Command::Update(_) => "update",
            Command::Query => "",
        };
        if !what.is_empty() {
            let text = format!("Error: must specify attribute name or pattern to {what}");
            return Err((exit::USAGE, text));
        }
    }
    Ok(Job {
        command,
        scope: section.to_string(),
        place,
        uname,
        id: given.get("id").map(str::to_string),
        name,
        pattern,
        default: given.get("default").map(str::to_string),
    })
}

/// Transient attributes of a running cluster belong to the attribute manager.
fn update_live(job: &Job) -> Result<(), Fail> {
    let node = job.uname.clone().unwrap_or_default();
    let value = match &job.command {
        Command::Update(value) => Some(value.clone()),
        _ => None,
    };
    let mut names = Vec::new();
    match &job.pattern {
        None => names.extend(job.name.clone()),
        Some(pattern) => {
            let request =
                crm_api::Request::QueryAttributes { name: None, node: Some(node.clone()) };
            if let crm_api::Response::Attributes(all) = live::ask(&request)? {
                names.extend(all.into_iter().map(|a| a.0).filter(|n| pattern.is_match(n)));
            }
        }
    }
    let updates =
        names.into_iter().map(|name| crate::attrd_updater::change(name, &node, value.clone()));
    live::ask(&crm_api::Request::UpdateAttributes(updates.collect())).map(|_| ())
}

fn show(job: &Job, pair: &Pair, out: &mut Out) {
    if out.quiet {
        out.line(&pair.value);
    } else {
        let id = job.id.as_ref().map(|id| format!(" id={id}")).unwrap_or_default();
        out.line(&format!("scope={}{id} name={} value={}", job.scope, pair.name, pair.value));
    }
    let element = Element::new("attribute").attr("name", &pair.name).attr("value", &pair.value);
    out.xml(element.maybe("id", job.id.as_ref()).attr("scope", &job.scope));
}

fn query(job: &Job, cib: &mut dyn Cib, out: &mut Out) -> Result<(), Failure> {
    let (id, name) = match &job.pattern {
        Some(_) => (None, None),
        None => (job.id.as_deref(), job.name.as_deref()),
    };
    let pairs = match nvattrs::find(cib, &job.place, id, name) {
        Ok(pairs) => pairs,
        Err(error) if error.kind == ErrorKind::NoSuchItem && job.default.is_some() => {
            let value = job.default.clone().unwrap_or_default();
            let name = job.name.clone().unwrap_or_default();
            show(job, &Pair { id: String::new(), name, value }, out);
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let wanted = |p: &&Pair| job.pattern.as_ref().is_none_or(|r| r.is_match(&p.name));
    let mut any = false;
    for pair in pairs.iter().filter(wanted) {
        any = true;
        show(job, pair, out);
    }
    if any { Ok(()) } else { Err(ErrorKind::NoSuchItem.into()) }
}

/// The names that the job is about.
fn names(job: &Job, cib: &mut dyn Cib) -> Result<Vec<Option<String>>, Failure> {
    let Some(pattern) = &job.pattern else { return Ok(vec![job.name.clone()]) };
    let pairs = nvattrs::find(cib, &job.place, None, None)?;
    let names = pairs.into_iter().map(|p| p.name).filter(|n| pattern.is_match(n));
    Ok(names.map(Some).collect())
}

fn update(job: &Job, value: &str, cib: &mut dyn Cib, out: &mut Out) -> Result<(), Failure> {
    for name in names(job, cib)? {
        let result = nvattrs::set(cib, &job.place, job.id.as_deref(), name.as_deref(), value);
        if let Err(Failure::Cib(error)) = &result {
            // Without the right to read there is nothing to say about what was not set.
            if nvattrs::find(cib, &job.place, None, None).is_ok_or_missing() {
                out.error(&format!(
                    "Error setting {}={value} (section={}, set={}): {}",
                    name.as_deref().unwrap_or_default(),
                    job.scope,
                    job.place.set_name.as_deref().unwrap_or("<null>"),
                    error.kind.text()
                ));
            }
        }
        result?;
    }
    Ok(())
}

/// Whether a search worked, with or without a result.
trait Worked {
    fn is_ok_or_missing(&self) -> bool;
}

impl<T> Worked for Result<T, cib_store::StoreError> {
    fn is_ok_or_missing(&self) -> bool {
        match self {
            Ok(_) => true,
            Err(error) => error.kind == ErrorKind::NoSuchItem,
        }
    }
}

fn delete(job: &Job, cib: &mut dyn Cib, out: &mut Out) -> Result<(), Failure> {
    let names = match names(job, cib) {
        Err(Failure::Cib(e)) if e.kind == ErrorKind::NoSuchItem => return Ok(()),
        other => other?,
    };
    for name in names {
        match nvattrs::delete(cib, &job.place, job.id.as_deref(), name.as_deref()) {
            Ok(found) => {
                let kind = if job.place.node.is_some() { "attribute" } else { "option" };
                let set = job.place.set_name.as_ref().map(|s| format!(" set={s}"));
                let named = name.as_ref().map(|n| format!(" name={n}"));
                out.line(&format!(
                    "Deleted {} {kind}: id={}{}{}",
                    job.scope,
                    found.as_deref().unwrap_or("(null)"),
                    set.unwrap_or_default(),
                    named.unwrap_or_default()
                ));
            }
            // What is not there is as good as deleted.
            Err(Failure::Cib(e)) if e.kind == ErrorKind::NoSuchItem => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

pub(crate) const STANDBY_OPTIONS: &[Opt] = &[
    flag("query", 'G', "Print whether the node is in standby"),
    value("update", 'v', "Set it: on or off"),
    flag("delete", 'D', "Forget what was set"),
    value("node", 'N', "Of this node rather than the local one"),
    value("lifetime", 'l', "forever or reboot"),
    value("id", 'i', "Id of the nvpair"),
    value("uname", 'U', ""),
    opt("quiet", 'Q', Value::No, ""),
];

/// Runs `crm_attribute` with these arguments.
fn as_attribute(args: &[&str], out: &mut Out) -> i32 {
    let args: Vec<String> = args.iter().map(|a| a.to_string()).collect();
    match crate::args::parse(OPTIONS, &args) {
        Ok(given) => run(&given, out),
        Err(text) => {
            out.fail(&text);
            exit::USAGE
        }
    }
}

pub(crate) fn run_standby(given: &Given, out: &mut Out) -> i32 {
    let node = given.get("node").or(given.get("uname")).map(str::to_string);
    let node = node.unwrap_or_else(nvattrs::local_node);
    let mut args = vec!["-N", &node, "-n", "standby"];
    if let Some(id) = given.get("id") {
        args.extend(["-i", id]);
    }
    let lifetime = given.get("lifetime");
    let command = given.last_of(&["query", "update", "delete"]).unwrap_or("query");
    match command {
        "update" => args.extend(["-v", given.get("update").unwrap_or_default()]),
        "delete" => args.push("-D"),
        _ => args.push("-G"),
    }
    match (lifetime, command) {
        (Some(lifetime), _) => {
            args.extend(["-l", lifetime]);
            as_attribute(&args, out)
        }
        (None, "update") => {
            args.extend(["-l", "forever"]);
            as_attribute(&args, out)
        }
        (None, "delete") => {
            let forever = [&args[..], &["-l", "forever"]].concat();
            let reboot = [&args[..], &["-l", "reboot"]].concat();
            let first = as_attribute(&forever, out);
            let second = as_attribute(&reboot, out);
            if first != exit::OK { first } else { second }
        }
        (None, _) => {
            // What is set for ever is shown before what ends with the next start.
            let place = Place { section: "nodes".into(), ..Place::default() };
            let set = connect().ok().is_some_and(|mut cib| {
                nvattrs::node_id(cib.as_mut(), &node).is_ok_and(|(id, remote)| {
                    let place = Place { node: Some(id), remote, ..place };
                    nvattrs::find(cib.as_mut(), &place, None, Some("standby")).is_ok()
                })
            });
            if set {
                args.extend(["-l", "forever"]);
            } else {
                args.extend(["-l", "reboot", "-d", "off"]);
            }
            as_attribute(&args, out)
        }
    }
}

pub(crate) const FAILCOUNT_OPTIONS: &[Opt] = &[
    flag("query", 'G', "Print the fail count"),
    flag("delete", 'D', "Forget the failures"),
    value("resource", 'r', "Of this resource"),
    value("node", 'N', "On this node rather than the local one"),
    value("operation", 'n', "Only failures of this operation"),
    value("interval", 'I', "Only failures of the operation with this interval"),
    opt("quiet", 'Q', Value::No, ""),
];

pub(crate) fn run_failcount(given: &Given, out: &mut Out) -> i32 {
    let Some(resource) = given.get("resource") else {
        out.fail("resource name required");
        return exit::USAGE;
    };
    let node = given.get("node").map(str::to_string).unwrap_or_else(nvattrs::local_node);
    let operation = given.get("operation");
    if given.last_of(&["query", "delete"]) == Some("delete") {
        let mut args = vec![
            "--cleanup".to_string(),
            format!("--resource={resource}"),
            format!("--node={node}"),
        ];
        args.extend(operation.map(|o| format!("--operation={o}")));
        args.extend(given.get("interval").map(|i| format!("--interval={i}")));
        return crate::run("crm_resource", &args);
    }
    match fail_count(&node, resource, operation, given.get("interval")) {
        Ok(count) => {
            if out.quiet {
                out.line(&count);
            } else {
                let interval = cib_model::text::parse_interval_ms(given.get("interval"));
                let of = operation.map(|op| format!("#{op}_{interval}"));
                let of = of.unwrap_or_default();
                out.line(&format!("scope=status  name=fail-count-{resource}{of} value={count}"));
            }
            exit::OK
        }
        Err((code, text)) => {
            out.fail(&text);
            code
        }
    }
}

/// The sum of a resource's failures on a node, as text; infinite if one part is.
fn fail_count(
    node: &str,
    resource: &str,
    operation: Option<&str>,
    interval: Option<&str>,
) -> Result<String, Fail> {
    let failed = |e: cib_store::StoreError| (e.exit_code(), e.to_string());
    let mut cib = connect().map_err(failed)?;
    let (id, remote) = nvattrs::node_id(cib.as_mut(), node).map_err(failed)?;
    let place = Place { section: "status".into(), node: Some(id), remote, ..Place::default() };
    let prefix = format!("fail-count-{resource}");
    let suffix = operation.map(|o| {
        let ms = cib_model::parse_interval_ms(Some(interval.unwrap_or("0")));
        format!("#{o}_{ms}")
    });
    let pairs = nvattrs::find(cib.as_mut(), &place, None, None).unwrap_or_default();
    let mut sum = 0;
    for pair in pairs {
        let Some(rest) = pair.name.strip_prefix(&prefix) else { continue };
        let counts = rest.is_empty() || rest.starts_with('#');
        if counts && suffix.as_ref().is_none_or(|s| rest == s) {
            sum = cib_model::add_scores(sum, cib_model::parse_score(&pair.value).unwrap_or(0));
        }
    }
    Ok(cib_model::readable_score(sum))
}

pub(crate) const MASTER_OPTIONS: &[Opt] = &[
    value("resource", 'r', "The resource; by default the one whose agent calls"),
    flag("query", 'G', "Print the promotion score"),
    value("update", 'v', "Set it"),
    flag("delete", 'D', "Forget it"),
    value("lifetime", 'l', "forever or reboot"),
    value("node", 'N', "On this node rather than the local one"),
    value("id", 'i', "Id of the nvpair"),
    opt("quiet", 'Q', Value::No, ""),
];

pub(crate) fn run_master(given: &Given, out: &mut Out) -> i32 {
    let mut args = vec!["-p"];
    args.extend(given.get("resource"));
    for (name, letter) in [("lifetime", "-l"), ("node", "-N"), ("id", "-i"), ("update", "-v")] {
        if let Some(value) = given.get(name) {
            args.extend([letter, value]);
        }
    }
    match given.last_of(&["query", "update", "delete"]) {
        Some("query") => args.push("-G"),
        Some("delete") => args.push("-D"),
        _ => {}
    }
    as_attribute(&args, out)
}
