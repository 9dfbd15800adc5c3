//! Lists of the options that the cluster knows.

use cib_model::OPTIONS;

use crate::output::{Element, Out};

/// Which options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Cluster options, in `crm_config`.
    Cluster,
    /// Parameters of fencing devices that the fencer reads.
    Fencing,
    /// Meta-attributes of primitives.
    Primitive,
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
    if kind != Kind::Cluster {
        return list_names(kind, all, out);
    }
    out.line("Cluster options\n");
    let mut parameters = Element::new("parameters");
    for option in OPTIONS {
        let advanced = ADVANCED.contains(&option.name);
        let default = match option.default {
            Some(default) => format!("(default: {default})"),
            None => "(no default)".to_string(),
        };
        if all || !advanced {
            out.line(&format!("  * {}: {} {default}", option.name, option.about));
            if let Some(former) = option.former {
                out.line(&format!("    * formerly {former}"));
            }
        }
        let content = Element::new("content").attr("type", option.kind());
        let choices = option.choices().iter().map(|c| Element::new("option").attr("value", c));
        let content = choices.fold(content.maybe("default", option.default), Element::child);
        parameters.push(
            Element::new("parameter")
                .attr("name", option.name)
                .attr("advanced", i32::from(advanced))
                .attr("generated", 0)
                .child(Element::new("longdesc").attr("lang", "en").text(option.about))
                .child(Element::new("shortdesc").attr("lang", "en").text(option.about))
                .child(content),
        );
    }
    let version = Element::new("version").text("1.1");
    let agent = Element::new("resource-agent").attr("name", "cluster-options");
    out.xml(agent.attr("version", env!("CARGO_PKG_VERSION")).child(version).child(parameters));
}

/// An option that is no cluster option.
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Its value where none is set.
    pub default: Option<&'static str>,
    /// Whether it is for experts.
    pub advanced: bool,
    /// What it is for.
    pub about: &'static str,
}

const fn row(
    name: &'static str,
    default: Option<&'static str>,
    advanced: bool,
    about: &'static str,
) -> Row {
    Row { name, default, advanced, about }
}

const PRIMITIVE: [Row; 14] = [
    row("priority", Some("0"), false, "Which resources to stop first when not all can run"),
    row(
        "critical",
        Some("true"),
        false,
        "Whether the resource takes others of its group or colocation with it when it cannot run",
    ),
    row("target-role", Some("Started"), false, "What the cluster keeps the resource in"),
    row("is-managed", Some("true"), false, "Whether the cluster may start and stop it"),
    row(
        "maintenance",
        Some("false"),
        false,
        "Whether the cluster leaves it alone, and does not look at it either",
    ),
    row("resource-stickiness", None, false, "How strongly it stays where it is"),
    row("requires", None, false, "What has to be the case before it starts"),
    row(
        "migration-threshold",
        Some("INFINITY"),
        false,
        "After how many failures a node is avoided",
    ),
    row("failure-timeout", Some("0"), false, "After what time failures are forgotten"),
    row(
        "multiple-active",
        Some("stop_start"),
        false,
        "What to do when it is found active on several nodes",
    ),
    row("allow-migrate", None, false, "Whether it is moved live where that is possible"),
    row(
        "allow-unhealthy-nodes",
        Some("false"),
        false,
        "Whether it may stay on a node that is not well",
    ),
    row(
        "container-attribute-target",
        None,
        false,
        "Whose node attributes count for what runs in a container",
    ),
    row("remote-node", None, false, "Name of the node that this resource makes"),
];

const FENCING: [Row; 12] = [
    row(
        "pcmk_host_argument",
        None,
        true,
        "The parameter of the agent that gets the name of the node to fence",
    ),
    row(
        "pcmk_host_map",
        None,
        false,
        "What the device calls nodes: node:plug pairs with semicolons between them",
    ),
    row("pcmk_host_list", None, false, "Nodes that the device can fence"),
    row(
        "pcmk_host_check",
        None,
        false,
        "How the cluster finds out which nodes the device can fence",
    ),
    row("pcmk_delay_max", Some("0s"), false, "Random delay before fencing: at most this"),
    row(
        "pcmk_delay_base",
        Some("0s"),
        false,
        "Fixed delay before fencing, also by node: node:delay pairs",
    ),
    row(
        "pcmk_action_limit",
        Some("1"),
        false,
        "How many actions the device takes at a time, -1 for any number",
    ),
    row("pcmk_reboot_action", Some("reboot"), true, "What the agent calls rebooting"),
    row("pcmk_reboot_timeout", Some("60s"), true, "How long a reboot may take"),
    row("pcmk_off_action", Some("off"), true, "What the agent calls switching off"),
    row("pcmk_off_timeout", Some("60s"), true, "How long switching off may take"),
    row("pcmk_status_timeout", Some("60s"), true, "How long asking for the state may take"),
];

/// The options of a kind that is not [`Kind::Cluster`].
pub fn rows(kind: Kind) -> &'static [Row] {
    match kind {
        Kind::Fencing => &FENCING,
        Kind::Primitive => &PRIMITIVE,
        Kind::Cluster => &[],
    }
}

fn list_names(kind: Kind, all: bool, out: &mut Out) {
    let (title, name) = match kind {
        Kind::Fencing => ("Fencing resource common parameters", "fence-attributes"),
        _ => ("Primitive meta-attributes", "primitive-meta"),
    };
    out.line(&format!("{title}\n"));
    let mut parameters = Element::new("parameters");
    for Row { name: option, default, advanced, about } in rows(kind) {
        if all || !advanced {
            let default = default.map_or("no default".into(), |d| format!("default: {d}"));
            out.line(&format!("  * {option}: {about} ({default})"));
        }
        let content = Element::new("content").attr("type", "string");
        parameters.push(
            Element::new("parameter")
                .attr("name", option)
                .attr("advanced", i32::from(*advanced))
                .attr("generated", 0)
                .child(Element::new("longdesc").attr("lang", "en").text(*about))
                .child(Element::new("shortdesc").attr("lang", "en").text(*about))
                .child(content.maybe("default", *default)),
        );
    }
    let version = Element::new("version").text("1.1");
    let agent = Element::new("resource-agent").attr("name", name);
    out.xml(agent.attr("version", env!("CARGO_PKG_VERSION")).child(version).child(parameters));
}
