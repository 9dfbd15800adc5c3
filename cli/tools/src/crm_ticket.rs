//! `crm_ticket`: tickets of clusters of clusters.

use std::collections::BTreeMap;

use cib_store::{Operation, StoreError, Target};
use cib_xml::{Doc, Style};

use crate::args::{Given, Opt, Value, flag, opt, value};
use crate::cib::{Cib, connect};
use crate::exit;
use crate::output::{Element, Out};

pub(crate) const OPTIONS: &[Opt] = &[
    flag("info", 'l', "Print tickets"),
    flag("details", 'L', "Print tickets with all attributes"),
    flag("raw", 'w', "Print names of tickets"),
    flag("query-xml", 'q', "Print the state as XML"),
    flag("constraints", 'c', "Print the constraints that use it, as XML"),
    flag("grant", 'g', "Grant it to this cluster"),
    flag("revoke", 'r', "Revoke it from this cluster"),
    flag("standby", 's', "Tell this cluster that it is in standby"),
    flag("activate", 'a', "Tell this cluster that it is active"),
    value("get-attr", 'G', "Print this attribute"),
    value("set-attr", 'S', "Set this attribute"),
    value("delete-attr", 'D', "Delete this attribute"),
    flag("cleanup", 'C', "Forget the ticket"),
    value("attr-value", 'v', "With --set-attr: the value"),
    value("default", 'd', "With --get-attr: print this if there is no value"),
    value("ticket", 't', "The ticket"),
    flag("force", 'f', "Even if it is dangerous"),
    value("set-name", 'n', ""),
    value("nvpair", 'i', ""),
    opt("quiet", 'Q', Value::No, ""),
    value("xml-file", 'x', "Read the CIB from this file"),
];

const COMMANDS: [&str; 13] = [
    "info",
    "details",
    "raw",
    "query-xml",
    "constraints",
    "grant",
    "revoke",
    "standby",
    "activate",
    "get-attr",
    "set-attr",
    "delete-attr",
    "cleanup",
];

type Fail = (i32, String);
type Tickets = BTreeMap<String, BTreeMap<String, String>>;

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

fn failed(error: StoreError) -> Fail {
    (error.exit_code(), format!("Could not modify ticket: {}", error.kind.text()))
}

/// Tickets with their attributes: those with a state, and those that constraints name.
fn tickets(doc: &Doc) -> Tickets {
    let mut out = Tickets::new();
    let states = doc.root().child("status").and_then(|s| s.child("tickets"));
    for state in states.iter().flat_map(|s| s.children_named("ticket_state")) {
        let attrs = state.attrs().filter(|a| a.0 != "id");
        let attrs = attrs.map(|(n, v)| (n.to_string(), v.to_string())).collect();
        out.insert(state.attr("id").unwrap_or_default().to_string(), attrs);
    }
    let constraints = doc.root().child("configuration").and_then(|c| c.child("constraints"));
    for used in constraints.iter().flat_map(|c| c.children_named("rsc_ticket")) {
        if let Some(name) = used.attr("ticket") {
            out.entry(name.to_string()).or_default();
        }
    }
    out
}

fn is_true(attrs: &BTreeMap<String, String>, name: &str) -> bool {
    cib_model::is_true(attrs.get(name).map(String::as_str))
}

