//! `corosync-keygen`: makes the cluster's key.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::args::{Given, Opt, Value, flag, opt, value};
use crate::exit;
use crate::output::Out;

pub(crate) const OPTIONS: &[Opt] = &[
    value("key-file", 'k', "File to write, /etc/corosync/authkey by default"),
    value("size", 's', "Size of the key in bytes, 128 to 4096, 256 by default"),
    value("random-file", 'r', "Where random bytes come from, /dev/urandom by default"),
    value("random-file-old", 'm', ""),
    flag("less-secure", 'l', ""),
    opt("help", 'h', Value::No, ""),
];

const KEY_FILE: &str = "/etc/corosync/authkey";

pub(crate) fn run(given: &Given, out: &mut Out) -> i32 {
    match perform(given, out) {
        Ok(()) => exit::OK,
        Err(text) => {
            out.fail(&text);
            exit::ERROR
        }
    }
}

fn perform(given: &Given, out: &mut Out) -> Result<(), String> {
    let path = given.get("key-file").unwrap_or(KEY_FILE);
    let size = match given.get("size").map(|text| (text, text.parse::<usize>())) {
        None => 256,
        Some((_, Ok(size @ 128..=4096))) => size,
        Some((text, _)) => return Err(format!("'{text}' is no size of a key: 128 to 4096 bytes")),
    };
    let source = given.get("random-file").or(given.get("random-file-old"));
    let source = source.unwrap_or("/dev/urandom");
    out.line("Corosync Cluster Engine Authentication key generator.");
    out.line(&format!("Gathering {} bits for key from {source}.", size * 8));
    out.flush();
    let mut key = vec![0; size];
    let read = File::open(source).and_then(|mut file| file.read_exact(&mut key));
    read.map_err(|e| format!("{source}: {e}"))?;
    write(Path::new(path), &key).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            format!("{path} exists already; remove it first if all nodes shall get a new key")
        }
        _ => format!("{path}: {e}"),
    })?;
    out.line(&format!("Writing corosync key to {path}."));
    Ok(())
}

/// A file that was half written would be taken for a key: it is not left behind.
fn write(path: &Path, key: &[u8]) -> std::io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o400).open(path)?;
    let written = file
        .set_permissions(std::fs::Permissions::from_mode(0o400))
        .and_then(|()| file.write_all(key))
        .and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = std::fs::remove_file(path);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keygen(words: &[&str]) -> Result<(), String> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_string()).collect();
        let given = crate::args::parse(OPTIONS, &words).unwrap();
        perform(&given, &mut Out::plain("corosync-keygen"))
    }

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        let path = std::env::temp_dir().join(format!("keygen-{}", std::process::id()));
        let name = path.to_str().unwrap();
        keygen(&["-l", "-s", "1024", "-k", name]).unwrap();
        let made = std::fs::read(&path).unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        let again = keygen(&["-k", name]).unwrap_err();
        let kept = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((made.len(), mode & 0o7777), (1024, 0o400));
        assert!(again.contains("exists already"), "{again}");
        assert_eq!(made, kept);
    }

    #[test]
    fn sizes_that_are_none_make_nothing() {
        for size in ["127", "4097", "x"] {
            assert!(keygen(&["-s", size, "-k", "/nowhere/key"]).unwrap_err().contains("size"));
        }
    }
}
