//! Corosync's tools about quorum and links.

use crm_api::{Membership, Request, Response};

use crate::args::{Given, Opt, Value, flag, opt, value};
use crate::exit;
use crate::live::ask;
use crate::output::Out;

pub(crate) type Fail = (i32, String);

pub(crate) fn finish(result: Result<i32, Fail>, out: &mut Out) -> i32 {
    match result {
        Ok(code) => code,
        Err((_, text)) => {
            out.error(&text);
            exit::ERROR
        }
    }
}

pub(crate) fn membership() -> Result<Membership, Fail> {
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
    flag("hexadecimal", 'H', "Node ids in hexadecimal"),
    value("order", 'o', "Members by address (a), name (n) or id (i)"),
    flag("all", 'a', "All addresses of a member"),
    flag("parsable", 'p', "For programs: that is what it is anyhow"),
    value("votes", 'v', ""),
    value("nodeid", 'n', ""),
    flag("force-unregister", 'f', ""),
    opt("help", 'h', Value::No, ""),
    opt("version", 'V', Value::No, ""),
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
    if given.has("votes") {
        let text = "the votes of a node stand in corosync.conf (quorum_votes)";
        return Err((exit::ERROR, text.into()));
    }
    if given.has("force-unregister") {
        return Err((exit::ERROR, "there is no quorum device to unregister".into()));
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
    let mut all = membership()?;
    let id = |id: u32| match given.has("hexadecimal") {
        true => format!("{id:#010x}"),
        false => id.to_string(),
    };
    match given.get("order") {
        None | Some("a") => {}
        Some("i") => all.members.sort_by_key(|m| m.0),
        Some("n") => all.members.sort_by(|a, b| a.1.cmp(&b.1)),
        Some(other) => {
            return Err((exit::USAGE, format!("'{other}' is no order: use a, n or i")));
        }
    }
    if !given.has("list") {
        let quorate = if all.quorate { "Yes" } else { "No" };
        let blocked = if all.quorate { "" } else { "Activity blocked" };
        out.line("Quorum information\n------------------");
        let now = cib_model::ctime_text(crate::dates::Date::now().epoch());
        out.line(&format!("Date:             {now}"));
        out.line("Quorum provider:  corosync_votequorum");
        out.line(&format!("Nodes:            {}", all.members.len()));
        out.line(&format!("Node ID:          {}", id(all.local.0)));
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
    for (node, name, votes, address) in &all.members {
        let by_address = given.has("ids") || name.is_empty();
        let shown = if by_address { address.clone() } else { name.clone() };
        let local = if *node == all.local { " (local)" } else { "" };
        out.line(&format!("{:>10} {votes:>10} {shown}{local}", id(node.0)));
    }
    Ok(if all.quorate || given.has("list") { exit::OK } else { 2 })
}

pub(crate) const CFG_OPTIONS: &[Opt] = &[
    flag("links", 's', "Show the state of the links"),
    flag("nodes", 'n', "Show how the other nodes are reached"),
    flag("brief", 'b', "With -s: the state in short; fails if a link is faulty"),
    value("interface", 'i', "With -s: only the link with this number or address"),
    value("address", 'a', "Show the address of a node"),
    flag("shutdown", 'H', "Leave the cluster and end"),
    flag("force", ' ', ""),
    flag("reload", 'R', ""),
    flag("reopen-logs", 'L', ""),
    value("kill", 'k', ""),
    opt("help", 'h', Value::No, ""),
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
    if given.has("reopen-logs") {
        // The log goes to the journal: there is no file to open again.
        return Ok(exit::OK);
    }
    if given.has("kill") {
        let text = "a node is made to leave by fencing: stonith_admin --reboot NODE";
        return Err((exit::ERROR, text.into()));
    }
    let all = membership()?;
    if let Some(node) = given.get("address") {
        let member = all.members.iter().find(|m| m.0.0.to_string() == node);
        let unknown = || (exit::ERROR, format!("node {node} is no member"));
        out.line(&member.ok_or_else(unknown)?.3);
        return Ok(exit::OK);
    }
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
    links(given, &all, out)
}

fn links(given: &Given, all: &Membership, out: &mut Out) -> Result<i32, Fail> {
    let wanted = given.get("interface");
    let mut faulty = false;
    for (number, address, peers) in &all.links {
        if wanted.is_some_and(|w| w != address && w != number.to_string()) {
            continue;
        }
        faulty |= peers.iter().any(|(id, up)| *id != all.local && !up);
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
    Ok(if faulty && given.has("brief") { exit::ERROR } else { exit::OK })
}
