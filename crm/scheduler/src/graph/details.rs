//! Everything that a graph says about one action.

use std::sync::Arc;

use cib_model::{Attrs, Str};
use crm_graph::{Action, ActionKind, Resource};
use rustc_hash::FxHashMap;

use super::number;
use crate::base::{ActionIx, NodeIx, RscIx, Variant, Ws, af, rf, task};

/// What many actions of a graph have in common, each once.
#[derive(Default)]
pub(crate) struct GraphNames {
    /// By the name of a meta-attribute, that of the attribute that tells it, if it can be one.
    meta: FxHashMap<Str, Option<Str>>,
    plain: FxHashMap<Str, Str>,
    resources: FxHashMap<RscIx, Arc<Resource>>,
}

impl GraphNames {
    fn meta(&mut self, name: &str) -> Option<Str> {
        if let Some(known) = self.meta.get(name) {
            return known.clone();
        }
        let told = (!name.contains(['#', ':']))
            .then(|| Str::from(format!("CRM_meta_{}", name.replace('-', "_"))));
        self.meta.insert(name.into(), told.clone());
        told
    }

    fn plain(&mut self, text: &str) -> Str {
        if let Some(known) = self.plain.get(text) {
            return known.clone();
        }
        let text = Str::from(text);
        self.plain.insert(text.clone(), text.clone());
        text
    }
}

/// Attributes of an action while they are put together.
struct Table<'n> {
    names: &'n mut GraphNames,
    /// Sorted by name.
    named: Vec<(Str, Str)>,
    /// What cannot be the name of an XML attribute.
    other: Vec<(Str, Str)>,
}

impl Table<'_> {
    /// Adds a value, unless there is one.
    fn add(&mut self, name: &Str, value: &Str) {
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            self.other.push((name.clone(), value.clone()));
        } else if let Err(at) = self.place(name) {
            self.named.insert(at, (name.clone(), value.clone()));
        }
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.named.binary_search_by(|(known, _)| (**known).cmp(name))
    }

    fn defaults(&mut self, attrs: &Attrs) {
        attrs.iter().for_each(|(n, v)| self.add(n, v));
    }

    fn meta(&mut self, name: &str, value: &Str) {
        if let Some(name) = self.names.meta(name) {
            self.add(&name, value);
        }
    }

    /// Adds a value, whatever there is.
    fn set(&mut self, name: &str, value: &str) {
        let (name, value) = (self.names.plain(name), self.names.plain(value));
        match self.place(&name) {
            Ok(at) => self.named[at].1 = value,
            Err(at) => self.named.insert(at, (name, value)),
        }
    }
}

impl Ws {
    fn graph_kind(&self, action: ActionIx) -> ActionKind {
        let a = &self[action];
        match a.task {
            task::STONITH if a.is(af::PSEUDO) => ActionKind::Pseudo,
            task::STONITH | task::DO_SHUTDOWN | task::CLEAR_FAILCOUNT | task::LRM_DELETE => {
                ActionKind::Cluster
            }
            _ if a.is(af::PSEUDO) => ActionKind::Pseudo,
            _ => ActionKind::Resource,
        }
    }

    /// What says which action it is.
    pub(crate) fn describe_head(&mut self, action: ActionIx) -> Action {
        let a = &self[action];
        let kind = self.graph_kind(action);
        let own_key = self.key_text(action);
        let history_id = a.rsc.and_then(|r| self[r].history_id.clone());
        let (key, internal_key) = match history_id {
            None => (own_key, None),
            Some(id) => (self.instance_key(action, &id), Some(own_key)),
        };
        let node = a.node.filter(|_| kind != ActionKind::Pseudo || a.task == task::STONITH);
        let router = node.and_then(|_| self.router_of(action));
        let name = |n: NodeIx| self[n].name.clone();
        Action {
            id: number(action),
            kind,
            operation: self.names.text(a.task).clone(),
            key,
            internal_key,
            on_node: node.map(name),
            on_node_uuid: node.map(|n| self[n].id.clone()),
            router_node: router.map(name),
            resource: None,
            attributes: Vec::new(),
            downed: Vec::new(),
            params: Vec::new(),
            maintenance: Vec::new(),
            shutdown_lock: None,
            reason: a.reason.clone(),
        }
    }

