//! How many connections there may be, and whose.
//!
//! Root and the cluster's own user have slots that nobody else can take, and no other user can take
//! those of all others: whoever holds connections open locks out nobody but himself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Connections of root.
const ROOT_MAX: usize = 256;
/// Connections of the cluster's own user.
const CLUSTER_MAX: usize = 128;
/// Connections of one other user.
const USER_MAX: usize = 32;
/// Connections of all other users together.
const OTHERS_MAX: usize = 256;

/// Open connections by user id.
#[derive(Default)]
pub(super) struct Slots(Mutex<BTreeMap<u32, usize>>);

/// A connection's place; given back when it is dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
    uid: u32,
}

impl Slots {
    /// A place for a connection of `uid`; `cluster` is the cluster's own user where there is one.
    ///
    /// # Errors
    /// Why there is none, in words for the user.
    pub(super) fn take(self: &Arc<Slots>, uid: u32, cluster: Option<u32>) -> Result<Slot, String> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.get(&uid).copied().unwrap_or(0);
        let is_other = |uid: &u32| *uid != 0 && Some(*uid) != cluster;
        let (limit, full) = if uid == 0 {
            (ROOT_MAX, false)
        } else if Some(uid) == cluster {
            (CLUSTER_MAX, false)
        } else {
            let others: usize = open.iter().filter(|(u, _)| is_other(u)).map(|(_, n)| n).sum();
            (USER_MAX, others >= OTHERS_MAX)
        };
        if own >= limit {
            return Err(format!(
                "user id {uid} has {own} connections to the cluster daemon open already, which is \
                 as many as it may: end some of the programs that hold them"
            ));
        }
        if full {
            return Err(format!(
                "users other than root and hacluster have {OTHERS_MAX} connections to the cluster \
                 daemon open already, which is as many as they may: try again later"
            ));
        }
        open.insert(uid, own + 1);
        Ok(Slot { slots: Arc::clone(self), uid })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&self.uid) {
            Some(own) if *own > 1 => *own -= 1,
            _ => _ = open.remove(&self.uid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: Option<u32> = Some(90);

    #[test]
    fn one_user_locks_out_nobody_else() {
        let slots = Arc::new(Slots::default());
        let mut held = Vec::new();
        while let Ok(slot) = slots.take(1000, CLUSTER) {
            held.push(slot);
        }
        assert_eq!(held.len(), USER_MAX);
        for uid in [0, 90, 1001] {
            held.push(slots.take(uid, CLUSTER).unwrap());
        }
    }

    #[test]
    fn all_other_users_together_lock_out_neither_root_nor_the_clusters_user() {
        let slots = Arc::new(Slots::default());
        let take = |uid| slots.take(uid, CLUSTER);
        let (first, own) = (take(0).unwrap(), take(90).unwrap());
        let held: Vec<_> = (1000..2000).filter_map(|uid| take(uid).ok()).collect();
        assert_eq!(held.len(), OTHERS_MAX, "what root holds is none of theirs");
        assert!(take(2000).is_err_and(|reason| reason.contains("other than root")));
        let root: Vec<_> = (1..ROOT_MAX).map(|_| take(0).unwrap()).collect();
        let cluster: Vec<_> = (1..CLUSTER_MAX).map(|_| take(90).unwrap()).collect();
        assert!(take(0).is_err() && take(90).is_err());
        drop((first, own, held, root, cluster));
        assert!(slots.0.lock().unwrap().is_empty(), "each has given its slot back");
    }
}
