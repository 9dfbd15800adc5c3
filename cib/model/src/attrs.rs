//! Small maps from names to values.

use std::sync::Arc;

/// Shared immutable text: cheap to copy between tables.
pub type Str = Arc<str>;

/// A map of few entries in order of insertion; lookups are linear, which beats hashing at the
/// sizes that occur (a resource has about ten meta-attributes).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attrs {
    entries: Vec<(Str, Str)>,
}

impl Attrs {
    /// An empty map.
    pub fn new() -> Attrs {
        Attrs::default()
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(n, _)| &**n == name).map(|(_, v)| &**v)
    }

    /// The value of `name` as shared text.
    pub fn get_str(&self, name: &str) -> Option<&Str> {
        self.entries.iter().find(|(n, _)| &**n == name).map(|(_, v)| v)
    }

    /// Whether `name` is there.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Sets `name`, replacing an old value.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.entries.iter_mut().find(|(n, _)| &**n == name) {
            Some((_, v)) => *v = value.into(),
            None => self.push(name.into(), value.into()),
        }
    }

    /// Sets `name` from shared text, replacing an old value.
    pub fn set_str(&mut self, name: &Str, value: &Str) {
        match self.entries.iter_mut().find(|(n, _)| n == name) {
            Some((_, v)) => *v = value.clone(),
            None => self.push(name.clone(), value.clone()),
        }
    }

    /// Sets `name` unless it is there already.
    pub fn set_default(&mut self, name: &Str, value: &Str) {
        if !self.has(name) {
            self.push(name.clone(), value.clone());
        }
    }

    fn push(&mut self, name: Str, value: Str) {
        if self.entries.is_empty() {
            // Most have more than the four that a list makes room for.
            self.entries.reserve(8);
        }
        self.entries.push((name, value));
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &str) {
        self.entries.retain(|(n, _)| &**n != name);
    }

    /// Entries in order of insertion.
    pub fn iter(&self) -> impl Iterator<Item = (&Str, &Str)> {
        self.entries.iter().map(|(n, v)| (n, v))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
