//! What is odd about a configuration, in words: said when it is made.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use cib_model::{Block, Model, NodeType, ResourceDef, Time, text::timeout_ms};
use cib_xml::Doc;

/// Warnings and errors about a CIB, each a sentence. The same CIB gives the same list.
pub(crate) fn of(cib: &Doc) -> Vec<String> {
    let mut found: Vec<String> =
        cli_tools::verify(cib.clone()).into_iter().map(|(_, text)| text).collect();
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let now = Time::from_epoch(i64::try_from(seconds).unwrap_or(i64::MAX));
    let model = Arc::new(Model::from_doc(&Arc::new(cib.clone()), now));
    found.extend(unfenceable(&model));
    found.extend(hasty_starts(&model));
    found
}

/// What `after` has to be warned of and `before` had not.
pub(crate) fn new(before: &Doc, after: &Doc) -> Vec<String> {
    let old = of(before);
    of(after).into_iter().filter(|text| !old.contains(text)).collect()
}

fn primitives(model: &Model) -> Vec<&ResourceDef> {
    fn walk<'a>(defs: &'a [Arc<ResourceDef>], into: &mut Vec<&'a ResourceDef>) {
        for def in defs {
            if def.children.is_empty() {
                into.push(def);
            }
            walk(&def.children, into);
        }
    }
    let mut all = Vec::new();
    walk(&model.resources, &mut all);
    all
}

fn value<'a>(blocks: &'a [Block], name: &str) -> Option<&'a str> {
    let pairs = blocks.iter().flat_map(|b| &b.pairs);
    pairs.into_iter().find(|p| &*p.name == name).map(|p| &*p.value)
}

/// Nodes for which no fence device is meant, where fencing is on. (That there is none at all is
/// found by planning.)
fn unfenceable(model: &Model) -> Vec<String> {
    let devices: Vec<&ResourceDef> = primitives(model)
        .into_iter()
        .filter(|def| def.class.as_deref() == Some("stonith"))
        .collect();
    if !model.options.flag("fencing-enabled") || model.options.flag("have-watchdog") {
        return Vec::new();
    }
    let means = |device: &ResourceDef, node: &str| {
        let param = |name: &str| value(&device.params.0, name);
        let listed = |text: &str, separators: &[char], end: &[char]| {
            let mut entries = text.split(|c: char| separators.contains(&c) || c.is_whitespace());
            entries.any(|entry| entry.split(end).next() == Some(node))
        };
        let list = param("pcmk_host_list").map(|text| listed(text, &[',', ';'], &[]));
        let map = param("pcmk_host_map").map(|text| listed(text, &[';'], &[':', '=']));
        match (list, map) {
            // Such a device is asked which nodes it can fence.
            (None, None) => true,
            (list, map) => list == Some(true) || map == Some(true),
        }
    };
    let nodes = model.nodes.iter().filter(|n| n.kind == Some(NodeType::Member));
    nodes
        .filter(|node| !devices.is_empty() && !devices.iter().any(|d| means(d, &node.name)))
        .map(|node| {
            format!(
                "no fence device is for node {}: if it is lost, nothing of it is started elsewhere",
                node.name
            )
        })
        .collect()
}

/// Starts that are given less time than one has taken already.
fn hasty_starts(model: &Model) -> Vec<String> {
    let default = value(&model.op_defaults.0, "timeout");
    let mut found = Vec::new();
    for def in primitives(model) {
        let start = def.ops.iter().find(|op| &*op.name == "start");
        let own = start.and_then(|op| op.timeout.as_deref().or(value(&op.meta.0, "timeout")));
        let timeout = i64::from(timeout_ms(own.or(default)));
        let histories = model.node_states.iter().flat_map(|s| s.history.iter().flatten());
        let taken = histories
            .filter(|h| h.id().map(cib_model::base_name) == Some(&*def.id))
            .flat_map(|h| h.ops.iter())
            .filter(|op| op.operation() == Some("start"))
            .filter_map(|op| cib_model::scan_int(op.exec_time()?))
            .max();
        if let Some(taken) = taken.filter(|taken| *taken > timeout) {
            found.push(format!(
                "the start of {} may take {} s and has taken {} s: raise its timeout with \
                 'op start timeout=…'",
                def.id,
                timeout / 1000,
                taken / 1000
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(config: &str, status: &str) -> Vec<String> {
        let xml = format!(
            "<cib validate-with=\"pacemaker-4.0\" admin_epoch=\"0\" epoch=\"1\" num_updates=\"0\">\
             <configuration><crm_config/><nodes><node id=\"1\" uname=\"a\"/><node id=\"2\" \
             uname=\"b\"/></nodes>{config}</configuration><status>{status}</status></cib>"
        );
        let doc = Arc::new(Doc::parse(&xml).unwrap());
        let mut all = unfenceable(&Model::from_doc(&doc, Time::from_epoch(0)));
        all.extend(hasty_starts(&Model::from_doc(&doc, Time::from_epoch(0))));
        all
    }

    fn device(param: &str) -> String {
        format!(
            "<resources><primitive id=\"f\" class=\"stonith\" type=\"fence_ipmilan\">\
             <instance_attributes id=\"i\">{param}</instance_attributes></primitive></resources>\
             <constraints/>"
        )
    }

    #[test]
    fn nodes_without_a_device_are_named() {
        let list = "<nvpair id=\"n\" name=\"pcmk_host_list\" value=\"a, c\"/>";
        let told = advice(&device(list), "");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("no fence device is for node b"), "{told:?}");
        let map = "<nvpair id=\"n\" name=\"pcmk_host_map\" value=\"a:1;b:2,3\"/>";
        assert!(advice(&device(map), "").is_empty());
        assert!(advice(&device(""), "").is_empty());
    }

    #[test]
    fn a_start_that_takes_longer_than_it_may_is_named() {
        let status = "<node_state id=\"1\" uname=\"a\"><lrm id=\"1\"><lrm_resources>\
            <lrm_resource id=\"f\" class=\"stonith\" type=\"fence_ipmilan\"><lrm_rsc_op id=\"o\" \
            operation=\"start\" operation_key=\"f_start_0\" interval=\"0\" exec-time=\"31000\" \
            rc-code=\"0\" op-status=\"0\" call-id=\"1\"/></lrm_resource></lrm_resources></lrm>\
            </node_state>";
        let told = advice(&device(""), status);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("may take 20 s and has taken 31 s"), "{told:?}");
    }
}
