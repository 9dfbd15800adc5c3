//! Order constraints, and the orders that resources imply by what they are.

use cib_model::{INFINITY, Order, OrderKind, ResourceSet, Role, Str, scan_min_int};

use crate::base::{Coloc, NodeIx, Placement, RscIx, Sym, Variant, Ws, ar, cf, rf, task};
use crate::constraints::Named;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symmetry {
    Asymmetric,
    Symmetric,
    Inverse,
}

fn inverted(name: Sym) -> Option<Sym> {
    Some(match name {
        task::START => task::STOP,
        task::STOP => task::START,
        task::PROMOTE => task::DEMOTE,
        task::DEMOTE => task::PROMOTE,
        task::PROMOTED => task::DEMOTED,
        task::DEMOTED => task::PROMOTED,
        task::RUNNING => task::STOPPED,
        task::STOPPED => task::RUNNING,
        _ => return None,
    })
}

fn kind_flags(kind: OrderKind, first: Sym, symmetry: Symmetry) -> u32 {
    match (kind, symmetry) {
        (OrderKind::Optional, _) => ar::ORDERED,
        (OrderKind::Serialize, _) => ar::SERIALIZE,
        (OrderKind::Mandatory, Symmetry::Asymmetric) => ar::ORDERED | ar::ASYMMETRIC,
        (OrderKind::Mandatory, Symmetry::Symmetric) => {
            let up = matches!(first, task::START | task::PROMOTE | task::MIGRATE_FROM);
            let blocks = if up { ar::UNRUNNABLE_FIRST_BLOCKS } else { 0 };
            ar::ORDERED | ar::FIRST_IMPLIES_THEN | blocks
        }
        (OrderKind::Mandatory, Symmetry::Inverse) => ar::ORDERED | ar::THEN_IMPLIES_FIRST,
    }
}

fn symmetry_of(kind: OrderKind, said: Option<bool>) -> Symmetry {
    match said {
        Some(true) if kind != OrderKind::Serialize => Symmetry::Symmetric,
        Some(_) => Symmetry::Asymmetric,
        None if kind == OrderKind::Serialize => Symmetry::Asymmetric,
        None => Symmetry::Symmetric,
    }
}

impl Ws {
    fn action_name(&mut self, name: Option<&Str>, default: Sym) -> Sym {
        name.map_or(default, |n| self.names.intern(n))
    }

    pub(crate) fn unpack_order(&mut self, con: &Order) {
        let symmetry = symmetry_of(con.kind, con.symmetrical);
        let Some(sets) = self.order_sets(con) else { return };
        let mut last: Option<&ResourceSet> = None;
        for set in &sets {
            if !self.order_within(set, con) {
                return;
            }
            if let Some(last) = last {
                let (kind, id) = (con.kind, &con.id);
                if !self.order_two_sets(id, last, set, kind, symmetry) {
                    return;
                }
                if symmetry == Symmetry::Symmetric
                    && !self.order_two_sets(id, set, last, kind, Symmetry::Inverse)
                {
                    return;
                }
            }
            last = Some(set);
        }
        if sets.is_empty() {
            self.order_pair(con, symmetry);
        }
    }

    fn order_sets(&mut self, con: &Order) -> Option<Vec<ResourceSet>> {
        if !con.sets.is_empty() {
            return Some(self.expand_sets(&con.id, &con.sets));
        }
        let (Some(first), Some(then)) = (&con.first, &con.then) else { return Some(Vec::new()) };
        let sides = (self.named(first), self.named(then));
        let set = |id: &Str, named: Named, action: &Option<Str>| {
            let mut set = match named {
                Named::Tag(refs) => ResourceSet::of(id, refs, Some(false)),
                _ => ResourceSet::of(id, vec![id.clone()], None),
            };
            set.action.clone_from(action);
            set
        };
        match sides {
            (Named::Rsc(_), Named::Rsc(_)) => Some(Vec::new()),
            (Named::Nothing, _) | (_, Named::Nothing) => {
                self.error(format!(
                    "Ignoring constraint '{}' because a name is not a valid resource or tag",
                    con.id
                ));
                None
            }
            (f, t) => Some(vec![set(first, f, &con.first_action), set(then, t, &con.then_action)]),
        }
    }

