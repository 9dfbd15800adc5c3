//! The arena.

use std::borrow::Cow;
use std::ops::Range;

use rustc_hash::FxHashMap;

use crate::journal::Journal;

pub(crate) const NONE: u32 = u32::MAX;
/// Growth that is not worth a compaction, in nodes, attributes and bytes of text.
const COMPACT_NODES_MIN: usize = 4096;
const COMPACT_ATTRS_MIN: usize = 16 * COMPACT_NODES_MIN;
const COMPACT_TEXT_MIN: usize = 1 << 20;
/// Text that is longer does not double when it grows: that would be most of what a document takes.
const LARGE_TEXT: usize = 64 << 10;

/// A node of one [`Doc`]; meaningless in another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

impl NodeId {
    /// A dense number, for side tables that are indexed by node.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An element with attributes and children.
    Element,
    /// Character data (already unescaped).
    Text,
    /// A comment.
    Comment,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Span {
    start: u32,
    len: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NodeData {
    pub(crate) kind: Kind,
    /// Interned name of an element.
    pub(crate) name: u32,
    /// Content of a text or comment.
    pub(crate) text: Span,
    pub(crate) parent: u32,
    pub(crate) first_child: u32,
    pub(crate) last_child: u32,
    pub(crate) prev: u32,
    pub(crate) next: u32,
    /// An element's attributes are side by side in the arena's.
    pub(crate) first_attr: u32,
    pub(crate) attr_count: u32,
    /// Byte offset in the source, `NONE` for nodes that were not parsed.
    pub(crate) offset: u32,
}

impl NodeData {
    /// Where its attributes are.
    pub(crate) fn attrs(&self) -> Range<u32> {
        self.first_attr..self.first_attr + self.attr_count
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct AttrData {
    pub(crate) name: u32,
    pub(crate) value: Span,
}

/// What a document holds, what is no longer used included.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Size {
    nodes: usize,
    attrs: usize,
    /// In bytes.
    text: usize,
}

/// An XML document with exactly one root element.
#[derive(Clone, Debug, Default)]
pub struct Doc {
    pub(crate) nodes: Vec<NodeData>,
    pub(crate) attrs: Vec<AttrData>,
    pub(crate) text: String,
    pub(crate) names: Vec<Box<str>>,
    pub(crate) name_index: FxHashMap<Box<str>, u32>,
    /// Offsets of line starts in the source, for positions in messages.
    pub(crate) lines: Vec<u32>,
    /// What an undo needs, while a transaction is open.
    pub(crate) journal: Option<Box<Journal>>,
    /// The size after the last compaction.
    pub(crate) base: Size,
}

impl Doc {
    /// A document whose root is an empty element called `root`.
    pub fn new(root: &str) -> Doc {
        let mut doc = Doc::default();
        doc.new_node(Kind::Element, root, "");
        doc
    }

    /// The root element.
    pub fn root_id(&self) -> NodeId {
        NodeId(0)
    }

    /// A cursor on the root element.
    pub fn root(&self) -> Node<'_> {
        self.node(self.root_id())
    }

    /// A cursor on `id`.
    pub fn node(&self, id: NodeId) -> Node<'_> {
        assert!((id.0 as usize) < self.nodes.len(), "a node id of another document");
        Node { doc: self, id }
    }

    /// How many nodes the arena holds, detached ones included: one past the largest index.
    pub fn arena_len(&self) -> usize {
        self.nodes.len()
    }

    /// All names of elements and attributes, each once.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    pub(crate) fn intern(&mut self, name: &str) -> u32 {
        if let Some(ix) = self.name_index.get(name) {
            return *ix;
        }
        let ix = self.names.len() as u32;
        self.names.push(name.into());
        self.name_index.insert(name.into(), ix);
        ix
    }

    /// A node that is about to change: remembered by an open journal.
    fn node_mut(&mut self, ix: u32) -> &mut NodeData {
        if let Some(journal) = &mut self.journal {
            journal.save_node(ix, self.nodes[ix as usize]);
        }
        &mut self.nodes[ix as usize]
    }

    /// An attribute that is about to change: remembered by an open journal.
    fn attr_mut(&mut self, ix: u32) -> &mut AttrData {
        if let Some(journal) = &mut self.journal {
            journal.save_attr(ix, self.attrs[ix as usize]);
        }
        &mut self.attrs[ix as usize]
    }

    pub(crate) fn size(&self) -> Size {
        Size { nodes: self.nodes.len(), attrs: self.attrs.len(), text: self.text.len() }
    }

