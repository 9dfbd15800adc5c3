//! All keys that may stand in the file: their values, their types in cmap, and whether they do
//! anything here.

use crate::cmap::CmapValue;

/// What values a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A number of milliseconds from 1.
    Millis,
    /// A number within bounds.
    Number(u32, u32),
    /// The same, kept in cmap as an 8-bit number.
    Byte(u8),
    /// The same, kept in cmap as a 16-bit number.
    Port,
    /// `yes`/`no`, `on`/`off`.
    Switch,
    /// `1`/`0` (or a word), kept in cmap as an 8-bit number.
    Flag,
    /// Any text but none.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// One known key.
pub(crate) struct Key {
    pub(crate) section: &'static str,
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// False: accepted, because files in the field have it, but without effect.
    pub(crate) used: bool,
}

const fn key(section: &'static str, name: &'static str, kind: Kind) -> Key {
    Key { section, name, kind, used: true }
}

const fn idle(section: &'static str, name: &'static str, kind: Kind) -> Key {
    Key { section, name, kind, used: false }
}

const ANY: Kind = Kind::Number(0, u32::MAX);
const SOME: Kind = Kind::Number(1, u32::MAX);
const CIPHERS: Kind = Kind::Word(&["none", "aes256", "aes192", "aes128", "3des"]);
const HASHES: Kind = Kind::Word(&["none", "md5", "sha1", "sha256", "sha384", "sha512"]);
const PRIORITIES: Kind =
    Kind::Word(&["alert", "crit", "debug", "emerg", "err", "info", "notice", "warning"]);
const IP_VERSIONS: Kind = Kind::Word(&["ipv4", "ipv6", "ipv4-6", "ipv6-4"]);

/// Known sections; a `*` level below is not looked into.
pub(crate) const SECTIONS: &[&str] = &[
    "totem",
    "totem.interface",
    "nodelist",
    "nodelist.node",
    "quorum",
    "quorum.device",
    "quorum.device.net",
    "quorum.device.heuristics",
    "logging",
    "logging.logger_subsys",
    "system",
    "resources",
    "resources.system",
    "resources.watchdog_device",
    "uidgid",
    "nozzle",
    "service",
    "aisexec",
];

/// Sections whose keys are free or not ours to judge.
pub(crate) const OPAQUE: &[&str] = &[
    "quorum.device",
    "quorum.device.net",
    "quorum.device.heuristics",
    "resources",
    "resources.system",
    "resources.watchdog_device",
    "nozzle",
    "service",
    "aisexec",
];

