//! `crmadmin`: nodes, the DC, and the state of the daemon.

use crm_api::{Request, Response};

use crate::args::{Given, Opt, Value, flag, opt, value};
use crate::cib::connect;
use crate::exit;
use crate::live::ask;
use crate::nvattrs::remote_nodes;
use crate::output::{Element, Out};

pub(crate) const OPTIONS: &[Opt] = &[
    opt("status", 'S', Value::Optional, "Print the state of the controller of a node"),
    flag("pacemakerd", 'P', "Print the state of the local daemon"),
    flag("dc_lookup", 'D', "Print the name of the DC"),
    opt("nodes", 'N', Value::Optional, "Print the nodes: all, or some of cluster,guest,remote"),
    flag("bash-export", 'B', "Print nodes as shell commands"),
    value("timeout", 't', "How long to wait"),
    value("ipc-name", 'i', ""),
    opt("quiet", 'q', Value::No, "Print only names"),
];

pub(crate) fn run(given: &Given, out: &mut Out) -> i32 {
    let result = match given.last_of(&["status", "pacemakerd", "dc_lookup", "nodes"]) {
        Some("nodes") => nodes(given, out),
        Some("dc_lookup") => dc(out),
        Some("pacemakerd") => daemon(out),
        Some(_) => status(given, out),
        None => Err((exit::USAGE, "Must specify a command option".into())),
    };
    result.map_or_else(
        |(code, text)| {
            out.fail(&text);
            code
        },
        |()| exit::OK,
    )
}

fn nodes(given: &Given, out: &mut Out) -> Result<(), (i32, String)> {
    let kinds = given.get("nodes").unwrap_or("all");
    let kinds: Vec<&str> = kinds.split(',').collect();
    if let Some(bad) = kinds.iter().find(|k| !matches!(**k, "all" | "cluster" | "guest" | "remote"))
    {
        return Err((exit::USAGE, format!("'{bad}' is not a valid node type")));
    }
    let wanted = |kind: &str| kinds.contains(&"all") || kinds.contains(&kind);
    let doc = connect()
        .and_then(|mut cib| cib.read())
        .map_err(|e| (e.exit_code(), format!("error: {}", e.kind.text())))?;
    let (guests, remotes) = remote_nodes(&doc);
    let configured = doc.root().child("configuration").and_then(|c| c.child("nodes"));
    let mut all = Vec::new();
    for node in configured.iter().flat_map(|n| n.children_named("node")) {
        if matches!(node.attr("type"), None | Some("member")) {
            let name = node.attr("uname").unwrap_or_default().to_string();
            all.push(("cluster", name, node.attr("id").unwrap_or_default().to_string()));
        }
    }
    all.extend(guests.into_iter().map(|n| ("guest", n.clone(), n)));
    all.extend(remotes.into_iter().map(|n| ("remote", n.clone(), n)));
    all.retain(|n| wanted(n.0));
    if all.is_empty() {
        out.line("No nodes configured");
    }
    let mut list = Element::new("nodes");
    for (kind, name, id) in all {
        if given.has("bash-export") {
            out.line(&format!("export {name}={id}"));
        } else if out.quiet {
            out.line(&name);
        } else {
            out.line(&format!("{kind} node: {name} ({id})"));
        }
        list.push(Element::new("node").attr("type", kind).attr("name", name).attr("id", id));
    }
    out.xml(list);
    Ok(())
}

fn info() -> Result<crm_api::Info, (i32, String)> {
    match ask(&Request::Info)? {
        Response::Info(info) => Ok(*info),
        _ => Err((exit::ERROR, "the daemon answers something else".into())),
    }
}

fn dc(out: &mut Out) -> Result<(), (i32, String)> {
    let info = info()?;
    let dc = info.dc.ok_or((114, "the DC is not elected yet".to_string()))?;
    if out.quiet {
        out.line(&dc);
    } else {
        out.line(&format!("Designated Controller is: {dc}"));
    }
    out.xml(Element::new("dc").attr("node_name", dc));
    Ok(())
}

fn daemon(out: &mut Out) -> Result<(), (i32, String)> {
    let info = info()?;
    out.line(&format!("Status of pacemakerd: 'Pacemaker is running' (state {})", info.state));
    out.xml(Element::new("pacemakerd").attr("sys_from", "pacemakerd").attr("state", "running"));
    Ok(())
}

fn status(given: &Given, out: &mut Out) -> Result<(), (i32, String)> {
    let info = info()?;
    if let Some(node) = given.get("status").filter(|n| *n != info.name) {
        return Err((exit::NOHOST, format!("{node} is not the local node {}", info.name)));
    }
    if out.quiet {
        out.line(&info.state);
    } else {
        out.line(&format!("Controller on {} in state {}: ok", info.name, info.state));
    }
    let element = Element::new("crmd").attr("node_name", &info.name).attr("state", &info.state);
    out.xml(element.attr("result", "ok"));
    Ok(())
}
