//! The replicated CIB: versions, operations, sync and merge, as a pure machine.
//!
//! [`apply`] is what an [`Operation`] does to a CIB, for replicas and for tools on files alike.
//! [`Store`] replicates a CIB over a total order of messages: every member applies the same
//! operations in the same order, so all have the same CIB. See the module `machine` for what is
//! guaranteed.

#![forbid(unsafe_code)]

pub mod acl;
mod apply;
pub mod disk;
mod error;
mod machine;
mod message;
mod operation;
mod version;

pub use apply::{Applied, Context, apply, query, section_path};
pub use error::{ErrorKind, StoreError};
pub use machine::{Asked, Effect, Input, Setup, Store};
pub use message::{Message, State, Write, WriteId};
pub use operation::{Operation, Output, Target, Who};
pub use version::{Term, Version};

use cib_xml::Doc;

/// A CIB without content. Its version is 0.0.0, so it never wins a merge over another one.
pub fn empty_cib() -> Doc {
    let mut doc = Doc::new("cib");
    let root = doc.root_id();
    for (name, value) in [
        ("crm_feature_set", cib_model::FEATURE_SET),
        ("validate-with", cib_schema::LATEST),
        ("admin_epoch", "0"),
        ("epoch", "0"),
        ("num_updates", "0"),
    ] {
        doc.set_attr(root, name, value);
    }
    let configuration = doc.append_element(root, "configuration");
    for section in ["crm_config", "nodes", "resources", "constraints"] {
        doc.append_element(configuration, section);
    }
    doc.append_element(root, "status");
    doc
}
