//! The metadata document, in the shape fence agents have.

use super::options::{Kind, SPECS, Spec};

const SHORT: &str = "Fence agent for IPMI 2.0";
const LONG: &str = "Switches a host's power through its BMC, speaking IPMI 2.0 (RMCP+, cipher \
    suites 3 and 17) itself. Success always means that the BMC was asked for the power state \
    afterwards and told the wanted one.";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// One `parameter` element; `old` for the deprecated name of the same option.
fn parameter(spec: &Spec, old: bool) -> String {
    let (name, note) = match (spec.old_name, old) {
        (Some(old_name), true) => (old_name, " deprecated=\"1\"".to_owned()),
        (Some(old_name), false) => (spec.name, format!(" obsoletes=\"{old_name}\"")),
        (None, _) => (spec.name, String::new()),
    };
    let required = u8::from(spec.required);
    let short = spec.short.map(|letter| format!("-{letter}, ")).unwrap_or_default();
    let value = if spec.takes_value() { format!("=[{}]", spec.value) } else { String::new() };
    let kind = match spec.kind {
        Kind::Text => "string",
        Kind::Integer => "integer",
        Kind::Seconds => "second",
        Kind::Switch => "boolean",
        Kind::Choice(_) => "select",
    };
    let default = spec.default.map(|text| format!(" default=\"{}\"", escape(text)));
    let default = default.unwrap_or_default();
    let content = match spec.kind {
        Kind::Choice(choices) => {
            let options: String = choices
                .iter()
                .map(|choice| format!("\t\t\t<option value=\"{choice}\" />\n"))
                .collect();
            format!("<content type=\"{kind}\"{default} >\n{options}\t\t</content>")
        }
        _ => format!("<content type=\"{kind}\"{default} />"),
    };
    format!(
        "\t<parameter name=\"{name}\" unique=\"0\" required=\"{required}\"{note}>\n\
         \t\t<getopt mixed=\"{short}--{}{value}\" />\n\
         \t\t{content}\n\
         \t\t<shortdesc lang=\"en\">{}</shortdesc>\n\
         \t</parameter>\n",
        spec.long,
        escape(spec.text)
    )
}

/// The whole document.
pub(super) fn xml(name: &str) -> String {
    let mut parameters = String::new();
    for spec in SPECS {
        if spec.old_name.is_some() {
            parameters.push_str(&parameter(spec, true));
        }
        parameters.push_str(&parameter(spec, false));
    }
    let actions = [
        "name=\"on\" automatic=\"0\"",
        "name=\"off\"",
        "name=\"reboot\"",
        "name=\"status\"",
        "name=\"monitor\"",
        "name=\"list\"",
        "name=\"list-status\"",
        "name=\"metadata\"",
        "name=\"manpage\"",
        "name=\"validate-all\"",
        "name=\"diag\"",
    ];
    let actions: String = actions.iter().map(|action| format!("\t<action {action} />\n")).collect();
    format!(
        "<?xml version=\"1.0\" ?>\n\
         <resource-agent name=\"{name}\" shortdesc=\"{SHORT}\" >\n\
         <longdesc>{}</longdesc>\n\
         <vendor-url></vendor-url>\n\
         <parameters>\n{parameters}</parameters>\n\
         <actions>\n{actions}</actions>\n\
         </resource-agent>",
        escape(LONG)
    )
}
