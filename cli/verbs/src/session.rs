//! A verb's connection to the cluster, and the building blocks of what verbs say to the CIB.

use anyhow::{Context as _, bail};
use cib_store::{Operation, Target};
use cib_xml::{Doc, Node, NodeId, Style};
use cli_tools::checks;
use crm_api::{Info, Request, Response};
use crm_ipc::Client;

use crate::advice;

/// A connection to the local daemon.
pub(crate) struct Session {
    client: Client,
    /// Print results as JSON.
    pub(crate) json: bool,
    /// Make changes too that cannot be right.
    pub(crate) force: bool,
    /// Whether to warn of what cannot be right about the configuration since a change.
    advises: bool,
}

impl Session {
    pub(crate) fn connect(json: bool) -> anyhow::Result<Session> {
        Ok(Session::over(Client::connect()?, json))
    }

    /// One for a command line with these global options.
    pub(crate) fn for_command(json: bool, force: bool) -> anyhow::Result<Session> {
        Ok(Session { force, ..Session::connect(json)? })
    }

    pub(crate) fn over(client: Client, json: bool) -> Session {
        Session { client, json, force: false, advises: true }
    }

    /// A session whose changes are part of something larger: whoever makes that judges the whole.
    pub(crate) fn part_of_more(client: Client) -> Session {
        Session { client, json: false, force: false, advises: false }
    }

    pub(crate) fn ask(&mut self, request: Request) -> anyhow::Result<Response> {
        Ok(self.client.ask(&request)?)
    }

    pub(crate) fn next(&mut self) -> anyhow::Result<Response> {
        Ok(self.client.receive()?)
    }

    pub(crate) fn info(&mut self) -> anyhow::Result<Info> {
        match self.ask(Request::Info)? {
            Response::Info(info) => Ok(*info),
            other => bail!("an unexpected answer: {other:?}"),
        }
    }

    /// The whole CIB.
    pub(crate) fn cib(&mut self) -> anyhow::Result<Doc> {
        let operation =
            Operation::Query { target: Target::Whole, no_children: false, paths: false };
        match self.ask(Request::Cib { operation, force: false })? {
            Response::Cib(Some(xml)) => Doc::parse(&xml).context("the CIB cannot be read"),
            other => bail!("an unexpected answer: {other:?}"),
        }
    }

    /// Changes the CIB, and warns of what cannot be right about it since.
    pub(crate) fn change(&mut self, operation: Operation) -> anyhow::Result<()> {
        if !self.advises {
            return self.change_quietly(operation);
        }
        let before = self.cib()?;
        self.check(&before, checks::changed(&before, &operation).as_ref())?;
        self.change_quietly(operation)?;
        let after = self.cib()?;
        for text in advice::new(&before, &after) {
            match self.json {
                true => complain!("{}", serde_json::json!({ "warning": text })),
                false => complain!("warning: {text}"),
            }
        }
        Ok(())
    }

    /// Refuses a change that cannot be right, unless it is forced. None: whoever makes the change
    /// will say why it cannot be made.
    pub(crate) fn check(&self, before: &Doc, after: Option<&Doc>) -> anyhow::Result<()> {
        let Some(after) = after.filter(|_| !self.force) else { return Ok(()) };
        let found = checks::problems(before, after, &checks::Installed);
        if found.is_empty() {
            return Ok(());
        }
        bail!("{}\nnothing is changed; --force makes the change all the same", found.join("\n"))
    }

    /// Changes the CIB.
    pub(crate) fn change_quietly(&mut self, operation: Operation) -> anyhow::Result<()> {
        self.ask(Request::Cib { operation, force: false })?;
        Ok(())
    }

    /// Adds `element` to a section; refused if its id is taken.
    pub(crate) fn create(&mut self, section: &str, element: &Doc) -> anyhow::Result<()> {
        let target = Target::Section(section.to_owned());
        self.change(Operation::Create { target, xml: element.root().to_xml(Style::Compact) })
    }

    /// Merges `element` into a section.
    pub(crate) fn merge(&mut self, section: &str, element: &Doc) -> anyhow::Result<()> {
        self.change(merge(section, element))
    }

    /// Removes what the expression finds; an error if that is nothing.
    pub(crate) fn delete(&mut self, xpath: &str, what: &str) -> anyhow::Result<()> {
        let cib = self.cib()?;
        let found = cib.xpath(xpath).map_err(|e| anyhow::anyhow!("{e}"))?;
        if found.is_empty() {
            bail!("there is no {what}");
        }
        self.change(Operation::DeleteAll { xpath: xpath.to_owned() })
    }
}

/// Merging `element` into a section, as an operation.
pub(crate) fn merge(section: &str, element: &Doc) -> Operation {
    Operation::Modify {
        target: Target::Section(section.to_owned()),
        xml: element.root().to_xml(Style::Compact),
        allow_create: true,
        score: false,
    }
}

/// A name and a value, written `name=value`.
pub(crate) fn pair(text: &str) -> anyhow::Result<(&str, &str)> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name, value)),
        _ => bail!("'{text}' is not of the form NAME=VALUE"),
    }
}

/// Adds a block of name-value pairs under `parent`, ids made from `prefix`.
pub(crate) fn add_pairs(
    doc: &mut Doc,
    parent: NodeId,
    block: &str,
    prefix: &str,
    pairs: &[String],
) -> anyhow::Result<()> {
    if pairs.is_empty() {
        return Ok(());
    }
    let set = format!("{prefix}-{block}");
    let element = doc.append_element(parent, block);
    doc.set_attr(element, "id", &set);
    for text in pairs {
        let (name, value) = pair(text)?;
        let nvpair = doc.append_element(element, "nvpair");
        doc.set_attr(nvpair, "id", &xml_id(&format!("{set}-{name}")));
        doc.set_attr(nvpair, "name", name);
        doc.set_attr(nvpair, "value", value);
    }
    Ok(())
}

/// `text` with what an XML id cannot hold replaced.
pub(crate) fn xml_id(text: &str) -> String {
    text.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '.' }).collect()
}

/// The name-value pairs of all blocks called `block` under `parent`.
pub(crate) fn pairs_of(parent: Node<'_>, block: &str) -> Vec<(String, String)> {
    let pairs = parent.children_named(block).flat_map(|b| b.children_named("nvpair"));
    pairs.filter_map(|p| Some((p.attr("name")?.to_owned(), p.attr("value")?.to_owned()))).collect()
}
