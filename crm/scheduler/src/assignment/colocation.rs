//! What resources that are to run together (or apart) do to each other's scores.

use cib_model::{INFINITY, Role, Str, add_scores};

use crate::base::{
    ActionIx, NodeIx, RscIx, Table, Variant, Where, Ws, af, cf, insert_sorted, rf, task,
};
use crate::reasons::Reason;

/// Which colocations are followed from a resource, and how.
pub(crate) mod select {
    pub(crate) const DEFAULT: u32 = 0;
    /// Those of which it is the dependent.
    pub(crate) const THIS_WITH: u32 = 1;
    /// Scores that were positive do not become negative.
    pub(crate) const NONNEGATIVE: u32 = 2;
    /// Only if there is any node left.
    pub(crate) const ACTIVE: u32 = 4;
}

/// Marks a score that would have become negative.
const HELD: i32 = -INFINITY * 100;

/// What a colocation acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Affects {
    Nothing,
    Location,
    Role,
}

fn equal(a: Option<&str>, b: Option<&str>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
        (None, None) => true,
        _ => false,
    }
}

/// A number that is the same for values that are [`equal`], and seldom for others.
fn fingerprint(value: Option<&str>) -> u64 {
    let mix = |h: u64, b: u8| (h ^ u64::from(b.to_ascii_lowercase())).wrapping_mul(0x100_0000_01b3);
    value.map_or(0, |v| v.bytes().fold(0xcbf2_9ce4_8422_2325, mix))
}

impl Ws {
    /// The attribute that a colocation compares. Inside of a bundle the host's counts.
    pub(crate) fn coloc_attr(&self, node: NodeIx, attr: &str, rsc: Option<RscIx>) -> Option<&str> {
        if self.node_launcher(node).is_none() {
            return self.attr(node, attr);
        }
        let inside = rsc.is_some_and(|r| {
            self.is_bundle_node(node)
                && self.is_bundled(r)
                && self.bundled_clone(r) == Some(self.uber(r))
        });
        let target = if inside {
            Some("host")
        } else {
            rsc.and_then(|r| self[r].meta.get("container-attribute-target"))
        };
        self.node_attr(node, attr, target, Where::Assigned)
    }

    fn compare_weight(&self, a: RscIx, b: RscIx) -> std::cmp::Ordering {
        let (ra, rb) = (&self[a], &self[b]);
        let promotable = |r: &crate::base::Rsc| r.variant == Variant::Clone && r.is(rf::PROMOTABLE);
        rb.priority
            .cmp(&ra.priority)
            .then(rb.variant.cmp(&ra.variant))
            .then(promotable(rb).cmp(&promotable(ra)))
            .then(ra.id.cmp(&rb.id))
    }

    pub(crate) fn insert_this_with(&self, list: &mut Vec<usize>, coloc: usize) {
        insert_sorted(list, coloc, |a, b| {
            self.compare_weight(self.colocs[a].primary, self.colocs[b].primary)
        });
    }

    pub(crate) fn insert_with_this(&self, list: &mut Vec<usize>, coloc: usize) {
        insert_sorted(list, coloc, |a, b| {
            self.compare_weight(self.colocs[a].dependent, self.colocs[b].dependent)
        });
    }

    /// Merges a list into another one that has entries already. What is added then is the first
    /// of the addition, as often as the addition is long: clusters in the field place resources
    /// by that, so it is kept.
    fn merge(&self, list: &mut Vec<usize>, addition: &[usize], this_with: bool) {
        if list.is_empty() {
            list.extend_from_slice(addition);
            return;
        }
        for _ in addition {
            if this_with {
                self.insert_this_with(list, addition[0]);
            } else {
                self.insert_with_this(list, addition[0]);
            }
        }
    }

    /// Colocations of which a resource is the dependent, with those that it has a part in.
    pub(crate) fn this_with(&self, rsc: RscIx) -> Vec<usize> {
        let mut list = Vec::new();
        self.collect(rsc, rsc, &mut list, true);
        list
    }

    /// Colocations of which a resource is the primary, with those that it has a part in.
    pub(crate) fn with_this(&self, rsc: RscIx) -> Vec<usize> {
        let mut list = Vec::new();
        self.collect(rsc, rsc, &mut list, false);
        list
    }

    fn own(&self, rsc: RscIx, this_with: bool) -> &[usize] {
        if this_with { &self[rsc].this_with } else { &self[rsc].with_this }
    }

