//! Events that are assumed to have happened.

use super::Session;
use super::state::{Record, State};
use crate::args::Given;
use crate::exit;
use crate::input::Failure;
use crate::output::Element;
use crate::show::Cluster;

const EVENTS: [&str; 10] = [
    "quorum",
    "watchdog",
    "node-up",
    "node-down",
    "node-fail",
    "ticket-grant",
    "ticket-revoke",
    "ticket-standby",
    "ticket-activate",
    "op-inject",
];

/// Whether the command line has any.
pub(super) fn wanted(given: &Given) -> bool {
    EVENTS.iter().any(|event| given.has(event))
}

/// A result that somebody asks for: `RESOURCE_OPERATION_INTERVAL@NODE=CODE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec<'a> {
    pub(super) key: &'a str,
    pub(super) node: &'a str,
    pub(super) rc: i64,
}

impl<'a> Spec<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// How many of its three parts are there.
    pub(super) fn parse(text: &'a str) -> Result<Spec<'a>, u32> {
        let (key, rest) = text.split_once('@').filter(|(k, _)| !k.is_empty()).ok_or(0_u32)?;
        let (node, rc) = rest.split_once('=').filter(|(n, _)| !n.is_empty()).ok_or(1_u32)?;
        let rc = rc.trim().parse().map_err(|_| 2_u32)?;
        Ok(Spec { key, node, rc })
    }
}

impl Session<'_> {
    /// Makes the events happen.
    pub(super) fn inject(&mut self, state: &mut State, before: &Cluster) -> Result<(), Failure> {
        let given = self.given;
        let (quorum, watchdog) = (given.get("quorum"), given.get("watchdog"));
        let mut xml =
            Element::new("modifications").maybe("quorum", quorum).maybe("watchdog", watchdog);
        if !self.quiet {
            self.out.spacer();
            self.out.open("Performing Requested Modifications");
        }
        if let Some(quorum) = quorum {
            self.item(&format!("Setting quorum: {quorum}"));
            state.step(|doc| {
                let root = doc.root_id();
                doc.set_attr(root, "have-quorum", quorum);
            });
        }
        if let Some(watchdog) = watchdog {
            self.item(&format!("Setting watchdog: {watchdog}"));
            set_option(state, "have-watchdog", watchdog);
        }
        for (option, action) in
            [("node-up", "Online"), ("node-down", "Offline"), ("node-fail", "Failing")]
        {
            for node in given.all(option) {
                self.item(&match action {
                    "Online" => format!("Bringing node {node} online"),
                    "Offline" => format!("Taking node {node} offline"),
                    _ => format!("Failing node {node}"),
                });
                xml.push(Element::new("modify_node").attr("action", action).attr("node", node));
                let entry = state.node(node, None);
                state.set_member(entry, action != "Offline");
                match action {
                    "Offline" => state.forget(entry),
                    "Failing" => state.step(|doc| doc.set_attr(entry, "in_ccm", "false")),
                    _ => {}
                }
            }
        }
        for (option, action, attr, value) in [
            ("ticket-grant", "Granting", "granted", "true"),
            ("ticket-revoke", "Revoking", "granted", "false"),
            ("ticket-standby", "Standby", "standby", "true"),
            ("ticket-activate", "Activating", "standby", "false"),
        ] {
            for ticket in given.all(option) {
                self.item(&match action {
                    "Standby" => format!("Making ticket {ticket} standby"),
                    _ => format!("{action} ticket {ticket}"),
                });
                let element = Element::new("modify_ticket").attr("action", action);
                xml.push(element.attr("ticket", ticket));
                set_ticket(state, ticket, attr, value);
            }
        }
        for text in given.all("op-inject") {
            self.inject_result(state, before, text, &mut xml)?;
        }
        if !self.quiet {
            self.out.close();
            self.out.xml(xml);
        }
        Ok(())
    }

    fn inject_result(
        &mut self,
        state: &mut State,
        before: &Cluster,
        text: &str,
        xml: &mut Element,
    ) -> Result<(), Failure> {
        self.item(&format!("Injecting {text} into the configuration"));
        xml.push(Element::new("inject_spec").attr("spec", text));
        let spec = match Spec::parse(text) {
            Ok(spec) => spec,
            Err(parts) => {
                let text = format!("Invalid operation spec: {text}.  Only found {parts} fields");
                self.out.error(&text);
                return Ok(());
            }
        };
        let Some((resource, task, interval_ms)) = cib_model::parse_op_key(spec.key) else {
            self.out.error(&format!("Invalid operation spec: {text}"));
            return Ok(());
        };
        let Some(rsc) = before.find(resource).map(|r| before.rsc(r)) else {
            self.out.error(&format!("Invalid resource name: {resource}"));
            return Ok(());
        };
        let def = rsc.def.clone();
        let (Some(class), Some(agent)) = (def.class.as_deref(), def.agent.as_deref()) else {
            return Err((exit::USAGE, format!("{resource} is not a primitive: {text}")));
        };
        let entry = state.node(spec.node, None);
        let fatal = task == "stop"
            || (task == "start" && before.model.options.flag("start-failure-is-fatal"));
        self.failure(state, entry, (resource, task, interval_ms), (spec.rc, fatal), xml);
        let record = Record {
            resource,
            operation: task,
            interval_ms,
            rc: spec.rc,
            target_rc: 0,
            reason: "Simulated action result",
            node: spec.node,
            notify: ("", ""),
            migration: (None, None),
            params: None,
        };
        state.step(|doc| {
            let provider = def.provider.as_deref();
            let history = State::history(doc, entry, &[resource], (class, provider, agent));
            State::record(doc, history, &record);
        });
        Ok(())
    }

    /// Counts a failure, unless the result is none; `fatal` ones so that the node is out of question.
    pub(super) fn failure(
        &mut self,
        state: &mut State,
        entry: cib_xml::NodeId,
        (resource, task, interval_ms): (&str, &str, u32),
        (rc, fatal): (i64, bool),
        xml: &mut Element,
    ) {
        if rc == 0 || (rc == 7 && interval_ms == 0) {
            return;
        }
        let now = crate::dates::Date::now().epoch().to_string();
        let id = state.doc.node(entry).attr("id").unwrap_or_default().to_string();
        let of = format!("{resource}#{task}_{interval_ms}");
        let count = format!("fail-count-{of}");
        let before = State::attribute(&state.doc, entry, &count);
        let before = before.as_deref().and_then(cib_model::scan_int).unwrap_or(0);
        let after = if fatal { "INFINITY".into() } else { before.saturating_add(1).to_string() };
        for (name, value) in [(count, after), (format!("last-failure-{of}"), now)] {
            self.item(&format!("Injecting attribute {name}={value} into /node_state '{id}'"));
            let element = Element::new("inject_attr").attr("name", &name).attr("value", &value);
            xml.push(element.attr("node_path", "/node_state").attr("cib_node", &id));
            state.step(|doc| State::set_attribute(doc, entry, &name, &value));
        }
    }
}

