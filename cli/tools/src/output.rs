//! Results as text or XML.
//!
//! Tools describe their results once, as calls of [`Out`]; in text they are printed with nested
//! lists, in XML collected below `pacemaker-result` and closed with the exit status.

use std::io::Write;

use crate::args::{Given, quoted};
use crate::exit::exit_text;
use crate::html::Page;

/// Version of the XML results' schema that we follow.
pub const API_VERSION: &str = "2.38";

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Xml,
    /// A page, where the tool has one.
    Html,
    /// Not at all.
    Silent,
}

/// Part of an XML result.
#[derive(Clone, Debug)]
enum Part {
    Element(Element),
    Text(String),
    /// Text that is not escaped.
    Raw(String),
}

/// An element of an XML result.
#[derive(Clone, Debug)]
pub struct Element {
    name: String,
    attrs: Vec<(String, String)>,
    parts: Vec<Part>,
}

impl Element {
    /// An empty element.
    pub fn new(name: &str) -> Element {
        Element { name: name.into(), attrs: Vec::new(), parts: Vec::new() }
    }

    /// Whether it is called so.
    pub fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// Adds an attribute.
    pub fn attr(mut self, name: &str, value: impl ToString) -> Element {
        self.attrs.push((name.into(), value.to_string()));
        self
    }

    /// Adds an attribute if there is a value.
    pub fn maybe(self, name: &str, value: Option<impl ToString>) -> Element {
        match value {
            Some(value) => self.attr(name, value),
            None => self,
        }
    }

    /// Adds a child.
    pub fn child(mut self, child: Element) -> Element {
        self.push(child);
        self
    }

    /// Adds a child.
    pub fn push(&mut self, child: Element) {
        self.parts.push(Part::Element(child));
    }

    /// Adds text.
    pub fn text(mut self, text: impl Into<String>) -> Element {
        self.parts.push(Part::Text(text.into()));
        self
    }

    /// Adds text that is kept as it is.
    pub fn raw(mut self, text: impl Into<String>) -> Element {
        self.parts.push(Part::Raw(text.into()));
        self
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// A copy of an XML node.
    pub fn of(node: cib_xml::Node<'_>) -> Element {
        let mut out = Element::new(node.name());
        out.attrs = node.attrs().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        for child in node.all_children() {
            match child.kind() {
                cib_xml::Kind::Element => out.push(Element::of(child)),
                cib_xml::Kind::Text => out.parts.push(Part::Text(child.text().into())),
                cib_xml::Kind::Comment => {}
            }
        }
        out
    }

    fn write(&self, depth: usize, out: &mut String) {
        out.extend(std::iter::repeat_n("  ", depth));
        out.push('<');
        out.push_str(&self.name);
        for (name, value) in &self.attrs {
            out.push(' ');
            out.push_str(name);
            out.push_str("=\"");
            escape(value, true, out);
            out.push('"');
        }
        if self.parts.is_empty() {
            out.push_str("/>\n");
            return;
        }
        out.push('>');
        let elements = self.parts.iter().all(|p| matches!(p, Part::Element(_)));
        if elements {
            out.push('\n');
        }
        for part in &self.parts {
            match part {
                Part::Element(e) => e.write(if elements { depth + 1 } else { 0 }, out),
                Part::Text(t) => escape(t, false, out),
                Part::Raw(t) => {
                    out.push_str("<![CDATA[");
                    out.push_str(&t.replace("]]>", "]]]]><![CDATA[>"));
                    out.push_str("]]>");
                }
            }
        }
        if elements {
            out.extend(std::iter::repeat_n("  ", depth));
        }
        out.push_str("</");
        out.push_str(&self.name);
        out.push_str(">\n");
    }

    /// The element as XML text.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        self.write(0, &mut out);
        out
    }
}

fn escape(text: &str, in_attribute: bool, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' if in_attribute => out.push_str("&quot;"),
            '\n' | '\t' if !in_attribute => out.push(c),
            c if c.is_ascii_control() => out.push_str(&format!("&#x{:02X};", c as u32)),
            c => out.push(c),
        }
    }
}

/// Where a tool's results go.
pub struct Out {
    /// Name of the tool.
    pub tool: String,
    /// How results are written.
    pub format: Format,
    /// As little as possible.
    pub quiet: bool,
    /// How often `--verbose` was given.
    pub verbose: usize,
    request: String,
    stack: Vec<Element>,
    errors: Vec<String>,
    /// Errors are kept for who runs the tool, rather than printed.
    holds_errors: bool,
    /// Open lists: their title is printed with the first entry if it was not yet.
    lists: usize,
    /// Whether a spacer is due.
    spaced: bool,
    /// The file that is written to rather than the standard output.
    path: Option<String>,
    buffer: String,
    /// How a page is written.
    pub(crate) page: Page,
}

impl Out {
    /// For the command line of `tool`.
    ///
    /// # Errors
    /// If the format is unknown or the file cannot be made.
    pub fn new(tool: &str, args: &[String], given: &Given) -> Result<Out, String> {
        let format = match given.get("output-as") {
            None | Some("text" | "console") => Format::Text,
            Some("xml") => Format::Xml,
            Some("html") => Format::Html,
            Some("none") => Format::Silent,
            Some(other) => return Err(format!("Invalid value for --output-as: {other}")),
        };
        let path = given.get("output-to").filter(|path| *path != "-").map(str::to_string);
        if let Some(path) = &path {
            std::fs::write(path, "").map_err(|e| format!("Cannot open {path}: {e}"))?;
        }
        Ok(Out {
            tool: tool.into(),
            format,
            quiet: given.has("quiet"),
            verbose: given.count("verbose"),
            request: quoted(tool, args),
            stack: Vec::new(),
            errors: Vec::new(),
            holds_errors: false,
            lists: 0,
            spaced: false,
            path,
            buffer: String::new(),
            page: Page::of(given),
        })
    }

