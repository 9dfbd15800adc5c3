//! What is refused before the configuration is changed: what would be taken, and then fail or have
//! no effect. `--force` makes such a change all the same.
//!
//! Only what a change brings in is looked at; what was there before may be fixed step by step.

mod orders;
mod params;

use std::collections::{BTreeMap, BTreeSet};

use crate::agents::Agent;
use crate::options::{Kind, rows};
use cib_store::{Context, Operation, Who};
use cib_xml::{Doc, Node, Style};

/// What there is to know of agents on this machine.
pub trait Agents {
    /// What it says of itself; none if it is not installed, an empty text if it says nothing.
    fn metadata(&self, agent: &Agent) -> Option<String>;
    /// What is wrong with parameters, in the agent's words.
    fn validate(&self, agent: &Agent, params: &[(String, String)]) -> Result<(), String>;
    /// Names that are spelled like this one's.
    fn similar(&self, agent: &Agent) -> Option<String>;
}

/// The agents of this machine.
pub struct Installed;

impl Agents for Installed {
    fn metadata(&self, agent: &Agent) -> Option<String> {
        agent.is_installed().then(|| agent.metadata().unwrap_or_default())
    }

    fn validate(&self, agent: &Agent, params: &[(String, String)]) -> Result<(), String> {
        agent.validate(params)
    }

    fn similar(&self, agent: &Agent) -> Option<String> {
        let all: Vec<String> = crate::agents::all().iter().map(ToString::to_string).collect();
        let own = agent.to_string();
        let by_name = all.iter().find(|other| other.rsplit(':').next() == Some(&agent.name));
        by_name
            .cloned()
            .or_else(|| nearest(&own, all.iter().map(String::as_str)).map(str::to_owned))
    }
}

const KINDS: [&str; 5] = ["primitive", "group", "clone", "master", "bundle"];

/// Meta-attributes of clones and of remote nodes, and old names.
const FURTHER_META: [&str; 20] = [
    "clone-max",
    "clone-min",
    "clone-node-max",
    "notify",
    "globally-unique",
    "interleave",
    "ordered",
    "promotable",
    "promoted-max",
    "promoted-node-max",
    "master-max",
    "master-node-max",
    "remote-port",
    "remote-addr",
    "remote-connect-timeout",
    "remote-allow-migrate",
    "restart-type",
    "provides",
    "description",
    "resource-discovery",
];

/// What is wrong with `after` and is not already with `before`, each a sentence that names the
/// place.
pub fn problems(before: &Doc, after: &Doc, agents: &dyn Agents) -> Vec<String> {
    let mut found = Vec::new();
    let known = elements(before);
    for (id, element) in elements(after) {
        if known.get(id).is_some_and(|old| text_of(*old) == text_of(element)) {
            continue;
        }
        if KINDS.contains(&element.name()) {
            found.extend(meta_names(element));
            found.extend(unsupported(element));
        }
        if element.name() == "primitive" {
            found.extend(params::check(after, element, agents));
        }
        if element.name() == "rsc_location" {
            found.extend(unknown_node(after, element));
        }
    }
    let old = orders::loops(before);
    found.extend(orders::loops(after).into_iter().filter(|text| !old.contains(text)));
    found
}

/// As [`problems`], but without what is wrong anyway with the elements that are changed: for whoever
/// cannot put all of them right in one change.
pub fn new_problems(before: &Doc, after: &Doc, agents: &dyn Agents) -> Vec<String> {
    let mut found = problems(before, after, agents);
    if !found.is_empty() {
        let old = problems(&Doc::new("cib"), before, agents);
        found.retain(|text| !old.contains(text));
    }
    found
}

/// The CIB as it is after an operation, if that can be carried out.
pub fn changed(before: &Doc, operation: &Operation) -> Option<Doc> {
    let who = Who { user: "root".to_owned(), ..Who::default() };
    let context = Context {
        who: &who,
        origin: "",
        now_seconds: None,
        validate: false,
        valid: false,
        check_features: false,
    };
    let mut after = before.clone();
    cib_store::apply(&mut after, operation, &context).ok()?;
    Some(after)
}

