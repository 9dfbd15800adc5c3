//! What a CIB means, piece by piece.

use cib_model::{
    Attrs, Constraint, INFINITY, Model, NoQuorumPolicy, Role, RuleInput, Time, add_scores,
    parse_duration_seconds, parse_interval_ms, parse_op_key, parse_score, readable_score,
};
use cib_xml::Doc;

fn model(config: &str) -> Model {
    let text =
        format!("<cib have-quorum=\"1\"><configuration>{config}</configuration><status/></cib>");
    let doc = Doc::parse(&text).expect("the test's CIB is XML");
    Model::from_doc(&doc.into(), Time::from_epoch(1_700_000_000))
}

fn rsc_defaults(model: &Model, at: i64) -> (Attrs, Option<i64>) {
    let input = RuleInput { now: Some(Time::from_epoch(at)), ..RuleInput::default() };
    let (mut attrs, mut next) = (Attrs::new(), None);
    model.rsc_defaults.unpack(&input, &mut attrs, &mut next);
    (attrs, next)
}

#[test]
fn scores_saturate_and_minus_infinity_wins() {
    assert_eq!(add_scores(INFINITY, -INFINITY), -INFINITY);
    assert_eq!(add_scores(INFINITY, -5), INFINITY);
    assert_eq!(add_scores(999_999, 5), INFINITY);
    assert_eq!(parse_score("+INFINITY"), Some(INFINITY));
    assert_eq!(parse_score("2000000"), Some(INFINITY));
    assert_eq!(parse_score("often"), None);
    assert_eq!(readable_score(-INFINITY), "-INFINITY");
}

#[test]
fn durations_come_in_many_forms() {
    assert_eq!(parse_interval_ms(Some("10")), 10_000);
    assert_eq!(parse_interval_ms(Some("1500ms")), 1500);
    assert_eq!(parse_interval_ms(Some("PT5M")), 300_000);
    assert_eq!(parse_interval_ms(Some("P40S")), 40_000);
    assert_eq!(parse_interval_ms(Some("-3")), 0);
    assert_eq!(parse_duration_seconds("P1DT2H"), Some(93_600));
    assert_eq!(parse_duration_seconds("P"), None);
}

#[test]
fn times_are_read_by_day_of_year_too() {
    let by_date = Time::parse("2005-01-20T12:30", None).expect("a date");
    let by_day = Time::parse("2005-020T12:30", None).expect("a day of the year");
    assert_eq!(by_date.seconds, by_day.seconds);
    assert_eq!(by_day.text(), "2005-01-20 12:30:00Z");
}

#[test]
fn options_have_defaults_and_former_names() {
    let m = model(
        "<crm_config><cluster_property_set id=\"s\">\
         <nvpair id=\"a\" name=\"stonith-enabled\" value=\"false\"/>\
         <nvpair id=\"b\" name=\"no-quorum-policy\" value=\"freeze\"/>\
         <nvpair id=\"c\" name=\"cluster-delay\" value=\"soon\"/>\
         </cluster_property_set></crm_config>",
    );
    assert!(!m.options.flag("fencing-enabled"));
    assert_eq!(m.options.no_quorum_policy(), NoQuorumPolicy::Freeze);
    assert_eq!(m.options.get("cluster-delay"), Some("60s"));
    let invalid: Vec<_> = m.options.invalid().collect();
    assert_eq!(invalid, [("cluster-delay", "soon")]);
}

#[test]
fn rules_decide_by_time_and_say_when_that_changes() {
    let m = model(
        "<rsc_defaults><meta_attributes id=\"m\" score=\"2\">\
         <rule id=\"r\" score=\"0\"><date_expression id=\"d\" operation=\"lt\" end=\"2023-01-01\"/></rule>\
         <nvpair id=\"n\" name=\"priority\" value=\"1\"/></meta_attributes>\
         <meta_attributes id=\"m2\"><nvpair id=\"n2\" name=\"priority\" value=\"2\"/></meta_attributes>\
         </rsc_defaults>",
    );
    let change = Time::parse("2023-01-01", None).expect("a date").seconds;
    let (before, next) = rsc_defaults(&m, change - 100);
    assert_eq!(before.get("priority"), Some("1"));
    assert_eq!(next, Some(change));
    let (after, next) = rsc_defaults(&m, change + 100);
    assert_eq!(after.get("priority"), Some("2"));
    assert_eq!(next, None);
}

#[test]
fn roles_have_former_names() {
    assert_eq!(Role::parse("Master"), Some(Role::Promoted));
    assert_eq!(Role::parse("Slave"), Some(Role::Unpromoted));
    assert_eq!(Role::parse("Chief"), None);
}

#[test]
fn constraints_are_typed() {
    let m = model(
        "<resources><primitive id=\"a\" class=\"ocf\" provider=\"x\" type=\"D\"/>\
         <primitive id=\"b\" class=\"ocf\" provider=\"x\" type=\"D\"/></resources>\
         <constraints><rsc_colocation id=\"c\" rsc=\"a\" with-rsc=\"b\" score=\"INFINITY\"/>\
         <rsc_order id=\"o\" first=\"a\" then=\"b\"/></constraints>",
    );
    assert_eq!(m.resources.len(), 2);
    assert!(matches!(&m.constraints[..], [Constraint::Colocation(_), Constraint::Order(_)]));
}

#[test]
fn operation_keys_are_taken_apart_from_their_end() {
    assert_eq!(parse_op_key("a_b_monitor_10000"), Some(("a_b", "monitor", 10_000)));
    assert_eq!(parse_op_key("vm_migrate_to_0"), Some(("vm", "migrate_to", 0)));
    assert_eq!(parse_op_key("r_pre_notify_start_0"), Some(("r", "pre_notify_start", 0)));
    assert_eq!(parse_op_key("monitor"), None);
}

#[test]
fn a_cib_of_an_older_schema_is_read_in_the_words_of_the_latest() {
    let xml = r#"<cib validate-with="pacemaker-2.10" admin_epoch="0" epoch="1" num_updates="0">
        <configuration><crm_config><cluster_property_set id="o">
        <nvpair id="o-m" name="is-managed-default" value="false"/></cluster_property_set>
        </crm_config><nodes/><resources/><constraints/></configuration><status/></cib>"#;
    let doc = std::sync::Arc::new(cib_xml::Doc::parse(xml).expect("it is XML"));
    let model = cib_model::Model::from_doc(&doc, cib_model::Time::from_epoch(0));
    let pairs = model.rsc_defaults.0.iter().flat_map(|block| &block.pairs);
    let managed = pairs.filter(|pair| &*pair.name == "is-managed").map(|pair| &*pair.value);
    assert_eq!(managed.collect::<Vec<_>>(), ["false"]);
    assert_eq!(doc.root().attr("validate-with"), Some("pacemaker-2.10"), "it stays as it is");
}
