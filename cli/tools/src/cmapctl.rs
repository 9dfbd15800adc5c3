//! `corosync-cmapctl`: the settings of the membership layer, and how its links stand.

use std::collections::BTreeMap;

use crm_api::{Request, Response};

use crate::args::{Given, Opt, Value, flag, opt, value};
use crate::corosync::{Fail, finish, membership};
use crate::exit;
use crate::live::ask;
use crate::output::Out;

pub(crate) const OPTIONS: &[Opt] = &[
    flag("get", 'g', "Show the keys that are named, rather than all with a prefix"),
    value("map", 'm', "Which map: icmap (settings, the default) or stats (links)"),
    flag("track", 't', "Show every change of the keys that are named"),
    flag("track-prefix", 'T', "Show every change of keys with the prefix"),
    flag("set", 's', "KEY TYPE VALUE; only quorum.cancel_wait_for_all can be set"),
    flag("binary", 'b', ""),
    flag("delete", 'd', ""),
    flag("delete-prefix", 'D', ""),
    value("load", 'p', ""),
    flag("clear", 'C', ""),
    opt("help", 'h', Value::No, ""),
];

const WAIT_FOR_ALL: &str = "quorum.cancel_wait_for_all";

/// Key to type and value.
type Keys = BTreeMap<String, (String, String)>;

pub(crate) fn run(given: &Given, out: &mut Out) -> i32 {
    let result = perform(given, out);
    finish(result, out)
}

fn perform(given: &Given, out: &mut Out) -> Result<i32, Fail> {
    if given.has("set") {
        return set(given);
    }
    if ["delete", "delete-prefix", "load"].iter().any(|option| given.has(option)) {
        let text = "the settings are those of corosync.conf: change them there, on all nodes, and \
                    start the daemons anew";
        return Err((exit::ERROR, text.into()));
    }
    if given.has("clear") {
        return Err((exit::ERROR, "the state of the links is no counter to clear".into()));
    }
    if given.has("track") || given.has("track-prefix") {
        return track(given, out);
    }
    let keys = read(given)?;
    if !given.has("get") {
        let prefix = given.rest.first().map_or("", String::as_str);
        for (key, (kind, value)) in keys.iter().filter(|(key, _)| key.starts_with(prefix)) {
            out.line(&format!("{key} ({kind}) = {value}"));
        }
        return Ok(exit::OK);
    }
    if given.rest.is_empty() {
        return Err((exit::ERROR, "a key is needed: -g KEY".into()));
    }
    for key in &given.rest {
        let Some((kind, value)) = keys.get(key) else {
            return Err((exit::ERROR, format!("Can't get key {key}. Error CS_ERR_NOT_EXIST")));
        };
        if out.quiet {
            out.line(value);
        } else {
            out.line(&format!("{key} ({kind}) = {value}"));
        }
    }
    Ok(exit::OK)
}

fn set(given: &Given) -> Result<i32, Fail> {
    match &given.rest[..] {
        [key, _, value] if key == WAIT_FOR_ALL && value == "1" => {
            ask(&Request::CancelWaitForAll)?;
            Ok(exit::OK)
        }
        [key, _, _] => Err((
            exit::ERROR,
            format!(
                "{key} cannot be set while the daemon runs: change corosync.conf on all nodes and \
                 start the daemons anew"
            ),
        )),
        _ => Err((exit::ERROR, "a key, a type and a value are needed: -s KEY TYPE VALUE".into())),
    }
}

fn read(given: &Given) -> Result<Keys, Fail> {
    match given.get("map") {
        None | Some("icmap") => match ask(&Request::Cmap { prefix: String::new() })? {
            Response::Cmap(keys) => {
                Ok(keys.into_iter().map(|(key, kind, value)| (key, (kind, value))).collect())
            }
            _ => Err((exit::ERROR, "the daemon answers something else".into())),
        },
        Some("stats") => links(),
        Some(other) => Err((exit::ERROR, format!("there is no map '{other}': use icmap or stats"))),
    }
}

/// How the links stand, as keys of the map `stats`.
fn links() -> Result<Keys, Fail> {
    let all = membership()?;
    let mut keys = Keys::new();
    let switch = |on: bool| ("u8".to_string(), u8::from(on).to_string());
    for (link, _, peers) in &all.links {
        for (peer, up) in peers.iter().filter(|(id, _)| *id != all.local) {
            let of = format!("stats.knet.node{}.link{link}", peer.0);
            keys.insert(format!("{of}.connected"), switch(*up));
            keys.insert(format!("{of}.enabled"), switch(true));
        }
    }
    Ok(keys)
}

/// Shows changes until the daemon is gone.
fn track(given: &Given, out: &mut Out) -> Result<i32, Fail> {
    let wanted = |key: &String| match given.has("track") {
        true => given.rest.contains(key),
        false => given.rest.iter().any(|prefix| key.starts_with(prefix)),
    };
    let mut last = read(given)?;
    loop {
        std::thread::sleep(std::time::Duration::from_millis(500));
        let now = read(given)?;
        for (key, (kind, value)) in now.iter().filter(|(key, _)| wanted(key)) {
            if last.get(key).is_none_or(|(_, old)| old != value) {
                out.line(&format!("{key} ({kind}) = {value}"));
            }
        }
        for key in last.keys().filter(|key| wanted(key) && !now.contains_key(*key)) {
            out.line(&format!("{key} is gone"));
        }
        out.flush();
        last = now;
    }
}
