//! Messages that the field's tools write to their log rather than to their output.
//!
//! They appear on the standard error stream if `PCMK_stderr` is set to something true: errors
//! always, the rest if `PCMK_trace_functions` lists the part of the software that it comes from, or
//! if the verbosity asks for it.

/// Levels of messages, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something cannot be done.
    Error,
    /// Something is odd.
    Warning,
    /// Something noteworthy was done.
    Info,
    /// A step on the way.
    Debug,
    /// What decisions are made from.
    Trace,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

/// Whether messages of this level from the part `function` are wanted, at a verbosity.
pub fn wanted(function: &str, level: Level, verbose: usize) -> bool {
    let set = |name: &str| std::env::var(name).unwrap_or_default();
    let on = matches!(
        set("PCMK_stderr").to_ascii_lowercase().as_str(),
        "1" | "true" | "yes" | "on" | "y"
    );
    let traced = || set("PCMK_trace_functions").split(',').any(|f| f == function);
    let most = match verbose {
        0 => Level::Error,
        1 | 2 => Level::Warning,
        3 => Level::Info,
        4 => Level::Debug,
        _ => Level::Trace,
    };
    on && (level <= most || traced())
}

/// Writes a message of the part `function` in `file`, if it is wanted.
pub fn write(function: &str, file: &str, level: Level, verbose: usize, text: &str) {
    if wanted(function, level, verbose) {
        complain!("({function}@{file}.rs:1) \t{}: {text}", level.name());
    }
}

/// An error.
pub fn error(function: &str, file: &str, text: &str) {
    write(function, file, Level::Error, 0, text);
}
