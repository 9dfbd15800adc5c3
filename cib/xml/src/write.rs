//! Tree to text.

use crate::tree::{Kind, Node};

/// How a document is laid out as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// All on one line, nothing between elements.
    Compact,
    /// Two blanks of indentation a level, an element a line, a line break at the end.
    Pretty,
}

impl Node<'_> {
    /// This node with all below it as XML text, without a declaration.
    pub fn to_xml(self, style: Style) -> String {
        let mut out = String::new();
        write_node(self, style, 0, &mut out);
        out
    }
}

fn write_node(node: Node<'_>, style: Style, depth: usize, out: &mut String) {
    let pretty = style == Style::Pretty;
    if pretty {
        out.extend(std::iter::repeat_n("  ", depth));
    }
    match node.kind() {
        Kind::Text => escape(node.text(), false, out),
        Kind::Comment => {
            out.push_str("<!--");
            out.push_str(node.text());
            out.push_str("-->");
        }
        Kind::Element => {
            out.push('<');
            out.push_str(node.name());
            for (name, value) in node.attrs() {
                out.push(' ');
                out.push_str(name);
                out.push_str("=\"");
                escape(value, true, out);
                out.push('"');
            }
            write_content(node, style, depth, out);
        }
    }
    if pretty {
        out.push('\n');
    }
}

fn write_content(node: Node<'_>, style: Style, depth: usize, out: &mut String) {
    let mut children = node.all_children().peekable();
    if children.peek().is_none() {
        out.push_str("/>");
        return;
    }
    out.push('>');
    // Character data must not gain white space: an element with text is written on one line.
    let mixed = node.all_children().any(|c| c.kind() == Kind::Text);
    if mixed || style == Style::Compact {
        children.for_each(|c| write_node(c, Style::Compact, 0, out));
    } else {
        out.push('\n');
        children.for_each(|c| write_node(c, style, depth + 1, out));
        out.extend(std::iter::repeat_n("  ", depth));
    }
    out.push_str("</");
    out.push_str(node.name());
    out.push('>');
}

/// Appends an attribute's value as it is written between quotation marks.
pub fn escape_attribute(value: &str, out: &mut String) {
    escape(value, true, out);
}

/// Escapes as the field does: control characters as hexadecimal references, in character data
/// line breaks and tabs stay.
pub(crate) fn escape(text: &str, in_attribute: bool, out: &mut String) {
    let special = |b: u8| match b {
        b'&' | b'<' | b'>' => true,
        b'"' => in_attribute,
        b'\n' | b'\t' => in_attribute,
        b => b.is_ascii_control(),
    };
    let mut plain = 0;
    for (ix, b) in text.bytes().enumerate() {
        if !special(b) {
            continue;
        }
        out.push_str(&text[plain..ix]);
        plain = ix + 1;
        match b {
            b'&' => out.push_str("&amp;"),
            b'<' => out.push_str("&lt;"),
            b'>' => out.push_str("&gt;"),
            b'"' => out.push_str("&quot;"),
            b => {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                out.push_str("&#x");
                out.push(DIGITS[usize::from(b >> 4)] as char);
                out.push(DIGITS[usize::from(b & 15)] as char);
                out.push(';');
            }
        }
    }
    out.push_str(&text[plain..]);
}

#[cfg(test)]
mod tests {
    use super::Style;
    use crate::Doc;

    #[test]
    fn what_is_read_is_written_again() {
        let text = "<cib epoch=\"1\"><a id=\"x &lt; y\"/><!-- why --><b>some &amp; text</b></cib>";
        let doc = Doc::parse(text).unwrap();
        assert_eq!(doc.root().to_xml(Style::Compact), text);
    }

    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        let mut doc = Doc::new("a");
        doc.set_attr(doc.root_id(), "said", "\u{1b}[31mred\u{0}\t");
        let text = doc.root().to_xml(Style::Compact);
        assert_eq!(text, "<a said=\"\u{fffd}[31mred\u{fffd}&#x09;\"/>");
        assert_eq!(
            Doc::parse(&text).unwrap().root().attr("said"),
            Some("\u{fffd}[31mred\u{fffd}\t")
        );
        let error = Doc::parse("<a>\n<b c='\u{1}'/></a>").unwrap_err();
        assert_eq!((error.position.line, error.position.column), (2, 7), "{error}");
    }

    #[test]
    fn bad_input_names_the_place() {
        let error = Doc::parse("<cib>\n  <a>\n</cib>").unwrap_err();
        assert_eq!(error.position.line, 3, "{error}");
        for bad in ["", "<a/><b/>", "<!DOCTYPE x [<!ENTITY e 'x'>]><a>&e;</a>", "<a b='1' b='2'/>"]
        {
            assert!(Doc::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
