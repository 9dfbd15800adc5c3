//! Commands that make the cluster, or an agent, do something.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cib_model::{ResourceKind, Time};
use cib_xml::{Doc, Style};
use crm_api::Request;
use crm_scheduler::{PlanFlags, schedule_model};

use super::{Fail, Work, check, refused, usage};
use crate::args::Given;
use crate::dates::Date;
use crate::exit;
use crate::live;
use crate::output::{Element, Out};
use crate::show::Cluster;

const STYLE: Style = Style::Compact;

const OCF_ROOT: &str = "/usr/lib/ocf";

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

fn providers() -> Vec<String> {
    names_in(&Path::new(OCF_ROOT).join("resource.d"))
}

/// Agents that are installed.
pub(super) fn agents(command: &str, given: &Given, out: &mut Out) -> Result<(), Fail> {
    let spec = given.get(command).unwrap_or_default();
    let dir = |provider: &str| Path::new(OCF_ROOT).join("resource.d").join(provider);
    let names = match command {
        "list-standards" => {
            ["lsb", "ocf", "service", "stonith", "systemd"].map(str::to_string).to_vec()
        }
        "list-ocf-providers" => providers(),
        "list-ocf-alternatives" => {
            providers().into_iter().filter(|p| dir(p).join(spec).exists()).collect()
        }
        "list-agents" => match spec.split_once(':') {
            Some(("ocf", provider)) => names_in(&dir(provider)),
            None if spec == "ocf" => {
                let mut all: Vec<String> =
                    providers().iter().flat_map(|p| names_in(&dir(p))).collect();
                all.sort();
                all.dedup();
                all
            }
            _ if spec == "lsb" => names_in(Path::new("/etc/init.d")),
            _ if spec == "stonith" => names_in(Path::new("/usr/sbin"))
                .into_iter()
                .filter(|n| n.starts_with("fence_"))
                .collect(),
            _ if matches!(spec, "systemd" | "service") => {
                names_in(Path::new("/usr/lib/systemd/system"))
                    .into_iter()
                    .filter_map(|n| n.strip_suffix(".service").map(str::to_string))
                    .filter(|n| !n.ends_with('@'))
                    .collect()
            }
            _ => return Err((exit::NOSUCH, format!("No agents found for standard '{spec}'"))),
        },
        _ => return metadata(spec, out),
    };
    if names.is_empty() {
        return Err((exit::NOSUCH, format!("Nothing is installed for '{spec}'")));
    }
    let mut xml = Element::new("list");
    for name in names {
        out.line(&name);
        xml.push(Element::new("item").text(name));
    }
    out.xml(xml);
    Ok(())
}

/// Prints what an agent says about itself.
fn metadata(spec: &str, out: &mut Out) -> Result<(), Fail> {
    let parts: Vec<&str> = spec.split(':').collect();
    let (path, action) = match parts[..] {
        ["ocf", provider, agent] => {
            (Path::new(OCF_ROOT).join("resource.d").join(provider).join(agent), "meta-data")
        }
        ["stonith", agent] => (Path::new("/usr/sbin").join(agent), "-o"),
        _ => return usage(&format!("'{spec}' is not a valid agent specification")),
    };
    let mut command = Command::new(&path);
    command.arg(action).env("OCF_ROOT", OCF_ROOT);
    if action == "-o" {
        command.arg("metadata");
    }
    let failed = |e: std::io::Error| {
        (exit::NOSUCH, format!("Metadata query for {spec} failed: {}: {e}", path.display()))
    };
    let result = command.output().map_err(failed)?;
    let text = String::from_utf8_lossy(&result.stdout).into_owned();
    out.print(&text);
    out.xml(Element::new("resource-agent").raw(text));
    Ok(())
}

/// Commands for the cluster.
pub(super) fn run(command: &str, work: &mut Work<'_>, out: &mut Out) -> Result<(), Fail> {
    match command {
        "cleanup" => forget(work, true, out),
        "refresh" => forget(work, false, out),
        "wait" => wait(work, &|_| true, out),
        "restart" => restart(work, out),
        other => Err((3, format!("--{other} is not supported"))),
    }
}

