//! Text that outlives its document without being copied.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// A piece of a document's text. Pieces of one document share it, so taking one costs no memory of
/// its own; the document can be changed meanwhile.
#[derive(Clone)]
pub struct Text {
    all: Arc<String>,
    start: u32,
    len: u32,
}

impl Text {
    pub(crate) fn new(all: &Arc<String>, start: u32, len: u32) -> Text {
        Text { all: all.clone(), start, len }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.all[self.start as usize..(self.start + self.len) as usize]
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text { len: text.len() as u32, all: Arc::new(text.to_owned()), start: 0 }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        **self == **other
    }
}

impl Eq for Text {}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}
