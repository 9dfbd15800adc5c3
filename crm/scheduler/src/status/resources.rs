//! Resources from their definitions: meta-attributes, flags, members and instances.

use std::sync::Arc;

use cib_model::{
    Attrs, INFINITY, NoQuorumPolicy, ResourceDef, Role, RuleInput, Str, capabilities, eq_ci,
    is_true, parse_interval_ms, parse_score, scan_min_int,
};

use super::setup::capacity;
use crate::base::{MultiplyActive, NodeIx, Rsc, RscIx, Variant, Ws, merge_sort, rf};
use crate::reasons::Reason;

/// How many instances of a clone or a bundle are made: as many as the nodes can hold, and some to
/// show. A slip of a few digits in the configuration must not fill the memory.
pub(super) fn instance_limit(nodes: usize, per_node: i32) -> i32 {
    let room = i32::try_from(nodes).unwrap_or(i32::MAX).saturating_mul(per_node);
    room.clamp(128, 1000)
}

/// How many resources are defined, with what they hold.
fn count(defs: &[Arc<ResourceDef>]) -> usize {
    defs.iter().map(|def| 1 + count(&def.children)).sum()
}

impl Ws {
    pub(crate) fn unpack_resources(&mut self) {
        let model = self.model.clone();
        self.rscs.reserve(count(&model.resources));
        for def in &model.resources {
            let before = self.problems.len();
            let rsc = self.unpack_resource(def.clone(), None, None);
            if rsc.is_none() && self.problems.len() > before {
                let kind = match def.kind {
                    cib_model::ResourceKind::Primitive => "primitive",
                    cib_model::ResourceKind::Group => "group",
                    cib_model::ResourceKind::Clone => "clone",
                    cib_model::ResourceKind::Bundle => "bundle",
                };
                let text = format!(
                    "Ignoring <{kind}> resource '{}' because configuration is invalid",
                    def.id
                );
                self.error(text);
            }
            if let Some(rsc) = rsc {
                self.top.push(rsc);
            }
        }
        // About as many as there will be: each time that these grow costs as much as making them.
        self.actions.reserve(self.rscs.len() * 5);
        self.orderings.reserve(self.rscs.len() * 10);
        self.locations.reserve(model.constraints.len());
        for rsc in self.top.clone() {
            self.unpack_launcher(rsc);
            self.link_remote_node(rsc);
        }
        let mut top = std::mem::take(&mut self.top);
        merge_sort(&mut top, &mut |a, b| (self[b].priority - self[a].priority).signum());
        self.top = top;
        if self.config.fencing_enabled && !self.config.have_fencing {
            self.error(
                "Resource start-up disabled since no fencing resources have been defined. Either \
                 configure some or disable fencing with the fencing-enabled option. NOTE: Clusters \
                 with shared data need fencing to ensure data integrity."
                    .into(),
            );
        }
    }

    /// A resource that was started inside of another one is linked to it.
    fn unpack_launcher(&mut self, rsc: RscIx) {
        if !self[rsc].children.is_empty() {
            for child in self[rsc].children.clone() {
                self.unpack_launcher(child);
            }
            return;
        }
        let Some(id) = self[rsc].meta.get_str("container").cloned() else { return };
        if id == self[rsc].id {
            return;
        }
        match self.find_rsc(&id) {
            Some(launcher) => {
                self[rsc].launcher = Some(launcher);
                self[launcher].launched.push(rsc);
            }
            None => {
                let text = format!("Resource {}: Unknown container {id}", self[rsc].id);
                self.error(text);
            }
        }
    }

    /// Links a connection with the node that it connects to.
    pub(crate) fn link_remote_node(&mut self, rsc: RscIx) {
        if !self[rsc].is(rf::REMOTE_CONNECTION) {
            return;
        }
        let id = self[rsc].id.clone();
        let Some(node) = self.find_node(&id) else { return };
        self[node].remote = Some(rsc);
        if self[rsc].launcher.is_none() {
            self.startup_fencing(node);
        } else {
            self[node].attrs.set("#kind", "container");
        }
    }