/// The table of keys. Limits and meanings: corosync.conf(5), votequorum(5).
pub(crate) const KEYS: &[Key] = &[
    key("totem", "version", Kind::Number(2, 2)),
    key("totem", "cluster_name", Kind::Text),
    key("totem", "transport", Kind::Word(&["knet", "udpu", "udp"])),
    key("totem", "ip_version", IP_VERSIONS),
    key("totem", "link_mode", Kind::Word(&["passive", "active", "rr"])),
    key("totem", "rrp_mode", Kind::Word(&["none", "passive", "active"])),
    key("totem", "crypto_cipher", CIPHERS),
    key("totem", "crypto_hash", HASHES),
    idle("totem", "crypto_model", Kind::Text),
    key("totem", "secauth", Kind::Switch),
    key("totem", "keyfile", Kind::Text),
    key("totem", "key", Kind::Text),
    key("totem", "token", Kind::Millis),
    key("totem", "token_coefficient", ANY),
    key("totem", "token_retransmit", Kind::Millis),
    key("totem", "token_retransmits_before_loss_const", SOME),
    idle("totem", "token_warning", Kind::Number(0, 100)),
    key("totem", "hold", Kind::Millis),
    key("totem", "join", Kind::Millis),
    idle("totem", "send_join", ANY),
    key("totem", "consensus", Kind::Millis),
    idle("totem", "merge", Kind::Millis),
    idle("totem", "downcheck", Kind::Millis),
    idle("totem", "fail_recv_const", SOME),
    idle("totem", "seqno_unchanged_const", SOME),
    idle("totem", "miss_count_const", SOME),
    idle("totem", "heartbeat_failures_allowed", ANY),
    idle("totem", "max_network_delay", ANY),
    key("totem", "window_size", SOME),
    key("totem", "max_messages", SOME),
    key("totem", "netmtu", Kind::Number(576, 65_535)),
    key("totem", "heartbeat_interval", Kind::Millis),
    key("totem", "heartbeat_suspect", Kind::Millis),
    key("totem", "heartbeat_suspect_max", Kind::Millis),
    key("totem", "heartbeat_confirm", Kind::Millis),
    idle("totem", "threads", ANY),
    idle("totem", "vsftype", Kind::Text),
    idle("totem", "nodeid", ANY),
    idle("totem", "clear_node_high_bit", Kind::Switch),
    idle("totem", "block_unlisted_ips", Kind::Switch),
    idle("totem", "cancel_token_hold_on_retransmit", Kind::Switch),
    idle("totem", "ip_dscp", Kind::Number(0, 63)),
    idle("totem", "knet_pmtud_interval", ANY),
    idle("totem", "knet_mtu", ANY),
    idle("totem", "knet_compression_model", Kind::Text),
    idle("totem", "knet_compression_threshold", ANY),
    idle("totem", "knet_compression_level", Kind::Text),
    key("totem.interface", "linknumber", Kind::Number(0, 7)),
    key("totem.interface", "ringnumber", Kind::Number(0, 7)),
    key("totem.interface", "mcastport", Kind::Port),
    key("totem.interface", "bindnetaddr", Kind::Text),
    idle("totem.interface", "mcastaddr", Kind::Text),
    idle("totem.interface", "broadcast", Kind::Switch),
    idle("totem.interface", "ttl", Kind::Byte(255)),
    idle("totem.interface", "knet_link_priority", Kind::Byte(255)),
    idle("totem.interface", "knet_ping_interval", ANY),
    idle("totem.interface", "knet_ping_timeout", ANY),
    idle("totem.interface", "knet_ping_precision", ANY),
    idle("totem.interface", "knet_pong_count", ANY),
    idle("totem.interface", "knet_transport", Kind::Text),
    key("nodelist.node", "nodeid", SOME),
    key("nodelist.node", "name", Kind::Text),
    key("nodelist.node", "quorum_votes", ANY),
    key("nodelist.node", "ring0_addr", Kind::Text),
    key("nodelist.node", "ring1_addr", Kind::Text),
    key("nodelist.node", "ring2_addr", Kind::Text),
    key("nodelist.node", "ring3_addr", Kind::Text),
    key("nodelist.node", "ring4_addr", Kind::Text),
    key("nodelist.node", "ring5_addr", Kind::Text),
    key("nodelist.node", "ring6_addr", Kind::Text),
    key("nodelist.node", "ring7_addr", Kind::Text),
    key("quorum", "provider", Kind::Word(&["corosync_votequorum"])),
    key("quorum", "expected_votes", SOME),
    key("quorum", "votes", ANY),
    key("quorum", "two_node", Kind::Flag),
    key("quorum", "wait_for_all", Kind::Flag),
    key("quorum", "last_man_standing", Kind::Flag),
    key("quorum", "last_man_standing_window", Kind::Millis),
    key("quorum", "auto_tie_breaker", Kind::Flag),
    key("quorum", "auto_tie_breaker_node", Kind::Text),
    idle("quorum", "allow_downscale", Kind::Flag),
    key("logging", "debug", Kind::Word(&["on", "off", "trace", "yes", "no"])),
    key("logging", "to_stderr", Kind::Switch),
    key("logging", "to_syslog", Kind::Switch),
    key("logging", "to_logfile", Kind::Switch),
    key("logging", "logfile", Kind::Text),
    key("logging", "logfile_priority", PRIORITIES),
    key("logging", "syslog_priority", PRIORITIES),
    key("logging", "syslog_facility", Kind::Text),
    key("logging", "timestamp", Kind::Word(&["on", "off", "hires", "yes", "no"])),
    idle("logging", "fileline", Kind::Switch),
    idle("logging", "function_name", Kind::Switch),
    idle("logging", "tags", Kind::Text),
    idle("logging", "blackbox", Kind::Switch),
    key("logging.logger_subsys", "subsys", Kind::Text),
    key("logging.logger_subsys", "debug", Kind::Word(&["on", "off", "trace", "yes", "no"])),
    idle("logging.logger_subsys", "to_stderr", Kind::Switch),
    idle("logging.logger_subsys", "to_syslog", Kind::Switch),
    idle("logging.logger_subsys", "to_logfile", Kind::Switch),
    idle("logging.logger_subsys", "logfile", Kind::Text),
    idle("logging.logger_subsys", "logfile_priority", PRIORITIES),
    idle("logging.logger_subsys", "syslog_priority", PRIORITIES),
    idle("logging.logger_subsys", "syslog_facility", Kind::Text),
    idle("logging.logger_subsys", "tags", Kind::Text),
    key("system", "sched_rr", Kind::Switch),
    key("system", "priority", Kind::Text),
    idle("system", "qb_ipc_type", Kind::Text),
    idle("system", "move_to_root_cgroup", Kind::Text),
    idle("system", "allow_knet_handle_fallback", Kind::Switch),
    idle("system", "state_dir", Kind::Text),
    idle("uidgid", "uid", Kind::Text),
    idle("uidgid", "gid", Kind::Text),
];

