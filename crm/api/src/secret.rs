//! Values of resource parameters that are kept beside the CIB, as `cibsecret(8)` describes them.
//!
//! The CIB has [`MARK`] in place of the value. Every node keeps the value in a file that only root
//! can read, `lrm/secrets/RESOURCE/PARAMETER` in its state folder, and the value's digest beside
//! it in `PARAMETER.sign`.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What stands in the CIB instead of a value that is kept elsewhere.
pub const MARK: &str = "lrm://";

/// The longest value, in bytes: it has to fit into an environment variable with room to spare.
const VALUE_MAX: usize = 16 << 10;

/// A value that does not show itself in logs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// A value to keep.
    ///
    /// # Errors
    /// If agents could not read it from one line, or it is what marks a secret.
    pub fn new(value: impl Into<String>) -> Result<Secret, String> {
        let value = value.into();
        if value.is_empty() || value.trim_end() != value {
            return Err("a secret is not empty and does not end with white space".to_owned());
        }
        if value.len() > VALUE_MAX {
            return Err(format!("a secret has at most {VALUE_MAX} bytes"));
        }
        if value.chars().any(char::is_control) {
            return Err("a secret has no line breaks or other control characters".to_owned());
        }
        if value == MARK {
            return Err(format!("{MARK} marks a secret and cannot be one"));
        }
        Ok(Secret(value))
    }

    /// The value of the two files' contents.
    ///
    /// # Errors
    /// If the digest is not that of the value, or the value is none.
    pub fn open(value: &str, sign: &str) -> Result<Secret, String> {
        let value = value.trim_end();
        if cib_xml::digest::md5_hex(value.as_bytes()) != sign.trim() {
            return Err("its digest is another one: it was changed past 'cibsecret'".to_owned());
        }
        Secret::new(value)
    }

    /// The value itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the file with the digest contains.
    pub fn sign(&self) -> String {
        cib_xml::digest::md5_hex(self.0.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// Which parameter of which resource a secret is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    resource: String,
    parameter: String,
}

impl Place {
    /// A place by the ids of the CIB; an instance of a clone has its primitive's secrets.
    ///
    /// # Errors
    /// If one of the names cannot be a file's.
    pub fn new(resource: &str, parameter: &str) -> Result<Place, String> {
        let resource = resource.split(':').next().unwrap_or_default();
        for name in [resource, parameter] {
            let plain = name.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c));
            if name.is_empty() || name.starts_with('.') || !plain {
                return Err(format!("'{name}' cannot be the name of a secret"));
            }
        }
        if parameter.ends_with(".sign") {
            return Err(format!("'{parameter}' is the name of a digest's file"));
        }
        Ok(Place { resource: resource.to_owned(), parameter: parameter.to_owned() })
    }

    /// The file with the value, and the one with its digest, below the folder of all secrets.
    pub fn files(&self, folder: &Path) -> (PathBuf, PathBuf) {
        let folder = folder.join(&self.resource);
        (folder.join(&self.parameter), folder.join(format!("{}.sign", self.parameter)))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "parameter {} of {}", self.parameter, self.resource)
    }
}

/// A change of what is kept: a value, or none any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Where.
    pub place: Place,
    /// The new value.
    pub value: Option<Secret>,
}

impl Change {
    /// Whether every part of it is what the constructors let through: it may come from a peer.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), String> {
        Place::new(&self.place.resource, &self.place.parameter)?;
        self.value.as_ref().map_or(Ok(()), |v| Secret::new(v.expose()).map(|_| ()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_opened_and_what_was_changed_is_not() {
        let secret = Secret::new("pa ss=wörd").unwrap();
        assert_eq!(Secret::open("pa ss=wörd\n", &format!("{}\n", secret.sign())), Ok(secret));
        let other = Secret::new("other").unwrap();
        let error = Secret::open("value\n", &other.sign()).unwrap_err();
        assert!(error.contains("digest") && !error.contains("value"), "{error}");
    }

    #[test]
    fn values_that_agents_could_not_read_are_refused() {
        for value in ["", "a\nb", "a ", "lrm://", "a\0", &"x".repeat(VALUE_MAX + 1)] {
            assert!(Secret::new(value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn a_place_is_below_the_folder() {
        for (resource, parameter) in
            [("..", "p"), ("", "p"), ("a/b", "p"), ("r", ".."), ("r", "a/b"), ("r", "p.sign")]
        {
            assert!(Place::new(resource, parameter).is_err(), "{resource} {parameter}");
        }
        let (value, sign) = Place::new("r:2", "p").unwrap().files(Path::new("/s"));
        assert_eq!((value, sign), ("/s/r/p".into(), "/s/r/p.sign".into()));
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", Secret::new("open sesame").unwrap()), "Secret(11 bytes)");
    }
}