/// Resources and constraints by their ids.
fn elements(doc: &Doc) -> BTreeMap<&str, Node<'_>> {
    let configuration = doc.root().child("configuration");
    let sections = ["resources", "constraints"].map(|name| configuration?.child(name));
    let all = sections.into_iter().flatten().flat_map(|section| section.descendants());
    let wanted = |n: &Node<'_>| KINDS.contains(&n.name()) || n.name().starts_with("rsc_");
    all.filter(wanted).filter_map(|n| Some((n.attr("id")?, n))).collect()
}

/// An element without the resources in it, which are looked at on their own.
fn text_of(element: Node<'_>) -> String {
    let inner = element.children().filter(|child| !KINDS.contains(&child.name()));
    let attributes = element.attrs().map(|(name, value)| format!("{name}={value} "));
    attributes.chain(inner.map(|child| child.to_xml(Style::Compact))).collect()
}

fn pairs<'a>(element: Node<'a>, block: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let pairs = element.children_named(block).flat_map(|b| b.descendants());
    let pairs = pairs.filter(|n| n.name() == "nvpair");
    pairs.filter_map(|n| Some((n.attr("name")?, n.attr("value").unwrap_or_default())))
}

fn meta_names(element: Node<'_>) -> Vec<String> {
    let known: Vec<&str> =
        rows(Kind::Primitive).iter().map(|row| row.name).chain(FURTHER_META).collect();
    let id = element.attr("id").unwrap_or_default();
    pairs(element, "meta_attributes")
        .filter(|(name, _)| !known.contains(name))
        .map(|(name, _)| {
            let hint = hint(name, known.iter().copied());
            format!("resource {id}: there is no meta-attribute '{name}'{hint}")
        })
        .collect()
}

/// What the running cluster does not do yet.
fn unsupported(element: Node<'_>) -> Vec<String> {
    let id = element.attr("id").unwrap_or_default();
    let agent = ["class", "provider", "type"].map(|name| element.attr(name));
    let what = if agent == [Some("ocf"), Some("pacemaker"), Some("remote")] {
        "remote nodes are not supported yet"
    } else if pairs(element, "meta_attributes").any(|(name, _)| name == "remote-node") {
        "guest nodes (remote-node) are not supported yet"
    } else if element.name() == "bundle" && element.child("primitive").is_some() {
        "bundles with a resource inside are not supported yet; one without is, as is \
         ocf:systole:container"
    } else {
        return Vec::new();
    };
    vec![format!("resource {id}: {what}")]
}

fn unknown_node(doc: &Doc, location: Node<'_>) -> Option<String> {
    let node = location.attr("node")?;
    let nodes = doc.root().child("configuration").and_then(|c| c.child("nodes"));
    let known: BTreeSet<&str> =
        nodes.into_iter().flat_map(|n| n.children()).filter_map(|n| n.attr("uname")).collect();
    if known.is_empty() || known.contains(node) {
        return None;
    }
    let id = location.attr("id").unwrap_or_default();
    let names: Vec<&str> = known.into_iter().collect();
    Some(format!("constraint {id}: there is no node '{node}'; the nodes are {}", names.join(", ")))
}

/// The suggestion that follows an unknown name, if one is spelled alike.
fn hint<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(word, known).map_or_else(String::new, |name| format!("; did you mean '{name}'?"))
}

/// The name that is spelled most like the word, if one is.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.replace(['_', '-'], "").to_ascii_lowercase();
    let word = plain(word);
    let distance = |name: &str| distance(&word, &plain(name));
    let best = known.map(|name| (distance(name), name)).min()?;
    (best.0 <= 2 && best.0 < word.len()).then_some(best.1)
}

