//! `systole resource agents` and `systole resource describe`: the agents of this machine, and what
//! they say of themselves.

use std::fmt::Write;

use anyhow::{Context, anyhow, bail};
use cib_xml::{Doc, Kind, Node};
use cli_tools::agents::{self, Agent};
use cli_tools::checks::{Agents, Installed};
use serde::Serialize;

use crate::{print_json, print_list};

/// The agent that an operator's word means: CLASS:PROVIDER:NAME, CLASS:NAME, or an OCF agent's name
/// alone, which is one of the provider that most are from.
pub(crate) fn named(word: &str) -> anyhow::Result<Agent> {
    let parts: Vec<&str> = word.split(':').collect();
    let (class, provider, name) = match parts[..] {
        [name] => ("ocf", Some("heartbeat"), name),
        ["ocf", provider, name] => ("ocf", Some(provider), name),
        [class @ ("systemd" | "stonith" | "lsb" | "service"), name] => (class, None, name),
        _ => bail!(
            "'{word}' names no agent: write ocf:PROVIDER:NAME, systemd:UNIT, stonith:NAME or lsb:NAME"
        ),
    };
    Ok(Agent {
        class: class.to_owned(),
        provider: provider.map(str::to_owned),
        name: name.to_owned(),
    })
}

/// Prints the agents of a class or provider; all but those of systemd and init if none is named.
pub(crate) fn list(spec: Option<&str>, json: bool) -> anyhow::Result<()> {
    let found = match spec {
        None => agents::all(),
        Some(spec) => agents::of(spec).with_context(|| {
            format!(
                "'{spec}' is not a class of agents; the classes are ocf (also as \
                 ocf:PROVIDER), stonith, systemd, lsb and service"
            )
        })?,
    };
    if let (Some(spec), true) = (spec, found.is_empty()) {
        let providers = agents::providers().join(", ");
        bail!("no agent of '{spec}' is installed on this node; the OCF providers are {providers}");
    }
    let names: Vec<String> = found.iter().map(ToString::to_string).collect();
    print_list(json, &names, String::clone);
    Ok(())
}

#[derive(Serialize)]
struct Described {
    agent: String,
    version: Option<String>,
    summary: String,
    description: String,
    parameters: Vec<Parameter>,
    actions: Vec<Action>,
}

#[derive(Serialize)]
struct Parameter {
    name: String,
    required: bool,
    r#type: String,
    default: Option<String>,
    /// What may be chosen from, if not everything.
    values: Vec<String>,
    summary: String,
    description: String,
}

#[derive(Serialize)]
struct Action {
    name: String,
    timeout: Option<String>,
    interval: Option<String>,
    role: Option<String>,
}

/// Prints what an agent says of itself.
pub(crate) fn describe(word: &str, json: bool) -> anyhow::Result<()> {
    let agent = named(word)?;
    if !agent.is_installed() {
        let remedy = match Installed.similar(&agent) {
            Some(other) => format!("did you mean {other}?"),
            None => "see 'systole resource agents'".to_owned(),
        };
        bail!("the agent {agent} is not installed on this node; {remedy}");
    }
    let text = agent.metadata().map_err(|reason| anyhow!(reason))?;
    let described = described(&agent, &text)?;
    match json {
        true => print_json(&described),
        false => out!("{}", described.text()),
    }
    Ok(())
}

fn described(agent: &Agent, text: &str) -> anyhow::Result<Described> {
    let root = text.find("<resource-agent").unwrap_or(0);
    let doc = Doc::parse(&text[root..])
        .with_context(|| format!("what {agent} says of itself cannot be read"))?;
    let root = doc.root();
    let owned = |node: Node<'_>, name: &str| node.attr(name).map(str::to_owned);
    let all = |list: &str, name: &'static str| {
        root.child(list).into_iter().flat_map(move |list| list.children_named(name))
    };
    let parameter = |node: Node<'_>| {
        let content = node.child("content");
        let values = content.into_iter().flat_map(|c| c.children_named("option"));
        Some(Parameter {
            name: owned(node, "name")?,
            required: matches!(node.attr("required"), Some("1" | "true" | "yes")),
            r#type: content.and_then(|c| owned(c, "type")).unwrap_or_else(|| "string".into()),
            default: content.and_then(|c| owned(c, "default")),
            values: values.filter_map(|option| owned(option, "value")).collect(),
            summary: words_of(node, "shortdesc").join(" "),
            description: words_of(node, "longdesc").join(" "),
        })
    };
    let action = |node: Node<'_>| {
        Some(Action {
            name: owned(node, "name")?,
            timeout: owned(node, "timeout"),
            interval: owned(node, "interval"),
            role: owned(node, "role"),
        })
    };
    Ok(Described {
        agent: agent.to_string(),
        version: owned(root, "version"),
        summary: words_of(root, "shortdesc").join(" "),
        description: words_of(root, "longdesc").join(" "),
        parameters: all("parameters", "parameter").filter_map(parameter).collect(),
        actions: all("actions", "action").filter_map(action).collect(),
    })
}

