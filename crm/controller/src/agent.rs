//! What an agent says of its parameters, and the digests that follow from it.
//!
//! OCF Resource Agent API 1.1, "Metadata": a change of a parameter that is `reloadable` is carried
//! out by `reload-agent`; one that is `private` is a secret.

use std::collections::BTreeMap;

use cib_xml::Doc;

/// Secrets by their names, where an agent marks none.
const SECRET: [&str; 3] = ["passwd", "password", "user"];

/// What matters of an agent's meta-data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traits {
    /// Parameters whose change needs a restart; none if the agent reloads nothing.
    restart: Option<Vec<String>>,
    secret: Vec<String>,
}

impl Traits {
    /// Reads the document that the action `meta-data` prints; what cannot be read says nothing.
    pub(crate) fn from_metadata(text: &str) -> Traits {
        // The reader accepts no document type, and agents' says nothing that matters here.
        let root = text.find("<resource-agent").unwrap_or(0);
        let Ok(doc) = Doc::parse(&text[root..]) else { return Traits::default() };
        let list = |name: &str| doc.root().child(name).into_iter().flat_map(|n| n.children());
        let reloads = list("actions").any(|a| a.attr("name") == Some("reload-agent"));
        let named = |wanted: &dyn Fn(cib_xml::Node<'_>, &str) -> bool| -> Vec<String> {
            list("parameters")
                .filter_map(|p| p.attr("name").filter(|name| wanted(p, name)))
                .map(str::to_owned)
                .collect()
        };
        let is = |p: cib_xml::Node<'_>, flag: &str| {
            matches!(p.attr(flag), Some("1" | "true" | "yes" | "on"))
        };
        let mut secret = named(&|p, _| is(p, "private"));
        if secret.is_empty() {
            secret = named(&|_, name| SECRET.contains(&name));
        }
        Traits { restart: reloads.then(|| named(&|p, _| !is(p, "reloadable"))), secret }
    }

    /// The attributes of a history entry by which a later plan tells what kind of parameter has
    /// changed.
    pub(crate) fn digests(
        &self,
        params: &[(String, String)],
        interval_ms: u64,
    ) -> Vec<(String, String)> {
        let mut out = Vec::new();
        let mut put = |name: &str, list: &[String], digest: String| {
            let (names, digests) = match name {
                "restart" => ("op-force-restart", "op-restart-digest"),
                _ => ("op-secure-params", "op-secure-digest"),
            };
            out.push((names.to_owned(), format!(" {} ", list.join(" "))));
            out.push((digests.to_owned(), digest));
        };
        if let Some(list) = &self.restart {
            let mut kept = compared(params, interval_ms);
            kept.retain(|name, _| list.iter().any(|known| known == name));
            put("restart", list, digest(&kept));
        }
        if !self.secret.is_empty() {
            let mut kept = compared(params, interval_ms);
            kept.retain(|name, _| !self.secret.iter().any(|known| known == name));
            put("secure", &self.secret, digest(&kept));
        }
        out
    }
}

/// The digest by which a later plan sees whether a resource runs with the parameters that the
/// configuration has now: over the parameters without what the cluster adds, and over the time-out
/// of recurring operations.
pub fn operation_digest(params: &[(String, String)], interval_ms: u64) -> String {
    digest(&compared(params, interval_ms))
}

fn compared(params: &[(String, String)], interval_ms: u64) -> BTreeMap<&str, &str> {
    let mut kept: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, value) in params {
        let own = !name.starts_with("CRM_meta_") && name != "crm_feature_set";
        if own || (interval_ms > 0 && name == "CRM_meta_timeout") {
            kept.insert(name, value);
        }
    }
    kept
}

fn digest(kept: &BTreeMap<&str, &str>) -> String {
    let mut doc = Doc::new("parameters");
    let root = doc.root_id();
    for (name, value) in kept {
        doc.set_attr(root, name, value);
    }
    cib_xml::digest::on_disk(doc.root())
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"<?xml version="1.0"?>
<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd" [
<!ATTLIST action name CDATA #REQUIRED>
]>
<resource-agent name="x"><version>1.1</version><longdesc>y</longdesc><parameters>
<parameter name="ip" reloadable="0"><content type="string"/></parameter>
<parameter name="level" reloadable="1"/><parameter name="passwd"/></parameters>
<actions><action name="start"/><action name="reload-agent"/></actions></resource-agent>"#;

    fn digests(level: &str, ip: &str, passwd: &str) -> Vec<(String, String)> {
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        let params = [pair("ip", ip), pair("level", level), pair("passwd", passwd)];
        Traits::from_metadata(METADATA).digests(&params, 0)
    }

    #[test]
    fn a_reloadable_parameter_leaves_the_restart_digest_and_a_secret_the_secure_one() {
        let base = digests("1", "a", "s");
        assert_eq!(base[0], ("op-force-restart".to_owned(), " ip passwd ".to_owned()));
        assert_eq!(base[2], ("op-secure-params".to_owned(), " passwd ".to_owned()));
        let same = |other: &[(String, String)], ix: usize| base[ix] == other[ix];
        let reloaded = digests("2", "a", "s");
        assert!(same(&reloaded, 1) && !same(&reloaded, 3));
        let moved = digests("1", "b", "s");
        assert!(!same(&moved, 1) && !same(&moved, 3));
        let secret = digests("1", "a", "t");
        assert!(!same(&secret, 1) && same(&secret, 3));
    }

    #[test]
    fn what_is_no_metadata_says_nothing() {
        for text in ["", "usage: x", "<a><b></a>"] {
            assert_eq!(Traits::from_metadata(text), Traits::default());
        }
    }
}