    /// Rebuilds the arena without what edits left behind, if that is most of it. Node ids change
    /// when it returns true. Costs nothing amortised over the edits that made the waste.
    pub fn compact(&mut self) -> bool {
        assert!(self.journal.is_none(), "no compaction within a transaction");
        if self.nodes.len() <= 2 * self.base.nodes + COMPACT_NODES_MIN
            && self.attrs.len() <= 2 * self.base.attrs + COMPACT_ATTRS_MIN
            && self.text.len() <= 2 * self.base.text + COMPACT_TEXT_MIN
        {
            return false;
        }
        *self = Doc::from_node(self.root());
        true
    }

    fn store(&mut self, text: &str) -> Span {
        self.append(&permitted(text))
    }

    /// Stores text that XML can hold.
    pub(crate) fn append(&mut self, text: &str) -> Span {
        let start = self.text.len() as u32;
        if self.text.len() > LARGE_TEXT && self.text.capacity() - self.text.len() < text.len() {
            self.text.reserve_exact(text.len().max(self.text.len() / 8));
        }
        self.text.push_str(text);
        Span { start, len: text.len() as u32 }
    }

    #[inline]
    pub(crate) fn slice(&self, span: Span) -> &str {
        &self.text[span.start as usize..(span.start + span.len) as usize]
    }

    pub(crate) fn new_node(&mut self, kind: Kind, name: &str, text: &str) -> NodeId {
        let name = if kind == Kind::Element { self.intern(name) } else { NONE };
        let text = if text.is_empty() { Span::default() } else { self.store(text) };
        let id = self.nodes.len() as u32;
        self.nodes.push(NodeData {
            kind,
            name,
            text,
            parent: NONE,
            first_child: NONE,
            last_child: NONE,
            prev: NONE,
            next: NONE,
            first_attr: 0,
            attr_count: 0,
            offset: NONE,
        });
        NodeId(id)
    }

    pub(crate) fn set_offset(&mut self, id: NodeId, offset: u32) {
        self.nodes[id.index()].offset = offset;
    }

    pub(crate) fn offset(&self, id: NodeId) -> Option<u32> {
        Some(self.nodes[id.index()].offset).filter(|o| *o != NONE)
    }

    /// Appends an attribute without looking whether it is there already.
    pub(crate) fn push_attr(&mut self, id: NodeId, name: &str, value: &str) {
        let name = self.intern(name);
        let value = self.store(value);
        let Range { start, end } = self.nodes[id.index()].attrs();
        if end as usize != self.attrs.len() {
            // What follows is another element's: all go where there is room.
            let moved = self.attrs.len() as u32;
            self.attrs.extend_from_within(start as usize..end as usize);
            self.node_mut(id.0).first_attr = moved;
        }
        self.attrs.push(AttrData { name, value });
        self.node_mut(id.0).attr_count += 1;
    }

    /// Gives the element `id`, which has no attributes, those from `first` on.
    pub(crate) fn own_attrs(&mut self, id: NodeId, first: usize) {
        let count = self.attrs.len() - first;
        let node = self.node_mut(id.0);
        (node.first_attr, node.attr_count) = (first as u32, count as u32);
    }

    /// The attributes of an element.
    #[inline]
    fn attrs_of(&self, id: NodeId) -> &[AttrData] {
        let Range { start, end } = self.nodes[id.index()].attrs();
        &self.attrs[start as usize..end as usize]
    }

    pub(crate) fn find_attr(&self, id: NodeId, name: &str) -> Option<u32> {
        let found =
            self.attrs_of(id).iter().position(|attr| &*self.names[attr.name as usize] == name)?;
        Some(self.nodes[id.index()].first_attr + found as u32)
    }

    /// Sets attribute `name` of `id`: in place if it is there, at the end otherwise.
    pub fn set_attr(&mut self, id: NodeId, name: &str, value: &str) {
        match self.find_attr(id, name) {
            Some(at) => {
                if self.slice(self.attrs[at as usize].value) != value {
                    let value = self.store(value);
                    // The journal finds changed attributes by their element.
                    self.node_mut(id.0);
                    self.attr_mut(at).value = value;
                }
            }
            None => self.push_attr(id, name, value),
        }
    }

    /// Removes attribute `name` of `id`; says whether it was there.
    pub fn remove_attr(&mut self, id: NodeId, name: &str) -> bool {
        let Some(at) = self.find_attr(id, name) else { return false };
        let last = self.nodes[id.index()].attrs().end - 1;
        for at in at..last {
            *self.attr_mut(at) = self.attrs[at as usize + 1];
        }
        self.node_mut(id.0).attr_count -= 1;
        true
    }

    /// Removes all attributes of `id`.
    pub fn clear_attrs(&mut self, id: NodeId) {
        self.node_mut(id.0).attr_count = 0;
    }

    /// Gives the element `id` another name.
    pub fn rename(&mut self, id: NodeId, name: &str) {
        assert_eq!(self.nodes[id.index()].kind, Kind::Element, "only elements have names");
        let name = self.intern(name);
        if self.nodes[id.index()].name != name {
            self.node_mut(id.0).name = name;
        }
    }

