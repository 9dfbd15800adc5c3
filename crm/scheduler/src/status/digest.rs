//! Digests over parameters: whether an operation ran with those that are configured now.

use std::cmp::Ordering;
use std::sync::Arc;

use cib_model::{Attrs, Str, capabilities, compare_versions};
use cib_xml::digest::md5_hex;
use cib_xml::escape_attribute;
use smallvec::SmallVec;

use crate::base::{NodeIx, OpRef, RscIx, Sym, Where, Ws, task};

/// What a comparison of digests found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DigestMatch {
    Match,
    /// Some parameter changed.
    Mismatch,
    /// A parameter changed that needs a restart.
    Restart,
    /// No digest was recorded.
    Unknown,
}

/// Digests of an operation's parameters.
#[derive(Clone, Debug)]
pub(crate) struct Digests {
    pub(crate) matches: DigestMatch,
    pub(crate) all: Str,
    pub(crate) secure: Option<Str>,
    pub(crate) restart: Option<Str>,
}

/// Digest over parameters, as executors compute it.
pub(crate) fn digest_of(params: &Attrs) -> Str {
    let mut sorted: SmallVec<[(&Str, &Str); 16]> = params.iter().collect();
    sorted.sort();
    let mut text = String::with_capacity(512);
    text.push_str(" <parameters");
    for (name, value) in sorted {
        text.push(' ');
        text.push_str(name);
        text.push_str("=\"");
        escape_attribute(value, &mut text);
        text.push('"');
    }
    text.push_str("/>\n");
    md5_hex(text.as_bytes()).into()
}

fn is_filtered(name: &str) -> bool {
    name.starts_with("CRM_meta_")
        || matches!(
            name,
            "id" | "crm_feature_set"
                | "op-digest"
                | "on_node"
                | "on_node_uuid"
                | "pcmk_external_ip"
        )
}

/// Parameters that the fencer interprets itself.
fn is_fencer_param(name: &str) -> bool {
    if matches!(name, "provides" | "stonith-timeout") {
        return true;
    }
    let Some(rest) = name.strip_prefix("pcmk_") else { return false };
    if matches!(
        rest,
        "action_limit"
            | "delay_base"
            | "delay_max"
            | "host_argument"
            | "host_check"
            | "host_list"
            | "host_map"
    ) {
        return true;
    }
    rest.find('_').is_some_and(|at| matches!(&rest[at..], "_action" | "_timeout" | "_retries"))
}

fn without(params: &Attrs, drop: impl Fn(&str) -> bool) -> Attrs {
    let mut out = Attrs::new();
    params.iter().filter(|(n, _)| !drop(n)).for_each(|(n, v)| out.set_default(n, v));
    out
}

impl Ws {
    fn calculate_digests(
        &mut self,
        rsc: RscIx,
        name: Sym,
        interval: u32,
        node: NodeIx,
        op: Option<OpRef>,
        secure: bool,
    ) -> Digests {
        let mut matches = DigestMatch::Match;
        let mut all = Attrs::new();
        if let Some(address) = self.host_address(rsc) {
            all.set("addr", &address);
        }
        let text = self.names.text(name).clone();
        let config = self.action_config(rsc, &text, interval, true);
        let own = self.op_params(rsc, config, node);
        if interval == 0 && !own.is_empty() {
            matches = DigestMatch::Restart;
        }
        let timeout = if interval == 0 {
            None
        } else if let Some(action) = self.first_named(rsc, name, interval, Some(node)) {
            self[action].meta.get_str("timeout").cloned()
        } else {
            let meta = self.action_meta(rsc, Some(node), &text, interval, config);
            meta.get_str("timeout").cloned()
        };
        let at = self.params_at(rsc, Some(node));
        let base = &self[rsc].params[at].1;
        let counted = base.iter().chain(own.iter()).filter(|(n, _)| !is_filtered(n));
        counted.for_each(|(n, v)| all.set_default(n, v));
        if let Some(timeout) = timeout {
            all.set("CRM_meta_timeout", &timeout);
        }
        let digest = digest_of(&all);
        let secure = secure.then(|| self.secure_digest(rsc, (&all, &digest), base, op));
        let compared =
            op.filter(|o| self.op(*o).restart_digest().is_some() || self.expired_ops.contains(o));
        let restart = compared.map(|o| self.op(o)).map(|o| {
            let keep = o.force_restart();
            digest_of(&without(&all, |n| keep.is_some_and(|list| !list.split(' ').any(|k| k == n))))
        });
        Digests { matches, all: digest, secure, restart }
    }

