//! The configuration as a flat map, the way `corosync-cmapctl` shows it.

use std::fmt;

use crate::keys;
use crate::tree::{Entry, Section};

/// A value with its type in cmap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CmapValue {
    /// 8 bits.
    U8(u8),
    /// 16 bits.
    U16(u16),
    /// 32 bits.
    U32(u32),
    /// 64 bits.
    U64(u64),
    /// Text.
    Text(String),
}

impl CmapValue {
    /// The type's name as `corosync-cmapctl` writes it.
    pub fn type_name(&self) -> &'static str {
        match self {
            CmapValue::U8(_) => "u8",
            CmapValue::U16(_) => "u16",
            CmapValue::U32(_) => "u32",
            CmapValue::U64(_) => "u64",
            CmapValue::Text(_) => "str",
        }
    }
}

impl fmt::Display for CmapValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CmapValue::U8(n) => n.fmt(f),
            CmapValue::U16(n) => n.fmt(f),
            CmapValue::U32(n) => n.fmt(f),
            CmapValue::U64(n) => n.fmt(f),
            CmapValue::Text(text) => text.fmt(f),
        }
    }
}

/// One key of the flat map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CmapEntry {
    /// For example `nodelist.node.0.ring0_addr`.
    pub key: String,
    /// Its value.
    pub value: CmapValue,
}

impl fmt::Display for CmapEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) = {}", self.key, self.value.type_name(), self.value)
    }
}

/// All keys of the file, sorted.
pub(crate) fn flatten(root: &Section) -> Vec<CmapEntry> {
    let mut out = Vec::new();
    for section in &root.sections {
        walk(section, &section.name, &section.name, &mut out);
    }
    out.sort_by(|a, b| a.key.cmp(&b.key));
    // A later line overrides an earlier one; the sort is stable.
    out.reverse();
    out.dedup_by(|a, b| a.key == b.key);
    out.reverse();
    out
}

/// `path` names the section in the table of keys, `prefix` in the flat map.
fn walk(section: &Section, path: &str, prefix: &str, out: &mut Vec<CmapEntry>) {
    for entry in &section.entries {
        if path == "uidgid" {
            let key = format!("uidgid.config.{}.{}", entry.key, entry.value);
            out.push(CmapEntry { key, value: CmapValue::U8(1) });
        } else {
            let value = value_of(path, entry);
            out.push(CmapEntry { key: format!("{prefix}.{}", entry.key), value });
        }
    }
    let mut position = 0;
    for child in &section.sections {
        let below = format!("{path}.{}", child.name);
        let name = match below.as_str() {
            "nodelist.node" => {
                position += 1;
                format!("{prefix}.node.{}", position - 1)
            }
            "totem.interface" => {
                let number = child.get("linknumber").or_else(|| child.get("ringnumber"));
                format!("{prefix}.interface.{}", number.map_or("0", |e| e.value.as_str()))
            }
            "logging.logger_subsys" => {
                let subsys = child.get("subsys").map_or("", |e| e.value.as_str());
                format!("{prefix}.logger_subsys.{subsys}")
            }
            _ => format!("{prefix}.{}", child.name),
        };
        walk(child, &below, &name, out);
    }
}

fn value_of(path: &str, entry: &Entry) -> CmapValue {
    keys::find(path, &entry.key)
        .and_then(|k| k.kind.read(&entry.value).ok())
        .unwrap_or_else(|| CmapValue::Text(entry.value.clone()))
}
