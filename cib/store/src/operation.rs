//! What can be asked of a CIB.

use cib_xml::Doc;
use serde::{Deserialize, Serialize};

/// What part of the CIB an operation is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// All of it.
    Whole,
    /// A section by name: `configuration`, `status`, `crm_config`, `nodes`, `resources`,
    /// `constraints`, `op_defaults`, `rsc_defaults`, `acls`, `fencing-topology`, `tags`, `alerts`;
    /// `cib` and `all` mean all of it.
    Section(String),
    /// What an XPath 1.0 expression selects.
    XPath(String),
}

/// An operation on a CIB. Elements are passed as XML text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Reads; never sent to other nodes.
    Query {
        /// What to read.
        target: Target,
        /// Without what is below the selected elements.
        no_children: bool,
        /// The paths of the selected elements rather than the elements.
        paths: bool,
    },
    /// Adds an element; refused if one with its name and id is there.
    Create {
        /// Where to add.
        target: Target,
        /// The element, or a whole section of which each child is added.
        xml: String,
    },
    /// Merges an element into the one with the same name and id.
    Modify {
        /// Where to search.
        target: Target,
        /// The element.
        xml: String,
        /// Add it if there is none to merge into.
        allow_create: bool,
        /// Take values such as `score++` and `score+=5` as arithmetic.
        score: bool,
    },
    /// Deletes the first element that matches; that there is none is no error.
    Delete {
        /// Where to search, or with an XPath expression what to delete.
        target: Target,
        /// Name and attributes that the element has to have; not used with XPath.
        xml: Option<String>,
    },
    /// Deletes all that an XPath expression selects.
    DeleteAll {
        /// What to delete.
        xpath: String,
    },
    /// Puts an element in the place of the one with the same name and id.
    Replace {
        /// Where to search.
        target: Target,
        /// The new element; a `cib` replaces everything, if it is not older.
        xml: String,
    },
    /// Applies a patchset of format 2.
    Patch {
        /// The patchset.
        xml: String,
    },
    /// Removes all configuration and status.
    Erase,
    /// Counts a change of the configuration without one.
    BumpEpoch,
    /// Brings the configuration to the latest schema, or to `max`.
    Upgrade {
        /// Name of the latest schema wanted, such as `pacemaker-3.10`.
        max: Option<String>,
    },
    /// All of these or none.
    Transaction(#[serde(with = "flat")] Vec<Operation>),
}

/// Transactions do not nest, also not in what is read: each step is bytes of its own, and a step
/// that is a transaction is refused before it is looked into.
mod flat {
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Operation;

    /// What the encoding of a transaction starts with: its place in the enumeration.
    pub(super) const TRANSACTION_TAG: u32 = 10;

    pub(super) fn serialize<S: Serializer>(ops: &[Operation], to: S) -> Result<S::Ok, S::Error> {
        let steps: Result<Vec<Vec<u8>>, _> = ops.iter().map(postcard::to_stdvec).collect();
        steps.map_err(S::Error::custom)?.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Operation>, D::Error> {
        let steps: Vec<Vec<u8>> = Vec::deserialize(from)?;
        // The place is read as a number: it can be written with more bytes than it needs.
        let step = |bytes: &Vec<u8>| match postcard::take_from_bytes::<u32>(bytes) {
            Ok((TRANSACTION_TAG, _)) => Err(D::Error::custom("transactions do not nest")),
            _ => postcard::from_bytes(bytes).map_err(D::Error::custom),
        };
        steps.iter().map(step).collect()
    }
}

impl Operation {
    /// Merges `xml` into the status section, adding what is not there.
    pub fn modify_status(xml: String) -> Operation {
        let target = Target::Section("status".into());
        Operation::Modify { target, xml, allow_create: true, score: false }
    }

    /// Deletes the first thing that `xpath` selects.
    pub fn delete_xpath(xpath: String) -> Operation {
        Operation::Delete { target: Target::XPath(xpath), xml: None }
    }

    /// Reads all of the CIB.
    pub fn query_all() -> Operation {
        Operation::Query { target: Target::Whole, no_children: false, paths: false }
    }

    /// Whether it changes nothing.
    pub fn is_query(&self) -> bool {
        matches!(self, Operation::Query { .. })
    }

    /// Its name in messages and reports.
    pub fn name(&self) -> &'static str {
        match self {
            Operation::Query { .. } => "cib_query",
            Operation::Create { .. } => "cib_create",
            Operation::Modify { .. } => "cib_modify",
            Operation::Delete { .. } | Operation::DeleteAll { .. } => "cib_delete",
            Operation::Replace { .. } => "cib_replace",
            Operation::Patch { .. } => "cib_apply_diff",
            Operation::Erase => "cib_erase",
            Operation::BumpEpoch => "cib_bump",
            Operation::Upgrade { .. } => "cib_upgrade",
            Operation::Transaction(_) => "cib_commit_transact",
        }
    }

    /// Whether it names the status section as its target, whose content is not validated.
    pub(crate) fn is_status_only(&self) -> bool {
        let target = match self {
            Operation::Create { target, .. }
            | Operation::Modify { target, .. }
            | Operation::Delete { target, .. }
            | Operation::Replace { target, .. } => target,
            Operation::Transaction(all) => return all.iter().all(Operation::is_status_only),
            _ => return false,
        };
        matches!(target, Target::Section(s) if s == "status")
    }
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// Name of the user, as the local system or the tool says.
    pub user: String,
    /// The user's groups, for access control.
    pub groups: Vec<String>,
    /// Name of the program.
    pub client: String,
    /// What the program was told to do, as `resource create`; empty if it is not known.
    pub command: String,
    /// The cluster itself: no access control, and no need for quorum.
    pub internal: bool,
}

/// What an operation returns besides success.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// The result of a query.
    pub xml: Option<Doc>,
}

#[cfg(test)]
mod tests {
    use super::{Operation, flat};

    #[test]
    fn transactions_do_not_nest_on_the_wire() {
        let plain = Operation::Transaction(vec![Operation::Erase, Operation::BumpEpoch]);
        let bytes = postcard::to_stdvec(&plain).unwrap();
        assert_eq!(u32::from(bytes[0]), flat::TRANSACTION_TAG);
        assert_eq!(postcard::from_bytes::<Operation>(&bytes).unwrap(), plain);
        let longer = [&[bytes[0] | 0x80, 0], &bytes[1..]].concat();
        assert_eq!(postcard::from_bytes::<Operation>(&longer).unwrap(), plain);
        let nested = postcard::to_stdvec(&Operation::Transaction(vec![plain])).unwrap();
        assert!(postcard::from_bytes::<Operation>(&nested).is_err());
        let hidden = [&[bytes[0], 1, longer.len() as u8], &longer[..]].concat();
        assert!(postcard::from_bytes::<Operation>(&hidden).is_err());
    }
}