    /// Makes a resource with everything below it. `instance` is its number as part of a clone.
    pub(crate) fn unpack_resource(
        &mut self,
        def: Arc<ResourceDef>,
        parent: Option<RscIx>,
        instance: Option<&str>,
    ) -> Option<RscIx> {
        let id: Str = match instance {
            Some(n) => format!("{}:{n}", def.id).into(),
            None => def.id.clone(),
        };
        let rsc = RscIx(self.rscs.len() as u32);
        self.rscs.push(Rsc::new(id.clone(), def.clone(), parent));
        self[rsc].meta = self.unpack_meta(rsc, instance);
        self.set_meta_flags(rsc);
        self.set_requirements(rsc);
        self.by_id.entry(id).or_insert(rsc);
        let unpacked = match def.kind {
            Variant::Primitive => self.unpack_primitive(rsc),
            Variant::Group => self.unpack_group(rsc, instance),
            Variant::Clone => self.unpack_clone(rsc),
            Variant::Bundle => self.unpack_bundle(rsc),
        };
        if !unpacked {
            let id = self[rsc].id.clone();
            if self.by_id.get(&id) == Some(&rsc) {
                self.by_id.remove(&id);
            }
            return None;
        }
        let guest = self[rsc].is(rf::REMOTE_CONNECTION) && self[rsc].meta.has("container");
        if self.config.symmetric {
            self.allow_everywhere(rsc);
        } else if guest {
            self.resource_location(rsc, None, 0, Reason::RemoteConnectionDefault);
        }
        let mut needs = Attrs::new();
        let input = RuleInput { now: Some(self.config.now), ..RuleInput::default() };
        let mut next = None;
        def.utilization.unpack(&input, &mut needs, &mut next);
        next.into_iter().for_each(|at| self.recheck_at(at));
        // A bundle moved its member's needs to the container already.
        if self[rsc].utilization.is_empty() {
            self[rsc].utilization = capacity(&needs);
        }
        Some(rsc)
    }

    fn unpack_meta(&mut self, rsc: RscIx, instance: Option<&str>) -> Attrs {
        let model = self.model.clone();
        let def = self[rsc].def.clone();
        let mut meta = Attrs::new();
        if let Some(n) = instance {
            meta.set("clone", n);
        }
        for (name, value) in &def.attrs {
            if !value.eq_ignore_ascii_case("#default") {
                meta.set_default(name, value);
            }
        }
        let input = RuleInput {
            now: Some(self.config.now),
            agent: (def.class.as_deref(), def.provider.as_deref(), def.agent.as_deref()),
            ..RuleInput::default()
        };
        let mut next = None;
        def.meta.unpack(&input, &mut meta, &mut next);
        let mut inherited = Attrs::new();
        let mut parent = self[rsc].parent;
        while let Some(p) = parent {
            self[p].def.meta.unpack(&input, &mut inherited, &mut next);
            parent = self[p].parent;
        }
        inherited.iter().for_each(|(n, v)| meta.set_default(n, v));
        model.rsc_defaults.unpack(&input, &mut meta, &mut next);
        if let Some(p) = self[rsc].parent {
            self[p].meta.iter().for_each(|(n, v)| meta.set_default(n, v));
        }
        next.into_iter().for_each(|at| self.recheck_at(at));
        meta
    }

    fn set_meta_flags(&mut self, rsc: RscIx) {
        let (maintenance, default_managed) = {
            let all = self.config.in_maintenance;
            (all, !all)
        };
        let top = self.uber(rsc);
        let in_clone = self[top].variant == Variant::Clone;
        let r = &mut self[rsc];
        let meta = std::mem::take(&mut r.meta);
        let yes = |name: &str| is_true(meta.get(name));
        let remote = r.def.is_remote_connection();
        let mut set = |on: bool, flag: u32| if on { r.flags |= flag } else { r.flags &= !flag };
        set(meta.get("critical").is_none_or(|v| is_true(Some(v))), rf::CRITICAL);
        set(yes("notify"), rf::NOTIFY);
        set(remote, rf::REMOTE_CONNECTION);
        let own_node = remote && !meta.has("container");
        let migrate = meta.get("allow-migrate").map_or(own_node, |v| is_true(Some(v)));
        set(migrate, rf::MIGRATABLE);
        let managed = match meta.get("is-managed") {
            Some(v) if !eq_ci(v, "default") => is_true(Some(v)),
            _ => default_managed,
        };
        set(managed && !yes("maintenance") && !maintenance, rf::MANAGED);
        set(yes("maintenance") || maintenance, rf::MAINTENANCE);
        let unique = match meta.get("globally-unique") {
            _ if !in_clone => true,
            Some(v) => is_true(Some(v)),
            None => meta.get("clone-node-max").is_some_and(|v| scan_min_int(Some(v), 0) > 1),
        };
        set(unique, rf::UNIQUE);
        set(in_clone && yes("promotable"), rf::PROMOTABLE);
        let score = |name: &str| meta.get(name).and_then(parse_score);
        r.priority = score("priority").unwrap_or(0);
        r.stickiness = score("resource-stickiness").unwrap_or(0);
        r.ban_after_failures = score("migration-threshold").filter(|n| *n >= 0).unwrap_or(INFINITY);
        r.multiply_active =
            match meta.get("multiple-active").map(str::to_ascii_lowercase).as_deref() {
                Some("stop_only") => MultiplyActive::Stop,
                Some("block") => MultiplyActive::Block,
                Some("stop_unexpected") => MultiplyActive::Unexpected,
                _ => MultiplyActive::Restart,
            };
        r.failure_expiration_ms = parse_interval_ms(meta.get("failure-timeout"));
        r.meta = meta;
    }