    /// The key under which an anonymous instance's history has the action.
    fn instance_key(&self, action: ActionIx, id: &str) -> String {
        let a = &self[action];
        if a.task == task::NOTIFY {
            let meta = |name| a.meta.get(name).unwrap_or("");
            return format!("{id}_{}_notify_{}_0", meta("notify_type"), meta("notify_operation"));
        }
        let name = self.names.text(a.cancel_task.unwrap_or(a.task));
        format!("{id}_{name}_{}", self.meta_interval(action))
    }

    pub(crate) fn describe(&mut self, action: ActionIx) -> Action {
        let mut out = self.describe_head(action);
        if let (Some(name), Some(id)) = (&out.on_node, &out.on_node_uuid) {
            let meta = &mut self[action].meta;
            meta.set("on_node", name);
            meta.set("on_node_uuid", id);
        }
        let (rsc, node) = (self[action].rsc, self[action].node);
        if let Some(rsc) = rsc.filter(|_| !self[action].is(af::PSEUDO)) {
            out.resource = Some(self.graph_resource_of(rsc));
            if self.locks(action, rsc) {
                out.shutdown_lock = Some(self[rsc].lock_time);
            }
        }
        let mut names = std::mem::take(&mut self.graph_names);
        let table = self.attributes_of(action, rsc, node, &mut names);
        (out.attributes, out.params) = (table.named, table.other);
        out.attributes.shrink_to_fit();
        self.graph_names = names;
        if out.on_node.is_some() {
            out.downed = self.downed_by(action);
        }
        if self[action].task == task::MAINTENANCE_NODES {
            out.maintenance = self.maintenance_changes();
        }
        out
    }

    fn locks(&self, action: ActionIx, rsc: RscIx) -> bool {
        let a = &self[action];
        match a.node {
            Some(node) if self[rsc].lock_node == Some(node) => {
                !self[node].shutdown || a.task == task::STOP
            }
            _ => false,
        }
    }

    fn graph_resource_of(&mut self, rsc: RscIx) -> Arc<Resource> {
        if let Some(known) = self.graph_names.resources.get(&rsc) {
            return Arc::clone(known);
        }
        let new = Arc::new(self.resource_of(rsc));
        self.graph_names.resources.insert(rsc, Arc::clone(&new));
        new
    }

    fn resource_of(&self, rsc: RscIx) -> Resource {
        let r = &self[rsc];
        let (id, long_id) = match &r.history_id {
            Some(history) if r.is(rf::REMOVED) => (history.clone(), Some(r.id.clone())),
            history if !r.is(rf::UNIQUE) => {
                let long = history.as_ref().filter(|h| **h != r.def.id).unwrap_or(&r.id);
                (r.def.id.clone(), Some(long.clone()))
            }
            _ => (r.id.clone(), None),
        };
        let text = |t: &Option<Str>| t.clone().unwrap_or_default();
        Resource {
            id,
            long_id,
            class: text(&r.def.class),
            provider: r.def.provider.clone(),
            agent: text(&r.def.agent),
        }
    }

