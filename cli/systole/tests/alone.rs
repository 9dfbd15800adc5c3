//! What works without a running cluster, such as `systole resource agents` and `describe`, and how errors
//! are told.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use serde_json::Value;

fn systole(words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_systole"));
    // No daemon listens here.
    command.args(words.split(' ')).env("SYSTOLE_RUN_DIR", "/nonexistent").output().unwrap()
}

#[track_caller]
fn json(words: &str) -> Value {
    let done = systole(&format!("--json {words}"));
    assert!(done.status.success(), "{words}: {}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

#[track_caller]
fn refuses(words: &str, reason: &str) {
    let done = systole(words);
    let stderr = String::from_utf8(done.stderr).unwrap();
    assert!(!done.status.success() && stderr.contains(reason), "{words}: {stderr}");
}

#[test]
fn agents_are_listed_and_described_without_a_cluster() {
    for words in ["resource agents", "resource agents ocf", "resource agents ocf:systole"] {
        let found = json(words);
        assert!(found.as_array().unwrap().contains(&"ocf:systole:vip".into()), "{words}: {found}");
    }
    let only = json("resource agents ocf:systole");
    let only = only.as_array().unwrap();
    assert!(only.iter().all(|name| name.as_str().unwrap().starts_with("ocf:systole:")));

    let described = json("resource describe ocf:systole:vip");
    let parameters = described["parameters"].as_array().unwrap();
    let ip = parameters.iter().find(|parameter| parameter["name"] == "ip").unwrap();
    assert_eq!((&ip["required"], &ip["type"]), (&true.into(), &"string".into()));
    assert_eq!(ip["description"], "The IPv4 or IPv6 address.");
    let actions = described["actions"].as_array().unwrap();
    assert!(actions.iter().any(|action| action["name"] == "monitor"));
    let text = String::from_utf8(systole("resource describe ocf:systole:vip").stdout).unwrap();
    assert!(text.contains("ip (string; required)\n      The IPv4 or IPv6 address."), "{text}");
}

#[test]
fn agents_that_are_not_there_are_named_with_a_remedy() {
    refuses("resource agents nonsense", "the classes are ocf");
    refuses("resource agents ocf:nobody", "the OCF providers are");
    refuses("resource describe ocf:systole:vpi", "did you mean ocf:systole:vip?");
    refuses("resource describe a:b:c", "names no agent");
    refuses("resource describe systemd:no-such-unit", "is not installed on this node");
}

#[test]
fn errors_are_json_where_results_would_be() {
    for (words, status, reason) in [
        ("--json status", 102, "daemon"),
        ("resource describe nothing --json", 1, "is not installed"),
        ("--json resource nonsense", 64, "unrecognized subcommand 'nonsense'"),
        ("--json history show 99999999", 1, ""),
    ] {
        let done = systole(words);
        let stderr = String::from_utf8(done.stderr).unwrap();
        let error: Value = serde_json::from_str(&stderr).expect(&stderr);
        assert!(done.stdout.is_empty(), "{words}");
        assert_eq!(error["exit_status"].as_i64(), done.status.code().map(i64::from), "{words}");
        let text = error["error"].as_str().unwrap();
        assert!(done.status.code() == Some(status) && text.contains(reason), "{words}: {stderr}");
    }
}