    fn set_requirements(&mut self, rsc: RscIx) {
        if self[rsc].def.class.as_deref().is_some_and(|c| eq_ci(c, "stonith")) {
            self.config.have_fencing = true;
            self[rsc].set(rf::FENCE_DEVICE);
        }
        let requires = self[rsc].meta.get("requires").map(str::to_ascii_lowercase);
        self.unpack_requires(rsc, requires.as_deref());
        if self[rsc].is(rf::REMOTE_CONNECTION) && !self[rsc].meta.has("container") {
            let interval = self.params(rsc, None).get("reconnect_interval").map(Str::from);
            if let Some(interval) = interval {
                let ms = parse_interval_ms(Some(&interval));
                self[rsc].remote_reconnect_ms = ms;
                self[rsc].failure_expiration_ms = ms;
            }
        }
        if let Some(role) = self.target_role(rsc) {
            self[rsc].next_role = role;
        }
    }

    fn unpack_requires(&mut self, rsc: RscIx, value: Option<&str>) {
        let fencing = self.config.fencing_enabled;
        let device = self[rsc].is(rf::FENCE_DEVICE);
        let flags = match value {
            Some("nothing") => 0,
            Some("quorum") => rf::NEEDS_QUORUM,
            Some("fencing") => rf::NEEDS_FENCING,
            Some("unfencing") if device || !fencing => {
                let text = format!("Resetting \"requires\" for {} to \"quorum\"", self[rsc].id);
                self.warn(text);
                rf::NEEDS_QUORUM
            }
            Some("unfencing") => rf::NEEDS_FENCING | rf::NEEDS_UNFENCING,
            _ => {
                let connection = self.is_primitive(rsc) && self[rsc].is(rf::REMOTE_CONNECTION);
                let default = if device || connection {
                    "quorum"
                } else if self.config.unfencing {
                    "unfencing"
                } else if fencing {
                    "fencing"
                } else if self.config.no_quorum == NoQuorumPolicy::Ignore {
                    "nothing"
                } else {
                    "quorum"
                };
                return self.unpack_requires(rsc, Some(default));
            }
        };
        self[rsc].set(flags);
    }

    /// The role that the configuration limits a resource to, if it does.
    pub(crate) fn target_role(&mut self, rsc: RscIx) -> Option<Role> {
        let value = self[rsc].meta.get("target-role")?;
        if eq_ci(value, "started") || eq_ci(value, "default") {
            return None;
        }
        let Some(role) = Role::parse(value) else {
            let text = format!(
                "Ignoring 'target-role' for {} because '{value}' is not valid",
                self[rsc].id
            );
            self.error(text);
            return None;
        };
        if role > Role::Started && (!self.is_promotable(rsc) || role > Role::Unpromoted) {
            return None;
        }
        Some(role)
    }

    pub(crate) fn unpack_params(&mut self, rsc: RscIx, node: Option<NodeIx>) -> Attrs {
        let mut params = Attrs::new();
        let mut next = None;
        let mut at = Some(rsc);
        while let Some(r) = at {
            let input = RuleInput {
                now: Some(self.config.now),
                node_attrs: node.map(|n| &self[n].attrs),
                ..RuleInput::default()
            };
            self[r].def.params.unpack(&input, &mut params, &mut next);
            at = self[r].parent;
        }
        next.into_iter().for_each(|at| self.recheck_at(at));
        params
    }

