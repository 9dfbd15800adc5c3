//! `systole history list`.

use anyhow::{Context, bail};
use cib_xml::Doc;
use cli_tools::dates::Date;
use crm_history::{Change, Entry, Outcome, Transition};

use crate::changes::words;
use crate::history::record::Record;
use crate::print_list;

/// How many entries are listed if nobody says otherwise.
const LIMIT: usize = 50;

#[derive(clap::Args, Default)]
pub(super) struct Args {
    /// Only what happened since a time, or in the last 90s, 10m, 2h, 3d
    #[arg(long)]
    since: Option<String>,
    /// How many, the newest (default: 50)
    #[arg(long)]
    limit: Option<usize>,
    /// Only changes of the configuration
    #[arg(long, conflicts_with = "transitions")]
    changes: bool,
    /// Only transitions
    #[arg(long)]
    transitions: bool,
    /// Only changes from this node, and transitions that did something there
    #[arg(long)]
    node: Option<String>,
    /// Only changes that name this resource, and transitions that did something with it
    #[arg(long)]
    resource: Option<String>,
}

pub(super) fn run(record: &Record, args: &Args, json: bool) -> anyhow::Result<()> {
    let since = args.since.as_deref().map(since_ms).transpose()?.unwrap_or(0);
    let limit = args.limit.unwrap_or(LIMIT);
    let mut found = Vec::new();
    record.newest_first(|entry| {
        // Transitions are written when they end, so an older one may come after a newer change.
        let over = matches!(&entry, Entry::Change(change) if change.at_ms < since);
        if entry.at_ms() >= since && args.wants(&entry) {
            found.push(entry);
        }
        !over && found.len() < limit
    })?;
    found.reverse();
    if json || !found.is_empty() {
        print_list(json, &found, line);
    } else {
        outln!("Nothing of that kind is in the history of this node.");
    }
    Ok(())
}

impl Args {
    fn wants(&self, entry: &Entry) -> bool {
        let here = |node: &str| self.node.as_deref().is_none_or(|wanted| wanted == node);
        let with = |id: &str| {
            self.resource.as_deref().is_none_or(|wanted| wanted == cib_model::base_name(id))
        };
        match entry {
            Entry::Change(change) => !self.transitions && here(&change.node) && self.named(change),
            Entry::Transition(t) => {
                let any = self.node.is_none() && self.resource.is_none();
                let acted = || t.actions.iter().any(|a| here(&a.node) && with(&a.resource));
                !self.changes && (any || acted())
            }
            Entry::Gap { .. } => true,
        }
    }
}

impl Args {
    /// Whether a change has the resource's id as a value somewhere, or in the path to what it changes.
    fn named(&self, change: &Change) -> bool {
        let Some(id) = self.resource.as_deref() else { return true };
        let Some(patch) = change.patch.as_deref().and_then(|xml| Doc::parse(xml).ok()) else {
            return false;
        };
        let quoted = [format!("'{id}'"), format!("\"{id}\"")];
        let is = |(name, value): (&str, &str)| match name {
            "path" => quoted.iter().any(|q| value.contains(q)),
            _ => value == id,
        };
        patch.root().descendants().any(|element| element.attrs().any(is))
    }
}

/// A time, or how long ago, as milliseconds since the epoch.
fn since_ms(text: &str) -> anyhow::Result<u64> {
    let unit = match text.chars().last() {
        Some('s') => Some(1),
        Some('m') => Some(60),
        Some('h') => Some(3600),
        Some('d') => Some(86_400),
        _ => None,
    };
    let count = text.get(..text.len().saturating_sub(1)).and_then(|t| t.parse::<i64>().ok());
    let seconds = match (unit, count) {
        (Some(unit), Some(count)) => Date::now().epoch().saturating_sub(count.saturating_mul(unit)),
        _ => match Date::parse(text) {
            Some(date) => date.epoch(),
            None => bail!("'{text}' is no time: say 2026-11-21 14:00:00, or 10m for ten minutes"),
        },
    };
    u64::try_from(seconds).context("that is before all history").map(|s| s.saturating_mul(1000))
}

/// A time as it is shown.
pub(super) fn time(at_ms: u64) -> String {
    let text = Date::from_epoch(i64::try_from(at_ms / 1000).unwrap_or(i64::MAX)).text(false);
    text.trim_end_matches('Z').to_owned()
}

fn line(entry: &Entry) -> String {
    match entry {
        Entry::Change(change) => {
            format!("{}  {:<10} {}: {}", time(change.at_ms), change.id, who(change), what(change))
        }
        Entry::Transition(t) => {
            let actions = match t.planned {
                0 => "nothing to do".to_owned(),
                1 => "1 action".to_owned(),
                count => format!("{count} actions"),
            };
            let end = match t.outcome {
                Outcome::Complete if t.planned == 0 => String::new(),
                outcome => format!(", {outcome} after {}", duration(t)),
            };
            let at = time(t.at_ms);
            format!("{at}  {:<10} transition of {}: {}; {actions}{end}", t.id, t.dc, t.reason)
        }
        Entry::Gap { at_ms, lost } => {
            format!("{}  {:<10} {lost} events could not be kept", time(*at_ms), "-")
        }
    }
}

/// How long a transition took.
pub(super) fn duration(transition: &Transition) -> String {
    let ms = transition.ended_ms.saturating_sub(transition.at_ms);
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

/// Who made a change, by what, and where.
pub(super) fn who(change: &Change) -> String {
    if change.user.is_empty() {
        return format!("taken over from {}", change.node);
    }
    let command = if change.command.is_empty() { &change.operation } else { &change.command };
    format!("{} by {} {command} on {}", change.user, change.client, change.node)
}

fn what(change: &Change) -> String {
    let patch = change.patch.as_deref().and_then(|xml| Doc::parse(xml).ok());
    let Some(patch) = patch else { return "too much to be kept".to_owned() };
    let lines = words(&patch);
    match (&lines[..], &change.schema) {
        ([], Some((_, to))) => format!("schema {to}"),
        ([], None) => "nothing but the version".to_owned(),
        ([one], _) => one.clone(),
        ([first, rest @ ..], _) => format!("{first} (and {} more)", rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_shown() {
        assert_eq!(since_ms("1970-01-02 00:00:00Z").unwrap(), 86_400_000);
        let now = u64::try_from(Date::now().epoch()).unwrap() * 1000;
        assert!(since_ms("2h").unwrap().abs_diff(now - 7_200_000) < 60_000);
        assert!(since_ms("yesterdayish").is_err());
        assert_eq!(time(86_400_999), "1970-01-02 00:00:00");
    }

    #[test]
    fn an_entry_is_a_line() {
        let change = Change {
            id: "0.4".into(),
            user: "ann".into(),
            client: "systole".into(),
            command: "resource create".into(),
            node: "n1".into(),
            patch: Some(
                "<diff><change operation=\"delete\" path=\"/cib/configuration/resources/a\"/>\
                 <change operation=\"delete\" path=\"/cib/configuration/resources/b\"/></diff>"
                    .into(),
            ),
            ..Change::default()
        };
        assert_eq!(
            line(&Entry::Change(change)),
            "1970-01-01 00:00:00  0.4        ann by systole resource create on n1: - resources/a \
             (and 1 more)"
        );
    }
}
