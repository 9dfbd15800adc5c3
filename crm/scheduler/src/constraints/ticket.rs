//! Tickets on which resources depend.

use cib_model::{INFINITY, ResourceSet, Role, Str, TicketConstraint, eq_ci};

use super::Named;
use crate::base::{LossPolicy, RscIx, RscTicket, Ticket, Ws, rf};
use crate::reasons::Reason;

impl Ws {
    pub(crate) fn unpack_ticket(&mut self, con: &TicketConstraint) {
        let Some(name) = con.ticket.as_ref().filter(|t| !t.is_empty()) else {
            self.error(format!("Ignoring constraint '{}' without ticket", con.id));
            return;
        };
        let ticket = self.tickets.iter().position(|t| t.id == *name).unwrap_or_else(|| {
            self.tickets.push(Ticket { id: name.clone(), granted: false, standby: false });
            self.tickets.len() - 1
        });
        let Some(sets) = self.ticket_sets(con) else { return };
        for set in &sets {
            let id: Str = set.id.clone().unwrap_or_else(|| "".into());
            for member in &set.members {
                let Some(rsc) = self.constraint_rsc(member) else {
                    self.error(format!("{id}: No resource found for {member}"));
                    return;
                };
                self.add_ticket(&id, rsc, ticket, set.role.as_deref(), con.loss_policy.as_deref());
            }
        }
        if !sets.is_empty() {
            return;
        }
        match con.rsc.as_deref().and_then(|r| self.constraint_rsc(r)) {
            Some(rsc) => {
                let policy = con.loss_policy.as_deref();
                self.add_ticket(&con.id, rsc, ticket, con.role.as_deref(), policy);
            }
            None => self.error(format!("Ignoring constraint '{}' without resource", con.id)),
        }
    }

    fn ticket_sets(&mut self, con: &TicketConstraint) -> Option<Vec<ResourceSet>> {
        if !con.sets.is_empty() {
            return Some(self.expand_sets(&con.id, &con.sets));
        }
        let Some(rsc) = &con.rsc else { return Some(Vec::new()) };
        match self.named(rsc) {
            Named::Rsc(_) => Some(Vec::new()),
            Named::Tag(refs) => {
                let mut set = ResourceSet::of(rsc, refs, Some(false));
                set.role.clone_from(&con.role);
                Some(vec![set])
            }
            Named::Nothing => {
                self.error(format!(
                    "Ignoring constraint '{}' because '{rsc}' is not a valid resource or tag",
                    con.id
                ));
                None
            }
        }
    }

    fn add_ticket(
        &mut self,
        id: &str,
        rsc: RscIx,
        ticket: usize,
        role: Option<&str>,
        policy: Option<&str>,
    ) {
        let Ok(role) = self.constraint_role(id, role) else { return };
        let is = |want: &str| policy.is_some_and(|p| eq_ci(p, want));
        let policy = if is("fence") && self.config.fencing_enabled {
            LossPolicy::Fence
        } else if is("fence") || is("stop") {
            LossPolicy::Stop
        } else if is("freeze") {
            LossPolicy::Freeze
        } else if is("demote") || role == Role::Promoted {
            LossPolicy::Demote
        } else {
            LossPolicy::Stop
        };
        let own = RscTicket { ticket, role, policy };
        self[rsc].tickets.push(own);
        self.without_ticket(rsc, own);
    }

    /// Applies what it means that a ticket is not granted, or in standby.
    fn without_ticket(&mut self, rsc: RscIx, own: RscTicket) {
        let (granted, standby) =
            (self.tickets[own.ticket].granted, self.tickets[own.ticket].standby);
        if granted && !standby {
            return;
        }
        if !self[rsc].children.is_empty() {
            for child in self[rsc].children.clone() {
                self.without_ticket(child, own);
            }
            return;
        }
        let role_fits = own.role == Role::Unknown || own.role == self[rsc].orig_role;
        let ban = |ws: &mut Ws| ws.resource_location(rsc, None, -INFINITY, Reason::Ticket);
        if granted || self[rsc].active.is_empty() {
            if own.role != Role::Promoted || own.policy == LossPolicy::Stop {
                ban(self);
            }
            return;
        }
        match own.policy {
            LossPolicy::Stop => ban(self),
            LossPolicy::Demote if own.role != Role::Promoted => {
                ban(self);
            }
            LossPolicy::Fence if role_fits => {
                ban(self);
                for node in self[rsc].active.clone() {
                    self.fence_node(node, "deadman ticket was lost", false);
                }
            }
            LossPolicy::Freeze if role_fits => {
                self[rsc].clear(rf::MANAGED);
                self[rsc].set(rf::BLOCKED);
            }
            _ => {}
        }
    }
}
