//! What programs ask of the field's daemons without a cluster: options and versions.

use cib_model::{OPTIONS, OptionDef, Part};

use crate::args::{Given, Opt, flag};
use crate::exit;
use crate::options::{self, Kind};
use crate::output::{Element, Out};

pub(crate) const OPTIONS_OF_DAEMONS: &[Opt] = &[flag("standalone", 's', "")];

pub(crate) const PACEMAKERD_OPTIONS: &[Opt] = &[
    flag("features", 'F', "What the cluster can do"),
    flag("foreground", 'f', ""),
    flag("shutdown", 'S', ""),
];

pub(crate) const COROSYNC_OPTIONS: &[Opt] = &[
    flag("show-version", 'v', "The version"),
    flag("foreground", 'f', ""),
    flag("test-config", 't', ""),
];

/// The release of the field's software that programs can take this one for.
const RELEASE: &str = "3.0.2";
/// The same for the membership layer.
const MEMBERSHIP_RELEASE: &str = "3.1.9";

/// What the cluster can do, for programs that ask before they use it.
const FEATURES: &str = "corosync-ge-2 monotonic systemd";

/// The line that `cibadmin -!` prints.
pub(crate) fn features_text() -> String {
    let own = env!("CARGO_PKG_VERSION");
    format!("Pacemaker {RELEASE} (Build: Systole-{own}): {FEATURES}")
}

/// How a version is told: programs search for the number of a release after the name.
pub(crate) fn version_text(name: &str) -> Option<String> {
    let own = env!("CARGO_PKG_VERSION");
    Some(match name {
        "corosync" => {
            format!("Corosync Cluster Engine, version '{MEMBERSHIP_RELEASE}' (Systole {own})")
        }
        _ if name.starts_with("corosync-") || name.starts_with("systole") => return None,
        _ => format!("Pacemaker {RELEASE} (Systole {own})"),
    })
}

/// A daemon under its own name. The daemons are one program that is started as `systole daemon`, so
/// only questions are answered.
pub(crate) fn daemon(given: &Given, out: &mut Out) -> i32 {
    let name = out.tool.clone();
    match given.rest.first().map(String::as_str) {
        Some("metadata") => {
            out.print(&metadata(&name).to_text());
            exit::OK
        }
        Some("version") => {
            let feature_set = cib_model::FEATURE_SET;
            let own = env!("CARGO_PKG_VERSION");
            out.line(&format!("CRM Version: {RELEASE} (Systole {own}, {feature_set})"));
            exit::OK
        }
        _ => not_started(&name, out),
    }
}

pub(crate) fn pacemakerd(given: &Given, out: &mut Out) -> i32 {
    if !given.has("features") {
        return not_started("pacemakerd", out);
    }
    let feature_set = cib_model::FEATURE_SET;
    let own = env!("CARGO_PKG_VERSION");
    out.line(&format!("Pacemaker {RELEASE} (Systole {own})"));
    out.line(&format!(" Supporting v{feature_set}: {FEATURES}"));
    let mut features = Element::new("features");
    FEATURES.split(' ').for_each(|name| features.push(Element::new("feature").text(name)));
    out.xml(
        Element::new("pacemakerd")
            .attr("version", RELEASE)
            .attr("build", format!("Systole {own}"))
            .attr("feature_set", feature_set)
            .child(features),
    );
    exit::OK
}

pub(crate) fn corosync(given: &Given, out: &mut Out) -> i32 {
    if !given.has("show-version") {
        return not_started("corosync", out);
    }
    version_text("corosync").into_iter().for_each(|text| out.line(&text));
    exit::OK
}

fn not_started(name: &str, out: &mut Out) -> i32 {
    out.fail(&format!("{name} is part of the one daemon: start it with 'systole daemon'"));
    exit::USAGE
}

fn metadata(daemon: &str) -> Element {
    let (part, about) = match daemon {
        "pacemaker-based" => (Some(Part::Cib), "Cluster options of the part that keeps the CIB"),
        "pacemaker-controld" => {
            (Some(Part::Controller), "Cluster options of the part that carries plans out")
        }
        "pacemaker-schedulerd" => (Some(Part::Scheduler), "Cluster options of the part that plans"),
        _ => (None, "Parameters that all fencing devices have"),
    };
    let mut parameters = Element::new("parameters");
    match part {
        Some(part) => {
            let own = OPTIONS.iter().filter(|o| o.part == part);
            own.flat_map(names).for_each(|e| parameters.push(e));
        }
        None => options::rows(Kind::Fencing).iter().for_each(|row| {
            parameters.push(parameter(row.name, row.about, "string", row.default, &[]));
        }),
    }
    let text = |tag: &str| Element::new(tag).attr("lang", "en").text(about);
    Element::new("resource-agent")
        .attr("name", daemon)
        .attr("version", RELEASE)
        .child(Element::new("version").text("1.1"))
        .child(text("longdesc"))
        .child(text("shortdesc"))
        .child(parameters)
}

/// An option under its name and the one that it had before: programs may know either.
fn names(option: &OptionDef) -> Vec<Element> {
    let each =
        |name| parameter(name, option.about, option.kind(), option.default, option.choices());
    std::iter::once(option.name).chain(option.former).map(each).collect()
}

fn parameter(
    name: &str,
    about: &str,
    kind: &str,
    default: Option<&str>,
    choices: &[&str],
) -> Element {
    let long = match choices {
        [] => about.to_string(),
        list => format!("{about}  Allowed values: {}", list.join(", ")),
    };
    // Agents' meta-data has one type for everything that lasts.
    let kind = if kind == "duration" { "time" } else { kind };
    let mut content = Element::new("content").attr("type", kind).maybe("default", default);
    choices.iter().for_each(|c| content.push(Element::new("option").attr("value", c)));
    Element::new("parameter")
        .attr("name", name)
        .child(Element::new("longdesc").attr("lang", "en").text(long))
        .child(Element::new("shortdesc").attr("lang", "en").text(about))
        .child(content)
}

#[cfg(test)]
mod tests {
    use super::{metadata, version_text};

    #[test]
    fn options_are_found_under_both_of_their_names() {
        let text = metadata("pacemaker-schedulerd").to_text();
        for name in ["fencing-enabled", "stonith-enabled", "no-quorum-policy"] {
            assert!(text.contains(&format!("<parameter name=\"{name}\">")), "{name}");
        }
        assert!(text.contains("<option value=\"freeze\"/>"));
        assert!(!text.contains("name=\"enable-acl\""));
        assert!(metadata("pacemaker-based").to_text().contains("name=\"enable-acl\""));
        assert!(metadata("pacemaker-fenced").to_text().contains("name=\"pcmk_host_list\""));
    }

    #[test]
    fn versions_start_as_programs_expect() {
        let text = version_text("crm_mon").expect("the field's tool");
        assert!(text.starts_with("Pacemaker 3."), "{text}");
    }
}
