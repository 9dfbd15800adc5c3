//! The running cluster.

use cib_store::{Applied, ErrorKind, Operation, StoreError, Version};
use cib_xml::Doc;
use crm_api::{Request, Response};
use crm_ipc::{Client, Error};

use crate::cib::Cib;

struct LiveCib {
    client: Client,
}

fn failed(error: Error) -> StoreError {
    let code = error.exit_code();
    let kind = ErrorKind::from_exit_code(code).unwrap_or(ErrorKind::NotConnected);
    StoreError::new(kind, error.to_string())
}

impl Cib for LiveCib {
    fn apply(&mut self, op: &Operation, force: bool) -> Result<Applied, StoreError> {
        let request = Request::Cib { operation: op.clone(), force };
        let output = match self.client.ask(&request).map_err(failed)? {
            Response::Cib(Some(text)) => Some(
                Doc::parse(&text)
                    .map_err(|e| StoreError::new(ErrorKind::Corrupt, e.to_string()))?,
            ),
            _ => None,
        };
        let version = output.as_ref().map(Version::of).unwrap_or_default();
        Ok(Applied { output, old: version, new: version, config_changed: false, patch: None })
    }

    fn is_live(&self) -> bool {
        true
    }
}

/// Connects to the local daemon.
///
/// # Errors
/// If no daemon runs here.
pub(crate) fn connect() -> Result<Box<dyn Cib>, StoreError> {
    let client = Client::connect().map_err(failed)?;
    Ok(Box::new(LiveCib { client }))
}

/// Asks the local daemon.
///
/// # Errors
/// An exit status and a reason, if it cannot be asked or says no.
pub(crate) fn ask(request: &Request) -> Result<Response, (i32, String)> {
    let why = |e: Error| (e.exit_code(), e.to_string());
    Client::connect().map_err(why)?.ask(request).map_err(why)
}

/// The name of the local node, if its cluster is asked.
pub(crate) fn local_name() -> Option<String> {
    let file = crate::cib::env("CIB_file").or(crate::cib::env("CIB_shadow"));
    if file.is_some() {
        return None;
    }
    match ask(&Request::Info).ok()? {
        Response::Info(info) => Some(info.name.clone()),
        _ => None,
    }
}