    fn collect(&self, rsc: RscIx, origin: RscIx, list: &mut Vec<usize>, this_with: bool) {
        let up = |list: &mut Vec<usize>| {
            if let Some(parent) = self[rsc].parent {
                self.collect(parent, origin, list, this_with);
            }
        };
        match self[rsc].variant {
            Variant::Primitive if rsc == origin => {
                self.merge(list, self.own(rsc, this_with), this_with);
                up(list);
            }
            Variant::Primitive => {
                for coloc in self.own(rsc, this_with) {
                    if self.colocs[*coloc].flags & cf::EXPLICIT != 0 {
                        if this_with {
                            self.insert_this_with(list, *coloc);
                        } else {
                            self.insert_with_this(list, *coloc);
                        }
                    }
                }
            }
            Variant::Group => self.collect_group(rsc, origin, list, this_with),
            Variant::Clone => {
                self.merge(list, self.own(rsc, this_with), this_with);
                up(list);
            }
            Variant::Bundle => self.collect_bundle(rsc, origin, list, this_with),
        }
    }

    fn collect_group(&self, rsc: RscIx, origin: RscIx, list: &mut Vec<usize>, this_with: bool) {
        let members = &self[rsc].children;
        let speaker = if this_with { members.first() } else { members.last() };
        if rsc == origin || speaker == Some(&origin) {
            self.merge(list, self.own(rsc, this_with), this_with);
            if let Some(parent) = self[rsc].parent {
                self.collect(parent, origin, list, this_with);
            }
            if self[rsc].group_colocated {
                for member in members.iter().filter(|m| **m != origin) {
                    self.collect(*member, origin, list, this_with);
                }
            }
            return;
        }
        if !this_with {
            return;
        }
        // Below an unmanaged member the others have to speak for the group.
        let before = members.iter().take_while(|m| **m != origin);
        if before.copied().any(|m| !self[m].is(rf::MANAGED)) {
            for coloc in &self[rsc].this_with {
                if self.colocs[*coloc].score == INFINITY {
                    self.insert_this_with(list, *coloc);
                }
            }
        }
    }

    fn collect_bundle(&self, rsc: RscIx, origin: RscIx, list: &mut Vec<usize>, this_with: bool) {
        let own = self.own(rsc, this_with);
        if rsc == origin || self[origin].is(rf::REPLICA_CONTAINER) {
            self.merge(list, own, this_with);
            return;
        }
        let Some(inner) = self.bundled_clone(rsc) else { return };
        if !self[inner].is(rf::PROMOTABLE) || self.uber(origin) != inner {
            return;
        }
        let counts = if origin == inner {
            self[inner].clone.promotion_constrained
        } else {
            !self[origin].is(rf::UNASSIGNED)
        };
        if counts {
            self.merge(list, own, this_with);
        }
    }

    /// Whether the dependent of a colocation has a say in the placement of `rsc` (by default the
    /// primary).
    pub(crate) fn has_influence(&self, coloc: usize, rsc: Option<RscIx>) -> bool {
        let c = &self.colocs[coloc];
        let rsc = rsc.unwrap_or(c.primary);
        let settled = !self[rsc].is(rf::FAILED) && self[rsc].active.len() == 1;
        if self[c.dependent].is(rf::REMOTE_NESTING_ALLOWED) && settled {
            return false;
        }
        c.flags & cf::INFLUENCE != 0 || self[rsc].active.is_empty()
    }

    /// The resource whose role counts: inside of a container that of what runs there.
    fn for_role(&self, rsc: RscIx) -> RscIx {
        if self[rsc].is(rf::REPLICA_CONTAINER) { self.inside(rsc).unwrap_or(rsc) } else { rsc }
    }

    pub(crate) fn affects(
        &self,
        dependent: RscIx,
        primary: RscIx,
        coloc: usize,
        preview: bool,
    ) -> Affects {
        let c = &self.colocs[coloc];
        if !preview && self[primary].is(rf::UNASSIGNED) {
            return Affects::Nothing;
        }
        let (d, p) = (self.for_role(dependent), self.for_role(primary));
        let promotable = self[d].parent.is_some_and(|x| self[x].is(rf::PROMOTABLE));
        if c.dependent_role >= Role::Unpromoted && promotable && !self[d].is(rf::UNASSIGNED) {
            return Affects::Role;
        }
        if !preview && !self[dependent].is(rf::UNASSIGNED) {
            return Affects::Nothing;
        }
        let other = |wanted: Role, is: Role| wanted != Role::Unknown && wanted != is;
        if other(c.dependent_role, self[d].next_role) || other(c.primary_role, self[p].next_role) {
            return Affects::Nothing;
        }
        Affects::Location
    }