    /// The digest without secrets; `all` comes with its own, which it is if there are none.
    fn secure_digest(
        &self,
        rsc: RscIx,
        (all, digest): (&Attrs, &Str),
        base: &Attrs,
        op: Option<OpRef>,
    ) -> Str {
        let recorded = op.map(|o| self.op(o));
        let version = recorded
            .and_then(|o| o.feature_set())
            .or(self.model.feature_set.as_deref())
            .unwrap_or(cib_model::FEATURE_SET);
        let old = version != cib_model::FEATURE_SET
            && compare_versions(version, "3.16.0") == Ordering::Less;
        let secret = match recorded {
            None => Some(" passwd password user "),
            Some(op) => op.secure_params(),
        };
        let is_secret = |n: &str| secret.is_some_and(|list| list.split(' ').any(|s| s == n));
        let fencing = capabilities(self[rsc].def.class.as_deref()).fencing;
        let kept = if old {
            without(base, |n| is_secret(n) || (fencing && is_fencer_param(n)) || is_filtered(n))
        } else if all.iter().any(|(name, _)| is_secret(name)) {
            without(all, is_secret)
        } else {
            return digest.clone();
        };
        digest_of(&kept)
    }

    fn cached_digests(
        &mut self,
        rsc: RscIx,
        name: Sym,
        interval: u32,
        node: NodeIx,
        op: Option<OpRef>,
        secure: bool,
    ) -> Digests {
        let key = (rsc, name, interval);
        if let Some(found) = self[node].digests.get(&key) {
            return found.clone();
        }
        let digests = self.calculate_digests(rsc, name, interval, node, op, secure);
        self[node].digests.insert(key, digests.clone());
        digests
    }

    /// Compares the digests of a recorded operation with those of the parameters now.
    pub(crate) fn compare_digest(&mut self, rsc: RscIx, at: OpRef, node: NodeIx) -> Digests {
        let model = Arc::clone(&self.model);
        let op = at.of(&model);
        let interval = op.interval_ms;
        let expired = self.expired_ops.contains(&at);
        let name = self.names.intern(op.operation().unwrap_or_default());
        let secure = self.config.sanitized;
        let mut found = self.cached_digests(rsc, name, interval, node, Some(at), secure);
        let restart_differs = match (&found.restart, op.restart_digest()) {
            (None, _) => false,
            (Some(_), _) if expired => true,
            (Some(now), Some(then)) => **now != *then,
            (Some(_), None) => true,
        };
        found.matches = if restart_differs {
            DigestMatch::Restart
        } else {
            match op.digest() {
                None => DigestMatch::Unknown,
                Some(all) if *all == *found.all => DigestMatch::Match,
                Some(_) if interval == 0 && found.matches == DigestMatch::Restart => {
                    DigestMatch::Restart
                }
                Some(_) => DigestMatch::Mismatch,
            }
        };
        let key = (rsc, name, interval);
        self[node].digests.insert(key, found.clone());
        found
    }

    /// Compares a fencing device's parameters with those that the node was unfenced with.
    pub(crate) fn compare_fencing_digest(
        &mut self,
        rsc: RscIx,
        agent: &str,
        node: NodeIx,
    ) -> Digests {
        let mut found = self.cached_digests(rsc, task::STONITH_ON, 0, node, None, true);
        let id = self[rsc].id.clone();
        let recorded = |ws: &Ws, name: &str, digest: &str| {
            let summary = ws.node_attr(node, name, None, Where::Current);
            summary.map(|s| s.contains(&format!("{id}:{agent}:{digest}")))
        };
        found.matches = match recorded(self, "#digests-all", &found.all) {
            None => DigestMatch::Unknown,
            Some(true) => DigestMatch::Match,
            Some(false) => {
                let secure = found.secure.clone().unwrap_or_else(|| "".into());
                match recorded(self, "#digests-secure", &secure) {
                    Some(true) => DigestMatch::Match,
                    _ => DigestMatch::Mismatch,
                }
            }
        };
        found
    }
}
