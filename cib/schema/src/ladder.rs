//! The schemas that a CIB can name.

use std::cmp::Ordering;
use std::fmt;

/// A schema: a version, or `none` for no validation, which sorts above all versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Schema {
    major: u16,
    minor: u16,
}

/// Highest minor version of each series that was published.
const SERIES: [(u16, u16); 4] = [(1, 3), (2, 10), (3, 10), (4, 0)];

impl Schema {
    /// The oldest one.
    pub const FIRST: Schema = Schema { major: 1, minor: 0 };
    /// The newest one.
    pub const LATEST: Schema = Schema { major: 4, minor: 0 };
    /// No validation.
    pub const NONE: Schema = Schema { major: u16::MAX, minor: 0 };

    /// The schema of a version such as `3.10`.
    pub fn version(text: &str) -> Option<Schema> {
        let (major, minor) = text.split_once('.')?;
        let schema = Schema { major: major.parse().ok()?, minor: minor.parse().ok()? };
        let known = SERIES.iter().any(|(ma, mi)| *ma == schema.major && schema.minor <= *mi);
        known.then_some(schema)
    }

    /// The schema that `validate-with` names, such as `pacemaker-3.10` or `none`.
    pub fn named(name: &str) -> Option<Schema> {
        if name.eq_ignore_ascii_case("none") {
            return Some(Schema::NONE);
        }
        let version = name.get(..10).filter(|p| p.eq_ignore_ascii_case("pacemaker-"));
        Schema::version(name.get(version?.len()..)?)
    }

    /// The next newer one.
    pub fn next(self) -> Option<Schema> {
        let last = SERIES.iter().find(|(major, _)| *major == self.major)?.1;
        if self.minor < last {
            return Some(Schema { minor: self.minor + 1, ..self });
        }
        let (major, _) = SERIES.iter().find(|(major, _)| *major == self.major + 1)?;
        Some(Schema { major: *major, minor: 0 })
    }

    /// The series, which changes with incompatible changes.
    pub fn major(self) -> u16 {
        self.major
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Schema::NONE {
            f.write_str("none")
        } else {
            write!(f, "pacemaker-{}.{}", self.major, self.minor)
        }
    }
}

/// Orders schemas by name; unknown ones come before all others.
pub fn compare_names(a: &str, b: &str) -> Ordering {
    Schema::named(a).cmp(&Schema::named(b))
}
