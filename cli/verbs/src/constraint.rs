//! `systole constraint`: where and in which order resources run.

use anyhow::bail;
use cib_xml::{Doc, Style, quoted};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use crate::print_list;
use crate::resource::find;
use crate::session::Session;

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Wish {
    /// It should run there
    Prefers,
    /// It should not run there
    Avoids,
}

#[derive(Args)]
pub(crate) struct Order {
    /// What comes first
    first: String,
    /// What comes then
    then: String,
    /// What the first does: start, stop, promote or demote
    #[arg(long, default_value = "start")]
    first_action: String,
    /// What the second does then; the same where not given
    #[arg(long)]
    then_action: Option<String>,
    /// Mandatory, Optional or Serialize
    #[arg(long, default_value = "Mandatory")]
    kind: String,
    /// Also in reverse when stopping
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    symmetrical: bool,
}

#[derive(Args)]
pub(crate) struct Colocation {
    /// What is placed
    rsc: String,
    /// What it is placed by
    with_rsc: String,
    /// How much it matters: a number, INFINITY or -INFINITY
    #[arg(long, default_value = "INFINITY", allow_hyphen_values = true)]
    score: String,
    /// Only in this role: Started, Promoted or Unpromoted
    #[arg(long)]
    role: Option<String>,
    /// Only with the other in this role
    #[arg(long)]
    with_role: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Where a resource should run: `location R prefers NODE=SCORE …`
    Location {
        /// The resource
        rsc: String,
        /// For or against
        wish: Wish,
        /// NODE or NODE=SCORE (INFINITY where not given)
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// What has to be done before what
    Order(Order),
    /// What has to run with what
    Colocation(Colocation),
    /// All constraints
    List,
    /// Remove constraints
    Delete {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

#[derive(Serialize)]
struct Listed {
    id: String,
    kind: String,
    xml: String,
}

pub(crate) fn run(session: &mut Session, verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Location { rsc, wish, nodes } => {
            nodes.iter().try_for_each(|text| location(session, &rsc, wish, text))
        }
        Verb::Order(order) => add_order(session, &order),
        Verb::Colocation(colocation) => add_colocation(session, &colocation),
        Verb::List => list(session),
        Verb::Delete { ids } => ids.iter().try_for_each(|id| {
            let xpath = format!("/cib/configuration/constraints/*[@id={}]", quoted(id));
            session.delete(&xpath, &format!("constraint '{id}'; see 'systole constraint list'"))
        }),
    }
}

fn add(session: &mut Session, name: &str, attributes: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut doc = Doc::new(name);
    let root = doc.root_id();
    for (name, value) in attributes {
        doc.set_attr(root, name, value);
    }
    session.create("constraints", &doc)
}

fn check_score(score: &str) -> anyhow::Result<()> {
    let word = score.trim_start_matches(['-', '+']);
    if word == "INFINITY" || word.parse::<u32>().is_ok() {
        return Ok(());
    }
    bail!("'{score}' is no score: write a whole number, INFINITY or -INFINITY")
}

fn location(session: &mut Session, rsc: &str, wish: Wish, text: &str) -> anyhow::Result<()> {
    find(&session.cib()?, rsc)?;
    let (node, score) = text.split_once('=').unwrap_or((text, "INFINITY"));
    check_score(score)?;
    let score = match wish {
        Wish::Prefers => score.to_owned(),
        Wish::Avoids => match score.strip_prefix('-') {
            Some(positive) => positive.to_owned(),
            None => format!("-{score}"),
        },
    };
    let id = format!("location-{rsc}-{node}");
    add(session, "rsc_location", &[("id", &id), ("rsc", rsc), ("node", node), ("score", &score)])
}

fn add_order(session: &mut Session, order: &Order) -> anyhow::Result<()> {
    let cib = session.cib()?;
    find(&cib, &order.first)?;
    find(&cib, &order.then)?;
    let id = format!("order-{}-{}", order.first, order.then);
    let then_action = order.then_action.as_ref().unwrap_or(&order.first_action);
    let mut attributes = vec![
        ("id", id.as_str()),
        ("first", &order.first),
        ("first-action", &order.first_action),
        ("then", &order.then),
        ("then-action", then_action),
        ("kind", &order.kind),
    ];
    if !order.symmetrical {
        attributes.push(("symmetrical", "false"));
    }
    add(session, "rsc_order", &attributes)
}

fn add_colocation(session: &mut Session, colocation: &Colocation) -> anyhow::Result<()> {
    let cib = session.cib()?;
    find(&cib, &colocation.rsc)?;
    find(&cib, &colocation.with_rsc)?;
    check_score(&colocation.score)?;
    let id = format!("colocation-{}-{}", colocation.rsc, colocation.with_rsc);
    let mut attributes = vec![
        ("id", id.as_str()),
        ("rsc", &colocation.rsc),
        ("with-rsc", &colocation.with_rsc),
        ("score", &colocation.score),
    ];
    if let Some(role) = &colocation.role {
        attributes.push(("rsc-role", role));
    }
    if let Some(role) = &colocation.with_role {
        attributes.push(("with-rsc-role", role));
    }
    add(session, "rsc_colocation", &attributes)
}

fn list(session: &mut Session) -> anyhow::Result<()> {
    let cib = session.cib()?;
    let section = cib.root().child("configuration").and_then(|c| c.child("constraints"));
    let items: Vec<Listed> = section
        .into_iter()
        .flat_map(|c| c.children())
        .map(|n| Listed {
            id: n.attr("id").unwrap_or_default().to_owned(),
            kind: n.name().to_owned(),
            xml: n.to_xml(Style::Compact),
        })
        .collect();
    print_list(session.json, &items, |i| i.xml.clone());
    Ok(())
}
