//! Corosync's tools: quorum, links, keys.

use crm_api::{Membership, Request, Response};

use crate::args::{Given, Opt, Value, flag, opt, value};
use crate::exit;
use crate::live::ask;
use crate::output::Out;

type Fail = (i32, String);

fn finish(result: Result<i32, Fail>, out: &mut Out) -> i32 {
    match result {
        Ok(code) => code,
        Err((_, text)) => {
            out.error(&text);
            exit::ERROR
        }
    }
}

fn membership() -> Result<Membership, Fail> {
    match ask(&Request::Membership)? {
        Response::Membership(membership) => Ok(*membership),
        _ => Err((exit::ERROR, "the daemon answers something else".into())),
    }
}

pub(crate) const QUORUM_OPTIONS: &[Opt] = &[
    flag("status", 's', "Show quorum and members"),
    flag("list", 'l', "Show members"),
    flag("monitor", 'm', "Show every change"),
    value("expected", 'e', "Set the number of votes that are expected"),
    flag("ids", 'i', "Addresses rather than names"),
    flag("numeric", 'n', "Ids rather than names"),
    flag("providers", 'p', "Show device and provider"),
    opt("help-corosync", 'h', Value::No, ""),
];

pub(crate) fn quorumtool(given: &Given, out: &mut Out) -> i32 {
    let result = quorum(given, out);
    finish(result, out)
}

