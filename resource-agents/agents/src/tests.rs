use std::collections::BTreeMap;
use std::path::Path;

use super::*;

/// Runs an agent with these variables and compares the exit code.
#[track_caller]
fn check(agent: &str, action: &str, variables: &[(&str, &str)], expected: ExitCode) {
    let environment: BTreeMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    assert_eq!(run_with(agent, &[action.into()], environment), expected, "{agent} {action}");
}

#[test]
fn names_come_from_the_folder() {
    let name = |path: &str| name_from_path(Path::new(path));
    assert_eq!(name("/usr/lib/ocf/resource.d/systole/vip"), Some("vip"));
    assert_eq!(name("systole/dummy"), Some("dummy"));
    assert_eq!(name("/usr/bin/dummy"), None);
    assert_eq!(name("dummy"), None);
    assert_eq!(name("/usr/lib/ocf/resource.d/systole/other"), None);
}

#[test]
fn unknown_actions_are_unimplemented() {
    for agent in names() {
        check(agent, "fly", &[], ExitCode::Unimplemented);
        check(agent, "", &[], ExitCode::Unimplemented);
    }
    check("vip", "promote", &[], ExitCode::Unimplemented);
    check("nobody", "start", &[], ExitCode::NotInstalled);
}

#[test]
fn wrong_parameters_are_configuration_errors() {
    let c = ExitCode::Configured;
    check("vip", "validate-all", &[], c);
    check("vip", "validate-all", &[("OCF_RESKEY_ip", "300.1.1.1")], c);
    let ip = ("OCF_RESKEY_ip", "10.0.0.1");
    check("vip", "validate-all", &[ip, ("OCF_RESKEY_cidr_netmask", "33")], c);
    check("vip", "validate-all", &[ip, ("OCF_RESKEY_broadcast", "all")], c);
    check("vip", "validate-all", &[ip, ("OCF_RESKEY_nodad", "maybe")], c);
    check("vip", "validate-all", &[ip, ("OCF_RESKEY_arp_interval", "1")], c);
    check("vip", "validate-all", &[ip, ("OCF_RESKEY_arp_count", "1000")], c);
    check("vip", "validate-all", &[ip], ExitCode::Success);
    check("dummy", "validate-all", &[("OCF_RESKEY_op_sleep", "long")], c);
    check("dummy", "validate-all", &[("OCF_RESKEY_state", "relative")], c);
    check("stateful", "validate-all", &[("OCF_RESKEY_promoted_score", "x")], c);
    check("container", "validate-all", &[], c);
    let image = ("OCF_RESKEY_image", "bb:1");
    check("container", "validate-all", &[image, ("OCF_RESKEY_name", "-rf")], c);
    check("container", "validate-all", &[image, ("OCF_RESKEY_run_opts", "'x")], c);
    check("container", "validate-all", &[("OCF_RESKEY_image", "--privileged")], c);
    check("container", "validate-all", &[image, ("OCF_RESKEY_name", "web")], ExitCode::Success);
}

