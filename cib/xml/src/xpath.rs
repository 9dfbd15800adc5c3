//! XPath 1.0 over a [`Doc`].
//!
//! The whole expression language of the recommendation of 1999 except variables and name space
//! axes, which a CIB has no use for. Evaluation is bounded: an expression is at most
//! [`EXPRESSION_BYTES_MAX`] long, nests at most [`NESTING_MAX`] deep, and visits at most
//! [`VISITS_MAX`] nodes; beyond that it is an error, not a hang.

mod eval;
mod parse;

use crate::tree::{Doc, NodeId};

/// Longer expressions are refused.
pub const EXPRESSION_BYTES_MAX: usize = 64 << 10;
/// Deeper nested expressions are refused.
pub const NESTING_MAX: usize = 64;
/// An evaluation that visits more nodes is given up. A plain search of the largest CIB visits some
/// hundred thousand; so many take a fraction of a second. Texts that are made count by their length.
pub const VISITS_MAX: u64 = 5_000_000;

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XPathError {
    /// The expression is not XPath 1.0, or uses what is not supported.
    #[error("XPath, character {at}: {reason}")]
    Syntax {
        /// Byte offset in the expression, from 1.
        at: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The expression's value is a number, text or truth value where nodes are needed.
    #[error("the XPath expression selects no nodes, its value is a {0}")]
    NotNodes(&'static str),
    /// Over [`VISITS_MAX`].
    #[error(
        "the XPath expression takes too long: more than {VISITS_MAX} nodes would have to be visited; \
         name elements by their path or id instead of searching within a search"
    )]
    TooLong,
}

/// One thing that an expression selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// An element, text or comment.
    Node(NodeId),
    /// An attribute, by its element and name.
    Attr(NodeId, String),
    /// The document itself, above the root element.
    Document,
}

/// The value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nodes in document order.
    Nodes(Vec<Found>),
    /// A truth value.
    Boolean(bool),
    /// A number.
    Number(f64),
    /// Text.
    Text(String),
}

/// A parsed expression, for use on many documents.
#[derive(Clone, Debug)]
pub struct XPath(parse::Expr);

impl XPath {
    /// Parses `expression`.
    ///
    /// # Errors
    /// If it is not XPath 1.0.
    pub fn parse(expression: &str) -> Result<XPath, XPathError> {
        parse::parse(expression).map(XPath)
    }

    /// Evaluates on `doc`, with the document as context.
    ///
    /// # Errors
    /// If it takes too long.
    pub fn evaluate(&self, doc: &Doc) -> Result<Value, XPathError> {
        eval::evaluate(&self.0, doc, None)
    }

    /// Evaluates on `doc`, with the node `context` as context.
    ///
    /// # Errors
    /// If it takes too long.
    pub fn evaluate_at(&self, doc: &Doc, context: NodeId) -> Result<Value, XPathError> {
        eval::evaluate(&self.0, doc, Some(context))
    }

    /// What it selects in `doc`, in document order.
    ///
    /// # Errors
    /// If it selects no nodes but is a number, text or truth value, or takes too long.
    pub fn select(&self, doc: &Doc) -> Result<Vec<Found>, XPathError> {
        match self.evaluate(doc)? {
            Value::Nodes(found) => Ok(found),
            Value::Boolean(_) => Err(XPathError::NotNodes("truth value")),
            Value::Number(_) => Err(XPathError::NotNodes("number")),
            Value::Text(_) => Err(XPathError::NotNodes("text")),
        }
    }
}

impl Doc {
    /// What the XPath 1.0 `expression` selects, in document order.
    ///
    /// # Errors
    /// See [`XPath::parse`] and [`XPath::select`].
    pub fn xpath(&self, expression: &str) -> Result<Vec<Found>, XPathError> {
        XPath::parse(expression)?.select(self)
    }

    /// The elements that `expression` selects, in document order; anything else is left out.
    ///
    /// # Errors
    /// See [`XPath::parse`] and [`XPath::select`].
    pub fn xpath_elements(&self, expression: &str) -> Result<Vec<NodeId>, XPathError> {
        let found = self.xpath(expression)?.into_iter().filter_map(|f| match f {
            Found::Node(id) if self.node(id).is_element() => Some(id),
            _ => None,
        });
        Ok(found.collect())
    }
}

/// `text` as a string of an XPath expression, whatever is in it. XPath 1.0 has no escapes: text with
/// both kinds of quotes is put together by `concat()`.
pub fn quoted(text: &str) -> String {
    /// As many arguments as a function may have here.
    const ARGUMENTS_MAX: usize = 64;
    if !text.contains('\'') {
        return format!("'{text}'");
    }
    if !text.contains('"') {
        return format!("\"{text}\"");
    }
    let mut parts: Vec<String> = Vec::new();
    for part in text.split_inclusive('\'') {
        let before = part.strip_suffix('\'');
        parts.push(format!("'{}'", before.unwrap_or(part)));
        parts.extend(before.map(|_| "\"'\"".to_owned()));
    }
    while parts.len() > 1 {
        let join = |some: &[String]| match some {
            [one] => one.clone(),
            _ => format!("concat({})", some.join(",")),
        };
        parts = parts.chunks(ARGUMENTS_MAX).map(join).collect();
    }
    parts.concat()
}

/// Appends the last part of a path: `/name[@id='x']`, with double quotes where there is a single one
/// in the id. (As it stands in patchsets, which others read as well: see [`crate::patch`].)
pub(crate) fn push_component(path: &mut String, name: &str, id: Option<&str>) {
    path.push('/');
    path.push_str(name);
    if let Some(id) = id {
        let quote = if id.contains('\'') && !id.contains('"') { '"' } else { '\'' };
        path.push_str("[@id=");
        path.push(quote);
        path.push_str(id);
        path.push(quote);
        path.push(']');
    }
}

/// The path of `node` as the field writes it: names from the root, with the id where there is one
/// (`/cib/configuration/resources/primitive[@id='x']`). Text and comments have their element's path.
pub fn path_of(node: crate::Node<'_>) -> String {
    let mut chain = Vec::new();
    let mut at = Some(node);
    while let Some(n) = at {
        if n.is_element() {
            chain.push(n);
        }
        at = n.parent();
    }
    let mut out = String::new();
    chain.into_iter().rev().for_each(|n| push_component(&mut out, n.name(), n.attr("id")));
    out
}

#[cfg(test)]
mod tests;
