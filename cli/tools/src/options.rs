//! Lists of the options that the cluster knows.

use cib_model::OPTIONS;

use crate::output::{Element, Out};

/// Which options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Cluster options, in `crm_config`.
    Cluster,
}

/// Options that only experts need.
const ADVANCED: [&str; 9] = [
    "election-timeout",
    "shutdown-escalation",
    "join-integration-timeout",
    "join-finalization-timeout",
    "transition-delay",
    "enable-startup-probes",
    "startup-fencing",
    "stop-removed-resources",
    "cancel-removed-actions",
];

/// Prints the options of a kind.
pub fn list(kind: Kind, all: bool, out: &mut Out) {
    let Kind::Cluster = kind;
    out.line("Cluster options\n");
    let mut parameters = Element::new("parameters");
    for option in OPTIONS {
        let advanced = ADVANCED.contains(&option.name);
        let default = match option.default {
            Some(default) => format!("(default: {default})"),
            None => "(no default)".to_string(),
        };
        if all || !advanced {
            out.line(&format!("  * {} {default}", option.name));
            if let Some(former) = option.former {
                out.line(&format!("    * formerly {former}"));
            }
        }
        let content = Element::new("content").attr("type", "string");
        parameters.push(
            Element::new("parameter")
                .attr("name", option.name)
                .attr("advanced", i32::from(advanced))
                .attr("generated", 0)
                .child(content.maybe("default", option.default)),
        );
    }
    let version = Element::new("version").text("1.1");
    let agent = Element::new("resource-agent").attr("name", "cluster-options");
    out.xml(agent.attr("version", env!("CARGO_PKG_VERSION")).child(version).child(parameters));
}
