//! The running cluster's CIB.

use cib_store::{ErrorKind, StoreError};

use crate::cib::Cib;

/// Connects to the local daemon.
///
/// # Errors
/// If no daemon runs here.
pub fn connect() -> Result<Box<dyn Cib>, StoreError> {
    Err(StoreError::new(ErrorKind::NotConnected, "the cluster is not running on this node"))
}