    fn order_pair(&mut self, con: &Order, symmetry: Symmetry) {
        let find = |ws: &Ws, id: &Option<Str>| id.as_deref().and_then(|id| ws.constraint_rsc(id));
        let (Some(first), Some(then)) = (find(self, &con.first), find(self, &con.then)) else {
            self.error(format!(
                "Ignoring constraint '{}' because a resource does not exist",
                con.id
            ));
            return;
        };
        let first_name = self.action_name(con.first_action.as_ref(), task::START);
        let then_name = self.action_name(con.then_action.as_ref(), first_name);
        let flags = kind_flags(con.kind, first_name, symmetry);
        let min = self.min_instances(first, con.require_all);
        if min > 0 {
            let name = format!("clone-one-or-more:{}", con.id);
            let met = self.pseudo_action(&name);
            self[met].required_runnable_before = min;
            let enough = ar::MIN_RUNNABLE | ar::FIRST_IMPLIES_THEN_GRAPHED;
            for child in self[first].children.clone() {
                self.order_key_then(child, first_name, met, enough);
            }
            self.order_action_then_key(met, then, then_name, flags | ar::UNRUNNABLE_FIRST_BLOCKS);
        } else {
            self.order_rscs(first, first_name, then, then_name, flags);
        }
        if symmetry == Symmetry::Symmetric {
            match (inverted(first_name), inverted(then_name)) {
                (Some(f), Some(t)) => {
                    let flags = kind_flags(con.kind, f, Symmetry::Inverse);
                    self.order_rscs(then, t, first, f, flags);
                }
                (f, t) => {
                    let unknown = [(f, &con.first_action), (t, &con.then_action)];
                    for (_, given) in unknown.into_iter().filter(|(inverse, _)| inverse.is_none()) {
                        // What comes after does the same as what comes before unless it says so.
                        let name = given.as_deref().or(con.first_action.as_deref());
                        let name = name.unwrap_or("start");
                        self.warn(format!("Unknown action '{name}' specified in order constraint"));
                    }
                    self.warn(format!(
                        "Cannot invert constraint '{}' (please specify inverse manually)",
                        con.id
                    ));
                }
            }
        }
    }

    /// How many instances have to be there before what follows; 0 if all.
    fn min_instances(&self, rsc: RscIx, require_all: Option<bool>) -> i32 {
        if !self.is_clone(rsc) {
            return 0;
        }
        match self[rsc].meta.get("clone-min") {
            Some(min) => scan_min_int(Some(min), 0),
            None => i32::from(require_all == Some(false)),
        }
    }

    fn set_members(&mut self, set: &ResourceSet) -> Option<Vec<RscIx>> {
        let mut out = Vec::new();
        for member in &set.members {
            match self.constraint_rsc(member) {
                Some(rsc) => out.push(rsc),
                None => {
                    self.error(format!("No resource found for {member}"));
                    return None;
                }
            }
        }
        Some(out)
    }

    fn order_within(&mut self, set: &ResourceSet, con: &Order) -> bool {
        let name = self.action_name(set.action.as_ref(), task::START);
        let kind = set.kind.unwrap_or(con.kind);
        let sequential = set.sequential.unwrap_or(true);
        let symmetry = symmetry_of(kind, set.symmetrical.or(con.symmetrical));
        let flags = kind_flags(kind, name, symmetry);
        let Some(members) = self.set_members(set) else { return false };
        if members.len() == 1 {
            return true;
        }
        if kind == OrderKind::Serialize {
            for (i, first) in members.iter().enumerate() {
                for then in &members[i + 1..] {
                    self.order_rscs(*first, name, *then, name, flags);
                }
            }
        } else if sequential {
            for pair in members.windows(2) {
                self.order_rscs(pair[0], name, pair[1], name, flags);
            }
        }
        if symmetry == Symmetry::Asymmetric || !sequential {
            return true;
        }
        let Some(inverse) = inverted(name) else { return true };
        let flags = kind_flags(kind, inverse, Symmetry::Inverse);
        for pair in members.windows(2) {
            self.order_rscs(pair[1], inverse, pair[0], inverse, flags);
        }
        true
    }