fn perform(given: &Given, out: &mut Out) -> Result<(), Fail> {
    let ticket = given.get("ticket");
    let Some(command) = given.last_of(&COMMANDS) else {
        return Err((exit::USAGE, "Must supply a command".into()));
    };
    let mut cib = connect()
        .map_err(|e| (e.exit_code(), format!("Could not connect to the CIB: {}", e.kind.text())))?;
    let doc = match given.get("xml-file") {
        Some(path) => crate::input::parse(&crate::input::read_text(path)?, path)?,
        None => cib
            .read()
            .map_err(|e| (e.exit_code(), format!("Could not get local CIB: {}", e.kind.text())))?,
    };
    match command {
        "info" | "details" | "raw" => return list(&doc, ticket, command, out),
        "query-xml" => return query(&doc, ticket, out),
        "constraints" => return constraints(&doc, ticket, out),
        _ => {}
    }
    let Some(ticket) = ticket else {
        let code = if command == "get-attr" { exit::NOSUCH } else { exit::USAGE };
        return Err((code, "Must supply ticket ID with -t".into()));
    };
    let force = given.has("force");
    match command {
        "get-attr" => get(given, &doc, ticket, out),
        "delete-attr" => {
            let name = given.get("delete-attr").unwrap_or_default();
            if name == "granted" && !force {
                return Err(refuse(ticket, "revoke", out));
            }
            delete_attr(cib.as_mut(), &doc, ticket, name)
        }
        "cleanup" => cleanup(cib.as_mut(), &doc, ticket, force, out),
        "grant" if !force => Err(refuse(ticket, "grant", out)),
        "revoke" if !force => Err(refuse(ticket, "revoke", out)),
        "grant" => set(cib.as_mut(), &doc, ticket, "granted", "true"),
        "revoke" => set(cib.as_mut(), &doc, ticket, "granted", "false"),
        "standby" => set(cib.as_mut(), &doc, ticket, "standby", "true"),
        "activate" => set(cib.as_mut(), &doc, ticket, "standby", "false"),
        _ => {
            let name = given.get("set-attr").unwrap_or_default();
            let Some(value) = given.get("attr-value") else {
                let text = format!("Must supply attribute value with -v for -S {name}");
                return Err((exit::USAGE, text));
            };
            if name == "granted" && !force {
                return Err(refuse(ticket, if value == "true" { "grant" } else { "revoke" }, out));
            }
            set(cib.as_mut(), &doc, ticket, name, value)
        }
    }
}

fn refuse(ticket: &str, what: &str, out: &mut Out) -> Fail {
    out.error(&format!(
        "This command cannot know whether ticket '{ticket}' is granted to another site already. \
         If you {what} it by hand, make sure first that no other site has it; then use --force."
    ));
    (exit::UNSAFE, "Ticket modification not allowed without --force".into())
}

fn list(doc: &Doc, ticket: Option<&str>, command: &str, out: &mut Out) -> Result<(), Fail> {
    let all = tickets(doc);
    if let Some(ticket) = ticket.filter(|t| !all.contains_key(*t)) {
        return Err((exit::NOSUCH, format!("No such ticket '{ticket}'")));
    }
    let mut list = Element::new("tickets");
    for (id, attrs) in all.iter().filter(|(id, _)| ticket.is_none_or(|t| t == *id)) {
        let granted = is_true(attrs, "granted");
        let standby = is_true(attrs, "standby");
        let status = if granted { "granted" } else { "revoked" };
        if command == "raw" {
            out.line(id);
        } else {
            let mut text = format!("{id}\t{status}");
            if standby {
                text.push_str(" [standby]");
            }
            if let Some(at) = attrs.get("last-granted").and_then(|t| t.parse().ok()) {
                text.push_str(&format!(" last-granted=\"{}\"", cib_model::ctime_text(at)));
            }
            if command == "details" && !attrs.is_empty() {
                let each: Vec<String> = attrs.iter().map(|(n, v)| format!("{n}={v}")).collect();
                text.push_str(&format!(" ({})", each.join(", ")));
            }
            out.line(&text);
        }
        let mut element = Element::new("ticket").attr("id", id).attr("status", status);
        element = element.attr("standby", standby);
        for (name, value) in attrs.iter().filter(|(n, _)| *n != "standby") {
            element = element.attr(name, value);
        }
        list.push(element);
    }
    out.xml(list);
    Ok(())
}

fn query(doc: &Doc, ticket: Option<&str>, out: &mut Out) -> Result<(), Fail> {
    let states = doc.root().child("status").and_then(|s| s.child("tickets"));
    let found: Vec<_> = states
        .iter()
        .flat_map(|s| s.children_named("ticket_state"))
        .filter(|s| ticket.is_none_or(|t| s.attr("id") == Some(t)))
        .collect();
    if found.is_empty() && ticket.is_some() {
        return Err((exit::NOSUCH, "Could not query ticket XML: No such device or address".into()));
    }
    out.line("State XML:\n");
    let mut list = Element::new("tickets");
    for state in found {
        out.print(&state.to_xml(Style::Pretty));
        let mut element = Element::new("ticket");
        for (name, value) in state.attrs() {
            element = element.attr(name, value);
        }
        list.push(element);
    }
    out.xml(list);
    Ok(())
}