/// Primitives below a resource.
fn primitives(work: &Work<'_>, ix: usize, list: &mut Vec<usize>) {
    let rsc = work.cluster.rsc(ix);
    if rsc.children.is_empty() {
        list.push(ix);
    }
    rsc.children.iter().for_each(|c| primitives(work, *c, list));
}

/// Makes nodes forget results, of failed resources or of all.
fn forget(work: &mut Work<'_>, failed_only: bool, out: &mut Out) -> Result<(), Fail> {
    let host = work.node_name();
    let on = host.clone().unwrap_or("all nodes".into());
    let rsc = work.rsc.map(|at| if work.force { at } else { work.cluster.top(at, true) });
    if !work.cib.is_live() {
        let what = match rsc {
            Some(rsc) => format!("{} on {on}", work.cluster.rsc(rsc).id),
            None => on,
        };
        out.line(&format!("Dry run: skipping clean-up of {what} due to CIB_file"));
        if let Some(rsc) = rsc {
            check::show(&work.cluster, rsc, work.node, out);
        }
        return Ok(());
    }
    let mut list = Vec::new();
    match rsc {
        Some(rsc) => primitives(work, rsc, &mut list),
        None => work.cluster.view.top.iter().for_each(|r| primitives(work, *r, &mut list)),
    }
    let operation = work.given.get("operation");
    let interval = work.given.get("interval").map(|i| cib_model::parse_interval_ms(Some(i)));
    let mut done: Vec<(String, String)> = Vec::new();
    for ix in list {
        let rsc = work.cluster.rsc(ix);
        let id = rsc.history_id.as_deref().unwrap_or(&rsc.def.id).to_string();
        for history in &work.cluster.view.history {
            let name = work.cluster.node(history.node).name.to_string();
            let known = history.resources.iter().any(|r| *r.id == *id);
            if host.as_ref().is_some_and(|h| *h != name) || !known {
                continue;
            }
            let failed = work.cluster.view.failed.iter().any(|f| {
                let key = f.op.key.as_deref().and_then(cib_model::parse_op_key);
                key.is_some_and(|(rsc, op, ms)| {
                    rsc == id
                        && f.node == history.node
                        && operation.is_none_or(|o| o == op)
                        && interval.is_none_or(|i| i == ms)
                })
            });
            let pair = (id.clone(), name);
            if (failed || !failed_only) && !done.contains(&pair) {
                done.push(pair);
            }
        }
    }
    for (id, node) in &done {
        for prefix in [format!("fail-count-{id}"), format!("last-failure-{id}")] {
            let node = node.clone();
            live::ask(&Request::ClearAttributes { node, prefix })?;
        }
        let (node_name, resource) = (Some(node.clone()), Some(id.clone()));
        live::ask(&Request::ForgetResource { node: node_name, resource })?;
        out.line(&format!("Cleaned up {id} on {node}"));
    }
    if let Some(rsc) = rsc {
        check::show(&work.cluster, rsc, work.node, out);
    } else if failed_only && done.is_empty() {
        out.line("No failures to clean up");
    }
    Ok(())
}

/// How long to wait for the cluster.
fn patience(work: &Work<'_>) -> Duration {
    let ms = work.given.get("timeout").map(|t| cib_model::parse_interval_ms(Some(t)));
    Duration::from_millis(ms.map_or(3_600_000, u64::from))
}

/// Whether the cluster has anything to do, or is at it.
fn busy(cluster: &Cluster) -> bool {
    let pending = cluster
        .view
        .history
        .iter()
        .flat_map(|h| &h.resources)
        .flat_map(|r| &r.ops)
        .any(|op| op.status == Some(-1));
    let now = Time::from_epoch(Date::now().epoch());
    let plan = schedule_model(cluster.model.clone(), now, PlanFlags::default(), 0);
    pending
        || plan.transition.synapses.iter().any(|s| s.action.kind != crm_graph::ActionKind::Pseudo)
}