    fn order_two_sets(
        &mut self,
        _id: &str,
        set1: &ResourceSet,
        set2: &ResourceSet,
        kind: OrderKind,
        symmetry: Symmetry,
    ) -> bool {
        let mut names = (
            self.action_name(set1.action.as_ref(), task::START),
            self.action_name(set2.action.as_ref(), task::START),
        );
        if symmetry == Symmetry::Inverse {
            match (inverted(names.0), inverted(names.1)) {
                (Some(a), Some(b)) => names = (a, b),
                _ => return true,
            }
        }
        let require_all =
            matches!(names.0, task::STOP | task::DEMOTE) || set1.require_all.unwrap_or(true);
        let flags = kind_flags(kind, names.0, symmetry);
        let (Some(m1), Some(m2)) = (self.set_members(set1), self.set_members(set2)) else {
            return false;
        };
        if !require_all {
            let name = format!("one-or-more:{}", set1.id.as_deref().unwrap_or(""));
            let met = self.pseudo_action(&name);
            self[met].required_runnable_before = 1;
            for first in m1 {
                let enough = ar::MIN_RUNNABLE | ar::FIRST_IMPLIES_THEN_GRAPHED;
                self.order_key_then(first, names.0, met, enough);
            }
            for then in m2 {
                self.order_action_then_key(met, then, names.1, flags | ar::UNRUNNABLE_FIRST_BLOCKS);
            }
            return true;
        }
        let inverse = symmetry == Symmetry::Inverse;
        let edge = |members: Vec<RscIx>, set: &ResourceSet, last: bool| match set.sequential {
            Some(true) => {
                let one = if last { members.last() } else { members.first() };
                one.copied().into_iter().collect()
            }
            _ => members,
        };
        // In reverse, the ends that face each other are swapped.
        let firsts: Vec<RscIx> = edge(m1, set1, !inverse);
        let thens: Vec<RscIx> = edge(m2, set2, inverse);
        for first in &firsts {
            for then in &thens {
                self.order_rscs(*first, names.0, *then, names.1, flags);
            }
        }
        true
    }

    // Orders that resources imply.

    pub(crate) fn create_internal_constraints(&mut self) {
        for rsc in self.top.clone() {
            self.internal_constraints(rsc);
        }
    }

    fn internal_constraints(&mut self, rsc: RscIx) {
        match self[rsc].variant {
            Variant::Primitive => self.primitive_constraints(rsc),
            Variant::Group => self.group_constraints(rsc),
            Variant::Clone => self.clone_constraints(rsc),
            Variant::Bundle => self.bundle_constraints(rsc),
        }
    }

    fn primitive_constraints(&mut self, rsc: RscIx) {
        if !self[rsc].is(rf::MANAGED) {
            return;
        }
        let r = &self[rsc];
        let unfencing =
            !r.is(rf::FENCE_DEVICE) && self.config.unfencing && r.is(rf::NEEDS_UNFENCING);
        let utilization = !r.utilization.is_empty() && self.config.placement != Placement::Default;
        let restart = ar::ORDERED | ar::FIRST_IMPLIES_THEN | ar::INTERMEDIATE_STOP;
        self.order_rscs(rsc, task::STOP, rsc, task::START, restart);
        if self.is_promotable(rsc) || self[rsc].orig_role > Role::Unpromoted {
            let flags = ar::PROMOTED_THEN_IMPLIES_FIRST;
            self.order_rscs(rsc, task::DEMOTE, rsc, task::STOP, flags);
            let flags = ar::UNRUNNABLE_FIRST_BLOCKS;
            self.order_rscs(rsc, task::START, rsc, task::PROMOTE, flags);
        }
        let flags = ar::IF_ON_SAME_NODE | ar::THEN_CANCELS_FIRST;
        self.order_rscs(rsc, task::LRM_DELETE, rsc, task::MONITOR, flags);
        let mut nodes: Vec<NodeIx> = Vec::new();
        if unfencing || utilization || self[rsc].launcher.is_some() {
            nodes = self[rsc].allowed.nodes().collect();
            nodes.sort_by(|a, b| cib_model::numeric_cmp(&self[*a].name, &self[*b].name));
        }
        if unfencing {
            for node in &nodes {
                self.order_restart_vs_unfence(*node, rsc);
            }
        }
        if utilization {
            self.utilization_constraints(rsc, &nodes);
        }
        if let Some(launcher) = self[rsc].launcher {
            self.launcher_constraints(rsc, launcher, &nodes);
        }
        if self[rsc].any(rf::REMOTE_CONNECTION | rf::FENCE_DEVICE) {
            self.avoid_remote_nodes(rsc);
        }
    }

