//! The CIB's tree: arena, reader, writer, XPath, patchsets, digests.
//!
//! A [`Doc`] holds one XML document in three flat vectors (nodes, attributes, text), so that a CIB
//! is parsed without an allocation per element and a snapshot is a memory copy. Elements are named
//! by [`NodeId`], or walked with the borrowing cursor [`Node`]. Attributes keep the order in which
//! they were made, because outputs of this field are compared as text. Changes can be made in a
//! transaction ([`Doc::begin`]) that is undone at the cost of what it changed.

#![forbid(unsafe_code)]

pub mod digest;
mod journal;
pub mod patch;
mod read;
mod tree;
mod write;
mod xpath;

pub use journal::Journal;
pub use read::{ParseError, Position};
pub use tree::{Attr, Children, Doc, Kind, Node, NodeId};
pub use write::{Style, escape_attribute};
pub use xpath::{
    EXPRESSION_BYTES_MAX, Found, NESTING_MAX, VISITS_MAX, Value, XPath, XPathError, path_of, quoted,
};
