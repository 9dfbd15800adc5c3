//! `systole property`: the cluster's options.

use anyhow::ensure;
use cib_model::{Attrs, OPTIONS, Options};
use cib_xml::quoted;
use clap::Subcommand;
use serde::Serialize;

use crate::print_list;
use crate::session::{Session, add_pairs, pair, pairs_of};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Set options: NAME=VALUE …; an empty value unsets
    Set {
        /// NAME=VALUE
        #[arg(required = true)]
        pairs: Vec<String>,
    },
    /// Unset options
    Unset {
        /// Names
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Options that are set
    List,
}

#[derive(Serialize)]
struct Item {
    name: String,
    value: String,
}

pub(crate) fn run(session: &mut Session, verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Set { pairs } => {
            if !session.force {
                check(&pairs)?;
            }
            let (unset, set): (Vec<String>, Vec<String>) =
                pairs.into_iter().partition(|p| p.ends_with('='));
            if !set.is_empty() {
                let mut doc = cib_xml::Doc::new("crm_config");
                let root = doc.root_id();
                let block = "cluster_property_set";
                add_pairs(&mut doc, root, block, "cib-bootstrap-options", &set)?;
                let element = doc.root().child(block).map(|b| b.id());
                if let Some(element) = element {
                    doc.set_attr(element, "id", "cib-bootstrap-options");
                }
                rename_pairs(&mut doc);
                session.merge("crm_config", &doc)?;
            }
            for text in unset {
                remove(session, pair(&text)?.0)?;
            }
            Ok(())
        }
        Verb::Unset { names } => names.iter().try_for_each(|name| remove(session, name)),
        Verb::List => {
            let cib = session.cib()?;
            let sets = cib.root().child("configuration").and_then(|c| c.child("crm_config"));
            let items: Vec<Item> = sets
                .map(|c| pairs_of(c, "cluster_property_set"))
                .unwrap_or_default()
                .into_iter()
                .map(|(name, value)| Item { name, value })
                .collect();
            print_list(session.json, &items, |i| format!("{}={}", i.name, i.value));
            Ok(())
        }
    }
}

/// Refuses what would be taken and have no effect.
fn check(pairs: &[String]) -> anyhow::Result<()> {
    let mut set = Attrs::new();
    for text in pairs.iter().filter(|text| !text.ends_with('=')) {
        let (name, value) = pair(text)?;
        let known = OPTIONS.iter().any(|o| o.name == name || o.former == Some(name));
        ensure!(
            known,
            "there is no option '{name}'; 'crm_attribute --list-options=cluster' prints all, and \
             --force sets it all the same"
        );
        set.set(name, value);
    }
    let invalid: Vec<String> =
        Options::new(set).invalid().map(|(name, value)| format!("{name}={value}")).collect();
    ensure!(
        invalid.is_empty(),
        "{}: not a valid value; 'crm_attribute --list-options=cluster' tells what is",
        invalid.join(", ")
    );
    Ok(())
}

/// Ids as every other tool of the field makes them for this block.
fn rename_pairs(doc: &mut cib_xml::Doc) {
    let pairs: Vec<_> = doc
        .root()
        .descendants()
        .filter(|n| n.name() == "nvpair")
        .map(|n| (n.id(), format!("cib-bootstrap-options-{}", n.attr("name").unwrap_or_default())))
        .collect();
    for (node, id) in pairs {
        doc.set_attr(node, "id", &id);
    }
}

fn remove(session: &mut Session, name: &str) -> anyhow::Result<()> {
    let xpath = format!("/cib/configuration/crm_config//nvpair[@name={}]", quoted(name));
    session.delete(&xpath, &format!("option {name} that is set; see 'systole property list'"))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_would_have_no_effect_is_refused() {
        let check = |text: &str| check(&[text.to_owned()]).map_err(|e| e.to_string());
        assert_eq!(check("stonith-enabled=false"), Ok(()));
        assert_eq!(check("no-quorum-policy=freeze"), Ok(()));
        assert_eq!(check("anything="), Ok(()));
        assert!(
            check("stonith-enabeld=false").unwrap_err().contains("no option 'stonith-enabeld'")
        );
        assert!(check("stonith-enabled=perhaps").unwrap_err().contains("not a valid value"));
        assert!(check("stonith-enabled").unwrap_err().contains("NAME=VALUE"));
    }
}
