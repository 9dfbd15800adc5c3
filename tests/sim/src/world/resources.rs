//! What the simulated cluster runs, and its configuration.

use std::collections::BTreeMap;

use cib_store::{Operation, Target};
use crm_api::Request;
use membership_base::NodeId;

/// May run once only. `db` is migrated live; `web` is started after it; `shop` is a group, with an
/// address that has to be where the group is; `temp` comes and goes with the configuration.
pub(super) const ONCE: [&str; 7] = ["vip", "temp", "db", "web", "shop-fs", "shop-app", "shop-vip"];

/// Anonymous clones, one instance on each node: `mnt` is started after `net` on the same node
/// (`interleave`), `pg` is promoted on one.
pub(super) const CLONED: [&str; 3] = ["net", "mnt", "pg"];

/// Which of them a run has. All of them in every run would take too long.
#[derive(Clone, Copy)]
pub(super) struct Cast {
    shop: bool,
    net: bool,
    pg: bool,
}

impl Cast {
    /// That of a seed.
    pub(super) fn of(seed: u64) -> Cast {
        let all = seed.is_multiple_of(7);
        let is = |n| all || seed % 7 % 3 == n;
        Cast { shop: is(0), net: is(1), pg: is(2) }
    }

    /// One that has these.
    pub(super) fn with(names: &[&str]) -> Cast {
        let has = |name| names.contains(&name);
        Cast { shop: has("shop"), net: has("net"), pg: has("pg") }
    }

    fn has(self, id: &str) -> bool {
        match id.split('-').next() {
            Some("shop") => self.shop,
            Some("net" | "mnt") => self.net,
            Some("pg") => self.pg,
            _ => true,
        }
    }

    /// What may run once only.
    pub(super) fn once(self) -> impl Iterator<Item = &'static str> {
        let promoted = self.pg.then_some(PROMOTED);
        ONCE.into_iter().filter(move |id| self.has(id)).chain(promoted)
    }

    /// The clones.
    pub(super) fn cloned(self) -> impl Iterator<Item = &'static str> {
        CLONED.into_iter().filter(move |id| self.has(id))
    }

    /// All primitives.
    pub(super) fn primitives(self) -> impl Iterator<Item = &'static str> {
        ONCE.into_iter().chain(CLONED).filter(move |id| self.has(id))
    }

    fn wish(self, nth: usize) -> (&'static str, &'static str) {
        let all: Vec<_> = WISHES.into_iter().filter(|(_, id)| self.has(id)).collect();
        all[nth % all.len()]
    }
}

/// The promoted role of `pg`: something that may be active once only.
pub(super) const PROMOTED: &str = "pg (promoted)";

/// What an operator starts, stops and moves.
const WISHES: [(&str, &str); 6] = [
    ("primitive", "vip"),
    ("primitive", "temp"),
    ("primitive", "db"),
    ("primitive", "web"),
    ("group", "shop"),
    ("clone", "pg-clone"),
];

/// `then` is not started during a change of `first`.
const ORDERS: [Order; 4] = [
    Order { first: "db", then: "web", per_node: false },
    Order { first: "shop-fs", then: "shop-app", per_node: false },
    Order { first: "shop-app", then: "shop-vip", per_node: false },
    Order { first: "net", then: "mnt", per_node: true },
];

struct Order {
    first: &'static str,
    then: &'static str,
    per_node: bool,
}

/// Whether a start of `then` has to wait for `first`, on the same node or on any.
pub(super) fn starts_after(then: &str, first: &str, same_node: bool) -> bool {
    let waits = |o: &Order| o.first == first && o.then == then && (same_node || !o.per_node);
    ORDERS.iter().any(waits)
}

/// A resource's name without the number of the instance.
pub(super) fn base(id: &str) -> &str {
    id.split(':').next().unwrap_or(id)
}

/// What an operator asks for: the `nth` of all, whether started or stopped.
pub(super) fn role_of(cast: Cast, nth: usize, role: &str) -> (&'static str, Request) {
    let (element, id) = cast.wish(nth);
    if id == "temp" {
        return (id, temp(role == "Started"));
    }
    let xml = format!(
        "<resources><{element} id=\"{id}\"><meta_attributes id=\"{id}-meta\"><nvpair \
         id=\"{id}-role\" name=\"target-role\" value=\"{role}\"/></meta_attributes></{element}>\
         </resources>"
    );
    (id, modify("resources", xml))
}

/// What an operator asks for: the `nth` of all, on that node.
pub(super) fn move_to(cast: Cast, nth: usize, node: u64) -> (&'static str, Request) {
    let (element, id) = cast.wish(nth);
    // A constraint would keep it from being removed.
    if id == "temp" {
        return (id, temp(node.is_multiple_of(2)));
    }
    let role = if element == "clone" { "role=\"Promoted\" " } else { "" };
    let xml = format!(
        "<constraints><rsc_location id=\"move-{id}\" rsc=\"{id}\" {role}node=\"node{node}\" \
         score=\"100\"/></constraints>"
    );
    (id, modify("constraints", xml))
}

/// Whether the agent of a resource does to it only what its parameter names.
pub(super) fn has_parameter(id: &str) -> bool {
    ONCE.contains(&id) || CLONED.contains(&id)
}