    fn launcher_constraints(&mut self, rsc: RscIx, launcher: RscIx, nodes: &[NodeIx]) {
        let mut connection = None;
        if self[rsc].is(rf::REMOTE_CONNECTION) {
            if !self[rsc].is(rf::REMOTE_NESTING_ALLOWED) {
                self.avoid_remote_nodes(launcher);
            }
            self.order_rscs(launcher, task::MONITOR, rsc, task::STOP, ar::ORDERED);
        } else if self[launcher].is(rf::REMOTE_CONNECTION) {
            connection = Some(launcher);
        } else {
            connection = self.contained_connection(launcher);
        }
        if let Some(connection) = connection {
            for node in nodes {
                if self[*node].remote != Some(connection)
                    && let Some(slot) = self[rsc].allowed.get_mut(*node)
                {
                    slot.score = -INFINITY;
                }
            }
            return;
        }
        let flags = ar::FIRST_IMPLIES_THEN | ar::UNRUNNABLE_FIRST_BLOCKS;
        self.order_rscs(launcher, task::START, rsc, task::START, flags);
        self.order_rscs(rsc, task::STOP, launcher, task::STOP, ar::THEN_IMPLIES_FIRST);
        let nested = self[rsc].is(rf::REMOTE_NESTING_ALLOWED);
        let score = if nested { 10_000 } else { INFINITY };
        self.implied_colocation("#resource-with-container", rsc, launcher, score, cf::INFLUENCE);
    }

    fn implied_colocation(
        &mut self,
        id: &str,
        dependent: RscIx,
        primary: RscIx,
        score: i32,
        flags: u32,
    ) {
        self.add_colocation(Coloc {
            id: id.into(),
            dependent,
            primary,
            score,
            dependent_role: Role::Unknown,
            primary_role: Role::Unknown,
            attr: "#uname".into(),
            flags,
        });
    }

    /// The connection to the guest node that a resource makes.
    pub(crate) fn contained_connection(&self, rsc: RscIx) -> Option<RscIx> {
        let launched = self[rsc].launched.iter().copied();
        let mut connections = launched.filter(|l| self[*l].is(rf::REMOTE_CONNECTION));
        connections.next().filter(|_| self.config.have_remote_nodes)
    }

    fn avoid_remote_nodes(&mut self, rsc: RscIx) {
        let nodes: Vec<NodeIx> =
            self[rsc].allowed.nodes().filter(|n| self[*n].remote.is_some()).collect();
        for node in nodes {
            if let Some(slot) = self[rsc].allowed.get_mut(node) {
                slot.score = -INFINITY;
            }
        }
    }

    fn group_constraints(&mut self, rsc: RscIx) {
        self.order_rscs(rsc, task::STOP, rsc, task::STOPPED, ar::UNRUNNABLE_FIRST_BLOCKS);
        self.order_rscs(rsc, task::STOPPED, rsc, task::START, ar::ORDERED);
        self.order_rscs(rsc, task::START, rsc, task::RUNNING, ar::UNRUNNABLE_FIRST_BLOCKS);
        let promotable = self.is_promotable(rsc);
        let (mut previous, mut last_active) = (None, None);
        for member in self[rsc].children.clone() {
            self.member_constraints(rsc, member, previous, last_active, promotable);
            if !self[member].active.is_empty() {
                last_active = Some(member);
            }
            previous = Some(member);
        }
    }

