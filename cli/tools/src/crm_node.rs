//! `crm_node`: the local node and the membership.

use cib_store::{Operation, Target};
use crm_api::{Request, Response};

use crate::args::{Given, Opt, Value, flag, opt, value};
use crate::cib::connect;
use crate::exit;
use crate::live::ask;
use crate::output::{Element, Out};

pub(crate) const OPTIONS: &[Opt] = &[
    flag("name", 'n', "Print the name of the local node"),
    value("name-for-id", 'N', "Print the name of the node with this id"),
    flag("cluster-id", 'i', "Print the id of the local node"),
    flag("quorum", 'q', "Print 1 if this partition has quorum, 0 if not"),
    flag("list", 'l', "Print all nodes with their membership"),
    flag("partition", 'p', "Print the members of this partition"),
    value("remove", 'R', "Forget a node"),
    flag("force", 'f', "Even if it is dangerous"),
    opt("quiet", 'Q', Value::No, "Print as little as possible"),
];

pub(crate) fn run(given: &Given, out: &mut Out) -> i32 {
    let commands = ["name", "name-for-id", "cluster-id", "quorum", "list", "partition", "remove"];
    let result = match given.last_of(&commands) {
        None => Err((exit::USAGE, "No command specified".to_string())),
        Some("remove") => remove(given),
        Some(command) => ask_info().and_then(|info| show(command, given, &info, out)),
    };
    match result {
        Ok(()) => exit::OK,
        Err((code, text)) => {
            out.fail(&text);
            code
        }
    }
}

fn ask_info() -> Result<crm_api::Info, (i32, String)> {
    match ask(&Request::Info)? {
        Response::Info(info) => Ok(*info),
        _ => Err((exit::ERROR, "the daemon answers something else".into())),
    }
}

fn show(
    command: &str,
    given: &Given,
    info: &crm_api::Info,
    out: &mut Out,
) -> Result<(), (i32, String)> {
    let node_info =
        |id: u32, name: &str| Element::new("node-info").attr("nodeid", id).attr("uname", name);
    match command {
        "name" => {
            out.line(&info.name);
            out.xml(node_info(info.local.0, &info.name));
        }
        "cluster-id" => {
            out.line(&info.local.to_string());
            out.xml(node_info(info.local.0, &info.name));
        }
        "name-for-id" => {
            let id = given.get("name-for-id").unwrap_or_default();
            let node = info.nodes.iter().find(|n| n.0.to_string() == id);
            let Some((id, name, _)) = node else {
                return Err((exit::NOSUCH, format!("Node with ID {id} not found")));
            };
            out.line(name);
            out.xml(node_info(id.0, name));
        }
        "quorum" => {
            out.line(if info.quorate { "1" } else { "0" });
            out.xml(Element::new("cluster-info").attr("quorum", info.quorate));
        }
        "list" => {
            let mut nodes = Element::new("nodes");
            for (id, name, member) in &info.nodes {
                let state = if *member { "member" } else { "lost" };
                out.line(&format!("{id} {name} {state}"));
                nodes.push(
                    Element::new("node").attr("id", id).attr("name", name).attr("state", state),
                );
            }
            out.xml(nodes);
        }
        _ => {
            let members: Vec<&str> =
                info.nodes.iter().filter(|n| n.2).map(|n| n.1.as_str()).collect();
            out.line(&members.join(" "));
            let mut nodes = Element::new("nodes");
            for (id, name, _) in info.nodes.iter().filter(|n| n.2) {
                let node = Element::new("node").attr("id", id).attr("name", name);
                nodes.push(node.attr("state", "member"));
            }
            out.xml(nodes);
        }
    }
    Ok(())
}

/// Removes a node that is gone from configuration and status.
fn remove(given: &Given) -> Result<(), (i32, String)> {
    if !given.has("force") {
        let text = "The supplied command is considered dangerous. To prevent accidental \
                    destruction of the cluster, the --force flag is required in order to proceed.";
        return Err((exit::USAGE, text.into()));
    }
    let name = given.get("remove").unwrap_or_default();
    let failed = |e: cib_store::StoreError| (e.exit_code(), e.to_string());
    let mut cib = connect().map_err(failed)?;
    let quoted = cib_xml::quoted(name);
    for (section, element) in [("nodes", "node"), ("status", "node_state")] {
        let test = format!("@uname={quoted} or @id={quoted}");
        let base = cib_store::section_path(section).unwrap_or_default();
        let target = Target::XPath(format!("{base}/{element}[{test}]"));
        cib.apply(&Operation::Delete { target, xml: None }, true).map_err(failed)?;
    }
    if cib.is_live() {
        let request = Request::ClearAttributes { node: name.into(), prefix: String::new() };
        ask(&request)?;
    }
    Ok(())
}
