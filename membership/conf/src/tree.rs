//! The text as a tree with line numbers, before any key is understood.

use std::fmt;

/// Deepest nesting of sections.
const DEPTH_MAX: usize = 8;

/// Something that does not stop the daemon but that the operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Line, counted from 1.
    pub line: usize,
    /// The key or section with its path, such as `totem.token`.
    pub key: String,
    /// What is odd about it.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: {}", self.line, self.key, self.text)
    }
}

/// A reason why the file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {key}: {problem}; {remedy}")]
pub struct ConfError {
    /// The file's name as given to the parser.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// The key or section with its path, such as `totem.token`.
    pub key: String,
    /// What is wrong, and what was expected.
    pub problem: String,
    /// What to write instead.
    pub remedy: String,
}

/// All reasons why the file cannot be used; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfErrors(pub Vec<ConfError>);

impl fmt::Display for ConfErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

/// A `key: value` line.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) line: usize,
}

/// A section with what stands in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) entries: Vec<Entry>,
    pub(crate) sections: Vec<Section>,
}

impl Section {
    /// The last value of a key: a later line overrides an earlier one.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().rev().find(|e| e.key == key)
    }
}

/// Problems found so far.
pub(crate) struct Findings<'a> {
    file: &'a str,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) errors: Vec<ConfError>,
}

impl<'a> Findings<'a> {
    pub(crate) fn new(file: &'a str) -> Findings<'a> {
        Findings { file, warnings: Vec::new(), errors: Vec::new() }
    }

    pub(crate) fn warn(&mut self, line: usize, key: &str, text: impl Into<String>) {
        self.warnings.push(Warning { line, key: key.to_owned(), text: text.into() });
    }

    pub(crate) fn error(
        &mut self,
        line: usize,
        key: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.errors.push(ConfError {
            file: self.file.to_owned(),
            line,
            key: key.to_owned(),
            problem: problem.into(),
            remedy: remedy.into(),
        });
    }
}

/// Reads the text; the root section has no name.
pub(crate) fn read(text: &str, found: &mut Findings<'_>) -> Section {
    let mut stack = vec![Section::default()];
    for (at, raw) in text.lines().enumerate() {
        let line = at + 1;
        let content = raw.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        if let Some(name) = content.strip_suffix('{') {
            open(&mut stack, name.trim(), line, found);
        } else if content == "}" {
            close(&mut stack, line, found);
        } else if let Some((key, value)) = content.split_once(':') {
            let key = key.trim().to_owned();
            let entry = Entry { key, value: value.trim().to_owned(), line };
            if let Some(top) = stack.last_mut() {
                top.entries.push(entry);
            }
        } else {
            found.error(
                line,
                content.split_whitespace().next().unwrap_or(content),
                "is neither `key: value` nor the begin or end of a section",
                "write `key: value`, `name {` or `}` on a line of its own",
            );
        }
    }
    while stack.len() > 1 {
        let (line, name) = stack.last().map_or((0, String::new()), |s| (s.line, s.name.clone()));
        found.error(line, &name, "the section has no end", "close it with `}`");
        fold(&mut stack);
    }
    stack.pop().unwrap_or_default()
}

fn open(stack: &mut Vec<Section>, name: &str, line: usize, found: &mut Findings<'_>) {
    if name.is_empty() {
        found.error(line, "{", "a section without a name", "write `name {`");
    }
    if stack.len() > DEPTH_MAX {
        found.error(line, name, "sections are nested too deeply", "remove the inner ones");
    }
    stack.push(Section { name: name.to_owned(), line, ..Section::default() });
}

fn close(stack: &mut Vec<Section>, line: usize, found: &mut Findings<'_>) {
    if stack.len() > 1 {
        fold(stack);
    } else {
        found.error(line, "}", "no section is open here", "remove the `}`");
    }
}

fn fold(stack: &mut Vec<Section>) {
    let Some(section) = stack.pop() else { return };
    // Deeper sections were reported as an error and are dropped, so that the tree stays shallow.
    if stack.len() <= DEPTH_MAX
        && let Some(parent) = stack.last_mut()
    {
        parent.sections.push(section);
    }
}