    fn member_constraints(
        &mut self,
        group: RscIx,
        member: RscIx,
        previous: Option<RscIx>,
        last_active: Option<RscIx>,
        promotable: bool,
    ) {
        let (ordered, colocated) = (self[group].group_ordered, self[group].group_colocated);
        let mut down = ar::THEN_IMPLIES_FIRST_GRAPHED;
        let mut post_down = ar::FIRST_IMPLIES_THEN_GRAPHED;
        self.internal_constraints(member);
        match previous {
            None if ordered => {
                down |= ar::ORDERED;
                post_down = ar::FIRST_IMPLIES_THEN;
            }
            Some(previous) if colocated => {
                let critical = self[member].is(rf::CRITICAL);
                let flags = if critical { cf::INFLUENCE } else { 0 };
                self.implied_colocation("#group-members", member, previous, INFINITY, flags);
            }
            _ => {}
        }
        let done =
            ar::UNRUNNABLE_FIRST_BLOCKS | ar::FIRST_IMPLIES_THEN | ar::FIRST_IMPLIES_THEN_GRAPHED;
        let begin = ar::THEN_IMPLIES_FIRST_GRAPHED;
        if promotable {
            self.order_rscs(group, task::DEMOTE, member, task::DEMOTE, down);
            self.order_rscs(member, task::DEMOTE, group, task::DEMOTED, post_down);
            self.order_rscs(member, task::PROMOTE, group, task::PROMOTED, done);
            self.order_rscs(group, task::PROMOTE, member, task::PROMOTE, begin);
        }
        self.order_rscs(group, task::STOP, member, task::STOP, down);
        self.order_rscs(member, task::STOP, group, task::STOPPED, post_down);
        self.order_rscs(group, task::START, member, task::START, begin);
        self.order_rscs(member, task::START, group, task::RUNNING, done);
        let implied = ar::FIRST_IMPLIES_THEN | ar::UNRUNNABLE_FIRST_BLOCKS;
        let Some(previous) = previous.filter(|_| ordered) else {
            // The first member (or each, without order) follows the group's marker.
            let flags = if ordered { ar::NONE } else { implied | begin };
            self.order_rscs(group, task::START, member, task::START, flags);
            if promotable {
                self.order_rscs(group, task::PROMOTE, member, task::PROMOTE, flags);
            }
            return;
        };
        self.order_rscs(previous, task::START, member, task::START, implied);
        let flags = ar::ORDERED | ar::INTERMEDIATE_STOP;
        self.order_rscs(member, task::STOP, previous, task::STOP, flags);
        let active = |ws: &Ws, r: RscIx| !ws[r].active.is_empty();
        if active(self, member) && !active(self, previous) {
            let flags = ar::THEN_IMPLIES_FIRST | ar::UNRUNNABLE_FIRST_BLOCKS;
            self.order_rscs(member, task::STOP, previous, task::START, flags);
        }
        if promotable {
            self.order_rscs(previous, task::PROMOTE, member, task::PROMOTE, implied);
            self.order_rscs(member, task::DEMOTE, previous, task::DEMOTE, ar::ORDERED);
        }
        if active(self, member)
            && !active(self, previous)
            && let Some(last) = last_active
        {
            self.order_rscs(member, task::STOP, last, task::STOP, ar::ORDERED);
        }
    }

    fn clone_constraints(&mut self, rsc: RscIx) {
        self.order_rscs(rsc, task::STOPPED, rsc, task::START, ar::ORDERED);
        self.order_rscs(rsc, task::START, rsc, task::RUNNING, ar::UNRUNNABLE_FIRST_BLOCKS);
        self.order_rscs(rsc, task::STOP, rsc, task::STOPPED, ar::UNRUNNABLE_FIRST_BLOCKS);
        let promotable = self[rsc].is(rf::PROMOTABLE);
        if promotable {
            self.order_rscs(rsc, task::DEMOTED, rsc, task::STOP, ar::ORDERED);
            self.order_rscs(rsc, task::RUNNING, rsc, task::PROMOTE, ar::UNRUNNABLE_FIRST_BLOCKS);
        }
        let ordered = self[rsc].clone.ordered;
        if ordered {
            self.sort_by_number(rsc);
        }
        let instances = self[rsc].children.clone();
        for (i, instance) in instances.iter().copied().enumerate() {
            self.internal_constraints(instance);
            let begin = ar::UNRUNNABLE_FIRST_BLOCKS | ar::THEN_IMPLIES_FIRST_GRAPHED;
            self.order_rscs(rsc, task::START, instance, task::START, begin);
            let done = ar::FIRST_IMPLIES_THEN_GRAPHED;
            self.order_rscs(instance, task::START, rsc, task::RUNNING, done);
            let begin = ar::THEN_IMPLIES_FIRST_GRAPHED;
            self.order_rscs(rsc, task::STOP, instance, task::STOP, begin);
            self.order_rscs(instance, task::STOP, rsc, task::STOPPED, done);
            if ordered {
                for later in &instances[i + 1..] {
                    self.order_rscs(instance, task::START, *later, task::START, ar::ORDERED);
                    self.order_rscs(*later, task::STOP, instance, task::STOP, ar::ORDERED);
                }
            }
        }
        if promotable {
            self.promotable_constraints(rsc, ordered);
        }
    }

