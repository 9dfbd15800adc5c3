//! The three numbers that order the states of a CIB.

use std::fmt;

use cib_xml::{Doc, NodeId};
use serde::{Deserialize, Serialize};

/// Version of a CIB; later states compare greater.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Version {
    /// Set by administrators; never changed by the cluster except on erasing and upgrading.
    pub admin_epoch: u64,
    /// Grows with every change of the configuration.
    pub epoch: u64,
    /// Grows with every other change, and starts at 0 again with each epoch.
    pub num_updates: u64,
}

impl Version {
    /// The version that the root element of `doc` says; what is missing or no number counts as 0.
    pub fn of(doc: &Doc) -> Version {
        let root = doc.root();
        let get = |name| root.attr(name).and_then(|v| v.parse().ok()).unwrap_or(0);
        Version {
            admin_epoch: get("admin_epoch"),
            epoch: get("epoch"),
            num_updates: get("num_updates"),
        }
    }

    /// Writes the version to the root element of `doc`.
    pub fn write(self, doc: &mut Doc) {
        let root: NodeId = doc.root_id();
        doc.set_attr(root, "admin_epoch", &self.admin_epoch.to_string());
        doc.set_attr(root, "epoch", &self.epoch.to_string());
        doc.set_attr(root, "num_updates", &self.num_updates.to_string());
    }

    /// Whether both versions have the same configuration.
    pub fn same_config(self, other: Version) -> bool {
        self.config() == other.config()
    }

    /// The part that counts changes of the configuration.
    pub fn config(self) -> (u64, u64) {
        (self.admin_epoch, self.epoch)
    }
}

/// Which quorate view a state of the CIB has been through last; later ones compare greater.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Term {
    /// Grows by one when a partition that is quorate without a majority knows that all others are
    /// down: whatever those have been through in views of their own counts less.
    pub generation: u64,
    /// The view, or more.
    pub view: u64,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.admin_epoch, self.epoch, self.num_updates)
    }
}
