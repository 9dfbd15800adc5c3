//! Text to tree.

mod attributes;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::tree::{Doc, Kind, Node, NodeId, is_forbidden};
use attributes::Attributes;

/// Deeper documents are refused: nobody nests a CIB like that, and walks may recurse.
const DEPTH_MAX: usize = 200;
/// Larger documents are refused: offsets are kept in 32 bits.
const BYTES_MAX: usize = 1 << 30;

/// Line and column of a place in the source, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1.
    pub column: usize,
}

/// Why a text is not XML that this project takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {}, column {}: {reason}", position.line, position.column)]
pub struct ParseError {
    /// Where it stopped being XML.
    pub position: Position,
    /// What is wrong there.
    pub reason: String,
}

impl Doc {
    /// Reads a document. White space between elements is dropped, comments and other text are kept.
    ///
    /// # Errors
    /// If the text is not well-formed, has a document type (so there are no entities beyond XML's
    /// five), nests deeper than 200 elements, or is over 1 GiB.
    pub fn parse(source: &str) -> Result<Doc, ParseError> {
        let mut doc = Doc::default();
        match parse_into(&mut doc, source) {
            Ok(()) => {
                doc.base = doc.size();
                Ok(doc)
            }
            Err((offset, reason)) => {
                Err(ParseError { position: position(&doc.lines, offset), reason })
            }
        }
    }
}

impl Doc {
    /// Lets go of what only [`Node::position`] needs.
    pub fn forget_positions(&mut self) {
        self.lines = Vec::new();
    }
}

impl Node<'_> {
    /// Where the element stood in the text that it was parsed from, if that is known.
    pub fn position(self) -> Option<Position> {
        let offset = self.doc().offset(self.id()).filter(|_| !self.doc().lines.is_empty())?;
        Some(position(&self.doc().lines, offset as usize))
    }
}

fn position(lines: &[u32], offset: usize) -> Position {
    let line = lines.partition_point(|start| *start as usize <= offset).max(1);
    let start = lines.get(line - 1).map_or(0, |s| *s as usize);
    Position { line, column: offset.saturating_sub(start) + 1 }
}

type Failure = (usize, String);

fn parse_into(doc: &mut Doc, source: &str) -> Result<(), Failure> {
    if source.len() > BYTES_MAX {
        return Err((0, format!("the document is over {BYTES_MAX} bytes")));
    }
    find_lines(&mut doc.lines, source)?;
    // About what histories need, which is most of a CIB; memory that is not used costs nothing.
    doc.attrs.reserve(source.len() / 24);
    doc.nodes.reserve(source.len() / 128);
    doc.text.reserve(source.len() / 3);
    let mut reader = Reader::from_str(source);
    let mut open: Vec<NodeId> = Vec::new();
    let (mut text, mut blank) = (String::new(), None);
    let mut attributes = Attributes::default();
    loop {
        let offset = reader.buffer_position() as usize;
        let event =
            reader.read_event().map_err(|e| (reader.error_position() as usize, e.to_string()))?;
        let fail = |reason: String| (offset, reason);
        match event {
            // Nearly all text is between elements, and blank: what follows says whether it counts.
            Event::Text(t) if text.is_empty() && t.trim_ascii().is_empty() => blank = Some(t),
            Event::Text(t) => text.push_str(&t.xml10_content()),
            Event::CData(t) => {
                text.extend(blank.take().map(|blank| blank.xml10_content()));
                text.push_str(&t.xml10_content());
            }
            Event::GeneralRef(r) => {
                text.extend(blank.take().map(|blank| blank.xml10_content()));
                let c = match r.resolve_char_ref().map_err(|e| fail(e.to_string()))? {
                    Some(c) => c,
                    None => predefined(&r)
                        .ok_or_else(|| fail(format!("unknown entity &{};", r.xml10_content())))?,
                };
                text.push(c);
            }
            other => {
                blank = None;
                flush_text(doc, &open, &mut text).map_err(fail)?;
                match other {
                    Event::Start(start) => {
                        let id = element(doc, &open, &mut attributes, &start, offset)?;
                        if open.len() >= DEPTH_MAX {
                            return Err(fail(format!("elements nest deeper than {DEPTH_MAX}")));
                        }
                        open.push(id);
                    }
                    Event::Empty(start) => {
                        element(doc, &open, &mut attributes, &start, offset)?;
                    }
                    Event::End(_) => {
                        open.pop();
                    }
                    Event::Comment(c) => {
                        if let Some(parent) = open.last() {
                            doc.append_comment(*parent, &c.xml10_content());
                        }
                    }
                    Event::DocType(_) => {
                        return Err(fail("a document type is not accepted".into()));
                    }
                    Event::Eof => break,
                    _ => {}
                }
            }
        }
    }
    if let Some(id) = open.last() {
        return Err((source.len(), format!("element <{}> is not closed", doc.node(*id).name())));
    }
    if doc.arena_len() == 0 {
        return Err((0, "there is no element in it".into()));
    }
    check_names(doc)
}