    /// For a tool that has nothing but text.
    pub fn plain(tool: &str) -> Out {
        Out {
            tool: tool.into(),
            format: Format::Text,
            quiet: false,
            verbose: 0,
            request: tool.into(),
            stack: Vec::new(),
            errors: Vec::new(),
            holds_errors: false,
            lists: 0,
            spaced: false,
            path: None,
            buffer: String::new(),
            page: Page::default(),
        }
    }

    /// Whether results are XML.
    pub fn is_xml(&self) -> bool {
        self.format == Format::Xml
    }

    /// Whether results are text, or a page made of it.
    fn is_text(&self) -> bool {
        matches!(self.format, Format::Text | Format::Html)
    }

    /// Prints text as it is; nothing in XML.
    pub fn print(&mut self, text: &str) {
        if self.is_text() {
            self.buffer.push_str(text);
            self.spaced = true;
        }
    }

    /// Prints a line, as an entry of the innermost open list.
    pub fn item(&mut self, text: &str) {
        if self.is_text() {
            if self.lists > 0 {
                self.buffer.extend(std::iter::repeat_n("  ", self.lists));
                self.buffer.push_str("* ");
            }
            self.buffer.push_str(text);
            self.buffer.push('\n');
            self.spaced = true;
        }
    }

    /// Prints a line without regard to lists.
    pub fn line(&mut self, text: &str) {
        if self.is_text() {
            self.buffer.push_str(text);
            self.buffer.push('\n');
            self.spaced = true;
        }
    }

    /// Opens a list with a title.
    pub fn open(&mut self, title: &str) {
        self.item(&format!("{title}:"));
        self.indent();
    }

    /// Opens a list without a title.
    pub fn indent(&mut self) {
        self.lists += 1;
        self.no_spacer();
    }

    /// An empty line, if something was printed before in the same list.
    pub fn spacer(&mut self) {
        if self.is_text() && self.spaced {
            self.buffer.push('\n');
        }
    }

    /// Leaves out the next spacer.
    pub fn no_spacer(&mut self) {
        self.spaced = false;
    }

    /// Closes the innermost list.
    pub fn close(&mut self) {
        self.lists = self.lists.saturating_sub(1);
        self.spaced = true;
    }

    /// Adds to the XML result.
    pub fn xml(&mut self, element: Element) {
        if self.format == Format::Xml {
            match self.stack.last_mut() {
                Some(top) => top.push(element),
                None => self.stack.push(Element::new("").child(element)),
            }
        }
    }

    /// Reports an error as it is.
    pub fn error(&mut self, text: &str) {
        if self.format == Format::Xml || self.holds_errors {
            self.errors.push(text.into());
        } else {
            self.flush();
            complain!("{text}");
        }
    }

    /// Reports why the tool fails, with its name in front.
    pub fn fail(&mut self, text: &str) {
        let text = format!("{}: {text}", self.tool);
        self.error(&text);
    }

    /// Keeps errors for [`Out::held_errors`].
    pub(crate) fn hold_errors(&mut self) {
        self.holds_errors = true;
    }

    /// The errors that were kept, on one line.
    pub(crate) fn held_errors(&mut self) -> String {
        std::mem::take(&mut self.errors).join("; ")
    }

    /// What was printed and not written out yet.
    pub(crate) fn take(&mut self) -> String {
        std::mem::take(&mut self.buffer)
    }

    /// Whether results go to a file.
    pub(crate) fn has_file(&self) -> bool {
        self.path.is_some()
    }

    /// Sends what is printed to this file.
    pub(crate) fn set_file(&mut self, path: &str) {
        self.path = Some(path.to_string());
    }

    /// Writes out what is there; a page only when it is whole.
    pub fn flush(&mut self) {
        if self.format == Format::Html {
            return;
        }
        let text = std::mem::take(&mut self.buffer);
        let written = match &self.path {
            Some(path) => std::fs::File::options()
                .append(true)
                .create(true)
                .open(path)
                .and_then(|mut file| file.write_all(text.as_bytes())),
            None => print_out(&text),
        };
        // A reader that went away needs no more.
        let _ = written;
    }

    /// Writes what was printed in place of what was written before, as a page if that is asked
    /// for.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn replace(&mut self) -> std::io::Result<()> {
        let mut text = std::mem::take(&mut self.buffer);
        if self.format == Format::Html {
            text = self.page.write(&self.tool, &text);
        }
        self.no_spacer();
        match &self.path {
            // Whoever reads the file sees a whole one.
            Some(path) => {
                let new = format!("{path}.new");
                std::fs::write(&new, text)?;
                std::fs::rename(&new, path)
            }
            None => print_out(&text),
        }
    }

    /// Ends the output with the exit status, which is returned.
    pub fn finish(&mut self, code: i32) -> i32 {
        if self.format == Format::Xml {
            let mut status =
                Element::new("status").attr("code", code).attr("message", exit_text(code));
            if !self.errors.is_empty() {
                let mut errors = Element::new("errors");
                for error in self.errors.drain(..) {
                    errors.push(Element::new("error").text(error));
                }
                status.push(errors);
            }
            let mut root = Element::new("pacemaker-result")
                .attr("api-version", API_VERSION)
                .attr("request", &self.request);
            for top in self.stack.drain(..) {
                root.parts.extend(top.parts);
            }
            root.push(status);
            self.buffer.push_str(&root.to_text());
        }
        if self.format == Format::Html {
            // A reader that went away needs no more.
            let _ = self.replace();
        } else {
            self.flush();
        }
        code
    }
}

fn print_out(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}
