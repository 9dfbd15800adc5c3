//! The bytes of `cib.xml` and `cib.xml.sig`, and what they say.

use cib_xml::{Doc, Kind, NodeId, Style, digest};

use crate::version::{Term, Version};

/// What is written to disk for one state of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The content of `cib.xml`.
    pub xml: Vec<u8>,
    /// The content of `cib.xml.sig`: the digest that [`from_bytes`] verifies.
    pub sig: Vec<u8>,
}

/// Why the files are no CIB.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// Not text.
    #[error("the file is not UTF-8 text")]
    NotText,
    /// Not XML.
    #[error("the file is not XML: {0}")]
    NotXml(#[from] cib_xml::ParseError),
    /// XML, but no CIB.
    #[error("the file's root element is <{0}>, not <cib>")]
    NotCib(String),
    /// Changed by something else than the cluster, or damaged.
    #[error(
        "the file was changed since the cluster wrote it: its digest is {found}, not {expected}"
    )]
    Digest {
        /// The digest in the `.sig` file.
        expected: String,
        /// The digest of the content.
        found: String,
    },
}

/// What the comment begins with that says in which term a CIB was stored.
const TERM: &str = " quorate term ";

/// A copy of `doc` as it is stored: without status, which is rebuilt, and with `num_updates` 0. The
/// term, with the version of the last change in a quorate view, goes into a comment, which other
/// programs that read the file do not mind.
pub fn snapshot(doc: &Doc, term: Term, committed: Version) -> Doc {
    let mut out = Doc::new(doc.root().name());
    let root = out.root_id();
    for (name, value) in doc.root().attrs() {
        out.set_attr(root, name, if name == "num_updates" { "0" } else { value });
    }
    for child in doc.root().all_children().filter(|c| c.name() != "status") {
        out.append_copy(root, child);
    }
    out.append_comment(
        root,
        &format!(
            "{TERM}{} {} {} {} ",
            term.view, committed.admin_epoch, committed.epoch, term.generation
        ),
    );
    out
}

/// Takes the term, and the version of the last change in a quorate view, out of a document that was
/// stored; what it does not say is taken from its version.
pub(crate) fn take_term(doc: &mut Doc) -> (Term, Version) {
    let mut found = (Term::default(), Version { num_updates: 0, ..Version::of(doc) });
    let comments: Vec<NodeId> = doc
        .root()
        .all_children()
        .filter(|c| c.kind() == Kind::Comment && c.text().starts_with(TERM))
        .map(|c| c.id())
        .collect();
    for id in comments {
        let said = doc.node(id).text()[TERM.len()..].split_whitespace();
        let numbers: Vec<u64> = said.filter_map(|n| n.parse().ok()).collect();
        // Earlier releases know no generations.
        if let [view, admin_epoch, epoch, ref rest @ ..] = numbers[..] {
            let term = Term { generation: rest.first().copied().unwrap_or(0), view };
            found = (term, Version { admin_epoch, epoch, num_updates: 0 });
        }
        doc.detach(id);
    }
    found
}

/// The files for a snapshot.
pub fn to_bytes(snapshot: &Doc) -> Files {
    Files {
        xml: snapshot.root().to_xml(Style::Pretty).into_bytes(),
        sig: digest::on_disk(snapshot.root()).into_bytes(),
    }
}

/// Reads what [`to_bytes`] or the established implementation wrote. Without `sig` the content is
/// taken as it is. A missing status section is added.
///
/// # Errors
/// If it is not a CIB, or not the one that `sig` was made for.
pub fn from_bytes(xml: &[u8], sig: Option<&[u8]>) -> Result<Doc, DiskError> {
    let text = std::str::from_utf8(xml).map_err(|_| DiskError::NotText)?;
    let mut doc = Doc::parse(text)?;
    if doc.root().name() != "cib" {
        return Err(DiskError::NotCib(doc.root().name().to_string()));
    }
    if let Some(sig) = sig {
        let expected = String::from_utf8_lossy(sig).trim().to_ascii_lowercase();
        let found = digest::on_disk(doc.root());
        if expected != found {
            return Err(DiskError::Digest { expected, found });
        }
    }
    if doc.root().child("status").is_none() {
        let root = doc.root_id();
        doc.append_element(root, "status");
    }
    Ok(doc)
}