/// Waits until the cluster has nothing to do and `done` holds.
fn wait(work: &mut Work<'_>, done: &dyn Fn(&Cluster) -> bool, out: &mut Out) -> Result<(), Fail> {
    let end = Instant::now() + patience(work);
    let mut said = false;
    loop {
        if !busy(&work.cluster) && done(&work.cluster) {
            return Ok(());
        }
        if !work.cib.is_live() {
            return Err((exit::ERROR, "There is no cluster to wait for".into()));
        }
        if !said {
            said = true;
            out.flush();
        }
        if Instant::now() > end {
            return Err((124, "The cluster did not finish in time".into()));
        }
        std::thread::sleep(Duration::from_millis(250));
        work.cluster = Cluster::load(work.cib.as_mut()).map_err(refused)?;
    }
}

/// Resources with the nodes where they are active.
fn active(cluster: &Cluster) -> Vec<(String, Vec<String>)> {
    let name = |n: &usize| cluster.node(*n).name.to_string();
    let primitives = cluster.view.resources.iter().filter(|r| r.children.is_empty());
    let running = primitives.filter(|r| !r.nodes.is_empty());
    running.map(|r| (r.id.to_string(), r.nodes.iter().map(name).collect())).collect()
}

/// Stops a resource, and starts it again.
fn restart(work: &mut Work<'_>, out: &mut Out) -> Result<(), Fail> {
    let at = work.rsc()?;
    let top = if work.force { at } else { work.cluster.top(at, true) };
    let rsc = work.cluster.rsc(top);
    let (id, managed, runs) = (rsc.def.id.to_string(), rsc.managed, rsc.partly_active);
    if !runs {
        return Err((
            exit::ERROR,
            format!("{id} is not running anywhere and so cannot be restarted"),
        ));
    }
    if !managed {
        return Err((exit::ERROR, "Unmanaged resources cannot be restarted.".into()));
    }
    if work.node.is_some() {
        let text = "--restart of one instance is not supported; use --ban and --clear";
        return Err((3, text.into()));
    }
    let before = active(&work.cluster);
    let former = crate::show::meta(rsc, "target-role").map(str::to_string);
    let kind = match rsc.def.kind {
        ResourceKind::Primitive => "primitive",
        ResourceKind::Group => "group",
        ResourceKind::Clone => "clone",
        ResourceKind::Bundle => "bundle",
    };
    let own = |work: &Work<'_>| {
        let found = work.cluster.doc.root().descendants().find(|n| n.attr("id") == Some(&id))?;
        let sets = found.children_named("meta_attributes");
        let mut pairs = sets.flat_map(|s| s.children_named("nvpair"));
        pairs.find(|p| p.attr("name") == Some("target-role")).map(|p| p.id())
    };
    // Id of the nvpair, and whether it was there before.
    let known = own(work).and_then(|n| work.cluster.doc.node(n).attr("id").map(str::to_string));
    let pair = known.clone().unwrap_or(format!("{id}-meta_attributes-target-role"));
    let change = |value: &str| match &known {
        Some(pair) => element("nvpair", &[("id", pair), ("value", value)]).root().to_xml(STYLE),
        None => {
            let mut doc = element(kind, &[("id", &id)]);
            let root = doc.root_id();
            let set = doc.append_element(root, "meta_attributes");
            doc.set_attr(set, "id", &format!("{id}-meta_attributes"));
            let new = doc.append_element(set, "nvpair");
            for (name, text) in [("id", pair.as_str()), ("name", "target-role"), ("value", value)] {
                doc.set_attr(new, name, text);
            }
            doc.root().to_xml(STYLE)
        }
    };
    work.cib.merge("resources", change("Stopped")).map_err(refused)?;
    out.line(&format!("Waiting for {id} to stop"));
    let stopped = |c: &Cluster| c.find(&id).is_none_or(|ix| !c.rsc(ix).partly_active);
    work.cluster = Cluster::load(work.cib.as_mut()).map_err(refused)?;
    let result = wait(work, &stopped, out);
    // Whatever happened, the resource is not left stopped.
    match (&known, former) {
        (Some(_), Some(former)) => work.cib.merge("resources", change(&former)),
        _ => {
            let xml = element("nvpair", &[("id", &pair)]).root().to_xml(STYLE);
            work.cib.delete("resources", xml)
        }
    }
    .map_err(refused)?;
    result?;
    out.line(&format!("Waiting for {} resources to start again", before.len()));
    let started = |c: &Cluster| {
        let now = active(c);
        before.iter().all(|(id, _)| now.iter().any(|(other, _)| other == id))
    };
    work.cluster = Cluster::load(work.cib.as_mut()).map_err(refused)?;
    wait(work, &started, out)
}

