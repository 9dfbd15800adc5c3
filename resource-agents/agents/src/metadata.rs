//! Agents' descriptions and their XML form.

use std::fmt::Write;

/// Type of a parameter's value as the metadata names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Integer,
    Boolean,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
        }
    }
}

/// One parameter.
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: Option<&'static str>,
    pub(crate) required: bool,
    pub(crate) unique: bool,
    /// A change needs no restart, only the `reload-agent` action.
    pub(crate) reloadable: bool,
    pub(crate) short: &'static str,
    pub(crate) long: &'static str,
}

impl Parameter {
    /// A parameter that is neither required nor unique nor reloadable.
    pub(crate) const fn new(
        name: &'static str,
        kind: Kind,
        default: Option<&'static str>,
        short: &'static str,
        long: &'static str,
    ) -> Self {
        Self { name, kind, default, required: false, unique: false, reloadable: false, short, long }
    }

    pub(crate) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub(crate) const fn unique(mut self) -> Self {
        self.unique = true;
        self
    }

    pub(crate) const fn reloadable(mut self) -> Self {
        self.reloadable = true;
        self
    }
}

/// One supported action with its suggested time limit and, for monitors, interval, in seconds.
pub(crate) struct Action {
    pub(crate) name: &'static str,
    pub(crate) timeout_s: u32,
    pub(crate) interval_s: Option<u32>,
    pub(crate) role: Option<&'static str>,
}

impl Action {
    pub(crate) const fn new(name: &'static str, timeout_s: u32) -> Self {
        Self { name, timeout_s, interval_s: None, role: None }
    }

    pub(crate) const fn monitor(
        timeout_s: u32,
        interval_s: u32,
        role: Option<&'static str>,
    ) -> Self {
        Self { name: "monitor", timeout_s, interval_s: Some(interval_s), role }
    }
}

/// A whole agent's description.
pub(crate) struct Metadata {
    pub(crate) name: &'static str,
    pub(crate) short: &'static str,
    pub(crate) long: &'static str,
    pub(crate) parameters: &'static [Parameter],
    pub(crate) actions: &'static [Action],
}

/// The document type of OCF 1.0 as agents declare it, widened in place by what OCF 1.1 added, so
/// that checkers which only know the 1.0 definition accept the document.
const DOCUMENT_TYPE: &str = r#"<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd" [
<!ATTLIST action name CDATA #REQUIRED>
<!ATTLIST parameter reloadable (1|0) "0">
]>"#;

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

impl Metadata {
    /// Finds a parameter's description.
    pub(crate) fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    /// Whether the agent knows the action.
    pub(crate) fn supports(&self, action: &str) -> bool {
        self.actions.iter().any(|known| known.name == action)
    }

    /// One line for people who start the agent without an action.
    pub(crate) fn usage(&self) -> String {
        let mut names: Vec<&str> = self.actions.iter().map(|action| action.name).collect();
        names.dedup();
        format!("usage: {} ({})", self.name, names.join("|"))
    }

    /// The document the `meta-data` action prints.
    pub(crate) fn to_xml(&self) -> String {
        let mut xml = format!(
            "<?xml version=\"1.0\"?>\n{DOCUMENT_TYPE}\n<resource-agent name=\"{}\" \
             version=\"{}\">\n<version>1.1</version>\n",
            self.name,
            env!("CARGO_PKG_VERSION")
        );
        let out = &mut xml;
        describe(out, self.long, self.short);
        put(out, "<parameters>");
        for parameter in self.parameters {
            put(
                out,
                &format!(
                    "<parameter name=\"{}\" required=\"{}\" unique=\"{}\" reloadable=\"{}\">",
                    parameter.name,
                    u8::from(parameter.required),
                    u8::from(parameter.unique),
                    u8::from(parameter.reloadable)
                ),
            );
            describe(out, parameter.long, parameter.short);
            let default = parameter
                .default
                .map(|text| format!(" default=\"{}\"", escape(text)))
                .unwrap_or_default();
            put(out, &format!("<content type=\"{}\"{default}/>", parameter.kind.name()));
            put(out, "</parameter>");
        }
        put(out, "</parameters>\n<actions>");
        for action in self.actions {
            let interval =
                action.interval_s.map(|s| format!(" interval=\"{s}s\"")).unwrap_or_default();
            let depth = if action.name == "monitor" { " depth=\"0\"" } else { "" };
            let role = action.role.map(|role| format!(" role=\"{role}\"")).unwrap_or_default();
            put(
                out,
                &format!(
                    "<action name=\"{}\" timeout=\"{}s\"{interval}{depth}{role}/>",
                    action.name, action.timeout_s
                ),
            );
        }
        put(out, "</actions>\n</resource-agent>");
        xml
    }
}

fn put(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

fn describe(out: &mut String, long: &str, short: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "<longdesc lang=\"en\">{}</longdesc>", escape(long));
    let _ = writeln!(out, "<shortdesc lang=\"en\">{}</shortdesc>", escape(short));
}
