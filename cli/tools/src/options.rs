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

/// Name, default, whether it is for experts.
type Row = (&'static str, Option<&'static str>, bool);

const PRIMITIVE: [Row; 14] = [
    ("priority", Some("0"), false),
    ("critical", Some("true"), false),
    ("target-role", Some("Started"), false),
    ("is-managed", Some("true"), false),
    ("maintenance", Some("false"), false),
    ("resource-stickiness", None, false),
    ("requires", None, false),
    ("migration-threshold", Some("INFINITY"), false),
    ("failure-timeout", Some("0"), false),
    ("multiple-active", Some("stop_start"), false),
    ("allow-migrate", None, false),
    ("allow-unhealthy-nodes", Some("false"), false),
    ("container-attribute-target", None, false),
    ("remote-node", None, false),
];

const FENCING: [Row; 12] = [
    ("pcmk_host_argument", None, true),
    ("pcmk_host_map", None, false),
    ("pcmk_host_list", None, false),
    ("pcmk_host_check", None, false),
    ("pcmk_delay_max", Some("0s"), false),
    ("pcmk_delay_base", Some("0s"), false),
    ("pcmk_action_limit", Some("1"), false),
    ("pcmk_reboot_action", Some("reboot"), true),
    ("pcmk_reboot_timeout", Some("60s"), true),
    ("pcmk_off_action", Some("off"), true),
    ("pcmk_off_timeout", Some("60s"), true),
    ("pcmk_status_timeout", Some("60s"), true),
];

fn list_names(kind: Kind, all: bool, out: &mut Out) {
    let (title, name, rows): (_, _, &[Row]) = match kind {
        Kind::Fencing => ("Fencing resource common parameters", "fence-attributes", &FENCING),
        _ => ("Primitive meta-attributes", "primitive-meta", &PRIMITIVE),
    };
    out.line(&format!("{title}\n"));
    let mut parameters = Element::new("parameters");
    for (option, default, advanced) in rows {
        if all || !advanced {
            let default = default.map_or("no default".into(), |d| format!("default: {d}"));
            out.line(&format!("  * {option} ({default})"));
        }
        let content = Element::new("content").attr("type", "string");
        parameters.push(
            Element::new("parameter")
                .attr("name", option)
                .attr("advanced", i32::from(*advanced))
                .attr("generated", 0)
                .child(content.maybe("default", *default)),
        );
    }
    let version = Element::new("version").text("1.1");
    let agent = Element::new("resource-agent").attr("name", name);
    out.xml(agent.attr("version", env!("CARGO_PKG_VERSION")).child(version).child(parameters));
}