pub(crate) fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.section == section && k.name == name)
}

impl Kind {
    /// The value as cmap keeps it, or what would have been right.
    pub(crate) fn read(self, value: &str) -> Result<CmapValue, (String, String)> {
        match self {
            Kind::Millis => number(value, 1, u32::MAX)
                .map(CmapValue::U32)
                .ok_or_else(|| wrong("a number of milliseconds from 1 to 4294967295", "1000")),
            Kind::Number(min, max) => number(value, min, max)
                .map(CmapValue::U32)
                .ok_or_else(|| wrong(&format!("a number from {min} to {max}"), &min.to_string())),
            Kind::Byte(max) => number(value, 0, u32::from(max))
                .and_then(|n| u8::try_from(n).ok())
                .map(CmapValue::U8)
                .ok_or_else(|| wrong(&format!("a number from 0 to {max}"), "1")),
            Kind::Port => number(value, 1, 65_535)
                .and_then(|n| u16::try_from(n).ok())
                .map(CmapValue::U16)
                .ok_or_else(|| wrong("a port number from 1 to 65535", "5405")),
            Kind::Flag => switch(value)
                .map(|on| CmapValue::U8(u8::from(on)))
                .ok_or_else(|| wrong("1 or 0", "1")),
            Kind::Switch => switch(value)
                .map(|_| CmapValue::Text(value.to_owned()))
                .ok_or_else(|| wrong("`yes`, `no`, `on` or `off`", "yes")),
            Kind::Text if value.is_empty() => Err(wrong("a value", "...")),
            Kind::Text => Ok(CmapValue::Text(value.to_owned())),
            Kind::Word(words) if words.contains(&value) => Ok(CmapValue::Text(value.to_owned())),
            Kind::Word(words) => {
                Err(wrong(&format!("one of {}", words.join(", ")), words.first().unwrap_or(&"")))
            }
        }
    }
}

fn wrong(expected: &str, example: &str) -> (String, String) {
    (expected.to_owned(), example.to_owned())
}

fn number(value: &str, min: u32, max: u32) -> Option<u32> {
    value.parse().ok().filter(|n| (min..=max).contains(n))
}

/// `yes`, `on`, `1`, `true` and their opposites.
pub(crate) fn switch(value: &str) -> Option<bool> {
    match value {
        "yes" | "on" | "1" | "true" => Some(true),
        "no" | "off" | "0" | "false" => Some(false),
        _ => None,
    }
}