    /// Applies a colocation with a placed primary to its dependent's row.
    pub(crate) fn apply_to_scores(&mut self, dependent: RscIx, primary: RscIx, coloc: usize) {
        let (score, attr) = (self.colocs[coloc].score, self.colocs[coloc].attr.clone());
        let place = self[primary].assigned_node();
        if place.is_none() && score < 0 {
            return;
        }
        let value: Option<Str> =
            place.and_then(|n| self.coloc_attr(n, &attr, Some(primary))).map(Str::from);
        let mut work = self[dependent].allowed.clone();
        for (node, slot) in work.iter_mut() {
            if place.is_none() {
                slot.score = add_scores(-score, slot.score);
            } else if equal(self.coloc_attr(node, &attr, Some(dependent)), value.as_deref()) {
                if score < INFINITY {
                    slot.score = add_scores(score, slot.score);
                }
            } else if score >= INFINITY {
                slot.score = -INFINITY;
            }
        }
        if score <= -INFINITY || score >= INFINITY || self.any_available(&work) {
            self.note_changes(dependent, &work, coloc);
            self[dependent].allowed = work;
        }
    }

    fn note_changes(&mut self, rsc: RscIx, new: &Table, coloc: usize) {
        let why = Reason::Colocation(self.colocs[coloc].id.clone());
        for (node, slot) in new.iter() {
            let old = self[rsc].allowed.score(node).unwrap_or(0);
            if old != slot.score {
                let change = add_scores(slot.score, -old.clamp(1 - INFINITY, INFINITY - 1));
                self.reasons.score(rsc, node, change, &why);
            }
        }
    }

    /// Applies a colocation to the priority with which its dependent is promoted.
    fn apply_to_priority(&mut self, dependent: RscIx, primary: RscIx, coloc: usize) -> i32 {
        let c = self.colocs[coloc].clone();
        let Some(dependent_node) = self[dependent].assigned_node() else { return 0 };
        let primary_node = self[primary].assigned_node();
        if primary_node.is_some() && c.primary_role != Role::Unknown {
            let role = self[self.for_role(primary)].next_role;
            if c.primary_role != role {
                return 0;
            }
        }
        let ours = self.coloc_attr(dependent_node, &c.attr, Some(dependent));
        let theirs = primary_node.and_then(|n| self.coloc_attr(n, &c.attr, Some(primary)));
        let mut factor = 1;
        if !equal(ours, theirs) {
            if c.score != INFINITY || c.dependent_role != Role::Promoted {
                return 0;
            }
            factor = -1;
        } else if c.dependent_role == Role::Unpromoted {
            factor = -1;
        }
        let delta = factor * c.score;
        self[dependent].priority = add_scores(delta, self[dependent].priority);
        delta
    }

    /// Applies a colocation, in the manner of the dependent or of the primary. Gives what it did
    /// to the dependent's priority.
    pub(crate) fn apply_coloc(
        &mut self,
        dependent: RscIx,
        primary: RscIx,
        coloc: usize,
        for_dependent: bool,
    ) -> i32 {
        let actor = if for_dependent { dependent } else { primary };
        match (self[actor].variant, for_dependent) {
            (Variant::Primitive, true) => self.apply_coloc(dependent, primary, coloc, false),
            (Variant::Primitive, false) => match self.affects(dependent, primary, coloc, false) {
                Affects::Role => self.apply_to_priority(dependent, primary, coloc),
                Affects::Location => {
                    self.apply_to_scores(dependent, primary, coloc);
                    0
                }
                Affects::Nothing => 0,
            },
            (Variant::Group, true) => self.group_depends(dependent, primary, coloc),
            (Variant::Group, false) => self.depends_on_group(dependent, primary, coloc),
            (Variant::Clone, _) => self.depends_on_clone(dependent, primary, coloc),
            (Variant::Bundle, _) => self.depends_on_bundle(dependent, primary, coloc),
        }
    }

    /// Limits a dependent to the nodes of its primary's instances.
    pub(crate) fn intersect(
        &mut self,
        dependent: RscIx,
        nodes: &[crate::base::Assigned],
        merge: bool,
    ) {
        for (node, slot) in self[dependent].allowed.iter_mut() {
            match nodes.iter().find(|a| a.node == node) {
                None => slot.score = -INFINITY,
                Some(a) if merge => slot.score = add_scores(slot.score, a.score),
                Some(_) => {}
            }
        }
    }

