//! The grammar against small configurations.

use cib_schema::{Schema, compare_names, upgrade, validate, validate_changed};
use cib_xml::{Doc, NodeId, patch};

fn cib(schema: &str, section: &str, content: &str) -> String {
    let part = |name: &str| {
        let content = match name {
            _ if name == section => content,
            "resources" => {
                r#"<group id="ab"><primitive id="a" class="systemd" type="x"/><primitive id="b" class="systemd" type="x"/></group>"#
            }
            _ => "",
        };
        format!("<{name}>{content}</{name}>")
    };
    let sections: String =
        ["crm_config", "nodes", "resources", "constraints"].into_iter().map(part).collect();
    format!(
        "<cib validate-with=\"{schema}\" admin_epoch=\"0\" epoch=\"1\" num_updates=\"0\">\n\
         <configuration>\n{sections}\n</configuration>\n<status/></cib>"
    )
}

fn problems(schema: &str, section: &str, content: &str) -> String {
    let doc = Doc::parse(&cib(schema, section, content)).expect("the test is XML");
    validate(&doc).iter().map(|p| p.message.clone()).collect::<Vec<_>>().join("; ")
}

#[test]
fn good_configurations_pass() {
    let latest = "pacemaker-4.0";
    let primitive = r#"<primitive id="a" class="ocf" provider="systole" type="vip"><operations><op id="m" name="monitor" interval="10s" on-fail="restart"/></operations><meta_attributes id="am"><nvpair id="x" name="target-role" value="Stopped"/></meta_attributes></primitive>"#;
    for content in [
        primitive.to_string(),
        primitive.replace("<operations>", "<operations id-ref=\"am\">"),
        format!("<group id=\"g\">{primitive}</group>"),
        format!("<clone id=\"c\">{primitive}</clone>"),
        format!("<bundle id=\"b\"><podman image=\"i\" replicas=\"2\"/>{primitive}</bundle>"),
        "<!-- nothing -->".to_string(),
    ] {
        assert_eq!(problems(latest, "resources", &content), "", "{content}");
    }
    for content in [
        r#"<rsc_location id="l" rsc="a" node="n" score="INFINITY"/>"#,
        r#"<rsc_location id="l" rsc="a"><rule id="r" score="5"><expression id="e" attribute="x" operation="defined"/></rule></rsc_location>"#,
        r#"<rsc_colocation id="l" rsc="a" with-rsc="b" score="-5"/>"#,
        r#"<rsc_order id="o" kind="Optional"><resource_set id="s"><resource_ref id="a"/></resource_set></rsc_order>"#,
        r#"<rsc_ticket id="t" rsc="a" ticket="T" loss-policy="fence"/>"#,
    ] {
        assert_eq!(problems(latest, "constraints", content), "", "{content}");
    }
    assert_eq!(problems("none", "resources", "<anything/>"), "");
}