/// The words of a child's text, which agents break and indent as they like.
fn words_of(node: Node<'_>, child: &str) -> Vec<String> {
    let parts = node.child(child).into_iter().flat_map(|child| child.all_children());
    let texts = parts.filter(|part| part.kind() == Kind::Text).map(|part| part.text());
    texts.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// Characters in a line of text for people.
const WIDTH: usize = 80;

/// Adds words in lines, each indented.
fn wrap(out: &mut String, indent: usize, text: &str) {
    let mut column = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let length = word.chars().count();
        if column > 0 && column + 1 + length <= WIDTH {
            let _ = write!(out, " {word}");
            column += 1 + length;
            continue;
        }
        if column > 0 {
            out.push('\n');
        }
        let _ = write!(out, "{:indent$}{word}", "");
        column = indent + length;
    }
    if column > 0 {
        out.push('\n');
    }
}

impl Described {
    fn text(&self) -> String {
        let mut out = String::new();
        wrap(&mut out, 0, &format!("{} - {}", self.agent, self.summary));
        if !self.description.is_empty() {
            out.push('\n');
            wrap(&mut out, 0, &self.description);
        }
        if !self.parameters.is_empty() {
            out.push_str("\nParameters\n");
        }
        for parameter in &self.parameters {
            let mut notes = vec![parameter.r#type.clone()];
            notes.extend(parameter.required.then(|| "required".to_owned()));
            let default = parameter.default.iter().filter(|text| !text.is_empty());
            notes.extend(default.map(|text| format!("default {text}")));
            let values = &parameter.values;
            notes.extend((!values.is_empty()).then(|| format!("one of {}", values.join(", "))));
            wrap(&mut out, 2, &format!("{} ({})", parameter.name, notes.join("; ")));
            let text = match parameter.description.is_empty() {
                true => &parameter.summary,
                false => &parameter.description,
            };
            wrap(&mut out, 6, text);
        }
        if !self.actions.is_empty() {
            out.push_str("\nOperations\n");
        }
        for action in &self.actions {
            let notes = [
                ("timeout", &action.timeout),
                ("interval", &action.interval),
                ("role", &action.role),
            ];
            let notes = notes
                .iter()
                .filter_map(|(name, value)| value.as_ref().map(|value| format!(" {name}={value}")));
            let _ = writeln!(out, "  {}{}", action.name, notes.collect::<String>());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: &str = "<?xml version=\"1.0\"?>\n<!DOCTYPE resource-agent SYSTEM \
        \"ra-api-1.dtd\">\n<resource-agent name=\"x\" version=\"2\"><longdesc>\n  What it\n  does.\n\
        </longdesc><shortdesc>An example</shortdesc><parameters><parameter name=\"ip\" \
        required=\"1\"><longdesc>The address.</longdesc><content type=\"string\"/></parameter>\
        <parameter name=\"mode\"><shortdesc>How</shortdesc><content type=\"select\" \
        default=\"a\"><option value=\"a\"/><option value=\"b\"/></content></parameter>\
        </parameters><actions><action name=\"monitor\" timeout=\"20s\" interval=\"10s\"/>\
        </actions></resource-agent>";

    #[test]
    fn an_agent_is_described_for_people() {
        let described = described(&named("ocf:t:x").unwrap(), META).unwrap();
        assert_eq!(
            described.text(),
            "ocf:t:x - An example\n\nWhat it does.\n\nParameters\n  ip (string; required)\n      \
             The address.\n  mode (select; default a; one of a, b)\n      How\n\nOperations\n  \
             monitor timeout=20s interval=10s\n"
        );
    }

    #[test]
    fn long_texts_are_broken_between_words() {
        let mut out = String::new();
        wrap(&mut out, 4, &"word ".repeat(40));
        assert!(out.lines().count() > 1);
        assert!(out.lines().all(|line| line.len() <= WIDTH && line.starts_with("    word")));
    }

    #[test]
    fn what_says_nothing_readable_is_an_error_and_no_panic() {
        for text in ["", "<resource-agent", "<resource-agent>", "no XML"] {
            let result = described(&named("ocf:t:x").unwrap(), text);
            assert!(result.is_err(), "{text}");
        }
    }
}