    /// Makes a new last child element of `parent`.
    pub fn append_element(&mut self, parent: NodeId, name: &str) -> NodeId {
        let id = self.new_node(Kind::Element, name, "");
        self.attach(parent, id, None);
        id
    }

    /// Makes a new last child of `parent` that is character data.
    pub fn append_text(&mut self, parent: NodeId, text: &str) -> NodeId {
        let id = self.new_node(Kind::Text, "", text);
        self.attach(parent, id, None);
        id
    }

    /// Makes a new last child of `parent` that is a comment.
    pub fn append_comment(&mut self, parent: NodeId, text: &str) -> NodeId {
        let id = self.new_node(Kind::Comment, "", text);
        self.attach(parent, id, None);
        id
    }

    /// Puts the detached node `id` under `parent`, before the child `before` or last.
    pub fn attach(&mut self, parent: NodeId, id: NodeId, before: Option<NodeId>) {
        assert_eq!(self.nodes[id.index()].parent, NONE, "attach takes a detached node");
        assert_ne!(parent, id, "a node is not its own child");
        let (prev, next) = match before {
            Some(before) => {
                assert_eq!(self.nodes[before.index()].parent, parent.0, "not a child of parent");
                (self.nodes[before.index()].prev, before.0)
            }
            None => (self.nodes[parent.index()].last_child, NONE),
        };
        let node = self.node_mut(id.0);
        (node.parent, node.prev, node.next) = (parent.0, prev, next);
        if prev == NONE {
            self.node_mut(parent.0).first_child = id.0;
        } else {
            self.node_mut(prev).next = id.0;
        }
        if next == NONE {
            self.node_mut(parent.0).last_child = id.0;
        } else {
            self.node_mut(next).prev = id.0;
        }
    }

    /// Takes `id` with all below it out of its parent; it can be attached elsewhere.
    pub fn detach(&mut self, id: NodeId) {
        let NodeData { parent, prev, next, .. } = self.nodes[id.index()];
        if parent == NONE {
            return;
        }
        if prev == NONE {
            self.node_mut(parent).first_child = next;
        } else {
            self.node_mut(prev).next = next;
        }
        if next == NONE {
            self.node_mut(parent).last_child = prev;
        } else {
            self.node_mut(next).prev = prev;
        }
        let node = self.node_mut(id.0);
        (node.parent, node.prev, node.next) = (NONE, NONE, NONE);
    }

    /// Copies `source` (of this or another document) with all below it; the copy is detached.
    pub fn copy_detached(&mut self, source: Node<'_>) -> NodeId {
        let id = self.copy_shallow(source);
        for child in source.all_children() {
            let copy = self.copy_detached(child);
            self.attach(id, copy, None);
        }
        id
    }

    /// Copies `source` with its attributes but without its children; the copy is detached.
    pub fn copy_shallow(&mut self, source: Node<'_>) -> NodeId {
        let id = match source.kind() {
            Kind::Element => self.new_node(Kind::Element, source.name(), ""),
            kind => self.new_node(kind, "", source.text()),
        };
        for (name, value) in source.attrs() {
            self.push_attr(id, name, value);
        }
        id
    }

    /// Copies `source` (of another document) to the end of `parent`'s children.
    pub fn append_copy(&mut self, parent: NodeId, source: Node<'_>) -> NodeId {
        let id = self.copy_detached(source);
        self.attach(parent, id, None);
        id
    }

    /// A new document whose root is a copy of `source`. Also how a much edited document gets rid of
    /// what it no longer uses.
    pub fn from_node(source: Node<'_>) -> Doc {
        let mut doc = Doc::default();
        doc.copy_detached(source);
        doc.base = doc.size();
        doc
    }
}

/// A borrowed cursor on one node: cheap to copy.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    doc: &'a Doc,
    id: NodeId,
}

