//! XML that is given to a tool.

use std::io::Read;
use std::path::Path;

use bzip2::read::BzDecoder;
use cib_xml::Doc;

use crate::args::Given;
use crate::exit;

/// An error message and an exit status.
pub type Failure = (i32, String);

/// The most that a packed file may hold: a small one can be made that unpacks to anything.
const UNPACKED_MAX: u64 = 1 << 30;

/// The text of a file, unpacked if it is packed by bzip2 (as inputs of plans are).
///
/// # Errors
/// If it cannot be read.
pub fn read_file(path: &Path) -> std::io::Result<String> {
    let bytes = std::fs::read(path)?;
    let not_text = |e| std::io::Error::new(std::io::ErrorKind::InvalidData, e);
    if !bytes.starts_with(b"BZh") {
        return String::from_utf8(bytes).map_err(not_text);
    }
    let mut text = String::new();
    BzDecoder::new(&bytes[..]).take(UNPACKED_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The text of a file, as [`read_file`] has it; `-` for the standard input.
///
/// # Errors
/// If it cannot be read.
pub fn read_text(path: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if path == "-" {
        std::io::stdin().read_to_string(&mut text).map(|_| ())
    } else {
        read_file(Path::new(path)).map(|t| text = t)
    };
    match read {
        Ok(()) => Ok(text),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Err((exit::NOINPUT, format!("Couldn't read {path}: No such file or directory")))
        }
        Err(e) => Err((exit::NOINPUT, format!("Couldn't read {path}: {e}"))),
    }
}

/// Reads `text` as XML.
///
/// # Errors
/// If it is none.
pub fn parse(text: &str, what: &str) -> Result<Doc, Failure> {
    Doc::parse(text).map_err(|e| (exit::DATAERR, format!("Couldn't parse {what}: {e}")))
}

/// The XML that `--xml-file`, `--xml-text` or `--xml-pipe` says, in this order.
///
/// # Errors
/// If it cannot be read.
pub fn given_text(given: &Given) -> Result<Option<String>, Failure> {
    if let Some(path) = given.get("xml-file") {
        return read_text(path).map(Some);
    }
    if let Some(text) = given.get("xml-text") {
        return Ok(Some(text.to_string()));
    }
    if given.has("xml-pipe") {
        return read_text("-").map(Some);
    }
    Ok(None)
}