/// Whether all names are such as others can read.
fn check_names(doc: &Doc) -> Result<(), Failure> {
    let Some(wrong) = doc.names().position(|name| !is_name(name)) else { return Ok(()) };
    let has = |node: &Node<'_>| {
        node.name() == &*doc.names[wrong] || node.numbered_attrs().any(|a| a.name_index() == wrong)
    };
    let offset = doc.root().descendants().find(has).and_then(|node| doc.offset(node.id()));
    Err((offset.unwrap_or(0) as usize, format!("{:?} is no name", doc.names[wrong])))
}

/// Whether it is a name by XML 1.0, 2.3; of characters beyond ASCII any.
fn is_name(name: &str) -> bool {
    let start = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':') || !c.is_ascii();
    let further = |c: char| start(c) || c.is_ascii_digit() || matches!(c, '-' | '.');
    name.starts_with(start) && name.chars().all(further)
}

/// Notes where lines start, and looks for what XML does not permit.
fn find_lines(lines: &mut Vec<u32>, source: &str) -> Result<(), Failure> {
    let bytes = source.as_bytes();
    lines.push(0);
    lines.extend(memchr::memchr_iter(b'\n', bytes).map(|at| at as u32 + 1));
    // Looked for in all pieces to their ends, which takes a few instructions for a piece.
    let suspect = |piece: &[u8]| piece.iter().fold(false, |any, byte| any | is_forbidden(*byte));
    if bytes.chunks(4096).any(suspect)
        && let Some(at) = bytes.iter().position(|byte| is_forbidden(*byte))
    {
        let reason = format!("the control character 0x{:02x} is not permitted in XML", bytes[at]);
        return Err((at, reason));
    }
    Ok(())
}

fn predefined(name: &str) -> Option<char> {
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        _ => return None,
    })
}

fn flush_text(doc: &mut Doc, open: &[NodeId], text: &mut String) -> Result<(), String> {
    if !text.trim_ascii_start().is_empty() && !text.trim().is_empty() {
        let Some(parent) = open.last() else {
            return Err("text outside of the root element".into());
        };
        doc.append_text(*parent, text);
    }
    text.clear();
    Ok(())
}

fn element(
    doc: &mut Doc,
    open: &[NodeId],
    attributes: &mut Attributes,
    start: &BytesStart<'_>,
    offset: usize,
) -> Result<NodeId, Failure> {
    if open.is_empty() && doc.arena_len() > 0 {
        return Err((offset, "a second root element".into()));
    }
    let id = doc.new_node(Kind::Element, start.name().0, "");
    doc.set_offset(id, offset as u32);
    if let Some(parent) = open.last() {
        doc.attach(*parent, id, None);
    }
    attributes.read(doc, id, start).map_err(|reason| (offset, reason))?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use crate::Doc;

    #[test]
    fn errors_name_the_place() {
        for (text, expected) in [
            ("", "line 1, column 1: there is no element in it"),
            ("<a>\n <b>\n</a>", "line 3, column 1: "),
            ("<a/>\n<b/>", "line 2, column 1: a second root element"),
            ("<a>\n  <b c=\"1\" c=\"2\"/></a>", "line 2, column 3: "),
            ("<a>\n  <b c=\"&x;\"/></a>", "line 2, column 3: "),
            ("<a>\n  <b[ c=\"1\"/></a>", "line 2, column 3: \"b[\" is no name"),
            ("<a>\n  <b/>\n  <b 1=\"1\"/></a>", "line 3, column 3: \"1\" is no name"),
            ("<a>\n  <b c=\"\u{1}\"/></a>", "line 2, column 9: the control character 0x01"),
        ] {
            let told = Doc::parse(text).expect_err(text).to_string();
            assert!(told.starts_with(expected), "{text:?}: {told}");
        }
    }

    #[test]
    fn values_and_texts_are_read_as_they_are_meant() {
        let text = "<a b='x\ty' c=\"&lt;&#65;\" d=\"x y\">\n  <!--n-->\n <e b='x y'/> t&amp;u </a>";
        let lead = Doc::parse("<a>\r\n &#66;<b/>  <![CDATA[c]]></a>").expect("it is sound");
        let parts: Vec<_> = lead.root().all_children().map(|c| c.text()).collect();
        assert_eq!(parts, ["\n B", "", "  c"]);
        let doc = Doc::parse(text).expect("it is sound");
        let attrs: Vec<_> = doc.root().attrs().collect();
        assert_eq!(attrs, [("b", "x y"), ("c", "<A"), ("d", "x y")]);
        let parts: Vec<_> = doc.root().all_children().map(|c| c.text()).collect();
        assert_eq!(parts, ["n", "", " t&u "]);
        let second = doc.root().child("e").and_then(|e| e.position()).expect("it was read");
        assert_eq!((second.line, second.column), (3, 2));
        let mut later = doc.clone();
        later.forget_positions();
        assert_eq!(later.root().child("e").and_then(|e| e.position()), None);
    }
}