impl<'a> Node<'a> {
    fn data(self) -> &'a NodeData {
        &self.doc.nodes[self.id.index()]
    }

    fn at(self, ix: u32) -> Option<Node<'a>> {
        (ix != NONE).then_some(Node { doc: self.doc, id: NodeId(ix) })
    }

    /// The node's id, for changing the document later.
    pub fn id(self) -> NodeId {
        self.id
    }

    /// The document it belongs to.
    pub fn doc(self) -> &'a Doc {
        self.doc
    }

    /// Element, text or comment.
    pub fn kind(self) -> Kind {
        self.data().kind
    }

    /// Whether this is an element.
    pub fn is_element(self) -> bool {
        self.kind() == Kind::Element
    }

    /// The element's name, empty for text and comments.
    pub fn name(self) -> &'a str {
        match self.data().name {
            NONE => "",
            ix => &self.doc.names[ix as usize],
        }
    }

    /// The content of a text or comment node, empty for elements.
    pub fn text(self) -> &'a str {
        self.doc.slice(self.data().text)
    }

    /// The value of attribute `name`.
    pub fn attr(self, name: &str) -> Option<&'a str> {
        let at = self.doc.find_attr(self.id, name)?;
        Some(self.doc.slice(self.doc.attrs[at as usize].value))
    }

    /// As [`Node::attr`], for readers that know names by their place in [`Doc::names`].
    #[inline]
    pub fn numbered_attr(self, name: u32) -> Option<&'a str> {
        let found = self.doc.attrs_of(self.id).iter().find(|attr| attr.name == name);
        found.map(|attr| self.doc.slice(attr.value))
    }

    /// Attributes as (name, value), in the order in which they were made.
    pub fn attrs(self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.numbered_attrs().map(|attr| (attr.name(), attr.value()))
    }

    /// As [`Node::attrs`], for readers that know names by their place in [`Doc::names`].
    pub fn numbered_attrs(self) -> impl Iterator<Item = Attr<'a>> + use<'a> {
        let doc = self.doc;
        doc.attrs_of(self.id).iter().map(move |data| Attr { doc, data })
    }

    /// The element above, `None` for the root and detached nodes.
    pub fn parent(self) -> Option<Node<'a>> {
        self.at(self.data().parent)
    }

    /// The following sibling of any kind.
    pub fn next_sibling(self) -> Option<Node<'a>> {
        self.at(self.data().next)
    }

    /// The preceding sibling of any kind.
    pub fn prev_sibling(self) -> Option<Node<'a>> {
        self.at(self.data().prev)
    }

    /// Child elements.
    pub fn children(self) -> Children<'a> {
        Children { next: self.at(self.data().first_child), elements_only: true }
    }

    /// Children of every kind.
    pub fn all_children(self) -> Children<'a> {
        Children { next: self.at(self.data().first_child), elements_only: false }
    }

    /// Child elements called `name`.
    pub fn children_named(self, name: &str) -> impl Iterator<Item = Node<'a>> + Clone {
        self.children().filter(move |c| c.name() == name)
    }

    /// The first child element called `name`.
    pub fn child(self, name: &str) -> Option<Node<'a>> {
        self.children().find(|c| c.name() == name)
    }

    /// This node and all below it, in document order, every kind.
    pub fn descendants(self) -> impl Iterator<Item = Node<'a>> {
        let top = self.id;
        let mut next = Some(self);
        std::iter::from_fn(move || {
            let node = next?;
            next = node.at(node.data().first_child).or_else(|| {
                let mut up = node;
                loop {
                    if up.id == top {
                        return None;
                    }
                    if let Some(sibling) = up.next_sibling() {
                        return Some(sibling);
                    }
                    up = up.parent()?;
                }
            });
            Some(node)
        })
    }

    /// The element with this `id` attribute, at or below this node.
    pub fn find_id(self, id: &str) -> Option<Node<'a>> {
        self.descendants().find(|n| n.attr("id") == Some(id))
    }
}

/// Whether XML has no way to write a byte, not even as a reference (XML 1.0, 2.2 "Characters").
pub(crate) fn is_forbidden(byte: u8) -> bool {
    byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r')
}

/// `text` with what XML cannot hold replaced: agents and people may say anything, and a CIB with it
/// in could be written but not read again.
fn permitted(text: &str) -> Cow<'_, str> {
    if text.bytes().any(is_forbidden) {
        let keep = |c: char| if c.is_ascii() && is_forbidden(c as u8) { '\u{FFFD}' } else { c };
        Cow::Owned(text.chars().map(keep).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// One attribute of an element.
#[derive(Clone, Copy)]
pub struct Attr<'a> {
    doc: &'a Doc,
    data: &'a AttrData,
}

impl<'a> Attr<'a> {
    /// The place of its name in [`Doc::names`].
    pub fn name_index(self) -> usize {
        self.data.name as usize
    }

    /// Its name.
    pub fn name(self) -> &'a str {
        &self.doc.names[self.name_index()]
    }

    /// Its value.
    #[inline]
    pub fn value(self) -> &'a str {
        self.doc.slice(self.data.value)
    }
}

impl PartialEq for Node<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.doc, other.doc) && self.id == other.id
    }
}

impl std::fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{} {}>", self.name(), self.attr("id").unwrap_or(""))
    }
}

/// Iterator over a node's children.
#[derive(Clone)]
pub struct Children<'a> {
    next: Option<Node<'a>>,
    elements_only: bool,
}

impl<'a> Iterator for Children<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        while let Some(node) = self.next {
            self.next = node.next_sibling();
            if !self.elements_only || node.is_element() {
                return Some(node);
            }
        }
        None
    }
}
