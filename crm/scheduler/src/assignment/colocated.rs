//! Colocations as they are added.

use cib_model::{INFINITY, Role};

use crate::base::{Coloc, RscIx, Ws, ar, task};

impl Ws {
    /// Adds a colocation. What must not run together also does not run together for a moment.
    pub(crate) fn add_colocation(&mut self, coloc: Coloc) {
        if coloc.score == 0 {
            return;
        }
        let at = self.colocs.len();
        let (dependent, primary) = (coloc.dependent, coloc.primary);
        let (d_role, p_role, score) = (coloc.dependent_role, coloc.primary_role, coloc.score);
        self.colocs.push(coloc);
        let mut list = std::mem::take(&mut self[dependent].this_with);
        self.insert_this_with(&mut list, at);
        self[dependent].this_with = list;
        let mut list = std::mem::take(&mut self[primary].with_this);
        self.insert_with_this(&mut list, at);
        self[primary].with_this = list;
        if score <= -INFINITY {
            self.order_apart(dependent, d_role, primary, p_role);
            self.order_apart(primary, p_role, dependent, d_role);
        }
    }

    fn order_apart(&mut self, first: RscIx, first_role: Role, then: RscIx, then_role: Role) {
        let firsts: &[_] = match first_role {
            Role::Promoted => &[task::DEMOTE],
            Role::Unpromoted => &[task::STOP, task::PROMOTE],
            _ => &[task::STOP],
        };
        let thens: &[_] = match then_role {
            Role::Promoted => &[task::PROMOTE],
            Role::Unpromoted => &[task::START, task::DEMOTE],
            _ => &[task::START],
        };
        for first_name in firsts {
            for then_name in thens {
                self.order_rscs(first, *first_name, then, *then_name, ar::IF_REQUIRED_ON_SAME_NODE);
            }
        }
    }
}