fn quorum(given: &Given, out: &mut Out) -> Result<i32, Fail> {
    if let Some(votes) = given.get("expected") {
        let votes = votes.parse().map_err(|_| (exit::USAGE, "not a number of votes".into()))?;
        ask(&Request::ExpectVotes(votes))?;
    }
    if !given.has("monitor") {
        return quorum_once(given, out);
    }
    let mut last = None;
    loop {
        let now = membership()?;
        if last.as_ref() != Some(&now) {
            quorum_once(given, out)?;
            out.line("");
            out.flush();
            last = Some(now);
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
}

fn quorum_once(given: &Given, out: &mut Out) -> Result<i32, Fail> {
    let all = membership()?;
    if !given.has("list") {
        let quorate = if all.quorate { "Yes" } else { "No" };
        let blocked = if all.quorate { "" } else { "Activity blocked" };
        out.line("Quorum information\n------------------");
        let now = cib_model::ctime_text(crate::dates::Date::now().epoch());
        out.line(&format!("Date:             {now}"));
        out.line("Quorum provider:  corosync_votequorum");
        out.line(&format!("Nodes:            {}", all.members.len()));
        out.line(&format!("Node ID:          {}", all.local.0));
        out.line(&format!("Ring ID:          {:x}.{:x}", all.representative.0, all.ring));
        out.line(&format!("Quorate:          {quorate}\n"));
        out.line("Votequorum information\n----------------------");
        out.line(&format!("Expected votes:   {}", all.expected_votes));
        out.line(&format!("Highest expected: {}", all.highest_expected));
        out.line(&format!("Total votes:      {}", all.total_votes));
        out.line(&format!("Quorum:           {} {blocked}", all.quorum));
        out.line(&format!("Flags:            {} \n", all.flags.join(" ")));
    }
    out.line("Membership information\n----------------------");
    out.line("    Nodeid      Votes Name");
    for (id, name, votes, address) in &all.members {
        let shown = if given.has("numeric") {
            id.0.to_string()
        } else if given.has("ids") || name.is_empty() {
            address.clone()
        } else {
            name.clone()
        };
        let local = if *id == all.local { " (local)" } else { "" };
        out.line(&format!("{:>10} {votes:>10} {shown}{local}", id.0));
    }
    Ok(if all.quorate || given.has("list") { exit::OK } else { 2 })
}

pub(crate) const CFG_OPTIONS: &[Opt] = &[
    flag("links", 's', "Show the state of the links"),
    flag("nodes", 'n', "Show how the other nodes are reached"),
    flag("brief", 'b', "The state in short"),
    flag("reload", 'R', "Read corosync.conf again"),
    flag("shutdown", 'H', "Leave the cluster and end"),
    flag("force", ' ', ""),
    flag("address", 'a', ""),
];

pub(crate) fn cfgtool(given: &Given, out: &mut Out) -> i32 {
    let result = cfg(given, out);
    finish(result, out)
}

fn cfg(given: &Given, out: &mut Out) -> Result<i32, Fail> {
    if given.has("shutdown") {
        ask(&Request::Shutdown)?;
        return Ok(exit::OK);
    }
    if given.has("reload") {
        return Err((exit::ERROR, "corosync.conf is read when the daemon starts".into()));
    }
    let all = membership()?;
    out.line(&format!("Local node ID {}, transport knet", all.local.0));
    if given.has("nodes") {
        let mut peers: Vec<u32> =
            all.links.iter().flat_map(|l| l.2.iter().map(|p| p.0.0)).collect();
        peers.sort_unstable();
        peers.dedup();
        for peer in peers.into_iter().filter(|p| *p != all.local.0) {
            let on = |l: &&(u32, String, Vec<_>)| -> bool { !l.2.is_empty() };
            let state = |link: &(u32, String, Vec<(membership_base::NodeId, bool)>)| {
                link.2.iter().any(|(id, up)| id.0 == peer && *up)
            };
            let reached = all.links.iter().any(state);
            let word = if reached { "reachable" } else { "unreachable" };
            out.line(&format!("nodeid: {peer} {word}"));
            for link in all.links.iter().filter(on) {
                let word = if state(link) { "connected" } else { "disconnected" };
                out.line(&format!("   LINK: {} udp ({}) enabled {word}", link.0, link.1));
            }
            out.line("");
        }
        return Ok(exit::OK);
    }
    for (number, address, peers) in &all.links {
        let mut peers = peers.clone();
        if peers.iter().all(|(id, _)| *id != all.local) {
            peers.push((all.local, true));
        }
        peers.sort();
        let peers = &peers;
        out.line(&format!("LINK ID {number} udp"));
        out.line(&format!("\taddr\t= {address}"));
        if given.has("brief") {
            let each = peers.iter().map(|(id, up)| match (*id == all.local, up) {
                (true, _) => 'n',
                (_, true) => '3',
                (_, false) => '1',
            });
            out.line(&format!("\tstatus\t= {}", each.collect::<String>()));
            continue;
        }
        out.line("\tstatus:");
        for (id, up) in peers {
            let word = match (*id == all.local, up) {
                (true, _) => "localhost",
                (_, true) => "connected",
                (_, false) => "disconnected",
            };
            out.line(&format!("\t\tnodeid:\t{:>3}:\t{word}", id.0));
        }
    }
    Ok(exit::OK)
}

pub(crate) const CMAP_OPTIONS: &[Opt] = &[
    value("prefix", 'b', "Only keys that start with this"),
    value("get", 'g', "Only this key"),
    value("map", 'm', ""),
];

pub(crate) fn cmapctl(given: &Given, out: &mut Out) -> i32 {
    let result = cmap(given, out);
    finish(result, out)
}

fn cmap(given: &Given, out: &mut Out) -> Result<i32, Fail> {
    let exact = given.get("get");
    let first = given.rest.first().map(String::as_str);
    let prefix = exact.or(given.get("prefix")).or(first).unwrap_or_default().to_string();
    let Response::Cmap(mut keys) = ask(&Request::Cmap { prefix })? else {
        return Err((exit::ERROR, "the daemon answers something else".into()));
    };
    keys.retain(|(key, ..)| exact.is_none_or(|e| e == key));
    if keys.is_empty()
        && let Some(key) = exact
    {
        return Err((exit::ERROR, format!("Can't get key {key}. Error CS_ERR_NOT_EXIST")));
    }
    for (key, kind, value) in keys {
        out.line(&format!("{key} ({kind}) = {value}"));
    }
    Ok(exit::OK)
}
