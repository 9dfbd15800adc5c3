//! `cibadmin`: reads and changes the CIB.

use cib_store::acl::{Access, access};
use cib_store::{Operation, StoreError, Target, Who};
use cib_xml::{Doc, Node, Style, digest};

use crate::args::{Given, Opt, Value, flag, opt, value};
use crate::cib::connect;
use crate::exit;
use crate::input::{self, Failure};
use crate::output::{Element, Out};

pub(crate) const OPTIONS: &[Opt] = &[
    flag("query", 'Q', "Print the CIB or a part of it"),
    flag("create", 'C', "Add an element; it must not exist"),
    flag("modify", 'M', "Merge an element into the one with the same name and id"),
    flag("replace", 'R', "Replace an element"),
    flag("patch", 'P', "Apply a patchset (see crm_diff)"),
    flag("delete", 'D', "Delete the first element that matches"),
    flag("delete-all", 'd', "Delete everything that --xpath selects"),
    flag("erase", 'E', "Remove everything"),
    flag("bump", 'B', "Count the epoch up"),
    flag("upgrade", 'u', "Bring the configuration to the latest schema"),
    opt("empty", 'a', Value::Optional, "Print an empty CIB, for a schema"),
    flag("features", '!', ""),
    flag("md5-sum", '5', "Print the digest of XML as kept on disk"),
    flag("md5-sum-versioned", '6', "Print the digest of XML as patchsets carry it"),
    value("xml-file", 'x', "Read XML from this file"),
    value("xml-text", 'X', "Take this as XML"),
    flag("xml-pipe", 'p', "Read XML from the standard input"),
    value("scope", 'o', "Only this section"),
    value("xpath", 'A', "Only what this XPath expression selects"),
    value("user", 'U', "With the permissions of this user (only for the superuser)"),
    opt("show-access", 'S', Value::Optional, "With --query and --user: show what may be done"),
    flag("score", ' ', "Take values such as score++ as arithmetic"),
    flag("allow-create", 'c', "With --modify: add the element if there is none"),
    flag("no-children", 'n', "Without what is below the elements found"),
    flag("node-path", 'e', "Print paths of the elements found"),
    flag("force", 'f', "Even if it is dangerous"),
    value("timeout", 't', "Seconds to wait for the cluster"),
    flag("local", 'l', ""),
    flag("sync-call", 's', ""),
    value("node", 'N', ""),
    opt("quiet", ' ', Value::No, ""),
];

const COMMANDS: [&str; 13] = [
    "query",
    "create",
    "modify",
    "replace",
    "patch",
    "delete",
    "delete-all",
    "erase",
    "bump",
    "upgrade",
    "empty",
    "md5-sum",
    "md5-sum-versioned",
];

const DANGEROUS: &str = "The supplied command is considered dangerous. To prevent accidental \
                         destruction of the cluster, the --force flag is required in order to \
                         proceed.";

pub(crate) fn run(given: &Given, out: &mut Out) -> i32 {
    if given.has("features") {
        out.line(&crate::daemons::features_text());
        return exit::OK;
    }
    match perform(given, out) {
        Ok(code) => code,
        Err((code, text)) => {
            out.fail(&text);
            code
        }
    }
}

fn perform(given: &Given, out: &mut Out) -> Result<i32, Failure> {
    let Some(command) = given.last_of(&COMMANDS) else {
        return Err((exit::USAGE, "Must specify a command option".into()));
    };
    match command {
        "empty" => return Ok(print_empty(given, out)),
        "md5-sum" | "md5-sum-versioned" => return print_digest(given, out, command),
        "erase" | "upgrade" if !given.has("force") => {
            return Err((exit::UNSAFE, DANGEROUS.into()));
        }
        _ => {}
    }
    if let Some(user) = given.get("user") {
        if !nix::unistd::geteuid().is_root() {
            return Err((4, "only the superuser may act for another user".into()));
        }
        if given.has("show-access") {
            return show_access(given, out, user);
        }
        // SAFETY: tools have one thread, and nothing read the environment yet.
        unsafe { std::env::set_var("CIB_user", user) };
    }
    let op = operation(given, command)?;
    let mut cib = connect().map_err(|e| {
        (e.exit_code(), format!("Could not connect to the CIB API: {}", e.kind.text()))
    })?;
    if matches!(op, Operation::Upgrade { .. })
        && !cib.is_live()
        && let Ok(doc) = cib.read()
    {
        crate::schema::tell_all(&doc, out.verbose);
    }
    match cib.apply(&op, given.has("force")) {
        Ok(applied) => {
            if let Some(doc) = applied.output {
                print_result(given, out, &doc);
            }
            Ok(exit::OK)
        }
        Err(error) => Ok(report(out, &error)),
    }
}

