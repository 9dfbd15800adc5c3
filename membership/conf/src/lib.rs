//! `corosync.conf`: reader with positions, typed settings, cmap view.
//!
//! The file is read as it is found in the field: sections in braces, `key: value` lines, `#`
//! comments. A key that nobody knows is a [`Warning`]; a value that cannot be meant is a
//! [`ConfError`] with file, line, key and remedy, and all of them are reported at once. Names,
//! value ranges and defaults follow corosync.conf(5) and votequorum(5) where Systole has the same
//! thing; keys of things that it does not have are accepted and said to have no effect.
//!
//! Keys of our own, all in `totem {}` and in milliseconds:
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `heartbeat_interval` | 50 | spacing of the heartbeats to every node on every link |
//! | `heartbeat_suspect` | 250 | shortest silence after which a node is suspected; adapts upwards |
//! | `heartbeat_suspect_max` | 1000 | longest silence that adaptation may allow |
//! | `heartbeat_confirm` | 100 | further silence, under probing, after which it is left out |
//!
//! Encryption is on unless the file switches it off in words: `crypto_cipher: none` (with
//! `crypto_hash` absent or `none`), or `secauth: off` without `crypto_*` keys.

#![forbid(unsafe_code)]

mod cmap;
mod config;
mod keys;
mod tree;

pub use cmap::{CmapEntry, CmapValue};
pub use config::{
    Config, Logging, Node, Quorum, TieBreaker, TotemConfig, Transport, parse, parse_named,
};
pub use tree::{ConfError, ConfErrors, Warning};
