//! Plans made while operations are under way.

#![allow(clippy::unwrap_used)]

use cib_model::Time;
use cib_xml::Doc;
use crm_scheduler::{PlanFlags, schedule};

/// What a primitive's last operation was: a pending one has no result yet.
fn history(id: &str, operation: &str, pending: bool) -> String {
    let (status, code) = if pending { (-1, 193) } else { (0, 0) };
    format!(
        "<lrm_resource id=\"{id}\" class=\"ocf\" provider=\"x\" type=\"y\">\
         <lrm_rsc_op id=\"{id}_last_0\" operation_key=\"{id}_{operation}_0\" \
         operation=\"{operation}\" crm_feature_set=\"3.20.5\" transition-key=\"1:1:0:dc\" \
         transition-magic=\"{status}:{code};1:1:0:dc\" call-id=\"{status}\" rc-code=\"{code}\" \
         op-status=\"{status}\" interval=\"0\" op-digest=\"f2317cad3d54cec5d7d7aa7d0bf35cf8\"/>\
         </lrm_resource>"
    )
}

/// What is in the plan for a CIB with these resources and constraints, as `then` and what it comes
/// directly after.
fn plan(resources: &str, constraints: &str, history: &str) -> Vec<(String, Vec<String>)> {
    let state = format!(
        "<node_state id=\"1\" uname=\"n1\" in_ccm=\"true\" crmd=\"online\" join=\"member\" \
         expected=\"member\"><lrm id=\"1\"><lrm_resources>{history}</lrm_resources></lrm>\
         </node_state>"
    );
    let plan = plan_of(resources, constraints, "", &state);
    plan.into_iter().map(|(key, _, inputs)| (key, inputs)).collect()
}

/// The same with more nodes and with all nodes' states, and with the nodes of the actions.
fn plan_of(
    resources: &str,
    constraints: &str,
    nodes: &str,
    states: &str,
) -> Vec<(String, String, Vec<String>)> {
    let text = format!(
        "<cib crm_feature_set=\"3.20.5\" validate-with=\"pacemaker-4.0\" admin_epoch=\"0\" \
         epoch=\"1\" num_updates=\"0\" have-quorum=\"1\"><configuration><crm_config>\
         <cluster_property_set id=\"o\"><nvpair id=\"o1\" name=\"stonith-enabled\" \
         value=\"false\"/></cluster_property_set></crm_config><nodes><node id=\"1\" \
         uname=\"n1\"/>{nodes}</nodes><resources>{resources}</resources><constraints>{constraints}\
         </constraints></configuration><status>{states}</status></cib>"
    );
    let doc = Doc::parse(&text).unwrap().into();
    let flags = PlanFlags { under_way: true, ..PlanFlags::default() };
    let transition = schedule(&doc, Time::from_epoch(1_700_000_000), flags, 1).transition;
    let name = |id: &u32| {
        let synapse = transition.synapses.iter().find(|s| s.action.id == *id).unwrap();
        synapse.action.key.clone()
    };
    let synapses = transition.synapses.iter();
    let node =
        |action: &crm_graph::Action| action.on_node.as_deref().unwrap_or_default().to_owned();
    synapses
        .map(|s| (s.action.key.clone(), node(&s.action), s.inputs.iter().map(name).collect()))
        .collect()
}

fn comes_after(plan: &[(String, Vec<String>)], then: &str, first: &str) -> bool {
    let Some((_, inputs)) = plan.iter().find(|(key, _)| key == then) else { return false };
    inputs.iter().any(|input| input == first || comes_after(plan, input, first))
}

#[test]
fn what_comes_after_a_group_waits_for_the_start_of_its_last_member() {
    let resources = "<group id=\"g\"><primitive id=\"a\" class=\"ocf\" provider=\"x\" \
         type=\"y\"/><primitive id=\"b\" class=\"ocf\" provider=\"x\" type=\"y\"/></group>\
         <primitive id=\"c\" class=\"ocf\" provider=\"x\" type=\"y\"/>";
    let order = "<rsc_order id=\"o1\" first=\"g\" then=\"c\"/>";
    let told = history("a", "start", false) + &history("b", "start", true);
    let plan = plan(resources, order, &told);
    assert!(comes_after(&plan, "c_start_0", "b_start_0"), "{plan:?}");
}

