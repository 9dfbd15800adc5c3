//! Text that outlives its document without being copied.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use crate::tree::NONE;

/// A piece of a document's text. Pieces of one document share it, so taking one costs no memory of
/// its own; the document can be changed meanwhile.
#[derive(Clone)]
pub struct Text {
    all: Arc<String>,
    start: u32,
    len: u32,
}

/// Pieces of one document's text, by small numbers: the values of an element's attributes, say. They
/// share the text together, so each costs eight bytes.
#[derive(Clone)]
pub struct Pieces<const N: usize> {
    all: Arc<String>,
    /// Where each starts, [`NONE`] if there is none, and its length.
    spans: [(u32, u32); N],
}

/// All text of a document, in two parts: what pieces may have been taken of, and what was written
/// since. So a change copies nothing that somebody else reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Texts {
    shared: Arc<String>,
    /// Follows after `shared`.
    own: String,
}

impl Texts {
    pub(crate) fn len(&self) -> usize {
        self.shared.len() + self.own.len()
    }

    /// Appends `text`, in one part; where it begins is the length before.
    pub(crate) fn push(&mut self, text: &str) {
        self.own.push_str(text);
    }

    /// Makes ready for pieces to be taken of all that is there.
    pub(crate) fn share(&mut self) {
        let own = std::mem::take(&mut self.own);
        if self.shared.is_empty() {
            self.shared = Arc::new(own);
        } else {
            Arc::make_mut(&mut self.shared).push_str(&own);
        }
    }

    /// What was appended at `start`.
    #[inline]
    pub(crate) fn slice(&self, start: u32, len: u32) -> &str {
        let (start, len) = (start as usize, len as usize);
        match start.checked_sub(self.shared.len()) {
            Some(start) => &self.own[start..start + len],
            None => &self.shared[start..start + len],
        }
    }

    /// The same, to be kept.
    #[inline]
    pub(crate) fn piece(&self, start: u32, len: u32) -> Text {
        if (start as usize) < self.shared.len() {
            Text { all: self.shared.clone(), start, len }
        } else {
            Text::from(self.slice(start, len))
        }
    }

    /// Several, to be kept, by their numbers, starts and lengths.
    pub(crate) fn pieces<const N: usize>(
        &self,
        values: impl Iterator<Item = (usize, u32, u32)>,
    ) -> Pieces<N> {
        let shared = self.shared.len();
        let (mut spans, mut whole) = ([(NONE, 0); N], true);
        for (number, start, len) in values {
            spans[number] = (start, len);
            whole &= start as usize + len as usize <= shared;
        }
        if whole {
            return Pieces { all: self.shared.clone(), spans };
        }
        let mut own = String::new();
        for (start, len) in spans.iter_mut().filter(|span| span.0 != NONE) {
            let text = self.slice(*start, *len);
            *start = own.len() as u32;
            own.push_str(text);
        }
        Pieces { all: Arc::new(own), spans }
    }

    /// Forgets what was appended after the length was `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.own.truncate(len.saturating_sub(self.shared.len()));
        if len < self.shared.len() {
            Arc::make_mut(&mut self.shared).truncate(len);
        }
    }
}

impl<const N: usize> Pieces<N> {
    /// The piece of this number, if there is one.
    #[inline]
    pub fn get(&self, number: usize) -> Option<&str> {
        let (start, len) = self.spans[number];
        (start != NONE).then(|| &self.all[start as usize..(start + len) as usize])
    }

    /// The same, to be kept longer than the others.
    pub fn text(&self, number: usize) -> Option<Text> {
        let (start, len) = self.spans[number];
        (start != NONE).then(|| Text { all: self.all.clone(), start, len })
    }
}

impl<const N: usize> PartialEq for Pieces<N> {
    fn eq(&self, other: &Pieces<N>) -> bool {
        (0..N).all(|number| self.get(number) == other.get(number))
    }
}

impl<const N: usize> fmt::Debug for Pieces<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries((0..N).filter_map(|n| Some((n, self.get(n)?)))).finish()
    }
}

impl Deref for Text {
    type Target = str;

    #[inline]
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

#[cfg(test)]
mod tests {
    use super::Texts;

    #[test]
    fn pieces_stay_as_they_are_when_more_is_written() {
        let mut texts = Texts::default();
        texts.push("one");
        texts.share();
        let piece = texts.piece(0, 3);
        texts.push("two");
        let copied = texts.piece(3, 3);
        texts.push("three");
        assert_eq!(
            (texts.slice(0, 3), texts.slice(3, 3), texts.slice(6, 5)),
            ("one", "two", "three")
        );
        assert_eq!((&*piece, &*copied, texts.slice(11, 0)), ("one", "two", ""));
        texts.truncate(6);
        texts.share();
        assert_eq!((texts.len(), &*texts.piece(3, 3), &*piece), (6, "two", "one"));
        texts.truncate(1);
        assert_eq!((texts.len(), texts.slice(0, 1), &*piece), (1, "o", "one"));
        texts.push("k");
        assert_eq!((texts.slice(0, 1), texts.slice(1, 1)), ("o", "k"));
    }

    #[test]
    fn pieces_are_shared_or_copied_together() {
        let mut texts = Texts::default();
        texts.push("one");
        texts.share();
        texts.push("two");
        let shared = texts.pieces::<3>([(0, 0, 1), (2, 1, 2)].into_iter());
        let copied = texts.pieces::<3>([(0, 0, 1), (2, 1, 2), (1, 3, 3)].into_iter());
        texts.truncate(1);
        assert_eq!([0, 1, 2].map(|n| shared.get(n)), [Some("o"), None, Some("ne")]);
        assert_eq!([0, 1, 2].map(|n| copied.get(n)), [Some("o"), Some("two"), Some("ne")]);
        assert_eq!(copied.text(1).as_deref(), Some("two"));
        assert_ne!(shared, copied);
    }
}