    /// What a colocation's dependent (or primary) wishes: its scores on the nodes that it can use.
    fn wishes(&mut self, rsc: RscIx, coloc: usize) -> Vec<(NodeIx, i32)> {
        let c = &self.colocs[coloc];
        let follows =
            |group: &RscIx| self.is_group(*group) && self[*group].children.first() != Some(&rsc);
        let explicit = c.dependent == rsc && c.flags & cf::EXPLICIT != 0;
        let group = self[rsc].parent.filter(follows).filter(|_| explicit);
        // Preferences of a group are recorded with its first member only.
        let own = group.map(|group| {
            let row = self[rsc].allowed.clone();
            for at in self[group].locations.clone().into_iter().rev() {
                self.apply_location_plain(rsc, at, false);
            }
            row
        });
        let row = self[rsc].allowed.iter().map(|(node, slot)| (node, slot.score));
        let wishes = row.filter(|(node, _)| self.available(*node)).collect();
        if let Some(own) = own {
            self[rsc].allowed = own;
        }
        wishes
    }

    fn allowed_on_one(&self, rsc: RscIx) -> bool {
        self[rsc].allowed.iter().filter(|(_, s)| s.score >= 0).count() == 1
    }

    fn add_matching(
        &mut self,
        nodes: &mut Table,
        source: RscIx,
        target: Option<RscIx>,
        coloc: usize,
        factor: f32,
        only_positive: bool,
    ) {
        let attr = self.colocs[coloc].attr.clone();
        let wishes = self.wishes(source, coloc);
        let value = |node: NodeIx, rsc: Option<RscIx>| self.coloc_attr(node, &attr, rsc);
        // Every value is compared with every other one, so most are told apart by a number first.
        let wishes: Vec<(u64, Option<&str>, i32)> = wishes
            .into_iter()
            .map(|(node, score)| (value(node, Some(source)), score))
            .map(|(value, score)| (fingerprint(value), value, score))
            .collect();
        for (node, slot) in nodes.iter_mut() {
            let wanted = value(node, target);
            let print = fingerprint(wanted);
            let matching =
                wishes.iter().filter(|(p, value, _)| *p == print && equal(wanted, *value));
            let score = matching.map(|(.., score)| *score).max().unwrap_or(-INFINITY);
            if factor < 0.0 && score < 0 {
                let c = &self.colocs[coloc];
                let (primary, dependent) = (c.primary, c.dependent);
                if self[primary].stickiness >= -score
                    || !self.has_influence(coloc, None)
                    || !self.allowed_on_one(dependent)
                {
                    continue;
                }
            }
            if slot.score == HELD {
                continue;
            }
            let exact = factor * score as f32;
            let rounded = if exact < 0.0 { f64::from(exact) - 0.5 } else { f64::from(exact) + 0.5 };
            let mut delta = rounded as i32;
            if delta == 0 && score != 0 {
                delta = if factor > 0.0 { 1 } else { -i32::from(factor < 0.0) };
            }
            let new = add_scores(delta, slot.score);
            if only_positive && new < 0 && slot.score > 0 {
                slot.score = HELD;
            } else if !(only_positive && new < 0 && slot.score == 0) {
                slot.score = new;
            }
        }
    }

    /// Adds the wishes of `source`, and of those that it is colocated with, to a row. Without a
    /// row it starts from the source's own.
    pub(crate) fn add_colocated_scores(
        &mut self,
        source: RscIx,
        target: Option<RscIx>,
        nodes: &mut Option<Table>,
        coloc: Option<usize>,
        factor: f32,
        flags: u32,
    ) {
        if self[source].is(rf::UPDATING_NODES) {
            return;
        }
        if self.is_group(source) {
            let members = &self[source].children;
            let member = if nodes.is_none() { members.last() } else { members.first() };
            let Some(member) = member.copied() else { return };
            self[source].set(rf::UPDATING_NODES);
            self.add_colocated_scores(member, target, nodes, coloc, factor, flags);
            self[source].clear(rf::UPDATING_NODES);
            return;
        }
        self[source].set(rf::UPDATING_NODES);
        self.add_from(source, target, nodes, coloc, factor, flags);
        self[source].clear(rf::UPDATING_NODES);
    }