    fn unpack_primitive(&mut self, rsc: RscIx) -> bool {
        let top = self.uber(rsc);
        let can = capabilities(self[rsc].def.class.as_deref());
        if !can.unique && self[rsc].is(rf::UNIQUE) && self.is_clone(top) {
            let nodes = self.node_order.len() as i32;
            let clone = &mut self[top].clone;
            clone.node_max = 1;
            clone.max = clone.max.min(nodes);
            self.clear_unique(top);
            self.clear_unique(rsc);
        }
        if !can.promotable && self[top].is(rf::PROMOTABLE) {
            let text = format!(
                "Resource {} is of type {} and therefore cannot be used as a promotable clone \
                 resource",
                self[rsc].id,
                self[rsc].def.class.as_deref().unwrap_or_default()
            );
            self.error(text);
            return false;
        }
        true
    }

    fn clear_unique(&mut self, rsc: RscIx) {
        self[rsc].clear(rf::UNIQUE);
        self[rsc].meta.set("globally-unique", "false");
        for child in self[rsc].children.clone() {
            self.clear_unique(child);
        }
    }

    fn unpack_group(&mut self, rsc: RscIx, instance: Option<&str>) -> bool {
        let no = |v: Option<&str>| v.and_then(cib_model::parse_bool) == Some(false);
        let (ordered, colocated) =
            (!no(self[rsc].meta.get("ordered")), !no(self[rsc].meta.get("collocated")));
        (self[rsc].group_ordered, self[rsc].group_colocated) = (ordered, colocated);
        for def in &self[rsc].def.clone().children {
            if let Some(member) = self.unpack_resource(def.clone(), Some(rsc), instance) {
                self[rsc].children.push(member);
            }
        }
        !self[rsc].children.is_empty()
    }

    fn unpack_clone(&mut self, rsc: RscIx) -> bool {
        let nodes = self.node_order.len() as i32;
        let r = &mut self[rsc];
        let number = |meta: &Attrs, name: &str, former: &str, default: i32| {
            let value = meta.get(name).or_else(|| meta.get(former).filter(|_| !former.is_empty()));
            value.map_or(default, |v| scan_min_int(Some(v), 0))
        };
        if r.is(rf::PROMOTABLE) {
            r.clone.promoted_max = number(&r.meta, "promoted-max", "master-max", 1);
            r.clone.promoted_node_max = number(&r.meta, "promoted-node-max", "master-node-max", 1);
        }
        r.clone.node_max = number(&r.meta, "clone-node-max", "", 1);
        r.clone.max = number(&r.meta, "clone-max", "", nodes.max(1));
        r.clone.ordered = is_true(r.meta.get("ordered"));
        if !r.is(rf::UNIQUE) && r.clone.node_max > 1 {
            r.clone.node_max = 1;
        }
        if !r.meta.has("resource-stickiness") {
            r.meta.set("resource-stickiness", "1");
        }
        let unique = if r.is(rf::UNIQUE) { "true" } else { "false" };
        r.meta.set("globally-unique", unique);
        let limit = instance_limit(self.node_order.len(), self[rsc].clone.node_max);
        if self[rsc].clone.max > limit {
            let text = format!(
                "Making no more than {limit} instances of {} (clone-max={})",
                self[rsc].id, self[rsc].clone.max
            );
            self.error(text);
            self[rsc].clone.max = limit;
        }
        let r = &self[rsc];
        // Even a clone of no instances has one, so that there is something to look at.
        let instances = r.clone.max.max(1);
        for _ in 0..instances {
            if self[rsc].clone.total >= self[rsc].clone.max.max(1) {
                break;
            }
            if self.create_instance(rsc).is_none() {
                return false;
            }
        }
        true
    }

    /// Adds an instance to a clone; one too many counts as removed.
    pub(crate) fn create_instance(&mut self, clone: RscIx) -> Option<RscIx> {
        let (total, max) = (self[clone].clone.total, self[clone].clone.max);
        let def = self[clone].def.children.first()?.clone();
        let child = self.unpack_resource(def, Some(clone), Some(&total.to_string()))?;
        self[clone].clone.total += 1;
        self[clone].children.push(child);
        if total >= max {
            self.set_recursive(child, rf::REMOVED);
        }
        self[child].meta.set("clone-max", &max.to_string());
        Some(child)
    }
}
