//! Configurations of earlier series are rewritten in the words of the latest.

use cib_schema::{Dropped, Step, upgrade, upgrade_told, validate};
use cib_xml::{Doc, Style};

/// A CIB with these properties, resources and constraints.
fn cib(schema: &str, properties: &str, resources: &str, constraints: &str) -> Doc {
    let properties = if properties.is_empty() {
        String::new()
    } else {
        format!("<cluster_property_set id=\"p\">{properties}</cluster_property_set>")
    };
    let text = format!(
        "<cib validate-with=\"pacemaker-{schema}\" admin_epoch=\"0\" epoch=\"1\" \
         num_updates=\"0\"><configuration><crm_config>{properties}</crm_config><nodes/>\
         <resources>{resources}</resources><constraints>{constraints}</constraints>\
         </configuration><status/></cib>"
    );
    Doc::parse(&text).expect("the test is XML")
}

fn upgraded(mut doc: Doc) -> String {
    assert!(upgrade(&mut doc, None).expect("there is a way"));
    assert_eq!(doc.root().attr("validate-with"), Some("pacemaker-4.0"));
    assert!(validate(&doc).is_empty(), "{:?}", validate(&doc));
    doc.root().to_xml(Style::Compact)
}

#[test]
fn options_get_their_present_names() {
    let options = "<nvpair id=\"a\" name=\"stonith_enabled\" value=\"false\"/>\
                   <nvpair id=\"b\" name=\"default-resource-stickiness\" value=\"100\"/>\
                   <nvpair id=\"c\" name=\"crmd-transition-delay\" value=\"2s\"/>";
    let text = upgraded(cib("2.10", options, "", ""));
    for part in [
        "name=\"stonith-enabled\" value=\"false\"",
        "name=\"transition-delay\" value=\"2s\"",
        "<rsc_defaults><meta_attributes id=\"_2TO3_-rsc-defaults\"><nvpair id=\"b\" \
         name=\"resource-stickiness\" value=\"100\"/>",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn a_master_becomes_a_promotable_clone() {
    let resources = "<master id=\"m\"><primitive id=\"r\" class=\"ocf\" provider=\"pacemaker\" \
                     type=\"Stateful\"/></master>";
    let text = upgraded(cib("3.10", "", resources, ""));
    let meta = "pcmk__3_10_upgrade-promotable-legacy-m-meta_attributes";
    assert!(text.contains("<clone id=\"m\">"), "{text}");
    assert!(
        text.contains(&format!("<meta_attributes id=\"{meta}\" score=\"INFINITY\">")),
        "{text}"
    );
    assert!(text.contains("name=\"promotable\" value=\"true\""), "{text}");
}

#[test]
fn what_refers_to_a_dropped_resource_goes_with_it() {
    let resources = "<primitive id=\"n\" class=\"nagios\" type=\"check_http\"/>\
                     <primitive id=\"r\" class=\"ocf\" provider=\"pacemaker\" type=\"Dummy\"/>";
    let constraints = "<rsc_location id=\"l\" rsc=\"n\" node=\"a\" score=\"1\"/>\
                       <rsc_order id=\"o\" first=\"r\" then=\"n\"/>";
    let text = upgraded(cib("3.10", "", resources, constraints));
    assert!(!text.contains("nagios") && text.contains("<constraints/>"), "{text}");
}

#[test]
fn what_is_left_behind_is_told() {
    let options = "<nvpair id=\"a\" name=\"remove-after-stop\" value=\"true\"/>";
    let resources = "<template id=\"t\" class=\"upstart\" type=\"x\"/>\
                     <group id=\"g\"><primitive id=\"n\" template=\"t\"/></group>\
                     <primitive id=\"r\" class=\"ocf\" provider=\"pacemaker\" type=\"Dummy\">\
                     <meta_attributes id=\"m\"><nvpair id=\"m-r\" name=\"restart-type\" \
                     value=\"ignore\"/></meta_attributes></primitive>";
    let constraints = "<rsc_order id=\"o\" first=\"r\" then=\"n\"/>";
    let mut told = Vec::new();
    upgrade_told(&mut cib("3.10", options, resources, constraints), None, &mut |step| {
        if let Step::Dropped(Dropped::Unsupported(what)) = step {
            told.push(what.clone());
        }
    })
    .expect("there is a way");
    let start = told.iter().map(|what| what.split(" because ").next().unwrap_or_default());
    let expected =
        ["nvpair a", "template t", "group g", "resource n", "restart-type meta-attribute from m"];
    assert_eq!(start.collect::<Vec<_>>(), expected, "{told:?}");
    assert!(told[3].ends_with("because upstart resources are no longer supported"), "{told:?}");
}

#[test]
fn a_lifetime_becomes_a_rule() {
    let resources = "<primitive id=\"r\" class=\"ocf\" provider=\"pacemaker\" type=\"Dummy\"/>";
    let constraints = "<rsc_location id=\"l\" rsc=\"r\" node=\"a\" score=\"-INFINITY\"><lifetime>\
                       <rule id=\"until\"><date_expression id=\"x\" operation=\"lt\" \
                       end=\"2030-01-01\"/></rule></lifetime></rsc_location>";
    let text = upgraded(cib("3.10", "", resources, constraints));
    assert!(!text.contains("lifetime>") && text.contains("boolean-op=\"and\""), "{text}");
    assert!(text.contains("attribute=\"#uname\" operation=\"eq\" value=\"a\""), "{text}");
}

#[test]
fn references_to_themselves_come_to_an_end() {
    let rule = "<rule id=\"a\" score=\"1\"><rule id-ref=\"a\"/><rule id-ref=\"a\"/>\
                <date_expression id=\"x\" operation=\"lt\" end=\"2030-01-01\"/></rule>";
    let constraints = format!(
        "<rsc_location id=\"l\" rsc=\"r\">{rule}<lifetime>\
                               <rule id-ref=\"a\"/></lifetime></rsc_location>"
    );
    let mut doc = cib("3.10", "", "", &constraints);
    // Whether there is a way does not matter, only that it ends.
    let _ = upgrade(&mut doc, None);
}