fn constraints(doc: &Doc, ticket: Option<&str>, out: &mut Out) -> Result<(), Fail> {
    let all = doc.root().child("configuration").and_then(|c| c.child("constraints"));
    let found: Vec<_> = all
        .iter()
        .flat_map(|c| c.children_named("rsc_ticket"))
        .filter(|c| ticket.is_none_or(|t| c.attr("ticket") == Some(t)))
        .collect();
    if found.is_empty() {
        let text = "Could not show ticket constraints: No such device or address";
        return Err((exit::NOSUCH, text.into()));
    }
    out.line("Constraints XML:\n");
    let mut by_ticket: BTreeMap<&str, Element> = BTreeMap::new();
    let mut resources = Element::new("resources");
    for constraint in found {
        out.print(&constraint.to_xml(Style::Pretty));
        let list = by_ticket
            .entry(constraint.attr("ticket").unwrap_or_default())
            .or_insert_with(|| Element::new("constraints"));
        list.push(Element::of(constraint));
        if let Some(resource) = constraint.attr("rsc") {
            resources.push(Element::new("resource").attr("id", resource));
        }
    }
    let mut list = Element::new("tickets");
    for (id, element) in by_ticket {
        list.push(Element::new("ticket").attr("id", id).child(element));
    }
    out.xml(list);
    if !resources.is_empty() {
        out.xml(resources);
    }
    Ok(())
}

fn get(given: &Given, doc: &Doc, ticket: &str, out: &mut Out) -> Result<(), Fail> {
    let name = given.get("get-attr").unwrap_or_default();
    let all = tickets(doc);
    let value = all.get(ticket).and_then(|attrs| attrs.get(name)).map(String::as_str);
    let Some(value) = value.or(given.get("default")) else {
        return Err((exit::NOSUCH, String::new()));
    };
    out.line(value);
    let attribute = Element::new("attribute").attr("name", name).attr("value", value);
    let ticket = Element::new("ticket").attr("id", ticket).child(attribute);
    out.xml(Element::new("tickets").child(ticket));
    Ok(())
}

fn set(cib: &mut dyn Cib, doc: &Doc, ticket: &str, name: &str, value: &str) -> Result<(), Fail> {
    let mut update = Doc::new("status");
    let tickets_id = update.append_element(update.root_id(), "tickets");
    let state = update.append_element(tickets_id, "ticket_state");
    update.set_attr(state, "id", ticket);
    update.set_attr(state, name, value);
    let known = tickets(doc);
    let granted = known.get(ticket).is_some_and(|attrs| is_true(attrs, "granted"));
    if name == "granted" && cib_model::is_true(Some(value)) && !granted {
        let now = crate::dates::Date::now().epoch();
        update.set_attr(state, "last-granted", &now.to_string());
    }
    cib.merge("status", update.root().to_xml(Style::Compact)).map_err(failed)
}

fn delete_attr(cib: &mut dyn Cib, doc: &Doc, ticket: &str, name: &str) -> Result<(), Fail> {
    let states = doc.root().child("status").and_then(|s| s.child("tickets"));
    let state = states
        .and_then(|s| s.children_named("ticket_state").find(|t| t.attr("id") == Some(ticket)));
    let Some(state) = state else { return Ok(()) };
    let mut new = Doc::from_node(state);
    let root = new.root_id();
    new.remove_attr(root, name);
    let target = Target::Section("status".into());
    let xml = new.root().to_xml(Style::Compact);
    cib.apply(&Operation::Replace { target, xml }, false).map(|_| ()).map_err(failed)
}

fn cleanup(
    cib: &mut dyn Cib,
    doc: &Doc,
    ticket: &str,
    force: bool,
    out: &mut Out,
) -> Result<(), Fail> {
    let all = tickets(doc);
    match all.get(ticket) {
        None if !force => return Err((exit::NOSUCH, format!("No such ticket '{ticket}'"))),
        Some(attrs) if !force && is_true(attrs, "granted") => {
            return Err(refuse(ticket, "revoke", out));
        }
        _ => {}
    }
    let mut gone = Doc::new("ticket_state");
    let root = gone.root_id();
    gone.set_attr(root, "id", ticket);
    cib.delete("status", gone.root().to_xml(Style::Compact)).map_err(failed)?;
    out.line(&format!("Cleaned up {ticket}"));
    Ok(())
}