    fn add_from(
        &mut self,
        source: RscIx,
        target: Option<RscIx>,
        nodes: &mut Option<Table>,
        coloc: Option<usize>,
        factor: f32,
        flags: u32,
    ) {
        let mut target = target;
        let mut work = match nodes.as_ref() {
            None => {
                target = Some(source);
                self[source].allowed.clone()
            }
            Some(nodes) => {
                let mut work = nodes.clone();
                if let Some(coloc) = coloc {
                    let positive = flags & select::NONNEGATIVE != 0;
                    self.add_matching(&mut work, source, target, coloc, factor, positive);
                }
                work
            }
        };
        if self.any_available(&work) {
            let this_with = flags & select::THIS_WITH != 0;
            let list = if this_with { self.this_with(source) } else { self.with_this(source) };
            for next in list {
                let c = &self.colocs[next];
                let (primary, dependent) = (c.primary, c.dependent);
                let next_factor = factor * c.score as f32 / INFINITY as f32;
                let other = if this_with {
                    primary
                } else if self.has_influence(next, None) {
                    dependent
                } else {
                    continue;
                };
                let mut row = Some(work);
                let flags = flags | select::ACTIVE;
                self.add_colocated_scores(other, target, &mut row, Some(next), next_factor, flags);
                work = row.unwrap_or_default();
            }
        } else if flags & select::ACTIVE != 0 {
            return;
        }
        if flags & select::NONNEGATIVE != 0 {
            for (_, slot) in work.iter_mut() {
                if slot.score == HELD {
                    slot.score = 1;
                }
            }
        }
        *nodes = Some(work);
    }

    /// Adds the wishes of a colocation's dependent to its primary's row.
    pub(crate) fn add_dependent_scores(&mut self, coloc: usize, primary: RscIx) {
        if !self.has_influence(coloc, None) {
            return;
        }
        let c = &self.colocs[coloc];
        let (dependent, score) = (c.dependent, c.score);
        let factor = score as f32 / INFINITY as f32;
        let mut flags = select::ACTIVE;
        if self.is_clone(primary) {
            flags |= select::NONNEGATIVE;
        }
        self.add_scores_into(dependent, primary, coloc, factor, flags);
    }

    /// As [`Ws::add_colocated_scores`], into the row of `target`.
    pub(crate) fn add_scores_into(
        &mut self,
        source: RscIx,
        target: RscIx,
        coloc: usize,
        factor: f32,
        flags: u32,
    ) {
        let mut row = Some(self[target].allowed.clone());
        self.add_colocated_scores(source, Some(target), &mut row, Some(coloc), factor, flags);
        if let Some(row) = row {
            self.note_changes(target, &row, coloc);
            self[target].allowed = row;
        }
    }

    /// What depends on something that cannot start cannot start either.
    pub(crate) fn block_colocation_dependents(&mut self, action: ActionIx) {
        let a = &self[action];
        let (name, Some(own)) = (a.task, a.rsc) else { return };
        if a.is(af::RUNNABLE) || !matches!(name, task::START | task::PROMOTE) {
            return;
        }
        let is_start = name == task::START;
        let top = self.uber(own);
        let rsc = self[top].parent.unwrap_or(top);
        for child in &self[rsc].children {
            let found = self.first_action(*child, name, None);
            if found.is_none_or(|f| self[f].is(af::RUNNABLE)) {
                return;
            }
        }
        for coloc in self.with_this(rsc) {
            let c = &self.colocs[coloc];
            if c.score < INFINITY || (!is_start && c.primary_role != Role::Promoted) {
                continue;
            }
            let (dependent, promoted) = (c.dependent, c.dependent_role == Role::Promoted);
            let wanted = if promoted { task::PROMOTE } else { task::START };
            self.mark_blocked(dependent, wanted, own);
        }
    }

    fn mark_blocked(&mut self, rsc: RscIx, name: crate::base::Sym, cause: RscIx) {
        let reason = format!("colocation with {}", self[cause].id);
        for at in (0..self[rsc].actions.len()).rev() {
            let action = self[rsc].actions[at];
            if self[action].is(af::RUNNABLE) && self[action].task == name {
                self[action].clear(af::RUNNABLE);
                self.set_reason(action, Some(&reason), false);
                self.block_colocation_dependents(action);
                self.update_for_orderings(action);
            }
        }
        for child in self[rsc].children.clone() {
            self.mark_blocked(child, name, cause);
        }
    }
}
