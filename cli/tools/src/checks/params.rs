//! A primitive, against what its agent says of itself.

use crate::agents::Agent;
use crate::options::{Kind, rows};
use cib_xml::{Doc, Node};

use super::{Agents, hint, pairs};

/// What the cluster itself gives to a fence agent.
const GIVEN: [&str; 4] = ["action", "port", "plug", "nodename"];

/// Actions that any agent may be called for.
const ACTIONS: [&str; 12] = [
    "start",
    "stop",
    "monitor",
    "promote",
    "demote",
    "notify",
    "migrate_to",
    "migrate_from",
    "reload",
    "reload-agent",
    "validate-all",
    "status",
];

/// One parameter, as the agent describes it.
struct Parameter<'a> {
    name: &'a str,
    required: bool,
    obsoletes: Option<&'a str>,
    kind: &'a str,
    choices: Vec<&'a str>,
}

fn parameters(description: &Doc) -> Vec<Parameter<'_>> {
    let list = description.root().child("parameters").into_iter().flat_map(|p| p.children());
    let is = |value: Option<&str>| matches!(value, Some("1" | "true" | "yes"));
    list.filter_map(|p| {
        let content = p.child("content");
        let has_default = content.is_some_and(|c| c.attr("default").is_some());
        Some(Parameter {
            name: p.attr("name")?,
            required: is(p.attr("required")) && !has_default,
            obsoletes: p.attr("obsoletes"),
            kind: content.and_then(|c| c.attr("type")).unwrap_or("string"),
            choices: content
                .into_iter()
                .flat_map(|c| c.children_named("option"))
                .filter_map(|option| option.attr("value"))
                .collect(),
        })
    })
    .collect()
}

/// The primitive and the template that it is made from, if it is.
fn sources<'a>(doc: &'a Doc, primitive: Node<'a>) -> Vec<Node<'a>> {
    let template = primitive.attr("template").and_then(|id| {
        let resources = doc.root().child("configuration")?.child("resources")?;
        resources.children().find(|n| n.name() == "template" && n.attr("id") == Some(id))
    });
    [primitive].into_iter().chain(template).collect()
}

pub(super) fn check(doc: &Doc, primitive: Node<'_>, agents: &dyn Agents) -> Vec<String> {
    let id = primitive.attr("id").unwrap_or_default();
    let sources = sources(doc, primitive);
    let attribute = |name| sources.iter().find_map(|source| source.attr(name));
    let (Some(class), Some(name)) = (attribute("class"), attribute("type")) else {
        return Vec::new(); // that is for the schema to say
    };
    let provider = attribute("provider").map(str::to_owned);
    let agent = Agent { class: class.to_owned(), provider, name: name.to_owned() };
    if agent.to_string() == "ocf:pacemaker:remote" {
        return Vec::new();
    }
    let Some(text) = agents.metadata(&agent) else {
        let remedy = match agents.similar(&agent) {
            Some(other) => format!("did you mean {other}?"),
            None => {
                "install it, or see 'crm_resource --list-agents CLASS' for what there is".to_owned()
            }
        };
        return vec![format!(
            "resource {id}: the agent {agent} is not installed on this node; {remedy}"
        )];
    };
    let mut found = Vec::new();
    let root = text.find("<resource-agent").unwrap_or(0);
    if let Ok(description) = Doc::parse(&text[root..]) {
        found.extend(against(&agent, &sources, &parameters(&description)));
        found.extend(operations(&sources, &description));
    }
    if found.is_empty() {
        let params = sources.iter().rev().flat_map(|s| pairs(*s, "instance_attributes"));
        let params: Vec<_> = params.map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        found.extend(agents.validate(&agent, &params).err());
    }
    found.into_iter().map(|text| format!("resource {id}: {text}")).collect()
}

/// Parameters of fence devices that the cluster reads.
fn is_for_fencer(name: &str) -> bool {
    let known = rows(Kind::Fencing).iter().any(|row| row.name == name);
    let per_action = name.strip_prefix("pcmk_").and_then(|rest| rest.rsplit_once('_'));
    let actions = ["reboot", "off", "on", "list", "status", "monitor", "metadata", "validate-all"];
    let per_action = per_action.is_some_and(|(action, what)| {
        actions.contains(&action) && ["action", "timeout", "retries"].contains(&what)
    });
    known || per_action || ["provides", "priority", "stonith-timeout"].contains(&name)
}

