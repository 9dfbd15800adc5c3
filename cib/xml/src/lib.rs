//! The CIB's tree: arena, reader, writer.
//!
//! A [`Doc`] holds one XML document in three flat vectors (nodes, attributes, text), so that a CIB
//! is parsed without an allocation per element and a snapshot is a memory copy. Elements are named
//! by [`NodeId`], or walked with the borrowing cursor [`Node`]. Attributes keep the order in which
//! they were made, because outputs of this field are compared as text.

mod read;
mod tree;
mod write;

pub use read::{ParseError, Position};
pub use tree::{Children, Doc, Kind, Node, NodeId};
pub use write::Style;
