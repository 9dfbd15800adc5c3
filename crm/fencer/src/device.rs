//! Fence devices and levels, as the CIB describes them.
//!
//! Meaning and defaults of the `pcmk_*` parameters: `pacemaker-fenced(7)`, "Special Options
//! Available for Fencing Resources".

use std::collections::BTreeMap;
use std::time::Duration;

use cib_model::{FenceDevice, Fencing, Time};
use cib_model::{FenceLevel as Level, FenceTarget as Target};
use cib_xml::Node;
use membership_base::Rng;

/// Most tries of one action on one node.
const TRIES_MAX: u32 = 100;

/// How it is found out whether a device can fence a node (`pcmk_host_check`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostCheck {
    /// By asking the device for a list.
    DynamicList,
    /// By `pcmk_host_list` and `pcmk_host_map`.
    StaticList,
    /// It can fence every node.
    None,
}

/// One fence device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The resource's id.
    pub id: String,
    /// The agent's name.
    pub agent: String,
    /// Parameters, as configured and resolved.
    pub params: BTreeMap<String, String>,
}

/// All devices and levels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// By id.
    pub devices: BTreeMap<String, Device>,
    /// In the order of the CIB.
    pub levels: Vec<Level>,
    /// Permanent node attributes, for levels by attribute: (node, name) to value.
    pub node_attributes: BTreeMap<(String, String), String>,
}

impl Configuration {
    /// The devices and levels of a `<cib>` element at this time.
    pub fn from_cib(cib: Node<'_>, now: Time) -> Configuration {
        let Fencing { devices, levels, node_attributes } = cib_model::fencing(cib, now);
        let device = |FenceDevice { id, agent, params }| (id.clone(), Device { id, agent, params });
        let devices = devices.into_iter().map(device).collect();
        Configuration { devices, levels, node_attributes }
    }

    /// The levels for `target`, lowest first; `None` if the topology does not speak of it.
    pub fn levels_for(&self, target: &str) -> Option<Vec<&Level>> {
        let mut levels: Vec<&Level> =
            self.levels.iter().filter(|l| self.meant(l, target)).collect();
        levels.sort_by_key(|l| l.index);
        (!levels.is_empty()).then_some(levels)
    }

    fn meant(&self, level: &Level, target: &str) -> bool {
        match &level.target {
            Target::Name(name) => name.eq_ignore_ascii_case(target),
            Target::Pattern(pattern) => pattern_matches(pattern, target),
            Target::Attribute(name, value) => {
                self.node_attributes.get(&(target.to_owned(), name.clone())) == Some(value)
            }
        }
    }
}