fn against(agent: &Agent, sources: &[Node<'_>], known: &[Parameter<'_>]) -> Vec<String> {
    let is_fencing = agent.class == "stonith";
    let given: Vec<(&str, &str)> =
        sources.iter().flat_map(|s| pairs(*s, "instance_attributes")).collect();
    let mut found = Vec::new();
    for (name, value) in &given {
        match known.iter().find(|parameter| parameter.name == *name) {
            Some(parameter) => found.extend(wrong_value(parameter, value)),
            None if is_fencing && is_for_fencer(name) => {}
            None if known.is_empty() || name.starts_with("trace_") => {}
            None => {
                let fencing = rows(Kind::Fencing).iter().map(|row| row.name);
                let fencing = fencing.filter(|_| is_fencing);
                let hint = hint(name, known.iter().map(|p| p.name).chain(fencing));
                found.push(format!("{agent} has no parameter '{name}'{hint}"));
            }
        }
    }
    let is_given = |name: &str| given.iter().any(|(known, _)| *known == name);
    for parameter in known.iter().filter(|p| p.required) {
        let name = parameter.name;
        let given = is_given(name) || parameter.obsoletes.is_some_and(is_given);
        // Another name of it may be the one that is told to be replaced.
        let renamed = known.iter().any(|p| p.obsoletes == Some(name));
        let supplied = is_fencing && GIVEN.contains(&name);
        if !(given || renamed || supplied) {
            found.push(format!("the parameter '{name}' is required by {agent} and not given"));
        }
    }
    found
}

fn wrong_value(parameter: &Parameter<'_>, value: &str) -> Option<String> {
    let (name, text) = (parameter.name, value.trim());
    // A secret stands elsewhere.
    if text.starts_with("lrm://") {
        return None;
    }
    let truth = ["true", "false", "yes", "no", "y", "n", "on", "off", "1", "0"];
    match parameter.kind {
        "integer" if !is_number(text) => Some(format!("{name}={value} is not a whole number")),
        "boolean" if !truth.contains(&text.to_ascii_lowercase().as_str()) => {
            Some(format!("{name}={value} is neither true nor false"))
        }
        "select" if !parameter.choices.is_empty() && !parameter.choices.contains(&text) => {
            Some(format!("{name}={value} is none of {}", parameter.choices.join(", ")))
        }
        _ => None,
    }
}

/// Agents call numbers with a unit integers as well: `dampen` of `ocf:pacemaker:ping` is `5s`.
fn is_number(text: &str) -> bool {
    let unit = text.trim_start_matches(['+', '-']).trim_start_matches(|c: char| c.is_ascii_digit());
    let has_digits = text.chars().any(|c| c.is_ascii_digit());
    has_digits && unit.len() <= 3 && unit.chars().all(|c| c.is_ascii_alphabetic() || c == '%')
}

fn operations(sources: &[Node<'_>], description: &Doc) -> Vec<String> {
    let own = description.root().child("actions").into_iter().flat_map(|a| a.children());
    let known: Vec<&str> = own.filter_map(|a| a.attr("name")).chain(ACTIONS).collect();
    let ops = sources.iter().flat_map(|s| s.children_named("operations"));
    let names = ops.flat_map(|o| o.children_named("op")).filter_map(|op| op.attr("name"));
    names
        .filter(|name| !known.contains(name))
        .map(|name| format!("there is no operation '{name}'{}", hint(name, known.iter().copied())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::is_number;

    #[test]
    fn a_number_may_have_a_unit() {
        for text in ["5", "-1", "+3", "5s", "100ms", "2min", "50%"] {
            assert!(is_number(text), "{text}");
        }
        for text in ["", "s", "five", "5 apples", "10.0.0.1", "5seconds"] {
            assert!(!is_number(text), "{text}");
        }
    }
}
