//! Why each action of a plan is there.

use cib_model::Role;

use super::{ActionReason, is_needed};
use crate::base::{ActionIx, RscIx, Ws, af, rf, task};

/// The actions on a resource and what it is made of.
pub(super) fn of_resource(ws: &Ws, rsc: RscIx) -> Vec<ActionReason> {
    let mut parts = super::primitives(ws, rsc);
    parts.sort();
    let of = |part: &RscIx| ws[*part].actions.clone();
    parts.iter().flat_map(of).filter_map(|a| reason(ws, a)).collect()
}

/// All actions, in the order in which they were thought of.
pub(super) fn of_plan(ws: &Ws) -> Vec<ActionReason> {
    (0..ws.actions.len() as u32).map(ActionIx).filter_map(|a| reason(ws, a)).collect()
}

fn reason(ws: &Ws, action: ActionIx) -> Option<ActionReason> {
    let a = &ws[action];
    let possible = a.is(af::RUNNABLE);
    if a.is(af::PSEUDO) || !is_needed(ws, action) || (possible && !a.is(af::ADDED_TO_GRAPH)) {
        return None;
    }
    let what = match (a.rsc, a.task) {
        // What would have been watched is not worth a word where nothing starts.
        (Some(_), task::MONITOR | task::NOTIFY) if !possible => return None,
        (Some(rsc), task::MONITOR) if a.interval == 0 => format!("probe {}", ws[rsc].id),
        (Some(rsc), task::MONITOR) => {
            format!("monitor {} every {} s", ws[rsc].id, f64::from(a.interval) / 1000.0)
        }
        (Some(rsc), name) => format!("{} {}", ws.names.text(name), ws[rsc].id),
        (None, task::STONITH) => {
            format!("fence ({})", a.meta.get("stonith_action").unwrap_or("reboot"))
        }
        (None, task::DO_SHUTDOWN) => "let the node leave".to_owned(),
        (None, name) => ws.names.text(name).to_string(),
    };
    Some(ActionReason {
        action: what,
        node: a.node.map(|n| ws[n].name.to_string()),
        possible,
        why: why(ws, action, possible),
    })
}

fn why(ws: &Ws, action: ActionIx, possible: bool) -> String {
    let a = &ws[action];
    if !possible {
        return match &a.reason {
            Some(reason) => format!("cannot be done: {reason}"),
            None => "cannot be done: what it waits for cannot happen".to_owned(),
        };
    }
    if let Some(reason) = &a.reason {
        return reason.to_string();
    }
    let Some(rsc) = a.rsc else { return "asked for".to_owned() };
    let r = &ws[rsc];
    let moves = r.assigned_node().filter(|to| Some(*to) != a.node && !r.active.is_empty());
    match a.task {
        task::MONITOR if a.interval == 0 => {
            "the cluster does not know whether it is active there".to_owned()
        }
        task::MONITOR => "it is watched while it runs".to_owned(),
        task::NOTIFY => "instances are told about one another's actions".to_owned(),
        task::STOP if r.is(rf::FAILED) => "it failed".to_owned(),
        task::STOP if moves.is_some() => {
            format!("it moves to {}", moves.map_or("", |n| &*ws[n].name))
        }
        task::STOP if r.next_role <= Role::Stopped => "it is not to run".to_owned(),
        task::STOP => "it is started anew".to_owned(),
        task::START if r.active.is_empty() => "it is to run and does not".to_owned(),
        task::START if r.active.iter().any(|n| ws[*n].unclean) => {
            "its node is lost: it goes on here once that is fenced".to_owned()
        }
        task::START => "it is stopped where it is and goes on here".to_owned(),
        task::PROMOTE => "this instance was chosen".to_owned(),
        task::DEMOTE => "another role is meant for this instance".to_owned(),
        task::CANCEL => "it is watched in another way from now on".to_owned(),
        task::MIGRATE_TO | task::MIGRATE_FROM => "it can move without a stop".to_owned(),
        task::RELOAD_AGENT => "parameters changed that need no restart".to_owned(),
        task::DELETE | task::LRM_DELETE => "its history is no longer of use".to_owned(),
        task::CLEAR_FAILCOUNT => "its failures are forgotten".to_owned(),
        _ => "what was decided needs it".to_owned(),
    }
}