impl Device {
    fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name).map(String::as_str)
    }

    /// Node name to the device's own name for it (`pcmk_host_map`).
    fn host_map(&self) -> BTreeMap<String, String> {
        let Some(map) = self.param("pcmk_host_map") else { return BTreeMap::new() };
        let entries = map.split([';', ' ', '\t', '\n']).filter_map(|e| e.split_once([':', '=']));
        entries.map(|(node, port)| (node.trim().to_owned(), port.trim().to_owned())).collect()
    }

    fn host_list(&self) -> Vec<String> {
        listed_hosts(self.param("pcmk_host_list").unwrap_or_default())
    }

    /// The nodes that the configuration names (`pcmk_host_list`, `pcmk_host_map`), in order.
    pub fn hosts(&self) -> Vec<String> {
        let mut hosts = self.host_list();
        hosts.extend(self.host_map().into_keys());
        hosts.sort();
        hosts.dedup();
        hosts
    }

    /// How it is found out whom the device can fence.
    pub fn host_check(&self) -> HostCheck {
        match self.param("pcmk_host_check") {
            Some("none") => HostCheck::None,
            Some("static-list") => HostCheck::StaticList,
            Some("dynamic-list" | "status") => HostCheck::DynamicList,
            _ if self.param("pcmk_host_list").is_some()
                || self.param("pcmk_host_map").is_some() =>
            {
                HostCheck::StaticList
            }
            _ => HostCheck::DynamicList,
        }
    }

    /// Whether the configuration alone says that the device can fence `target`; `None` if the
    /// device has to be asked.
    pub fn covers(&self, target: &str) -> Option<bool> {
        match self.host_check() {
            HostCheck::None => Some(true),
            HostCheck::DynamicList => None,
            HostCheck::StaticList => {
                let named = self.host_list().iter().any(|h| h.eq_ignore_ascii_case(target));
                Some(named || self.host_map().contains_key(target))
            }
        }
    }

    /// Whether the device's answer to `list` names `target`.
    pub(crate) fn listed_covers(&self, listed: &[String], target: &str) -> bool {
        let port = self.port(target);
        listed.iter().any(|h| *h == port || h.eq_ignore_ascii_case(target))
    }

    fn port(&self, target: &str) -> String {
        self.host_map().remove(target).unwrap_or_else(|| target.to_owned())
    }

    /// What the agent is to read: the parameters without those that are for the cluster, the
    /// action (perhaps renamed by `pcmk_ACTION_action`), and the target.
    pub fn options(&self, action: &str, target: Option<&str>) -> Vec<(String, String)> {
        let renamed = self.param(&format!("pcmk_{action}_action")).unwrap_or(action);
        let mut out = vec![("action".to_owned(), renamed.to_owned())];
        for (name, value) in &self.params {
            if !name.starts_with("pcmk_") && name != "action" {
                out.push((name.clone(), value.clone()));
            }
        }
        if let Some(target) = target {
            out.push(("nodename".to_owned(), target.to_owned()));
            let port = self.port(target);
            match self.param("pcmk_host_argument") {
                Some("none") => {}
                Some(argument) => self.default_option(&mut out, argument, &port),
                None => {
                    self.default_option(&mut out, "plug", &port);
                    self.default_option(&mut out, "port", &port);
                }
            }
        }
        out
    }

    fn default_option(&self, out: &mut Vec<(String, String)>, name: &str, value: &str) {
        if !self.params.contains_key(name) {
            out.push((name.to_owned(), value.to_owned()));
        }
    }

    /// `pcmk_ACTION_timeout` in milliseconds.
    pub fn timeout_ms(&self, action: &str) -> Option<u64> {
        let value = self.param(&format!("pcmk_{action}_timeout"))?;
        interval_ms(value)
    }

    /// How often the action is tried at most (`pcmk_ACTION_retries`, 2 where not set; a larger
    /// number than 100 counts as 100).
    pub fn tries(&self, action: &str) -> u32 {
        self.param(&format!("pcmk_{action}_retries"))
            .and_then(|v| v.parse().ok())
            .unwrap_or(2)
            .clamp(1, TRIES_MAX)
    }

    /// Devices with a higher priority are tried first.
    pub fn priority(&self) -> i32 {
        self.param("priority").and_then(|v| v.parse().ok()).unwrap_or(0)
    }

    /// How long to wait before the action: `pcmk_delay_base` (one value, or one a node) plus a
    /// random part so that the sum stays within `pcmk_delay_max`.
    pub fn delay(&self, target: &str, rng: &mut Rng) -> Duration {
        let base = self.param("pcmk_delay_base").map_or(0, |base| delay_base_ms(base, target));
        let max = self.param("pcmk_delay_max").and_then(interval_ms).unwrap_or(0);
        let base = Duration::from_millis(base);
        let max = Duration::from_millis(max).max(base);
        rng.between(base, max)
    }
}

fn delay_base_ms(value: &str, target: &str) -> u64 {
    if !value.contains(':') {
        return interval_ms(value).unwrap_or(0);
    }
    let mut entries = value.split([';', ' ']).filter_map(|e| e.split_once(':'));
    let own = entries.find(|(node, _)| node.trim().eq_ignore_ascii_case(target));
    own.and_then(|(_, delay)| interval_ms(delay.trim())).unwrap_or(0)
}

/// Host names out of a list as fence agents print it (`plug,alias` a line) or people write it.
pub(crate) fn listed_hosts(text: &str) -> Vec<String> {
    let names = text.split([',', ';', ' ', '\t', '\n']).map(str::trim);
    names.filter(|n| !n.is_empty()).map(str::to_owned).collect()
}

fn interval_ms(text: &str) -> Option<u64> {
    u64::try_from(cib_model::text::parse_ms(text)?).ok()
}

/// A pattern that is no regular expression matches nothing.
fn pattern_matches(pattern: &str, name: &str) -> bool {
    regex::RegexBuilder::new(pattern)
        .case_insensitive(true)
        .size_limit(1 << 20)
        .build()
        .is_ok_and(|regex| regex.is_match(name))
}