fn report(out: &mut Out, error: &StoreError) -> i32 {
    out.fail(&format!("CIB API call failed: {}", error.kind.text()));
    if out.verbose > 0 && !error.detail.is_empty() {
        out.error(&error.detail);
    }
    if let Some(output) = &error.output {
        print_xml(out, output);
    }
    error.exit_code()
}

fn print_xml(out: &mut Out, text: &str) {
    out.print(text);
    out.xml(Element::new("output").raw(text));
}

fn print_result(given: &Given, out: &mut Out, doc: &Doc) {
    if given.has("node-path") {
        for path in doc.root().children_named("xpath-query-path") {
            let path = path.attr("id").unwrap_or_default();
            out.line(path);
            out.xml(Element::new("node-path").attr("path", path));
        }
        return;
    }
    print_xml(out, &doc.root().to_xml(Style::Pretty));
}

fn print_empty(given: &Given, out: &mut Out) -> i32 {
    let mut doc = cib_store::empty_cib();
    let root = doc.root_id();
    doc.set_attr(root, "epoch", "1");
    if let Some(schema) = given.get("empty") {
        doc.set_attr(root, "validate-with", schema);
    }
    print_xml(out, &doc.root().to_xml(Style::Pretty));
    exit::OK
}

fn print_digest(given: &Given, out: &mut Out, command: &str) -> Result<i32, Failure> {
    let text = input::given_text(given)?;
    let Some(text) = text else {
        return Err((exit::USAGE, "Please supply XML to process with -X, -x, or -p".into()));
    };
    let doc = input::parse(&text, "input")?;
    let digest = match command {
        "md5-sum" => digest::on_disk(doc.root()),
        _ => digest::v2(doc.root()),
    };
    out.line(&digest);
    out.xml(Element::new("md5-sum").attr("digest", &digest));
    Ok(exit::OK)
}

fn operation(given: &Given, command: &str) -> Result<Operation, Failure> {
    let target = match given.last_of(&["scope", "xpath"]) {
        Some("scope") => {
            let section = given.get("scope").unwrap_or_default();
            if cib_store::section_path(section).is_none() {
                return Err((exit::USAGE, format!("Invalid value '{section}' for '--scope'")));
            }
            Target::Section(section.into())
        }
        Some(_) => Target::XPath(given.get("xpath").unwrap_or_default().into()),
        None => Target::Whole,
    };
    let text = input::given_text(given)?;
    let xml = || {
        let text = text.clone().ok_or((
            exit::DATAERR,
            "Please supply XML to process with -X, -x, or -p".to_string(),
        ))?;
        input::parse(&text, "input XML").map(|_| text)
    };
    Ok(match command {
        "query" => Operation::Query {
            target,
            no_children: given.has("no-children"),
            paths: given.has("node-path"),
        },
        "create" => Operation::Create { target, xml: xml()? },
        "modify" => Operation::Modify {
            target,
            xml: xml()?,
            allow_create: given.has("allow-create"),
            score: true,
        },
        "replace" => Operation::Replace { target, xml: xml()? },
        "patch" => Operation::Patch { xml: xml()? },
        "delete" if matches!(target, Target::XPath(_)) => Operation::Delete { target, xml: None },
        "delete" => Operation::Delete { target, xml: Some(xml()?) },
        "delete-all" => match target {
            Target::XPath(xpath) => Operation::DeleteAll { xpath },
            _ => return Err((exit::USAGE, "--delete-all needs --xpath".into())),
        },
        "erase" => Operation::Erase,
        "bump" => Operation::BumpEpoch,
        "upgrade" => Operation::Upgrade { max: None },
        other => return Err((exit::USAGE, format!("unknown command {other}"))),
    })
}