#[test]
fn problems_name_what_was_expected() {
    let check = |section: &str, content: &str, expect: &str| {
        assert_eq!(problems("pacemaker-4.0", section, content), expect, "{content}");
    };
    check(
        "resources",
        r#"<primitve id="a" class="systemd" type="x"/>"#,
        "<primitve> is not allowed in <resources> (did you mean primitive?)",
    );
    check(
        "resources",
        r#"<primitive id="1a" class="ocf" type="x" agnt="y"/>"#,
        "id=\"1a\": expected an id: a letter or underscore, then letters, digits, dots, dashes or \
         underscores; attribute agnt is not allowed here; attribute provider is missing (class ocf \
         needs one)",
    );
    check("resources", r#"<group id="g"/>"#, "needs <primitive>");
    check(
        "resources",
        r#"<template id="t" class="systemd" type="x"/><primitive id="a" template="t"/><primitive id="a" template="t"/>"#,
        "id \"a\" is used already, see line 3",
    );
    check(
        "constraints",
        r#"<rsc_location id="l" rsc="a" score="INFINTY" node="n"/>"#,
        "score=\"INFINTY\": expected a score: an integer, INFINITY or -INFINITY",
    );
    check("constraints", r#"<rsc_location id="l" rsc="a"/>"#, "needs node and score, or <rule>");
    check(
        "constraints",
        r#"<rsc_order id="l" first="a" then="b" kind="Mandatry"/>"#,
        "kind=\"Mandatry\": expected Optional, Mandatory or Serialize (did you mean Mandatory?)",
    );
    check(
        "constraints",
        r#"<rsc_order id="o" first="aab" then="b"/>"#,
        "first=\"aab\" refers to nothing that there is (did you mean ab?)",
    );
    check(
        "crm_config",
        r#"<cluster_property_set id="s"><nvpair id="n" name="x"/></cluster_property_set>"#,
        "attribute value is missing",
    );
}

#[test]
fn old_schemas_allow_what_was_dropped_later() {
    let master = r#"<master id="m"><primitive id="p" class="upstart" type="x"/></master>"#;
    assert_eq!(problems("pacemaker-3.10", "resources", master), "");
    assert_ne!(problems("pacemaker-4.0", "resources", master), "");
    assert_ne!(problems("pacemaker-9.9", "resources", ""), "");
}

#[test]
fn the_ladder_is_ordered_and_climbed() {
    assert!(compare_names("pacemaker-2.10", "pacemaker-2.9").is_gt());
    assert!(compare_names("none", "pacemaker-4.0").is_gt());
    assert!(compare_names("nonsense", "pacemaker-1.0").is_lt());
    assert_eq!(Schema::named("pacemaker-3.10").unwrap().next(), Some(Schema::LATEST));
    let mut doc = Doc::parse(&cib("pacemaker-1.2", "nodes", "")).unwrap();
    assert_eq!(upgrade(&mut doc, Some("pacemaker-3.5")), Ok(true));
    assert_eq!(doc.root().attr("validate-with"), Some("pacemaker-3.5"));
    assert_eq!(upgrade(&mut doc, None), Ok(true));
    assert_eq!(doc.root().attr("validate-with"), Some("pacemaker-4.0"));
    assert_eq!(upgrade(&mut doc, None), Ok(false));
}

const MANY: &str = r##"<cib validate-with="pacemaker-4.0" admin_epoch="0" epoch="1" num_updates="0">
<configuration><crm_config><cluster_property_set id="o"><nvpair id="o-1" name="no-quorum-policy"
value="stop"/></cluster_property_set></crm_config><nodes><node id="1" uname="n1"/></nodes><resources>
<primitive id="a" class="ocf" provider="p" type="t"><operations><op id="m" name="monitor"
interval="10s"/></operations><meta_attributes id="am"><nvpair id="x" name="target-role"
value="Stopped"/></meta_attributes></primitive><primitive id="b" class="systemd" type="u">
<operations id-ref="bo"/><meta_attributes id-ref="am"/></primitive><clone id="c"><primitive id="d"
class="systemd" type="v"><operations id="bo"/></primitive></clone></resources><constraints>
<rsc_location id="l1" rsc="a" node="n1" score="5"/><rsc_location id="l2" rsc="b"><rule id="r"
score="-INFINITY" boolean-op="and"><expression id="e" attribute="q" operation="defined"/>
<date_expression id="f" operation="lt" end="2030-01-01"/></rule></rsc_location><rsc_order id="s"
first="a" then="b" kind="Optional"/><rsc_colocation id="t" rsc="a" with-rsc="b" score="1"/>
</constraints></configuration><status><anything at="all"/></status></cib>"##;

#[test]
fn a_changed_attribute_is_judged_as_in_the_whole() {
    let mut doc = Doc::parse(MANY).expect("the test is XML");
    assert_eq!(validate(&doc), []);
    let attributes = "id id-ref name value rsc node score kind class provider type operation end start \
        validate-with epoch first then with-rsc uname interval attribute boolean-op role nonsense at";
    let elements: Vec<NodeId> = doc.root().descendants().map(|node| node.id()).collect();
    let elements: Vec<NodeId> = [doc.root_id()].into_iter().chain(elements).collect();
    let (mut local, mut wrong) = (0, 0);
    for element in elements {
        if doc.node(element).name().is_empty() {
            continue;
        }
        for name in attributes.split_whitespace() {
            for value in [None, Some(""), Some("a"), Some("INFINITY"), Some("7"), Some("ocf")] {
                doc.begin();
                match value {
                    Some(value) => doc.set_attr(element, name, value),
                    None => drop(doc.remove_attr(element, name)),
                }
                let changed = patch::pending_attributes(&doc).expect("only an attribute");
                let mut problems = validate_changed(&doc, &changed);
                let mut whole = validate(&doc);
                problems.sort_by_key(|p| p.to_string());
                whole.sort_by_key(|p| p.to_string());
                assert_eq!(problems, whole, "{name} of {}", cib_xml::path_of(doc.node(element)));
                local += 1;
                wrong += usize::from(!whole.is_empty());
                doc.rollback();
            }
        }
    }
    assert!(local > 3000 && wrong > 1000 && wrong < local, "{wrong} of {local}");
}

#[test]
fn what_is_more_than_attributes_is_noticed() {
    let mut doc = Doc::parse(MANY).expect("the test is XML");
    let (op, primitive) =
        (doc.root().find_id("m").unwrap().id(), doc.root().find_id("a").unwrap().id());
    doc.begin();
    doc.detach(op);
    assert_eq!(patch::pending_attributes(&doc), None);
    doc.rollback();
    doc.begin();
    doc.append_element(primitive, "operations");
    assert_eq!(patch::pending_attributes(&doc), None);
    doc.rollback();
}
