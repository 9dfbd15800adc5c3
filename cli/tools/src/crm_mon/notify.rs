//! The program that `crm_mon` calls for what happens (`--external-agent`).
//!
//! What it is told in its environment: Pacemaker Administration, "Configuring Notifications via
//! External-Agent".

use std::process::{Command, Stdio};
use std::time::Duration;

use crm_api::{Event, EventKind, Request, Response};

/// How long to wait before the cluster is listened to again after it went away.
const PAUSE: Duration = Duration::from_secs(2);

/// Whom to call, and for what.
pub(super) struct Notify {
    pub(super) agent: String,
    pub(super) recipient: String,
    /// Also for fencing.
    pub(super) fencing: bool,
}

impl Notify {
    /// Calls the program for everything that happens from now on, for as long as this process
    /// lives.
    pub(super) fn listen(self) {
        std::thread::spawn(move || {
            loop {
                // Without a connection nothing is heard: it is made again.
                let _ = self.until_disconnected();
                std::thread::sleep(PAUSE);
            }
        });
    }

    fn until_disconnected(&self) -> Result<(), crm_ipc::Error> {
        let mut client = crm_ipc::Client::connect()?;
        client.ask(&Request::Subscribe)?;
        loop {
            if let Response::Event(event) = client.receive()?
                && let Some(told) = told(&event, self.fencing)
            {
                self.call(&told);
            }
        }
    }

    fn call(&self, told: &[(&str, String)]) {
        let mut command = Command::new(&self.agent);
        command.env("CRM_notify_recipient", &self.recipient);
        command.envs(told.iter().map(|(name, value)| (format!("CRM_notify_{name}"), value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // One after the other, so that the program need not cope with several of itself. One that
        // cannot be started has nobody to be told to.
        let _ = command.status();
    }
}

/// What the program is told of an event; nothing if it is not for it.
fn told(event: &Event, fencing: bool) -> Option<Vec<(&'static str, String)>> {
    let text = |s: &str| s.to_string();
    match &event.kind {
        EventKind::Operation { node, resource, action, code, reason, .. } => {
            let wanted = match (action.as_str(), code) {
                // A probe that finds nothing is no news.
                ("monitor", 7) => return None,
                ("monitor", 8) => 8,
                _ => 0,
            };
            let words = crate::exit::exit_text(*code);
            let desc = if reason.is_empty() { text(words) } else { text(reason) };
            Some(vec![
                ("node", text(node)),
                ("rsc", text(resource)),
                ("task", text(action)),
                ("rc", code.to_string()),
                ("target_rc", wanted.to_string()),
                ("status", text("0")),
                ("desc", desc),
            ])
        }
        EventKind::FencingEnded { target, action, error, .. } if fencing => {
            let desc = error.clone().unwrap_or_else(|| text("OK"));
            Some(vec![
                ("node", text(target)),
                ("rsc", String::new()),
                ("task", text(action)),
                ("rc", i32::from(error.is_some()).to_string()),
                ("target_rc", text("0")),
                ("status", text("0")),
                ("desc", desc),
            ])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: EventKind, fencing: bool, expect: Option<&str>) {
        let event = Event { at_ms: 0, kind };
        let words = told(&event, fencing).map(|told| {
            told.into_iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" ")
        });
        assert_eq!(words.as_deref(), expect);
    }

    fn operation(action: &str, code: i32) -> EventKind {
        let (node, resource) = ("n1".to_string(), "r".to_string());
        let reason = String::new();
        EventKind::Operation { node, resource, action: action.into(), interval_ms: 0, code, reason }
    }

    #[test]
    fn the_program_is_told_of_results_and_on_request_of_fencing() {
        let start = "node=n1 rsc=r task=start rc=0 target_rc=0 status=0 desc=OK";
        check(operation("start", 0), false, Some(start));
        check(operation("monitor", 7), false, None);
        let fencing = || EventKind::FencingEnded {
            target: "n2".into(),
            action: "off".into(),
            device: None,
            error: Some("no answer".into()),
        };
        check(fencing(), false, None);
        let told = "node=n2 rsc= task=off rc=1 target_rc=0 status=0 desc=no answer";
        check(fencing(), true, Some(told));
    }
}
