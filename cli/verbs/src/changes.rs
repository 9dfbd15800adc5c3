//! Changes of the configuration in words.

use cib_xml::{Doc, Node};

/// What the names of options with secret values have in them.
const SECRET: [&str; 8] =
    ["passw", "pswd", "secret", "token", "credential", "privatekey", "private-key", "private_key"];

/// The changes of a patchset, a line each.
pub(crate) fn words(patch: &Doc) -> Vec<String> {
    patch.root().children_named("change").filter_map(line).collect()
}

/// As [`words`], with the content of what came and went, and with former values: `reverse` is the
/// patchset that leads back.
pub(crate) fn details(patch: &Doc, reverse: &Doc) -> Vec<String> {
    let mut lines = Vec::new();
    for change in patch.root().children_named("change") {
        let path = change.attr("path").unwrap_or_default();
        match change.attr("operation") {
            Some("modify") => lines.extend(modified(change, former(reverse, path))),
            Some("create") => {
                lines.extend(line(change));
                change.children().for_each(|element| content(element, 1, &mut lines));
            }
            Some("delete") => {
                lines.extend(line(change));
                if let Some(element) = removed(reverse, path) {
                    content(element, 1, &mut lines);
                }
            }
            _ => lines.extend(line(change)),
        }
    }
    lines
}

/// The element at `path` as the patchset leaves it, if it changes its attributes.
fn former<'a>(reverse: &'a Doc, path: &str) -> Option<Node<'a>> {
    let mut changes = reverse.root().children_named("change");
    let change =
        changes.find(|c| c.attr("path") == Some(path) && c.attr("operation") == Some("modify"))?;
    change.child("change-result")?.children().next()
}

/// What the patchset creates at `path`.
fn removed<'a>(reverse: &'a Doc, path: &str) -> Option<Node<'a>> {
    let creates = |c: &Node<'_>| c.attr("operation") == Some("create");
    let changes = reverse.root().children_named("change").filter(creates);
    changes.into_iter().find_map(|change| {
        let element = change.children().next()?;
        let id = element.attr("id").map(|id| format!("[@id='{id}']")).unwrap_or_default();
        let at = format!("{}/{}{id}", change.attr("path")?, element.name());
        (at == path).then_some(element)
    })
}

fn short(path: &str) -> &str {
    path.strip_prefix("/cib/configuration/").unwrap_or(path)
}

/// One change of a patchset; none for what says nothing.
fn line(change: Node<'_>) -> Option<String> {
    let path = short(change.attr("path").unwrap_or_default());
    Some(match change.attr("operation")? {
        "create" => format!("+ {} in {path}", describe(change.children().next()?)),
        "delete" => format!("- {path}"),
        "move" => format!("~ {path}: another place"),
        "modify" => modified(change, None)?,
        _ => return None,
    })
}

fn modified(change: Node<'_>, former: Option<Node<'_>>) -> Option<String> {
    let path = short(change.attr("path").unwrap_or_default());
    let list = change.child("change-list")?;
    let result = change.child("change-result").and_then(|r| r.children().next());
    let name = result.and_then(|r| r.attr("name"));
    let shown = |value| if name.is_some_and(is_secret) { "****" } else { value };
    let attrs: Vec<String> = list
        .children_named("change-attr")
        .filter_map(|a| {
            let attr = a.attr("name")?;
            let was = former.map(|f| match f.attr(attr) {
                Some(value) => format!(" (was {})", shown(value)),
                None => " (was not set)".to_owned(),
            });
            let was = was.unwrap_or_default();
            Some(match a.attr("value") {
                Some(value) => format!("{attr}={}{was}", shown(value)),
                None => format!("no {attr}{was}"),
            })
        })
        .collect();
    let about = name.map(|n| format!(" ({n})")).unwrap_or_default();
    Some(format!("~ {path}{about}: {}", attrs.join(", ")))
}

fn describe(element: Node<'_>) -> String {
    let attr = |name: &str| element.attr(name);
    match (attr("name"), attr("value"), attr("id")) {
        (Some(name), Some(_), _) if is_secret(name) => format!("{name}=****"),
        (Some(name), Some(value), _) => format!("{name}={value}"),
        (_, _, Some(id)) => format!("{} {id}", element.name()),
        _ => element.name().to_owned(),
    }
}

/// The attributes of an element and what is in it, indented.
fn content(element: Node<'_>, depth: usize, lines: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    let own = element.attrs().filter(|(name, _)| *name != "id");
    let attrs: Vec<String> = own.map(|(name, value)| format!("{name}={value}")).collect();
    if depth == 1 && !attrs.is_empty() && element.name() != "nvpair" {
        lines.push(format!("{indent}{}", attrs.join(" ")));
    }
    for child in element.children() {
        if child.name() == "nvpair" {
            lines.push(format!("{indent}{}", describe(child)));
            continue;
        }
        let attrs = child.attrs().filter(|(name, _)| *name != "id");
        let attrs: String = attrs.map(|(name, value)| format!(" {name}={value}")).collect();
        let id = child.attr("id").unwrap_or_default();
        lines.push(format!("{indent}{} {id}{attrs}", child.name()));
        content(child, depth + 1, lines);
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use cib_xml::patch::{self, Positions};

    use super::*;

    const OLD: &str = "<cib><configuration><resources><primitive id=\"a\" type=\"x\">\
        <instance_attributes id=\"i\"><nvpair id=\"n\" name=\"ip\" value=\"1\"/>\
        </instance_attributes></primitive></resources></configuration></cib>";

    fn told(from: &str, to: &str) -> Vec<String> {
        let (old, new) = (Doc::parse(OLD).unwrap(), Doc::parse(&OLD.replace(from, to)).unwrap());
        let patch = patch::make(&old, &new, Positions::Ignore).unwrap();
        details(&patch, &patch::make(&new, &old, Positions::Ignore).unwrap())
    }

    #[test]
    fn former_values_and_what_is_gone_are_told() {
        let at = "resources/primitive[@id='a']/instance_attributes[@id='i']/nvpair[@id='n']";
        let value = told("value=\"1\"", "value=\"2\"");
        assert_eq!(value, [format!("~ {at} (ip): value=2 (was 1)")]);
        let gone = told(&OLD[31..OLD.len() - 34], "");
        let expected =
            ["- resources/primitive[@id='a']", "  type=x", "  instance_attributes i", "    ip=1"];
        assert_eq!(gone, expected);
    }

    #[test]
    fn secrets_are_not_shown() {
        let pair = "<nvpair id=\"n\" name=\"ip\" value=\"1\"/>";
        let told = told(pair, "<nvpair id=\"m\" name=\"passwd\" value=\"s3cret\"/>").concat();
        assert!(told.contains("passwd=****") && !told.contains("s3cret"), "{told}");
    }
}
