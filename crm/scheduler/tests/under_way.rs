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
    let text = format!(
        "<cib crm_feature_set=\"3.20.5\" validate-with=\"pacemaker-4.0\" admin_epoch=\"0\" \
         epoch=\"1\" num_updates=\"0\" have-quorum=\"1\"><configuration><crm_config>\
         <cluster_property_set id=\"o\"><nvpair id=\"o1\" name=\"stonith-enabled\" \
         value=\"false\"/></cluster_property_set></crm_config><nodes><node id=\"1\" \
         uname=\"n1\"/></nodes><resources>{resources}</resources><constraints>{constraints}\
         </constraints></configuration><status><node_state id=\"1\" uname=\"n1\" in_ccm=\"true\" \
         crmd=\"online\" join=\"member\" expected=\"member\"><lrm id=\"1\"><lrm_resources>\
         {history}</lrm_resources></lrm></node_state></status></cib>"
    );
    let doc = Doc::parse(&text).unwrap().into();
    let flags = PlanFlags { under_way: true, ..PlanFlags::default() };
    let transition = schedule(&doc, Time::from_epoch(1_700_000_000), flags, 1).transition;
    let name = |id: &u32| {
        let synapse = transition.synapses.iter().find(|s| s.action.id == *id).unwrap();
        synapse.action.key.clone()
    };
    let synapses = transition.synapses.iter();
    synapses.map(|s| (s.action.key.clone(), s.inputs.iter().map(name).collect())).collect()
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