    pub(crate) fn sort_by_number(&mut self, rsc: RscIx) {
        let mut children = std::mem::take(&mut self[rsc].children);
        children.sort_by_key(|child| self[*child].number);
        self[rsc].children = children;
    }

    fn promotable_restart(&mut self, rsc: RscIx) {
        for (first, then) in [
            (task::STOPPED, task::START),
            (task::STOPPED, task::PROMOTE),
            (task::DEMOTED, task::STOP),
            (task::DEMOTED, task::START),
            (task::DEMOTED, task::PROMOTE),
            (task::RUNNING, task::PROMOTE),
            (task::DEMOTE, task::DEMOTED),
        ] {
            self.order_rscs(rsc, first, rsc, then, ar::ORDERED);
        }
    }

    fn promotable_constraints(&mut self, clone: RscIx, ordered: bool) {
        self.promotable_restart(clone);
        let mut previous: Option<RscIx> = None;
        for instance in self[clone].children.clone() {
            self.order_rscs(instance, task::DEMOTE, instance, task::PROMOTE, ar::ORDERED);
            self.order_rscs(clone, task::PROMOTE, instance, task::PROMOTE, ar::ORDERED);
            self.order_rscs(instance, task::PROMOTE, clone, task::PROMOTED, ar::ORDERED);
            if let Some(last) = previous.filter(|_| ordered) {
                self.order_rscs(last, task::PROMOTE, instance, task::PROMOTE, ar::ORDERED);
            }
            let begin = ar::THEN_IMPLIES_FIRST_GRAPHED;
            self.order_rscs(clone, task::DEMOTE, instance, task::DEMOTE, begin);
            let done = ar::FIRST_IMPLIES_THEN_GRAPHED;
            self.order_rscs(instance, task::DEMOTE, clone, task::DEMOTED, done);
            if let Some(last) = previous.filter(|_| ordered) {
                self.order_rscs(instance, task::DEMOTE, last, task::DEMOTE, ar::ORDERED);
            }
            previous = Some(instance);
        }
    }

    fn bundle_constraints(&mut self, rsc: RscIx) {
        let begin = ar::THEN_IMPLIES_FIRST_GRAPHED;
        let done = ar::FIRST_IMPLIES_THEN_GRAPHED;
        for replica in self[rsc].bundle.replicas.clone() {
            let container = replica.container;
            self.internal_constraints(container);
            let flags = ar::UNRUNNABLE_FIRST_BLOCKS | begin;
            self.order_rscs(rsc, task::START, container, task::START, flags);
            if let Some(child) = replica.child {
                self.order_rscs(rsc, task::STOP, child, task::STOP, begin);
            }
            self.order_rscs(rsc, task::STOP, container, task::STOP, begin);
            self.order_rscs(container, task::START, rsc, task::RUNNING, done);
            self.order_rscs(container, task::STOP, rsc, task::STOPPED, done);
            if let Some(ip) = replica.ip {
                self.internal_constraints(ip);
                let flags = ar::UNRUNNABLE_FIRST_BLOCKS | ar::GUEST_ALLOWED;
                self.order_rscs(ip, task::START, container, task::START, flags);
                let flags = ar::THEN_IMPLIES_FIRST | ar::GUEST_ALLOWED;
                self.order_rscs(container, task::STOP, ip, task::STOP, flags);
                let name = "#ip-with-container";
                self.implied_colocation(name, ip, container, INFINITY, cf::INFLUENCE);
            }
            if let Some(remote) = replica.remote {
                self.internal_constraints(remote);
            }
        }
        let Some(inner) = self.bundled_clone(rsc) else { return };
        self.order_rscs(rsc, task::START, inner, task::START, begin);
        self.order_rscs(inner, task::RUNNING, rsc, task::RUNNING, done);
        self.order_rscs(rsc, task::STOP, inner, task::STOP, begin);
        self.order_rscs(inner, task::STOPPED, rsc, task::STOPPED, done);
        self.internal_constraints(inner);
        if !self[inner].is(rf::PROMOTABLE) {
            return;
        }
        self.promotable_restart(rsc);
        self.order_rscs(rsc, task::DEMOTE, inner, task::DEMOTE, begin);
        self.order_rscs(inner, task::DEMOTED, rsc, task::DEMOTED, done);
        self.order_rscs(rsc, task::PROMOTE, inner, task::PROMOTE, begin);
        self.order_rscs(inner, task::PROMOTED, rsc, task::PROMOTED, done);
    }
}