/// Sets a cluster option where it is set already, else in the usual place.
fn set_option(state: &mut State, name: &str, value: &str) {
    state.step(|doc| {
        let options = doc.root().child("configuration").and_then(|c| c.child("crm_config"));
        let is = |n: &cib_xml::Node<'_>| n.name() == "nvpair" && n.attr("name") == Some(name);
        let found = options.and_then(|o| o.descendants().find(is)).map(cib_xml::Node::id);
        let pair = found.unwrap_or_else(|| {
            let mut at = doc.root_id();
            for (tag, id) in [
                ("configuration", None),
                ("crm_config", None),
                ("cluster_property_set", Some("cib-bootstrap-options")),
            ] {
                let named =
                    |c: &cib_xml::Node<'_>| c.name() == tag && (id.is_none() || c.attr("id") == id);
                let next = doc.node(at).children().find(named).map(cib_xml::Node::id);
                at = next.unwrap_or_else(|| {
                    let made = doc.append_element(at, tag);
                    id.into_iter().for_each(|id| doc.set_attr(made, "id", id));
                    made
                });
            }
            let pair = doc.append_element(at, "nvpair");
            doc.set_attr(pair, "id", &format!("cib-bootstrap-options-{name}"));
            doc.set_attr(pair, "name", name);
            pair
        });
        doc.set_attr(pair, "value", value);
    });
}

fn set_ticket(state: &mut State, ticket: &str, attr: &str, value: &str) {
    state.step(|doc| {
        let mut at = doc.root_id();
        for tag in ["status", "tickets"] {
            let next = doc.node(at).child(tag).map(cib_xml::Node::id);
            at = next.unwrap_or_else(|| doc.append_element(at, tag));
        }
        let is = |c: &cib_xml::Node<'_>| c.attr("id") == Some(ticket);
        let found = doc.node(at).children_named("ticket_state").find(is).map(cib_xml::Node::id);
        let entry = found.unwrap_or_else(|| {
            let made = doc.append_element(at, "ticket_state");
            doc.set_attr(made, "id", ticket);
            made
        });
        doc.set_attr(entry, attr, value);
    });
}

#[cfg(test)]
mod tests {
    use super::Spec;

    #[test]
    fn results_are_read_in_three_parts() {
        let spec = Spec { key: "ip_monitor_10000", node: "node-a", rc: 1 };
        assert_eq!(Spec::parse("ip_monitor_10000@node-a=1"), Ok(spec));
        assert_eq!(Spec::parse("ip_monitor_10000@node-a=x"), Err(2));
        assert_eq!(Spec::parse("ip_monitor_10000@node-a"), Err(1));
        assert_eq!(Spec::parse("ip"), Err(0));
    }
}
