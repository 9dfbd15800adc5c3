//! `attrd_updater`: transient node attributes of a running cluster.

use crm_api::{Request, Response};
use crm_attributes::{Change, Update};

use crate::args::{Given, Opt, Value, flag, opt, value};
use crate::exit;
use crate::live::ask;
use crate::output::{Element, Out};

pub(crate) const OPTIONS: &[Opt] = &[
    value("name", 'n', "Name of the attribute"),
    value("pattern", 'P', "Attributes whose name matches"),
    value("update", 'U', "Set it to this value"),
    // Agents use these two: another name for --update, and one that says what is so anyhow.
    value("attr-value", 'v', ""),
    value("attr-section", 'S', ""),
    value("update-both", 'B', "Set value and delay (see --delay)"),
    value("update-delay", 'Y', "Set only the delay"),
    flag("query", 'Q', "Print its value"),
    flag("delete", 'D', "Delete it"),
    flag("refresh", 'R', "Write all attributes to the CIB again"),
    value("delay", 'd', "Wait this long for further changes before writing"),
    value("set", 's', "Id of the block"),
    value("node", 'N', "Of this node rather than the local one"),
    flag("all", 'A', "With --query: of all nodes"),
    flag("private", 'p', "Never write it to the CIB"),
    value("lifetime", 'l', ""),
    value("wait", 'W', "Until when to wait: no, local or cluster"),
    flag("utilization", 'z', "A utilization attribute"),
    opt("quiet", 'q', Value::No, "Print only the value"),
];

/// A change of one attribute; no value deletes it.
pub(crate) fn change(name: String, node: &str, value: Option<String>) -> Update {
    let change = value.as_deref().map_or(Change::Delete, Change::parse);
    Update::new(node, &name, change)
}

pub(crate) fn run(given: &Given, out: &mut Out) -> i32 {
    match perform(given, out) {
        Ok(()) => exit::OK,
        Err((code, text)) => {
            out.fail(&text);
            code
        }
    }
}

fn perform(given: &Given, out: &mut Out) -> Result<(), (i32, String)> {
    if given.has("refresh") {
        return ask(&Request::RefreshAttributes).map(|_| ());
    }
    let name = given
        .get("name")
        .or(given.get("pattern"))
        .ok_or((exit::USAGE, "a name is needed: --name".to_string()))?;
    let node = given.get("node").unwrap_or_default();
    if given.has("query") {
        let of = if given.has("all") { None } else { Some(node.to_string()) };
        let request = Request::QueryAttributes { name: Some(name.into()), node: of };
        let Response::Attributes(found) = ask(&request)? else { return Ok(()) };
        if found.is_empty() {
            return Err((
                exit::NOSUCH,
                format!("Could not query value of {name}: attribute does not exist"),
            ));
        }
        for (name, host, value) in found {
            out.line(&format!("name=\"{name}\" host=\"{host}\" value=\"{value}\""));
            let element = Element::new("attribute").attr("name", name);
            out.xml(element.attr("value", value).attr("host", host));
        }
        return Ok(());
    }
    let value =
        ["update", "attr-value", "update-both"].into_iter().find_map(|option| given.get(option));
    let value = value.map(str::to_string);
    if value.is_none() && !given.has("delete") {
        return Err((exit::USAGE, "a command is needed: --update, --delete or --query".into()));
    }
    let mut update = change(name.to_string(), node, value);
    update.private = given.has("private");
    update.set = given.get("set").map(str::to_string);
    if let Some(delay) = given.get("delay") {
        let ms = cib_model::parse_ms(delay)
            .and_then(|ms| u64::try_from(ms).ok())
            .ok_or((exit::USAGE, format!("{delay} is no duration")))?;
        update.dampen_ms = Some(ms);
    }
    ask(&Request::UpdateAttributes(vec![update])).map(|_| ())
}