/// A stop that fails costs the node its power: it never does for a parameter that is wrong.
#[test]
fn probes_and_stops_answer_by_what_is_there_whatever_the_parameters() {
    let state = ("OCF_RESKEY_state", "relative");
    let cases: [(&str, &[(&str, &str)]); 17] = [
        ("vip", &[]),
        ("vip", &[("OCF_RESKEY_ip", "10.77.99.1/16")]),
        ("vip", &[("OCF_RESKEY_ip", "192.0.2.77"), ("OCF_RESKEY_nic", "nowhere0")]),
        ("vip", &[("OCF_RESKEY_ip", "192.0.2.77"), ("OCF_RESKEY_cidr_netmask", "99")]),
        ("vip", &[("OCF_RESKEY_ip", "192.0.2.77"), ("OCF_RESKEY_arp_count", "many")]),
        ("container", &[]),
        ("container", &[("OCF_RESKEY_name", "-rf")]),
        ("container", &[("OCF_RESKEY_image", "--privileged")]),
        ("container", &[("OCF_RESKEY_runtime", "dokcer")]),
        ("container", &[("OCF_RESKEY_runtime", "/no/podman"), ("OCF_RESKEY_run_opts", "'x")]),
        ("process", &[]),
        ("process", &[("OCF_RESKEY_command", "relative")]),
        ("process", &[state]),
        ("dummy", &[state]),
        ("dummy", &[("OCF_RESKEY_op_sleep", "long"), ("OCF_RESKEY_envfile", "/no/such/file")]),
        ("stateful", &[state]),
        ("stateful", &[("OCF_RESKEY_promoted_score", "x")]),
    ];
    // No runtime is installed as far as `container` sees, and state files are where none is.
    let folder = std::env::temp_dir().join(format!("systole-nothing-{}", std::process::id()));
    let nothing =
        [("HA_RSCTMP", folder.to_str().unwrap()), ("OCF_RESOURCE_INSTANCE", "systole-agents-test")];
    for (agent, variables) in cases {
        let variables: Vec<_> = variables.iter().chain(&nothing).copied().collect();
        let missing = [("OCF_RESKEY_runtime", "/no/podman")];
        let runtime = variables.iter().any(|(name, _)| *name == "OCF_RESKEY_runtime");
        let further = if agent == "container" && !runtime { &missing[..] } else { &[] };
        let variables: Vec<_> = variables.iter().chain(further).copied().collect();
        check(agent, "monitor", &variables, ExitCode::NotRunning);
        check(agent, "stop", &variables, ExitCode::Success);
    }
}

#[test]
fn what_runs_is_found_and_stopped_though_other_parameters_are_wrong() {
    let folder = std::env::temp_dir().join(format!("systole-wrong-{}", std::process::id()));
    let place =
        [("HA_RSCTMP", folder.to_str().unwrap()), ("OCF_RESOURCE_INSTANCE", "systole-agents-test")];
    let cases = [
        ("process", ("OCF_RESKEY_command", "/bin/sleep 600"), ("OCF_RESKEY_command", "sleep")),
        ("dummy", ("OCF_RESKEY_op_sleep", "0"), ("OCF_RESKEY_op_sleep", "long")),
        ("stateful", ("OCF_RESKEY_promoted_score", "9"), ("OCF_RESKEY_promoted_score", "x")),
    ];
    for (agent, right, wrong) in cases {
        let with = |pair| place.iter().copied().chain([pair]).collect::<Vec<_>>();
        check(agent, "start", &with(right), ExitCode::Success);
        check(agent, "monitor", &with(wrong), ExitCode::Success);
        check(agent, "stop", &with(wrong), ExitCode::Success);
        check(agent, "monitor", &with(right), ExitCode::NotRunning);
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn dummy_life() {
    let folder = std::env::temp_dir().join(format!("systole-agents-{}", std::process::id()));
    let state = folder.join("dummy.state");
    let state = ("OCF_RESKEY_state", state.to_str().unwrap());
    check("dummy", "monitor", &[state], ExitCode::NotRunning);
    check("dummy", "reload-agent", &[state], ExitCode::NotRunning);
    let fails = [state, ("OCF_RESKEY_fail_start_on", "a b"), ("OCF_RESKEY_CRM_meta_on_node", "b")];
    check("dummy", "start", &fails, ExitCode::Generic);
    check("dummy", "monitor", &[state], ExitCode::NotRunning);
    check("dummy", "start", &[state], ExitCode::Success);
    check("dummy", "start", &[state], ExitCode::Success);
    check("dummy", "monitor", &[state], ExitCode::Success);
    check("dummy", "reload-agent", &[state], ExitCode::Success);
    check("dummy", "migrate_to", &[state], ExitCode::Success);
    check("dummy", "monitor", &[state], ExitCode::NotRunning);
    check("dummy", "migrate_from", &[state], ExitCode::Success);
    check("dummy", "stop", &[state], ExitCode::Success);
    check("dummy", "stop", &[state], ExitCode::Success);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn metadata_lists_every_parameter_and_action() {
    for agent in AGENTS {
        let xml = agent.metadata.to_xml();
        for parameter in agent.metadata.parameters {
            assert!(xml.contains(&format!("<parameter name=\"{}\"", parameter.name)));
        }
        for action in agent.metadata.actions {
            assert!(xml.contains(&format!("<action name=\"{}\"", action.name)));
        }
        assert!(xml.contains("<version>1.1</version>"));
    }
}
