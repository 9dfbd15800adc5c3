//! Constraints as configured, turned into ones between resources of the working set.

mod colocation;
mod location;
mod ticket;

use cib_model::{Constraint, ResourceSet, Role, Str};

use crate::base::{RscIx, Ws};

/// What a name in a constraint stands for.
pub(crate) enum Named {
    Rsc(RscIx),
    /// A tag or template, with the resources that it names.
    Tag(Vec<Str>),
    Nothing,
}

impl Ws {
    pub(crate) fn unpack_constraints(&mut self) {
        let model = self.model.clone();
        for constraint in &model.constraints {
            match constraint {
                Constraint::Location(c) => self.unpack_location(c),
                Constraint::Colocation(c) => self.unpack_colocation(c),
                Constraint::Order(c) => self.unpack_order(c),
                Constraint::Ticket(c) => self.unpack_ticket(c),
            }
        }
    }

    /// The resource that a constraint means by an id; a former instance's id means the clone.
    pub(crate) fn constraint_rsc(&self, id: &str) -> Option<RscIx> {
        let found = self.find_rsc(id)?;
        // A resource that could not be unpacked is in no list.
        let top = self.top_of(found, true);
        if !self.top.contains(&top) {
            return None;
        }
        if &*self[found].id == id { Some(found) } else { Some(self.uber(found)) }
    }

    pub(crate) fn named(&mut self, id: &str) -> Named {
        if let Some(rsc) = self.constraint_rsc(id) {
            return Named::Rsc(rsc);
        }
        let model = self.model.clone();
        if model.templates.iter().any(|t| &**t == id) {
            let users = model.template_users(id);
            return if users.is_empty() { Named::Nothing } else { Named::Tag(users) };
        }
        match model.tags.iter().find(|(name, _)| &**name == id) {
            Some((_, refs)) => Named::Tag(refs.clone()),
            None => {
                self.warn(format!("No resource, template, or tag named '{id}'"));
                Named::Nothing
            }
        }
    }

    /// The sets of a constraint with tags replaced by what they name. If a name means nothing, all
    /// are left as they are, and each kind of constraint gets as far as it can.
    pub(crate) fn expand_sets(&mut self, id: &str, sets: &[ResourceSet]) -> Vec<ResourceSet> {
        let mut out = sets.to_vec();
        for set in &mut out {
            let mut members = Vec::new();
            for member in &set.members {
                match self.named(member) {
                    Named::Rsc(_) => members.push(member.clone()),
                    Named::Tag(refs) => members.extend(refs),
                    Named::Nothing => {
                        self.error(format!("Ignoring resource sets for constraint '{id}' because '{member}' is not a valid resource or tag"));
                        return sets.to_vec();
                    }
                }
            }
            set.members = members;
        }
        out
    }

    /// The role that a constraint names; `Err` if there is no such role.
    pub(crate) fn constraint_role(&mut self, id: &str, role: Option<&str>) -> Result<Role, ()> {
        match role.map(|r| (r, Role::parse(r))) {
            None => Ok(Role::Unknown),
            Some((_, Some(Role::Started))) => Ok(Role::Unknown),
            Some((_, Some(role))) => Ok(role),
            Some((text, None)) => {
                self.error(format!("Ignoring constraint {id}: Invalid role '{text}'"));
                Err(())
            }
        }
    }
}
