//! The dependency rule of `ARCHITECTURE.md`, over `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Crates without clock, socket, file, environment or randomness of their own.
const PURE: [&str; 17] = [
    "cib-model",
    "cib-schema",
    "cib-store",
    "cib-xml",
    "crm-api",
    "crm-attributes",
    "crm-controller",
    "crm-executor",
    "crm-fencer",
    "crm-graph",
    "crm-history",
    "crm-node",
    "crm-scheduler",
    "membership-base",
    "membership-conf",
    "membership-quorum",
    "membership-totem",
];

/// What pure crates may use from outside: data and computation, nothing that touches the world.
const DATA: [&str; 14] = [
    "aes-gcm-siv",
    "fixedbitset",
    "md-5",
    "memchr",
    "postcard",
    "quick-xml",
    "regex",
    "ring",
    "rustc-hash",
    "serde",
    "serde_json",
    "smallvec",
    "thiserror",
    "zeroize",
];

const DRIVERS: [&str; 2] = ["crm-daemon", "membership-transport"];

fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be run");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    metadata["packages"].as_array().expect("there are packages").clone()
}

/// Normal dependencies of each crate of the workspace.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let text = |v: &Value| v.as_str().expect("a name").to_owned();
    packages()
        .iter()
        .map(|p| {
            let normal = p["dependencies"].as_array().expect("a list");
            let normal = normal.iter().filter(|d| d["kind"].is_null());
            (text(&p["name"]), normal.map(|d| text(&d["name"])).collect())
        })
        .collect()
}

fn check(rule: &str, allowed: impl Fn(&str, &str) -> bool) {
    for (name, uses) in dependencies() {
        for used in uses {
            assert!(allowed(&name, &used), "{rule}: {name} must not depend on {used}");
        }
    }
}

#[test]
fn every_pure_crate_exists() {
    let all = dependencies();
    for name in PURE.iter().chain(&DRIVERS) {
        assert!(all.contains_key(*name), "{name} is on the list and not in the workspace");
    }
}

#[test]
fn pure_crates_use_pure_crates_and_data_only() {
    check("rule 1", |name, used| {
        !PURE.contains(&name) || PURE.contains(&used) || DATA.contains(&used)
    });
}

#[test]
fn membership_knows_nothing_of_cib_and_crm() {
    check("rule 3", |name, used| {
        !name.starts_with("membership-") || !(used.starts_with("cib-") || used.starts_with("crm-"))
    });
}

#[test]
fn the_cib_knows_nothing_of_the_crm() {
    check("rule 2", |name, used| !name.starts_with("cib-") || !used.starts_with("crm-"));
}

#[test]
fn the_controller_does_not_link_the_policy_engine() {
    check("rule 4", |name, used| {
        !matches!(name, "crm-controller" | "crm-node") || used != "crm-scheduler"
    });
}

#[test]
fn agents_and_tools_do_not_link_the_daemon() {
    check("rule 6", |name, used| {
        let outside = name.starts_with("cli-")
            || name.starts_with("fence-agents-")
            || name.starts_with("resource-agents-");
        name == "cli-systole" || !outside || !DRIVERS.contains(&used)
    });
}

#[test]
fn the_simulator_links_no_driver() {
    check("rule 7", |name, used| {
        name != "tests-sim" || !(DRIVERS.contains(&used) || used == "tokio")
    });
}

#[test]
fn only_the_simulator_can_break_promises_and_only_when_it_is_told_to() {
    let mut can = BTreeSet::new();
    for package in packages() {
        let name = package["name"].as_str().expect("a name").to_owned();
        let features = package["features"].as_object().expect("a table");
        for (feature, enables) in features {
            let breaks = feature == "mutants" || enables.to_string().contains("mutants");
            assert!(!breaks || feature == "mutants", "{name}: {feature} turns `mutants` on");
            can.extend(breaks.then(|| name.clone()));
        }
        for used in package["dependencies"].as_array().expect("a list") {
            let on = used["features"].to_string().contains("mutants");
            assert!(!on, "{name} turns `mutants` on for {}", used["name"]);
        }
    }
    let expected = ["membership-base", "tests-sim"].map(str::to_owned);
    assert_eq!(can, BTreeSet::from(expected));
}

/// Crates that call the operating system where no safe interface has what they need.
const UNSAFE: [&str; 8] = [
    "cli-hosts",
    "cli-systole",
    "cli-tools",
    "crm-daemon",
    "membership-transport",
    "resource-agents-agents",
    "tests-bench",
    "tests-lab",
];

/// A package is named by its path.
fn folder(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let parts = ["fence-agents", "resource-agents"]
        .into_iter()
        .find_map(|house| Some((house, name.strip_prefix(house)?.strip_prefix('-')?)))
        .or_else(|| name.split_once('-'));
    let (house, room) = parts.expect("a package is named by its path");
    root.join(house).join(room)
}

#[test]
fn clippy_forbids_pure_crates_to_touch_the_world() {
    let shared = folder("cib-xml").join("../../pure.clippy.toml");
    let shared = std::fs::read_to_string(shared).expect("the list of what is forbidden is there");
    for name in PURE {
        let own = std::fs::read_to_string(folder(name).join("clippy.toml"));
        assert_eq!(own.ok().as_deref(), Some(shared.as_str()), "{name} has no such clippy.toml");
        let mut folders = vec![folder(name).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a crate has a source folder") {
                let path = entry.expect("it can be listed").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).expect("sources are text");
                let around = text.contains("clippy::disallowed_");
                assert!(!around, "{}: a pure crate allows itself more", path.display());
            }
        }
    }
}

#[test]
fn few_crates_may_be_unsafe() {
    for name in dependencies().into_keys().filter(|name| !UNSAFE.contains(&name.as_str())) {
        let source = folder(&name).join("src");
        let roots = ["lib.rs", "main.rs"].map(|file| source.join(file));
        for root in roots.iter().filter(|root| root.exists()) {
            let text = std::fs::read_to_string(root).expect("sources are text");
            assert!(text.contains("\n#![forbid(unsafe_code)]\n"), "{}", root.display());
        }
    }
}
