//! A resource of the working set: a primitive, group, clone, bundle, or an instance of one.

use std::sync::Arc;

use cib_model::{Attrs, ResourceDef, Role, Str};
use fixedbitset::FixedBitSet;

use super::{ActionIx, NodeIx, RscIx, Sym, Table};

pub(crate) use cib_model::ResourceKind as Variant;

/// Flags of resources.
pub(crate) mod rf {
    macro_rules! flags {
        ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
            #[allow(
                non_camel_case_types,
                clippy::upper_case_acronyms,
                reason = "the variants only number the constants of the same names"
            )]
            enum Bit { $($name),* }
            $($(#[$doc])* pub(crate) const $name: u32 = 1 << Bit::$name as u32;)*
        };
    }
    flags! {
        /// No longer in the configuration.
        REMOVED,
        /// The cluster may start and stop it.
        MANAGED,
        /// Nothing may be done with it because of a failure.
        BLOCKED,
        /// A removed resource that ran inside of another.
        REMOVED_LAUNCHED,
        /// Instances are told about actions on others.
        NOTIFY,
        /// Known by its id alone: not an anonymous instance.
        UNIQUE,
        FENCE_DEVICE,
        PROMOTABLE,
        /// No node has been chosen yet.
        UNASSIGNED,
        /// A node is being chosen.
        ASSIGNING,
        /// Its scores are being passed on.
        UPDATING_NODES,
        RESTARTING,
        /// A failure is recovered by a stop (rather than a demotion).
        STOP_IF_FAILED,
        RELOAD,
        /// A remote connection that may run on a remote node.
        REMOTE_NESTING_ALLOWED,
        CRITICAL,
        FAILED,
        /// The connection to a remote node.
        REMOTE_CONNECTION,
        START_PENDING,
        /// Probed only where a constraint says so.
        EXCLUSIVE_PROBES,
        /// Of several active copies only the unexpected ones are stopped.
        STOP_UNEXPECTED,
        MIGRATABLE,
        /// A failure was ignored.
        IGNORE_FAILURE,
        REPLICA_CONTAINER,
        MAINTENANCE,
        NEEDS_QUORUM,
        NEEDS_FENCING,
        NEEDS_UNFENCING,
    }
}

/// Where a resource was assigned, with the score that it had there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Assigned {
    pub(crate) node: NodeIx,
    pub(crate) score: i32,
}

/// What to do with a resource that is active more often than it may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MultiplyActive {
    #[default]
    Restart,
    Stop,
    Block,
    Unexpected,
}

/// Notifications around one kind of action of a clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notify {
    pub(crate) action: Option<Sym>,
    pub(crate) pre: Option<ActionIx>,
    pub(crate) pre_done: Option<ActionIx>,
    pub(crate) post: Option<ActionIx>,
    pub(crate) post_done: Option<ActionIx>,
    pub(crate) keys: Vec<(Str, Str)>,
    pub(crate) allowed: Option<RscIx>,
    pub(crate) active: Vec<(RscIx, Option<NodeIx>)>,
    pub(crate) inactive: Vec<(RscIx, Option<NodeIx>)>,
    pub(crate) start: Vec<(RscIx, Option<NodeIx>)>,
    pub(crate) stop: Vec<(RscIx, Option<NodeIx>)>,
    pub(crate) promote: Vec<(RscIx, Option<NodeIx>)>,
    pub(crate) demote: Vec<(RscIx, Option<NodeIx>)>,
    pub(crate) promoted: Vec<(RscIx, Option<NodeIx>)>,
    pub(crate) unpromoted: Vec<(RscIx, Option<NodeIx>)>,
}

/// What only clones have.
#[derive(Clone, Debug, Default)]
pub(crate) struct CloneData {
    pub(crate) max: i32,
    pub(crate) node_max: i32,
    pub(crate) promoted_max: i32,
    pub(crate) promoted_node_max: i32,
    pub(crate) total: i32,
    pub(crate) ordered: bool,
    /// Promotion scores were added to node scores.
    pub(crate) promotion_added: bool,
    /// Instances were sorted for promotion.
    pub(crate) promotion_constrained: bool,
    pub(crate) start_notify: Option<Box<Notify>>,
    pub(crate) stop_notify: Option<Box<Notify>>,
    pub(crate) promote_notify: Option<Box<Notify>>,
    pub(crate) demote_notify: Option<Box<Notify>>,
}

/// One container of a bundle with what belongs to it.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) offset: i32,
    pub(crate) ipaddr: Option<Str>,
    /// The node inside the container.
    pub(crate) node: Option<NodeIx>,
    pub(crate) ip: Option<RscIx>,
    pub(crate) child: Option<RscIx>,
    pub(crate) container: RscIx,
    pub(crate) remote: Option<RscIx>,
}

/// What only bundles have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bundle {
    /// How many containers there are, at most.
    pub(crate) max: i32,
    /// How many of them may run on one node.
    pub(crate) per_host: i32,
    pub(crate) child: Option<RscIx>,
    pub(crate) replicas: Vec<Replica>,
}

/// What happens to a resource that loses its ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LossPolicy {
    Stop,
    Demote,
    Fence,
    Freeze,
}

