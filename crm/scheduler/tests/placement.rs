//! Where resources go in cases that few clusters have.

#![allow(clippy::unwrap_used)]

use cib_model::Time;
use cib_xml::Doc;
use crm_scheduler::{PlanFlags, schedule};

fn primitive(id: &str) -> String {
    format!("<primitive id=\"{id}\" class=\"ocf\" provider=\"pacemaker\" type=\"Dummy\"/>")
}

/// A clone `ID-clone` with a meta-attribute.
fn clone(id: &str, name: &str, value: &str) -> String {
    format!(
        "<clone id=\"{id}-clone\"><meta_attributes id=\"{id}-m\"><nvpair id=\"{id}-m1\" \
         name=\"{name}\" value=\"{value}\"/><nvpair id=\"{id}-m2\" name=\"promotable\" \
         value=\"{}\"/></meta_attributes>{}</clone>",
        id == "P",
        primitive(id)
    )
}

/// What a cluster of n1 and n2 does, as `operation key on node`, and what is said of it. The last
/// operation on n1 is `history`: a resource and what was done with it.
fn plan(resources: &str, constraints: &str, history: (&str, &str)) -> (Vec<String>, Vec<String>) {
    let (rsc, operation) = history;
    let member = "in_ccm=\"true\" crmd=\"online\" join=\"member\" expected=\"member\"";
    let text = format!(
        "<cib crm_feature_set=\"3.20.5\" validate-with=\"pacemaker-4.0\" admin_epoch=\"0\" \
         epoch=\"1\" num_updates=\"0\" have-quorum=\"1\"><configuration><crm_config>\
         <cluster_property_set id=\"o\"><nvpair id=\"o1\" name=\"stonith-enabled\" \
         value=\"false\"/></cluster_property_set></crm_config><nodes><node id=\"1\" \
         uname=\"n1\"/><node id=\"2\" uname=\"n2\"/></nodes><resources>{resources}</resources>\
         <constraints>{constraints}</constraints></configuration><status><node_state id=\"1\" \
         uname=\"n1\" {member}><lrm id=\"1\"><lrm_resources><lrm_resource id=\"{rsc}\" \
         class=\"ocf\" provider=\"pacemaker\" type=\"Dummy\"><lrm_rsc_op id=\"{rsc}_last_0\" \
         operation_key=\"{rsc}_{operation}_0\" operation=\"{operation}\" \
         crm_feature_set=\"3.20.5\" transition-key=\"1:1:0:dc\" \
         transition-magic=\"0:0;1:1:0:dc\" call-id=\"1\" rc-code=\"0\" op-status=\"0\" \
         interval=\"0\" op-digest=\"f2317cad3d54cec5d7d7aa7d0bf35cf8\"/></lrm_resource>\
         </lrm_resources></lrm></node_state><node_state id=\"2\" uname=\"n2\" {member}/></status>\
         </cib>"
    );
    let doc = Doc::parse(&text).unwrap().into();
    let plan = schedule(&doc, Time::from_epoch(1_700_000_000), PlanFlags::default(), 1);
    let actions = plan.transition.synapses.iter().map(|s| &s.action);
    let actions =
        actions.filter_map(|a| Some(format!("{} on {}", a.key, a.on_node.as_deref()?))).collect();
    (actions, plan.problems().map(|problem| problem.text).collect())
}

/// A clone `A-clone` of one `A`, which runs on n1, with primitives B and C.
fn with_clone(constraints: &str) -> (Vec<String>, Vec<String>) {
    let resources = [clone("A", "clone-max", "1"), primitive("B"), primitive("C")].concat();
    plan(&resources, constraints, ("A", "start"))
}

fn set(members: &[&str]) -> String {
    let members: String = members.iter().map(|m| format!("<resource_ref id=\"{m}\"/>")).collect();
    format!("<resource_set id=\"s\">{members}</resource_set>")
}

fn has(actions: &[String], action: &str) -> bool {
    actions.iter().any(|a| a == action)
}

#[test]
fn what_is_inside_of_a_clone_is_kept_from_all_in_its_set() {
    let prefers = "<rsc_location id=\"l\" rsc=\"B\" node=\"n1\" score=\"200\"/>";
    let apart = |members: &[&str]| {
        let set = set(members);
        with_clone(&format!(
            "{prefers}<rsc_colocation id=\"c\" score=\"-100\">{set}</rsc_colocation>"
        ))
        .0
    };
    let by_itself = apart(&["A-clone", "B"]);
    assert!(has(&by_itself, "B_start_0 on n1") && !has(&by_itself, "A_stop_0 on n1"));
    let by_inner = apart(&["A", "B"]);
    assert!(has(&by_inner, "B_start_0 on n1"), "{by_inner:?}");
    assert!(has(&by_inner, "A_stop_0 on n1") && has(&by_inner, "A_start_0 on n2"), "{by_inner:?}");
}

#[test]
fn a_name_that_means_nothing_ends_its_set() {
    let prefers = "<rsc_location id=\"l\" rsc=\"B\" node=\"n2\" score=\"200\"/>\
                   <rsc_location id=\"k\" rsc=\"C\" node=\"n1\" score=\"100\"/>";
    let together = |members: &[&str]| {
        let set = set(members);
        with_clone(&format!(
            "{prefers}<rsc_colocation id=\"c\" score=\"INFINITY\">{set}</rsc_colocation>"
        ))
    };
    let (actions, problems) = together(&["B", "C", "nobody"]);
    assert!(has(&actions, "B_start_0 on n2") && has(&actions, "C_start_0 on n2"), "{actions:?}");
    assert!(problems.iter().any(|text| text.contains("'nobody' is not a valid")), "{problems:?}");
    let (actions, _) = together(&["nobody", "B", "C"]);
    assert!(has(&actions, "B_start_0 on n2") && has(&actions, "C_start_0 on n1"), "{actions:?}");
}

#[test]
fn what_is_promoted_and_unmanaged_may_have_company_where_it_should_not_be() {
    let resources = [clone("P", "is-managed", "false"), primitive("B")].concat();
    let constraints = "<rsc_location id=\"l\" rsc=\"P-clone\" node=\"n1\" score=\"-INFINITY\"/>\
        <rsc_colocation id=\"c\" score=\"INFINITY\" rsc=\"B\" with-rsc=\"P-clone\" \
        with-rsc-role=\"Promoted\"/>";
    let (actions, _) = plan(&resources, constraints, ("P", "promote"));
    assert!(has(&actions, "B_start_0 on n1"), "{actions:?}");
}