/// Prints the CIB with what `user` may do with each part.
fn show_access(given: &Given, out: &mut Out, user: &str) -> Result<i32, Failure> {
    let mut cib = connect().map_err(|e| (e.exit_code(), e.kind.text().to_string()))?;
    let doc = cib.read().map_err(|e| (e.exit_code(), e.to_string()))?;
    let who = Who { user: user.into(), ..crate::cib::user() };
    let rights = access(&doc, &who);
    let style = match given.get("show-access").unwrap_or("auto") {
        "auto" if std::io::IsTerminal::is_terminal(&std::io::stdout()) => "color",
        "auto" => "text",
        style @ ("color" | "text" | "namespace") => style,
        other => return Err((exit::USAGE, format!("Unknown style {other} of --show-access"))),
    };
    let mut text = format!("<!-- ACLs as evaluated for user {user} -->\n");
    match style {
        "color" => write_colored(doc.root(), &rights, 0, &mut text),
        "namespace" => write_marked(doc.root(), &rights, 0, None, &mut text),
        _ => write_banners(doc.root(), &rights, 0, None, &mut text),
    }
    print_xml(out, &text);
    Ok(exit::OK)
}

fn tag_of(node: Node<'_>, prefix: &str) -> String {
    let mut copy = Doc::new(&format!("{prefix}{}", node.name()));
    let root = copy.root_id();
    node.attrs().for_each(|(name, value)| copy.set_attr(root, name, value));
    let text = copy.root().to_xml(Style::Compact);
    text.trim_end_matches("/>").to_string()
}

fn write_colored(node: Node<'_>, rights: &[Access], depth: usize, out: &mut String) {
    let color = match rights[node.id().index()] {
        Access::Write => "\x1b[32m",
        Access::Read => "\x1b[34m",
        Access::Denied => "\x1b[31m",
    };
    let indent = "  ".repeat(depth);
    let tag = tag_of(node, "");
    if node.children().next().is_none() {
        out.push_str(&format!("{indent}{color}{tag}/>\x1b[0m\n"));
        return;
    }
    out.push_str(&format!("{indent}{color}{tag}>\n"));
    node.children().for_each(|c| write_colored(c, rights, depth + 1, out));
    out.push_str(&format!("{indent}{color}</{}>\x1b[0m\n", node.name()));
}

/// Text with a banner wherever the right of an element differs from the one before it in depth.
fn write_banners(
    node: Node<'_>,
    rights: &[Access],
    depth: usize,
    above: Option<Access>,
    out: &mut String,
) {
    let right = rights[node.id().index()];
    let indent = "  ".repeat(depth);
    if above != Some(right) {
        let name = match right {
            Access::Write => "WRITABLE",
            Access::Read => "READABLE",
            Access::Denied => "~DENIED~",
        };
        if above.is_some() {
            out.push_str(&format!("{indent}\n"));
        }
        out.push_str(&format!("{indent}vvv---[ {name} ]---vvv\n"));
    }
    let tag = tag_of(node, "");
    if node.children().next().is_none() {
        out.push_str(&format!("{indent}{tag}/>\n"));
        return;
    }
    out.push_str(&format!("{indent}{tag}>\n"));
    node.children().for_each(|c| write_banners(c, rights, depth + 1, Some(right), out));
    out.push_str(&format!("{indent}</{}>\n", node.name()));
}

/// Elements in a namespace that says what the user may do, where that differs from the one above.
fn write_marked(
    node: Node<'_>,
    rights: &[Access],
    depth: usize,
    above: Option<Access>,
    out: &mut String,
) {
    let right = rights[node.id().index()];
    let name = |right| match right {
        Access::Write => "pcmk-access-writable",
        Access::Read => "pcmk-access-readable",
        Access::Denied => "pcmk-access-denied",
    };
    let prefix = if above == Some(right) { String::new() } else { format!("{}:", name(right)) };
    let indent = "  ".repeat(depth);
    let mut tag = tag_of(node, &prefix);
    if above.is_none() {
        for right in [Access::Write, Access::Read, Access::Denied] {
            let name = name(right);
            let kind = name.rsplit('-').next().unwrap_or_default();
            tag.push_str(&format!(
                " xmlns:{name}=\"http://clusterlabs.org/ns/pacemaker/access/{kind}\""
            ));
        }
    }
    if node.children().next().is_none() {
        out.push_str(&format!("{indent}{tag}/>\n"));
        return;
    }
    out.push_str(&format!("{indent}{tag}>\n"));
    node.children().for_each(|c| write_marked(c, rights, depth + 1, Some(right), out));
    out.push_str(&format!("{indent}</{prefix}{}>\n", node.name()));
}