/// How many characters have to be changed, added or removed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut left_above = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            let changed = left_above + usize::from(x != *y);
            row[j + 1] = changed.min(above + 1).min(row[j] + 1);
            left_above = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ocf:t:vip` and `stonith:fence_t` are installed.
    struct Few;

    impl Agents for Few {
        fn metadata(&self, agent: &Agent) -> Option<String> {
            let parameters = match agent.to_string().as_str() {
                "ocf:t:vip" => {
                    "<parameter name=\"ip\" required=\"1\"><content type=\"string\"/></parameter>\
                     <parameter name=\"count\"><content type=\"integer\" default=\"5\"/></parameter>\
                     <parameter name=\"nodad\"><content type=\"boolean\"/></parameter>\
                     <parameter name=\"mode\"><content type=\"select\"><option value=\"a\"/>\
                     <option value=\"b\"/></content></parameter>"
                }
                "stonith:fence_t" => {
                    "<parameter name=\"ip\" required=\"1\" obsoletes=\"ipaddr\"><content \
                     type=\"string\"/></parameter><parameter name=\"ipaddr\"><content \
                     type=\"string\"/></parameter><parameter name=\"action\" required=\"1\">\
                     <content type=\"string\"/></parameter><parameter name=\"plug\" \
                     required=\"1\"><content type=\"string\"/></parameter>"
                }
                "ocf:t:mute" => return Some(String::new()),
                _ => return None,
            };
            Some(format!(
                "<?xml version=\"1.0\"?><!DOCTYPE resource-agent SYSTEM \"ra-api-1.dtd\">\
                 <resource-agent name=\"x\"><parameters>{parameters}</parameters><actions>\
                 <action name=\"start\"/><action name=\"monitor\"/></actions></resource-agent>"
            ))
        }

        fn validate(&self, _: &Agent, params: &[(String, String)]) -> Result<(), String> {
            match params.iter().any(|(_, value)| value == "10.0.0.1/16") {
                true => Err("ip=10.0.0.1/16 is not an address".to_owned()),
                false => Ok(()),
            }
        }

        fn similar(&self, agent: &Agent) -> Option<String> {
            (agent.name == "vpi").then(|| "ocf:t:vip".to_owned())
        }
    }

    fn cib(resources: &str, constraints: &str) -> Doc {
        let xml = format!(
            "<cib><configuration><crm_config/><nodes><node id=\"1\" uname=\"a\"/><node id=\"2\" \
             uname=\"b\"/></nodes><resources>{resources}</resources><constraints>{constraints}\
             </constraints></configuration><status/></cib>"
        );
        Doc::parse(&xml).unwrap()
    }

    fn primitive(agent: &str, params: &[(&str, &str)], rest: &str) -> String {
        let parts: Vec<&str> = agent.split(':').collect();
        let agent = match parts[..] {
            [class, provider, name] => {
                format!("class=\"{class}\" provider=\"{provider}\" type=\"{name}\"")
            }
            _ => format!("class=\"{}\" type=\"{}\"", parts[0], parts[1]),
        };
        let pair =
            |(n, v): &(&str, &str)| format!("<nvpair id=\"r-{n}\" name=\"{n}\" value=\"{v}\"/>");
        let params: String = params.iter().map(pair).collect();
        format!(
            "<primitive id=\"r\" {agent}><instance_attributes id=\"r-p\">{params}\
             </instance_attributes>{rest}</primitive>"
        )
    }

    fn of(resources: &str, constraints: &str) -> Vec<String> {
        problems(&cib("", ""), &cib(resources, constraints), &Few)
    }

    #[track_caller]
    fn refused(agent: &str, params: &[(&str, &str)], rest: &str, words: &str) {
        let found = of(&primitive(agent, params, rest), "");
        assert!(found.len() == 1 && found[0].contains(words), "{words}: {found:?}");
        assert!(found[0].starts_with("resource r: "), "{found:?}");
    }

    const IP: (&str, &str) = ("ip", "10.0.0.1");

    #[test]
    fn what_is_right_is_taken() {
        let meta = "<meta_attributes id=\"m\"><nvpair id=\"n\" name=\"target-role\" \
                    value=\"Started\"/></meta_attributes><operations><op id=\"o\" \
                    name=\"monitor\" interval=\"1s\"/></operations>";
        for (agent, params) in [
            ("ocf:t:vip", &[IP, ("count", "3"), ("nodad", "yes"), ("mode", "b")][..]),
            ("stonith:fence_t", &[IP, ("pcmk_host_list", "a"), ("pcmk_off_retries", "3")]),
            ("stonith:fence_t", &[("ipaddr", "10.0.0.1")]),
            ("ocf:t:mute", &[("anything", "x")]),
        ] {
            assert_eq!(of(&primitive(agent, params, meta), ""), [""; 0], "{agent}");
        }
    }

    #[test]
    fn an_agent_that_is_not_there_is_refused_with_one_that_is() {
        refused("ocf:t:nothing", &[], "", "the agent ocf:t:nothing is not installed");
        refused("ocf:t:vpi", &[], "", "did you mean ocf:t:vip?");
        refused("ocf:t:ip=10.0.0.1", &[], "", "is not installed");
    }

    #[test]
    fn parameters_are_checked_against_what_the_agent_says() {
        refused("ocf:t:vip", &[IP, ("cuont", "3")], "", "did you mean 'count'?");
        refused("ocf:t:vip", &[], "", "the parameter 'ip' is required");
        refused("ocf:t:vip", &[IP, ("count", "many")], "", "count=many is not a whole number");
        refused("ocf:t:vip", &[IP, ("nodad", "perhaps")], "", "neither true nor false");
        refused("ocf:t:vip", &[IP, ("mode", "c")], "", "mode=c is none of a, b");
        refused("ocf:t:vip", &[("ip", "10.0.0.1/16")], "", "ip=10.0.0.1/16 is not an address");
        let fence = "stonith:fence_t";
        refused(fence, &[IP, ("pcmk_hostlist", "a")], "", "did you mean 'pcmk_host_list'?");
    }

    #[test]
    fn meta_attributes_and_operations_have_known_names() {
        let meta = "<meta_attributes id=\"m\"><nvpair id=\"n\" name=\"target_role\" value=\"x\"/>\
                    </meta_attributes>";
        refused("ocf:t:vip", &[IP], meta, "did you mean 'target-role'?");
        let op = "<operations><op id=\"o\" name=\"montior\" interval=\"1s\"/></operations>";
        refused("ocf:t:vip", &[IP], op, "did you mean 'monitor'?");
    }

    #[test]
    fn what_is_not_supported_yet_is_refused() {
        let found = of(&primitive("ocf:pacemaker:remote", &[], ""), "");
        assert!(found[0].contains("remote nodes are not supported"), "{found:?}");
        let guest = "<meta_attributes id=\"m\"><nvpair id=\"n\" name=\"remote-node\" \
                     value=\"g\"/></meta_attributes>";
        refused("ocf:t:vip", &[IP], guest, "guest nodes (remote-node) are not supported");
        let inner = primitive("ocf:t:vip", &[IP], "");
        let found = of(&format!("<bundle id=\"b\"><podman image=\"i\"/>{inner}</bundle>"), "");
        assert!(found[0].starts_with("resource b: bundles with a resource"), "{found:?}");
    }

    #[test]
    fn nodes_in_constraints_exist() {
        let at = |node| format!("<rsc_location id=\"l\" rsc=\"r\" node=\"{node}\" score=\"1\"/>");
        let r = primitive("ocf:t:vip", &[IP], "");
        assert_eq!(of(&r, &at("a")), [""; 0]);
        let found = of(&r, &at("c"));
        assert_eq!(found, ["constraint l: there is no node 'c'; the nodes are a, b"]);
    }

    #[test]
    fn what_was_wrong_before_does_not_keep_other_changes_from_being_made() {
        let wrong = primitive("ocf:t:vip", &[], "");
        let before = cib(&wrong, "");
        let after = cib(&wrong.replace("id=\"r-p\"", "id=\"r-q\""), "");
        assert_eq!(problems(&before, &before, &Few), [""; 0]);
        assert_eq!(problems(&before, &after, &Few).len(), 1);
        assert_eq!(new_problems(&before, &after, &Few), [""; 0]);
        let worse = cib(&primitive("ocf:t:vip", &[("cuont", "3")], ""), "");
        let found = new_problems(&before, &worse, &Few);
        assert!(found.len() == 1 && found[0].contains("did you mean 'count'?"), "{found:?}");
    }
}
