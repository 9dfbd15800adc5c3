//! Digests of XML as the field computes them: MD5 of one exact serialisation.
//!
//! The serialisation is compact, leaves character data out, and for the second version leaves out
//! the attributes that say who wrote the CIB last. These are no security feature: they only tell
//! whether two copies are the same.

use md5::{Digest, Md5};

use crate::tree::{Kind, Node};
use crate::write::escape;

/// Attributes that do not count in a filtered digest.
pub const FILTERED: [&str; 5] =
    ["crm-debug-origin", "cib-last-written", "update-origin", "update-client", "update-user"];

/// MD5 of `bytes` in lower-case hexadecimal.
pub fn md5_hex(bytes: &[u8]) -> String {
    hex(&Md5::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(2 * bytes.len());
    for b in bytes {
        out.push(DIGITS[usize::from(b >> 4)] as char);
        out.push(DIGITS[usize::from(b & 15)] as char);
    }
    out
}

/// The digest of a CIB file, as kept beside it in `.sig` and printed by `cibadmin -5`.
pub fn on_disk(node: Node<'_>) -> String {
    let mut text = String::from(" ");
    dump(node, false, &mut text);
    text.push('\n');
    md5_hex(text.as_bytes())
}

/// The digest of a CIB as patchsets carry it and `cibadmin -6` prints it.
pub fn v2(node: Node<'_>) -> String {
    let mut text = String::new();
    dump(node, true, &mut text);
    md5_hex(text.as_bytes())
}

/// The digest of an element with all attributes, without the framing of [`on_disk`].
pub fn v2_unfiltered(node: Node<'_>) -> String {
    let mut text = String::new();
    dump(node, false, &mut text);
    md5_hex(text.as_bytes())
}

fn dump(node: Node<'_>, filtered: bool, out: &mut String) {
    match node.kind() {
        Kind::Text => {}
        Kind::Comment => {
            out.push_str("<!--");
            out.push_str(node.text());
            out.push_str("-->");
        }
        Kind::Element => {
            out.push('<');
            out.push_str(node.name());
            for (name, value) in node.attrs() {
                if filtered && FILTERED.contains(&name) {
                    continue;
                }
                out.push(' ');
                out.push_str(name);
                out.push_str("=\"");
                escape(value, true, out);
                out.push('"');
            }
            let mut children = node.all_children().peekable();
            if children.peek().is_none() {
                out.push_str("/>");
                return;
            }
            out.push('>');
            children.for_each(|c| dump(c, filtered, out));
            out.push_str("</");
            out.push_str(node.name());
            out.push('>');
        }
    }
}