fn element(name: &str, attrs: &[(&str, &str)]) -> Doc {
    let mut doc = Doc::new(name);
    let root = doc.root_id();
    attrs.iter().for_each(|(name, value)| doc.set_attr(root, name, value));
    doc
}

/// Runs the agent on this machine, past the cluster.
pub(super) fn execute(command: &str, work: &Work<'_>, out: &mut Out) -> Result<(), Fail> {
    let at = work.rsc()?;
    let rsc = work.cluster.rsc(at);
    if rsc.def.kind != ResourceKind::Primitive {
        let text = format!("{} is no primitive: name the resource inside", rsc.id);
        return usage(&text);
    }
    let top = work.cluster.rsc(work.cluster.top(at, true));
    if matches!(command, "force-start" | "force-promote") && rsc.id != top.id && !work.force {
        let text = format!(
            "It is not safe to {command} {} as part of {}: the cluster could start it elsewhere \
             too. Use --force if you are sure",
            rsc.id, top.id
        );
        return Err((exit::UNSAFE, text));
    }
    let (class, provider) =
        (rsc.def.class.as_deref(), rsc.def.provider.as_deref().unwrap_or("heartbeat"));
    let kind = rsc.def.agent.as_deref().unwrap_or_default();
    if class != Some("ocf") || kind.contains('/') || provider.contains('/') {
        let text = format!("--{command} is supported for agents of class ocf only");
        return Err((3, text));
    }
    let action = match command {
        "validate" => "validate-all",
        "force-check" => "monitor",
        other => other.strip_prefix("force-").unwrap_or(other),
    };
    let node = work.node_name().unwrap_or_else(crate::nvattrs::local_node);
    let now = Time::from_epoch(Date::now().epoch());
    let model = work.cluster.model.clone();
    let params = crm_scheduler::overview::parameters(model, now, &rsc.id, Some(&node));
    let path = Path::new(OCF_ROOT).join("resource.d").join(provider).join(kind);
    let mut agent = Command::new(&path);
    agent
        .arg(action)
        .env("OCF_ROOT", OCF_ROOT)
        .env("OCF_RA_VERSION_MAJOR", "1")
        .env("OCF_RA_VERSION_MINOR", "1")
        .env("OCF_RESOURCE_INSTANCE", rsc.id.as_ref())
        .env("OCF_RESOURCE_TYPE", kind)
        .env("OCF_RESOURCE_PROVIDER", provider)
        .env("OCF_RESKEY_CRM_meta_on_node", &node);
    for (name, value) in &params {
        agent.env(format!("OCF_RESKEY_{name}"), value.as_ref());
    }
    for pair in &work.given.rest {
        if let Some((name, value)) = pair.split_once('=') {
            agent.env(format!("OCF_RESKEY_{name}"), value);
        }
    }
    out.flush();
    let result = agent.output().map_err(|e| (5, format!("{}: {e}", path.display())))?;
    let code = result.status.code().unwrap_or(exit::ERROR);
    let text = cib_model::exit_status_text(i64::from(code));
    let name = &rsc.id;
    out.line(&format!(
        "Operation {command} for {name} (ocf:{provider}:{kind}) returned: '{text}' ({code})"
    ));
    if out.verbose > 0 || code != 0 {
        out.print(&String::from_utf8_lossy(&result.stdout));
        out.print(&String::from_utf8_lossy(&result.stderr));
    }
    let mut xml = Element::new("resource-agent-action")
        .attr("action", action)
        .attr("rsc", name)
        .attr("class", "ocf")
        .attr("provider", provider)
        .attr("type", kind);
    xml.push(Element::new("agent-status").attr("code", code).attr("message", text));
    out.xml(xml);
    if code == 0 { Ok(()) } else { Err((code, String::new())) }
}
