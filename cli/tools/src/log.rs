//! Messages that the field's tools write to their log rather than to their output.
//!
//! They appear on the standard error stream if `PCMK_stderr` is set to something true.

/// Writes a message of the part `function` in `file`, if the log is wanted there.
pub fn write(function: &str, file: &str, level: &str, text: &str) {
    let wanted = std::env::var("PCMK_stderr").is_ok_and(|v| {
        matches!(v.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on" | "y")
    });
    if wanted {
        eprintln!("({function}@{file}.rs:1) \t{level}: {text}");
    }
}

/// An error.
pub fn error(function: &str, file: &str, text: &str) {
    write(function, file, "error", text);
}