    fn attributes_of<'n>(
        &mut self,
        action: ActionIx,
        rsc: Option<RscIx>,
        node: Option<NodeIx>,
        names: &'n mut GraphNames,
    ) -> Table<'n> {
        let mut table = Table { names, named: Vec::new(), other: Vec::new() };
        table.set("crm_feature_set", cib_model::FEATURE_SET);
        table.defaults(&self[action].extra);
        if let Some(rsc) = rsc.filter(|r| node.is_some() || self.is_primitive(*r)) {
            if node.is_some() && self.params(rsc, node).get("addr") == Some("#uname") {
                let address = self.params(rsc, None).get("addr").map(str::to_owned);
                if let Some(address) = address {
                    self.params(rsc, node).set("addr", &address);
                }
            }
            let params = self.params(rsc, node).clone();
            table.defaults(&params);
        }
        for (name, value) in self[action].meta.iter() {
            table.meta(name, value);
        }
        if let Some(rsc) = rsc {
            let mut at = Some(rsc);
            while let Some(owner) = at {
                self.graph_meta(owner, &mut table);
                at = self[owner].parent;
            }
            if let Some(host) = self.physical_host(action) {
                if let Some(target) = self[rsc].meta.get("container-attribute-target") {
                    let target = table.names.plain(target);
                    table.meta("container-attribute-target", &target);
                }
                table.meta("physical-host", &self[host].name);
            }
        }
        table
    }

    fn graph_meta(&self, rsc: RscIx, table: &mut Table<'_>) {
        let r = &self[rsc];
        match r.variant {
            Variant::Primitive => {
                if let Some(number) = r.meta.get("clone") {
                    table.set("CRM_meta_clone", number);
                }
                if let Some(node) = r.meta.get("remote-node") {
                    table.set("CRM_meta_remote_node", node);
                }
                let mut at = Some(rsc);
                while let Some(owner) = at {
                    if let Some(launcher) = self[owner].launcher {
                        table.set("CRM_meta_container", &self[launcher].id);
                    }
                    at = self[owner].parent;
                }
                if let Some(ip) = r.meta.get("external-ip") {
                    table.set("pcmk_external_ip", ip);
                }
            }
            Variant::Clone => {
                let flag = |set: bool| if set { "true" } else { "false" };
                table.set("CRM_meta_globally_unique", flag(r.is(rf::UNIQUE)));
                table.set("CRM_meta_notify", flag(r.is(rf::NOTIFY)));
                let c = &r.clone;
                table.set("CRM_meta_clone_max", &c.max.to_string());
                table.set("CRM_meta_clone_node_max", &c.node_max.to_string());
                if r.is(rf::PROMOTABLE) {
                    for prefix in ["promoted", "master"] {
                        let (all, node) = (c.promoted_max, c.promoted_node_max);
                        table.set(&format!("CRM_meta_{prefix}_max"), &all.to_string());
                        table.set(&format!("CRM_meta_{prefix}_node_max"), &node.to_string());
                    }
                }
            }
            Variant::Group | Variant::Bundle => {}
        }
    }

    /// Ids of nodes that are lost by an action.
    fn downed_by(&self, action: ActionIx) -> Vec<Str> {
        let a = &self[action];
        let Some(node) = a.node else { return Vec::new() };
        let own = self[node].id.clone();
        match (a.task, a.rsc) {
            (task::DO_SHUTDOWN, _) => vec![own],
            (task::STONITH, _) => {
                let op = a.meta.get("stonith_action").unwrap_or("");
                if !matches!(op, "off" | "reboot") {
                    return Vec::new();
                }
                let mut all = vec![own];
                all.extend(self.guests_on(node).into_iter().map(|g| self[g].id.clone()));
                all
            }
            (task::STOP, Some(rsc)) if self[rsc].is(rf::REMOTE_CONNECTION) => {
                let migrates = a.before.iter().any(|rel| {
                    let input = &self[rel.action];
                    input.rsc == Some(rsc) && input.task == task::MIGRATE_FROM
                });
                if migrates { Vec::new() } else { vec![self[rsc].id.clone()] }
            }
            _ => Vec::new(),
        }
    }

    /// Guest nodes that run on a node.
    pub(crate) fn guests_on(&self, host: NodeIx) -> Vec<NodeIx> {
        let mut guests = Vec::new();
        for rsc in &self[host].running {
            let r = &self[*rsc];
            if r.is(rf::REMOTE_CONNECTION) && r.launcher.is_some() {
                guests.extend(self.find_node(&r.id));
            }
        }
        guests
    }

    /// Remote nodes whose executors have to be told that maintenance began or ended.
    pub(crate) fn maintenance_changes(&self) -> Vec<(Str, bool)> {
        let remote = self.node_order.iter().copied().filter(|n| self.is_remote_kind(*n));
        remote
            .filter(|n| self[*n].maintenance != self[*n].remote_maint)
            .map(|n| (self[n].id.clone(), self[n].maintenance))
            .collect()
    }
}
