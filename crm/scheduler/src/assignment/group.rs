//! Groups: members follow one another.

use cib_model::{INFINITY, add_scores};

use crate::base::{NodeIx, RscIx, Ws, rf};

impl Ws {
    pub(crate) fn assign_group(
        &mut self,
        rsc: RscIx,
        prefer: Option<NodeIx>,
        stop_if_fail: bool,
    ) -> Option<NodeIx> {
        if !self[rsc].is(rf::UNASSIGNED) {
            return self[rsc].assigned_node();
        }
        if self[rsc].is(rf::ASSIGNING) {
            return None;
        }
        let members = self[rsc].children.clone();
        let Some(first) = members.first().copied() else {
            self[rsc].clear(rf::UNASSIGNED);
            return None;
        };
        self[rsc].set(rf::ASSIGNING);
        self[rsc].orig_role = self[first].orig_role;
        self.show_scores(rsc, "group");
        let mut node = None;
        for member in members {
            let assigned = self.assign(member, prefer, stop_if_fail);
            node = node.or(assigned);
        }
        let role = self[first].next_role;
        self.set_next_role(rsc, role);
        self[rsc].clear(rf::ASSIGNING | rf::UNASSIGNED);
        node.filter(|_| self[rsc].group_colocated)
    }

    /// A colocation whose dependent is a group.
    pub(crate) fn group_depends(&mut self, group: RscIx, primary: RscIx, coloc: usize) -> i32 {
        let members = self[group].children.clone();
        let mut delta = 0;
        if self[group].group_colocated {
            if let Some(first) = members.first() {
                delta = self.apply_coloc(*first, primary, coloc, true);
            }
        } else if self.colocs[coloc].score >= INFINITY {
            let text = format!(
                "{}: Cannot perform mandatory colocation between non-colocated group and {}",
                self[group].id, self[primary].id
            );
            self.error(text);
            return 0;
        } else {
            for member in members {
                delta = add_scores(delta, self.apply_coloc(member, primary, coloc, false));
            }
        }
        if delta != 0 {
            self[group].priority = add_scores(delta, self[group].priority);
        }
        delta
    }

    /// A colocation whose primary is a group.
    pub(crate) fn depends_on_group(&mut self, dependent: RscIx, group: RscIx, coloc: usize) -> i32 {
        if self[group].is(rf::UNASSIGNED) {
            return 0;
        }
        let mandatory = self.colocs[coloc].score >= INFINITY;
        let members = self[group].children.clone();
        if self[group].group_colocated {
            let member = if mandatory { members.last() } else { members.first() };
            return member.map_or(0, |m| self.apply_coloc(dependent, *m, coloc, false));
        }
        if mandatory {
            let text = format!(
                "{}: Cannot perform mandatory colocation with non-colocated group {}",
                self[dependent].id, self[group].id
            );
            self.error(text);
            return 0;
        }
        let mut delta = 0;
        for member in members {
            delta = add_scores(delta, self.apply_coloc(dependent, member, coloc, false));
        }
        delta
    }
}