/// A resource's dependence on a ticket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RscTicket {
    /// Index of the ticket.
    pub(crate) ticket: usize,
    pub(crate) role: Role,
    pub(crate) policy: LossPolicy,
}

/// A resource.
#[derive(Debug)]
pub(crate) struct Rsc {
    pub(crate) id: Str,
    /// Its number as an instance of a clone or a bundle, from its id.
    pub(crate) number: i64,
    pub(crate) variant: Variant,
    pub(crate) def: Arc<ResourceDef>,
    /// The name under which a node's history knows an anonymous instance.
    pub(crate) history_id: Option<Str>,
    pub(crate) parent: Option<RscIx>,
    pub(crate) children: Vec<RscIx>,
    pub(crate) meta: Attrs,
    pub(crate) utilization: Vec<(Str, i32)>,
    pub(crate) params: Vec<(Option<NodeIx>, Attrs)>,
    pub(crate) flags: u32,
    pub(crate) priority: i32,
    pub(crate) promotion_priority: i32,
    pub(crate) stickiness: i32,
    /// Failures after which a node is banned.
    pub(crate) ban_after_failures: i32,
    pub(crate) failure_expiration_ms: u32,
    pub(crate) remote_reconnect_ms: u32,
    pub(crate) orig_role: Role,
    pub(crate) next_role: Role,
    pub(crate) multiply_active: MultiplyActive,
    /// Nodes where it is active.
    pub(crate) active: Vec<NodeIx>,
    pub(crate) assigned: Option<Assigned>,
    pub(crate) allowed: Table,
    /// Nodes where its state is known.
    pub(crate) probed: FixedBitSet,
    /// The resource inside of which it runs.
    pub(crate) launcher: Option<RscIx>,
    pub(crate) launched: Vec<RscIx>,
    pub(crate) pending_action: Option<Sym>,
    pub(crate) pending_node: Option<NodeIx>,
    pub(crate) dangling_sources: Vec<NodeIx>,
    pub(crate) partial_source: Option<NodeIx>,
    pub(crate) partial_target: Option<NodeIx>,
    pub(crate) lock_node: Option<NodeIx>,
    pub(crate) lock_time: i64,
    /// Colocations of which it is the dependent, in order of primaries' weight.
    pub(crate) this_with: Vec<usize>,
    /// Colocations of which it is the primary, in order of dependents' weight.
    pub(crate) with_this: Vec<usize>,
    /// Location constraints, newest last.
    pub(crate) locations: Vec<usize>,
    pub(crate) tickets: Vec<RscTicket>,
    /// Actions, newest last.
    pub(crate) actions: Vec<ActionIx>,
    /// For groups: members start one after the other.
    pub(crate) group_ordered: bool,
    /// For groups: members run together.
    pub(crate) group_colocated: bool,
    pub(crate) clone: CloneData,
    pub(crate) bundle: Bundle,
}

fn instance_number(id: &str) -> i64 {
    let at = id.rfind(':').or_else(|| id.rfind('-'));
    at.and_then(|at| cib_model::scan_int(&id[at + 1..])).unwrap_or(0)
}

impl Rsc {
    pub(crate) fn new(id: Str, def: Arc<ResourceDef>, parent: Option<RscIx>) -> Rsc {
        Rsc {
            number: instance_number(&id),
            id,
            variant: def.kind,
            def,
            history_id: None,
            parent,
            children: Vec::new(),
            meta: Attrs::new(),
            utilization: Vec::new(),
            params: Vec::new(),
            flags: rf::UNASSIGNED,
            priority: 0,
            promotion_priority: 0,
            stickiness: 0,
            ban_after_failures: cib_model::INFINITY,
            failure_expiration_ms: 0,
            remote_reconnect_ms: 0,
            orig_role: Role::Stopped,
            next_role: Role::Unknown,
            multiply_active: MultiplyActive::Restart,
            active: Vec::new(),
            assigned: None,
            allowed: Table::default(),
            probed: FixedBitSet::new(),
            launcher: None,
            launched: Vec::new(),
            pending_action: None,
            pending_node: None,
            dangling_sources: Vec::new(),
            partial_source: None,
            partial_target: None,
            lock_node: None,
            lock_time: 0,
            this_with: Vec::new(),
            with_this: Vec::new(),
            locations: Vec::new(),
            tickets: Vec::new(),
            actions: Vec::new(),
            group_ordered: false,
            group_colocated: false,
            clone: CloneData::default(),
            bundle: Bundle::default(),
        }
    }

    pub(crate) fn is(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }

    pub(crate) fn any(&self, flags: u32) -> bool {
        self.flags & flags != 0
    }

    pub(crate) fn set(&mut self, flags: u32) {
        self.flags |= flags;
    }

    pub(crate) fn clear(&mut self, flags: u32) {
        self.flags &= !flags;
    }

    pub(crate) fn is_known_on(&self, node: NodeIx) -> bool {
        self.probed.contains(node.at())
    }

    pub(crate) fn set_known_on(&mut self, node: NodeIx) {
        if self.probed.len() <= node.at() {
            self.probed.grow((node.at() + 1).next_multiple_of(64));
        }
        self.probed.insert(node.at());
    }

    pub(crate) fn assigned_node(&self) -> Option<NodeIx> {
        self.assigned.map(|a| a.node)
    }
}
