//! `systole stonith`: fence devices and fencing.

use anyhow::bail;
use clap::Subcommand;
use crm_api::{Request, Response};
use crm_fencer::State;
use serde::Serialize;

use crate::print_list;
use crate::resource::primitive;
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Make a fence device: `create ID AGENT NAME=VALUE …`
    Create {
        /// The device's name
        id: String,
        /// The fence agent, as `fence_ipmilan`
        agent: String,
        /// Parameters NAME=VALUE …, then `op …` and `meta …` as for resources
        words: Vec<String>,
    },
    /// Devices; with a node, those that may fence it
    List {
        /// Which node
        node: Option<String>,
    },
    /// Fence a node now, and wait for the device's confirmation
    Fence {
        /// Which node
        node: String,
        /// `reboot`, `off` or `on`
        #[arg(long, default_value = "reboot")]
        action: String,
        /// Seconds that one attempt may take
        #[arg(long, default_value_t = 60)]
        timeout: u64,
    },
    /// Vouch for a node being down. What ran there is then started elsewhere: if it is not down,
    /// data are lost
    Confirm {
        /// Which node
        node: String,
        /// Yes, the node is down
        #[arg(long)]
        i_have_checked: bool,
    },
    /// What was fenced, when, by which device
    History {
        /// Forget it
        #[arg(long)]
        clear: bool,
    },
}

#[derive(Serialize)]
struct Entry {
    target: String,
    action: String,
    state: String,
    reason: Option<String>,
    device: Option<String>,
    executor: Option<String>,
    client: String,
    at: u64,
}

pub(crate) fn run(session: &mut Session, verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Create { id, agent, words } => {
            let agent = format!("stonith:{}", agent.trim_start_matches("stonith:"));
            let doc = primitive(&id, &agent, &words, false)?;
            session.create("resources", &doc)
        }
        Verb::List { node } => {
            let Response::Devices(ids) = session.ask(Request::FencingDevices { target: node })?
            else {
                bail!("an unexpected answer");
            };
            print_list(session.json, &ids, Clone::clone);
            Ok(())
        }
        Verb::Fence { node, action, timeout } => {
            let timeout_ms = timeout.saturating_mul(1000);
            session.ask(Request::Fence { target: node.clone(), action, timeout_ms })?;
            outln!("{node} is fenced, as its device confirmed");
            Ok(())
        }
        Verb::Confirm { node, i_have_checked } => {
            if !i_have_checked {
                bail!(
                    "if {node} is not down, its resources will run twice and data will be lost; \
                     make sure that it has no power, then repeat with --i-have-checked"
                );
            }
            session.ask(Request::ConfirmFenced { target: node })?;
            Ok(())
        }
        Verb::History { clear: true } => {
            session.ask(Request::ClearFencingHistory { target: None })?;
            Ok(())
        }
        Verb::History { clear: false } => history(session),
    }
}

fn history(session: &mut Session) -> anyhow::Result<()> {
    let Response::Fencing(records) = session.ask(Request::FencingHistory)? else {
        bail!("an unexpected answer");
    };
    let entries: Vec<Entry> = records
        .into_iter()
        .map(|(r, at)| {
            let (state, reason) = match r.state {
                State::Pending => ("pending", None),
                State::Done => ("done", None),
                State::Failed(reason) => ("failed", Some(reason)),
            };
            Entry {
                target: r.target,
                action: r.action,
                state: state.to_owned(),
                reason,
                device: r.device,
                executor: r.executor,
                client: r.client,
                at,
            }
        })
        .collect();
    print_list(session.json, &entries, |e| {
        let device = e.device.as_deref().unwrap_or("no device");
        let why = e.reason.as_ref().map_or_else(String::new, |r| format!(": {r}"));
        format!(
            "{} {} of {} by {device} for {}: {}{why}",
            e.at, e.action, e.target, e.client, e.state
        )
    });
    Ok(())
}
