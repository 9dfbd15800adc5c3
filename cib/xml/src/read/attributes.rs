//! The attributes of start tags: most of what there is to read in a CIB.

use quick_xml::events::BytesStart;

use crate::tree::{AttrData, Doc, NONE, NodeId, Span};

/// What was seen of each name so far. Elements of a history have half of their values in common,
/// and nearly always the same names in the same order.
#[derive(Default)]
pub(super) struct Attributes(Vec<Seen>);

/// What was seen of a name.
#[derive(Clone, Copy)]
struct Seen {
    /// Its last value.
    value: Span,
    /// The last element that has it.
    owner: u32,
    /// The name that came after it, or first in the last element of this name.
    next: u32,
}

impl Attributes {
    /// Adds the attributes of a start tag to the element `id`, which has none.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn read(
        &mut self,
        doc: &mut Doc,
        id: NodeId,
        start: &BytesStart<'_>,
    ) -> Result<(), String> {
        let before = doc.attrs.len();
        if self.read_plain(doc, id, start.attributes_raw()) {
            doc.own_attrs(id, before);
            return Ok(());
        }
        doc.attrs.truncate(before);
        for attr in start.attributes() {
            let attr = attr.map_err(|e| e.to_string())?;
            let value = attr.normalized_value(quick_xml::XmlVersion::Implicit1_0);
            doc.push_attr(id, attr.key.0, &value.map_err(|e| e.to_string())?);
        }
        Ok(())
    }

    /// Appends the attributes in `tag` to those of the document if they are written plainly: each
    /// name once and followed by `=` and a quote, values without references and line ends. Says
    /// whether they are; all others, and all errors, are left to the library.
    fn read_plain(&mut self, doc: &mut Doc, id: NodeId, tag: &str) -> bool {
        // Hardly any tag has one. All of it is looked at at once: that takes less than each value.
        let special = |byte: u8| byte == b'&' || byte < b' ';
        let any_special = tag.bytes().fold(false, |any, byte| any | special(byte));
        let mut rest = tag.trim_ascii_start();
        let mut last = doc.nodes[id.index()].name;
        self.know(doc);
        while !rest.is_empty() {
            let Some((name, after)) = self.name(doc, last, rest) else { return false };
            last = name;
            let quote = match after.as_bytes().first() {
                Some(quote @ (b'"' | b'\'')) => *quote,
                _ => return false,
            };
            let after = &after[1..];
            let Some(end) = memchr::memchr(quote, after.as_bytes()) else { return false };
            let value = &after[..end];
            rest = after[end + 1..].trim_ascii_start();
            let seen = &mut self.0[name as usize];
            if std::mem::replace(&mut seen.owner, id.0) == id.0 {
                return false;
            }
            if doc.slice(seen.value) != value {
                if any_special && value.bytes().any(special) {
                    return false;
                }
                seen.value = doc.append(value);
            }
            doc.attrs.push(AttrData { name, value: seen.value });
        }
        true
    }

    /// Makes room for all names that there are.
    fn know(&mut self, doc: &Doc) {
        self.0.resize(doc.names.len(), Seen { value: Span::default(), owner: NONE, next: NONE });
    }

    /// The number of the name that `rest` starts with, which comes after the one of number `last`,
    /// and what follows its `=`.
    fn name<'t>(&mut self, doc: &mut Doc, last: u32, rest: &'t str) -> Option<(u32, &'t str)> {
        let guess = self.0[last as usize].next;
        let guessed = doc.names.get(guess as usize).and_then(|name| rest.strip_prefix(&**name));
        if let Some(after) = guessed.and_then(|after| after.strip_prefix('=')) {
            return Some((guess, after));
        }
        let end = rest.bytes().position(|byte| byte == b'=' || byte <= b' ')?;
        let (name, after) = rest.split_at(end);
        let after = after.strip_prefix('=').filter(|_| end > 0)?;
        let number = doc.intern(name);
        self.know(doc);
        self.0[last as usize].next = number;
        Some((number, after))
    }
}

#[cfg(test)]
mod tests {
    use quick_xml::Reader;
    use quick_xml::XmlVersion::Implicit1_0;
    use quick_xml::events::{BytesStart, Event};

    use crate::Doc;

    type Read = Result<Vec<(String, String)>, String>;

    fn by_library(tag: &BytesStart<'_>) -> Read {
        let each = |attr: Result<quick_xml::events::attributes::Attribute<'_>, _>| {
            let attr = attr.map_err(|e: quick_xml::events::attributes::AttrError| e.to_string())?;
            let value = attr.normalized_value(Implicit1_0).map_err(|e| e.to_string())?;
            Ok((attr.key.0.to_string(), value.into_owned()))
        };
        tag.attributes().map(each).collect()
    }

    fn by_us(text: &str) -> Read {
        let doc = Doc::parse(text).map_err(|e| e.reason)?;
        let element = doc.root().children().last().unwrap_or(doc.root());
        Ok(element.attrs().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    /// All tags of up to five of these pieces are read as the library reads them, with the same
    /// complaints, also as the second one of their kind.
    #[test]
    fn tags_are_read_as_the_library_reads_them() {
        const PIECES: [&str; 12] =
            [" ", "a=\"1\"", "b='2'", "c=\"&lt;\"", "a", "=", "\"", "'", "&", "\n", "x", "\u{e4}"];
        let mut compared = 0;
        for number in 0..PIECES.len().pow(5) {
            let mut text = "<r ".to_string();
            let mut rest = number;
            while rest > 0 {
                text.push_str(PIECES[rest % PIECES.len()]);
                rest /= PIECES.len();
            }
            text.push_str("/>");
            let mut reader = Reader::from_str(&text);
            let Ok(Event::Empty(tag)) = reader.read_event() else { continue };
            if !matches!(reader.read_event(), Ok(Event::Eof)) {
                continue;
            }
            compared += 1;
            let mut expected = by_library(&tag);
            let odd = |(name, _): &(String, String)| name.contains(['"', '\'', '&', '=']);
            if let Some((name, _)) = expected.iter().flatten().find(|attr| odd(attr)) {
                expected = Err(format!("{name:?} is no name"));
            }
            assert_eq!(by_us(&text), expected, "{text}");
            let second = format!("<r><r a=\"1\" b=\"\"/>{text}</r>");
            assert_eq!(by_us(&second), expected, "{second}");
        }
        assert!(compared > 10_000, "{compared}");
    }
}