/// An operator gives the `nth` of all another parameter.
pub(super) fn retune(cast: Cast, nth: usize, at: u64) -> (&'static str, Request) {
    // What is not configured at the time is not made by it.
    let all: Vec<_> = cast.primitives().filter(|id| *id != "temp").collect();
    let id = all[nth % all.len()];
    let primitive = format!(
        "<primitive id=\"{id}\"><instance_attributes id=\"{id}-params\"><nvpair id=\"{id}-at\" \
         name=\"at\" value=\"{at}\"/></instance_attributes></primitive>"
    );
    let inner = match id {
        "shop-fs" | "shop-app" => format!("<group id=\"shop\">{primitive}</group>"),
        "net" | "mnt" | "pg" => format!("<clone id=\"{id}-clone\">{primitive}</clone>"),
        _ => primitive,
    };
    (id, modify("resources", format!("<resources>{inner}</resources>")))
}

/// Makes `temp`, or removes it while it may run.
fn temp(there: bool) -> Request {
    if there {
        return modify("resources", format!("<resources>{}</resources>", primitive("temp", &[])));
    }
    let target = Target::Section("resources".to_owned());
    let xml = "<primitive id=\"temp\"/>".to_owned();
    Request::Cib { operation: Operation::Delete { target, xml: Some(xml) }, force: false }
}

fn modify(section: &str, xml: String) -> Request {
    let target = Target::Section(section.to_owned());
    let operation = Operation::Modify { target, xml, allow_create: true, score: false };
    Request::Cib { operation, force: false }
}

fn meta(id: &str, options: &[(&str, &str)]) -> String {
    let mut xml = format!("<meta_attributes id=\"{id}-meta\">");
    for (name, value) in options {
        xml.push_str(&format!("<nvpair id=\"{id}-{name}\" name=\"{name}\" value=\"{value}\"/>"));
    }
    xml + "</meta_attributes>"
}

fn primitive(id: &str, options: &[(&str, &str)]) -> String {
    let monitors = match id {
        "pg" => "<op id=\"pg-monitor\" name=\"monitor\" interval=\"3s\" timeout=\"5s\" \
                 role=\"Promoted\"/><op id=\"pg-watch\" name=\"monitor\" interval=\"4s\" \
                 timeout=\"5s\" role=\"Unpromoted\"/>"
            .to_owned(),
        _ => {
            let interval = if CLONED.contains(&id) { 3 } else { 1 };
            format!(
                "<op id=\"{id}-monitor\" name=\"monitor\" interval=\"{interval}s\" \
                 timeout=\"5s\"/>"
            )
        }
    };
    format!(
        "<primitive id=\"{id}\" class=\"ocf\" provider=\"sim\" type=\"Any\">{}\
         <instance_attributes id=\"{id}-params\"><nvpair id=\"{id}-at\" name=\"at\" value=\"0\"/>\
         </instance_attributes><operations>\
         {monitors}<op id=\"{id}-start\" name=\"start\" interval=\"0\" timeout=\"90s\"/>\
         </operations></primitive>",
        meta(id, options)
    )
}

fn clone(id: &str, options: &[(&str, &str)]) -> String {
    let clone = format!("{id}-clone");
    format!("<clone id=\"{clone}\">{}{}</clone>", meta(&clone, options), primitive(id, &[]))
}

/// The cluster's configuration.
pub(super) fn load(cast: Cast, names: &BTreeMap<NodeId, String>) -> Request {
    let hosts = names.values().cloned().collect::<Vec<_>>().join(" ");
    let nodes: String =
        names.iter().map(|(id, name)| format!("<node id=\"{id}\" uname=\"{name}\"/>")).collect();
    let mut resources = primitive("vip", &[])
        + &primitive("temp", &[])
        + &primitive("db", &[("allow-migrate", "true")])
        + &primitive("web", &[]);
    let mut constraints = "<rsc_order id=\"db-web\" first=\"db\" then=\"web\"/>".to_owned();
    if cast.shop {
        let members = primitive("shop-fs", &[]) + &primitive("shop-app", &[]);
        resources += &format!("<group id=\"shop\">{members}</group>");
        resources += &primitive("shop-vip", &[]);
        constraints += "<rsc_order id=\"shop-address\" first=\"shop\" then=\"shop-vip\"/>\
            <rsc_colocation id=\"address-shop\" rsc=\"shop-vip\" with-rsc=\"shop\" \
            score=\"INFINITY\"/>";
    }
    if cast.net {
        resources += &clone("net", &[("interleave", "true")]);
        resources += &clone("mnt", &[("interleave", "true")]);
        constraints += "<rsc_order id=\"net-mnt\" first=\"net-clone\" then=\"mnt-clone\"/>\
            <rsc_colocation id=\"mnt-with-net\" rsc=\"mnt-clone\" with-rsc=\"net-clone\" \
            score=\"INFINITY\"/>";
    }
    if cast.pg {
        resources += &clone("pg", &[("promotable", "true"), ("notify", "true")]);
    }
    let xml = format!(
        "<configuration><crm_config/><nodes>{nodes}</nodes><resources>{resources}<primitive \
         id=\"fence\" class=\"stonith\" type=\"fence_sim\"><instance_attributes id=\"fence-p\">\
         <nvpair id=\"fence-h\" name=\"pcmk_host_list\" value=\"{hosts}\"/></instance_attributes>\
         </primitive></resources><constraints>{constraints}</constraints></configuration>"
    );
    let target = Target::Section("configuration".to_owned());
    Request::Cib { operation: Operation::Replace { target, xml }, force: false }
}