#[test]
fn what_comes_after_a_clone_waits_for_the_start_of_its_instances() {
    let resources = "<clone id=\"k\"><primitive id=\"a\" class=\"ocf\" provider=\"x\" \
         type=\"y\"/></clone><primitive id=\"c\" class=\"ocf\" provider=\"x\" type=\"y\"/>";
    let order = "<rsc_order id=\"o1\" first=\"k\" then=\"c\"/>";
    let plan = plan(resources, order, &history("a", "start", true));
    assert!(comes_after(&plan, "c_start_0", "a_start_0"), "{plan:?}");
}

/// The CIB of two nodes of which `n1` has migrated something to `n2`, and is told to stop it.
fn migrated(stop: &str) -> String {
    let op = |name: &str, call: u32| {
        format!(
            "<lrm_rsc_op id=\"a_last_0\" operation_key=\"a_{name}_0\" operation=\"{name}\" \
             crm_feature_set=\"3.20.5\" transition-key=\"1:7:0:dc\" \
             transition-magic=\"0:0;1:7:0:dc\" call-id=\"{call}\" rc-code=\"0\" op-status=\"0\" \
             interval=\"0\" migrate_source=\"n1\" migrate_target=\"n2\" \
             op-digest=\"f2317cad3d54cec5d7d7aa7d0bf35cf8\"/>"
        )
    };
    let monitor = "<lrm_rsc_op id=\"a_monitor_1000\" operation_key=\"a_monitor_1000\" \
         operation=\"monitor\" crm_feature_set=\"3.20.5\" transition-key=\"1:3:0:dc\" \
         transition-magic=\"0:0;1:3:0:dc\" call-id=\"3\" rc-code=\"0\" op-status=\"0\" \
         interval=\"1000\" op-digest=\"f2317cad3d54cec5d7d7aa7d0bf35cf8\"/>";
    let state = |number: u32, ops: &str| {
        format!(
            "<node_state id=\"{number}\" uname=\"n{number}\" in_ccm=\"true\" crmd=\"online\" \
             join=\"member\" expected=\"member\"><lrm id=\"{number}\"><lrm_resources>\
             <lrm_resource id=\"a\" class=\"ocf\" provider=\"x\" type=\"y\">{ops}\
             </lrm_resource></lrm_resources></lrm></node_state>"
        )
    };
    let (source, target) = (op("migrate_to", 9), op("migrate_from", 4));
    state(1, &format!("{source}{monitor}{stop}")) + &state(2, &target)
}

#[test]
fn what_has_migrated_goes_on_while_its_source_is_being_stopped() {
    let stop = "<lrm_rsc_op id=\"a_stop_0\" operation_key=\"a_stop_0\" operation=\"stop\" \
         crm_feature_set=\"3.20.5\" transition-key=\"2:7:0:dc\" \
         transition-magic=\"-1:193;2:7:0:dc\" call-id=\"-1\" rc-code=\"193\" op-status=\"-1\" \
         interval=\"0\" op-digest=\"f2317cad3d54cec5d7d7aa7d0bf35cf8\"/>";
    let resources = "<primitive id=\"a\" class=\"ocf\" provider=\"x\" type=\"y\">\
         <meta_attributes id=\"m\"><nvpair id=\"m1\" name=\"allow-migrate\" value=\"true\"/>\
         </meta_attributes></primitive>";
    for stop in ["", stop] {
        let plan = plan_of(resources, "", "<node id=\"2\" uname=\"n2\"/>", &migrated(stop));
        let on = |key: &str| plan.iter().filter(|(k, ..)| k == key).map(|p| p.1.as_str()).collect();
        let (stops, starts): (Vec<&str>, Vec<&str>) = (on("a_stop_0"), on("a_start_0"));
        assert_eq!((stops, starts), (vec!["n1"], vec![]), "with '{stop}': {plan:?}");
    }
}
