//! XML that is given to a tool.

use std::io::Read;

use cib_xml::Doc;

use crate::args::Given;
use crate::exit;

/// An error message and an exit status.
pub type Failure = (i32, String);

/// The text of a file, `-` for the standard input.
///
/// # Errors
/// If it cannot be read.
pub fn read_text(path: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if path == "-" {
        std::io::stdin().read_to_string(&mut text).map(|_| ())
    } else {
        std::fs::read_to_string(path).map(|t| text = t)
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
