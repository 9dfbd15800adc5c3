//! Colocation constraints.

use cib_model::{Colocation, ResourceSet, Str, parse_bool, parse_score};

use super::Named;
use crate::base::{Coloc, RscIx, Ws, cf, rf};

/// A colocation as far as it is the same for all pairs of a constraint.
struct Terms<'a> {
    id: &'a Str,
    influence: Option<&'a str>,
}

impl Ws {
    pub(crate) fn unpack_colocation(&mut self, con: &Colocation) {
        let score = match con.score.as_deref() {
            None => 0,
            Some(text) => match parse_score(text) {
                Some(score) => score,
                None => {
                    self.error(format!(
                        "Ignoring colocation {} because '{text}' is not a valid score",
                        con.id
                    ));
                    return;
                }
            },
        };
        let Some(sets) = self.colocation_sets(con) else { return };
        let terms = Terms { id: &con.id, influence: con.influence.as_deref() };
        let mut last: Option<&ResourceSet> = None;
        for set in &sets {
            self.colocate_within(&terms, set, score);
            if let Some(last) = last {
                self.colocate_sets(&terms, last, set, score);
            }
            last = Some(set);
        }
        if !sets.is_empty() {
            return;
        }
        let find = |ws: &Ws, id: &Option<Str>| id.as_deref().and_then(|id| ws.constraint_rsc(id));
        let (Some(dependent), Some(primary)) =
            (find(self, &con.dependent), find(self, &con.primary))
        else {
            self.error(format!(
                "Ignoring constraint '{}' because a resource does not exist",
                con.id
            ));
            return;
        };
        let roles = (con.dependent_role.as_deref(), con.primary_role.as_deref());
        let attr = con.node_attribute.as_deref();
        self.colocate(&terms, &con.id, attr, score, (dependent, primary), roles);
    }

    /// The sets of a constraint; a pair in which a tag occurs counts as sets too.
    fn colocation_sets(&mut self, con: &Colocation) -> Option<Vec<ResourceSet>> {
        if !con.sets.is_empty() {
            return Some(self.expand_sets(&con.id, &con.sets));
        }
        let (Some(dependent), Some(primary)) = (&con.dependent, &con.primary) else {
            return Some(Vec::new());
        };
        let sides = (self.named(dependent), self.named(primary));
        let set = |id: &Str, named: Named, role: &Option<Str>| {
            let mut set = match named {
                Named::Tag(refs) => ResourceSet::of(id, refs, Some(false)),
                _ => ResourceSet::of(id, vec![id.clone()], None),
            };
            set.role.clone_from(role);
            set
        };
        match sides {
            (Named::Rsc(_), Named::Rsc(_)) => Some(Vec::new()),
            (Named::Tag(_), Named::Tag(_)) => {
                self.error(format!(
                    "Ignoring constraint '{}' because two templates or tags cannot be colocated",
                    con.id
                ));
                None
            }
            (Named::Nothing, _) | (_, Named::Nothing) => {
                self.error(format!(
                    "Ignoring constraint '{}' because a name is not a valid resource or tag",
                    con.id
                ));
                None
            }
            (d, p) => Some(vec![
                set(dependent, d, &con.dependent_role),
                set(primary, p, &con.primary_role),
            ]),
        }
    }

    fn colocate(
        &mut self,
        terms: &Terms<'_>,
        id: &str,
        attr: Option<&str>,
        score: i32,
        (dependent, primary): (RscIx, RscIx),
        (dependent_role, primary_role): (Option<&str>, Option<&str>),
    ) {
        let roles =
            (self.constraint_role(id, dependent_role), self.constraint_role(id, primary_role));
        let (Ok(dependent_role), Ok(primary_role)) = roles else { return };
        let critical = self[dependent].is(rf::CRITICAL);
        let influence = terms.influence.and_then(parse_bool).unwrap_or(critical);
        self.add_colocation(Coloc {
            id: id.into(),
            dependent,
            primary,
            score,
            dependent_role,
            primary_role,
            attr: attr.unwrap_or("#uname").into(),
            flags: cf::EXPLICIT | if influence { cf::INFLUENCE } else { 0 },
        });
    }

    fn members(&mut self, set: &ResourceSet) -> Vec<Option<RscIx>> {
        let found: Vec<Option<RscIx>> =
            set.members.iter().map(|m| self.constraint_rsc(m)).collect();
        if let Some(at) = found.iter().position(Option::is_none) {
            let id = set.id.as_deref().unwrap_or("");
            self.error(format!("No such resource as {} in set {id}", set.members[at]));
        }
        found
    }

    /// Colocates the members of a set with one another.
    fn colocate_within(&mut self, terms: &Terms<'_>, set: &ResourceSet, score: i32) {
        let score = match set.score.as_deref() {
            None => score,
            Some(text) => match parse_score(text) {
                Some(score) => score,
                None => return,
            },
        };
        if score == 0 || set.sequential == Some(false) {
            return;
        }
        let role = set.role.as_deref();
        let id: Str = set.id.clone().unwrap_or_else(|| "".into());
        let members: Vec<RscIx> = self.members(set).into_iter().map_while(|m| m).collect();
        if score > 0 {
            for pair in members.windows(2) {
                let critical = self[pair[1]].is(rf::CRITICAL);
                let influence = terms.influence.and_then(parse_bool).unwrap_or(critical);
                let text = if influence { "true" } else { "false" };
                let own = Terms { id: terms.id, influence: Some(text) };
                let sides = if set.with_previous { (pair[1], pair[0]) } else { (pair[0], pair[1]) };
                self.colocate(&own, &id, None, score, sides, (role, role));
            }
            return;
        }
        // Each is kept from those that come before it by name: what is inside of a clone, and stands
        // for that, is kept from all. Clusters in the field are placed by that.
        for member in &members {
            let own = set.members.iter().position(|name| *name == self[*member].id);
            for other in members.iter().take(own.unwrap_or(members.len())) {
                self.colocate(terms, &id, None, score, (*member, *other), (role, role));
            }
        }
    }

    /// Colocates a set with the one after it.
    fn colocate_sets(
        &mut self,
        terms: &Terms<'_>,
        set1: &ResourceSet,
        set2: &ResourceSet,
        score: i32,
    ) {
        if score == 0 {
            return;
        }
        let (m1, m2) = (self.members(set1), self.members(set2));
        let roles = (set1.role.as_deref(), set2.role.as_deref());
        // A sequential set is spoken for by its first member, depended on by its last.
        let firsts = if set1.sequential != Some(false) {
            match m1.first() {
                Some(None) => return,
                first => first.copied().into_iter().collect(),
            }
        } else {
            m1
        };
        let lasts = if set2.sequential != Some(false) {
            match m2.last() {
                Some(Some(last)) => vec![Some(*last)],
                _ => return,
            }
        } else {
            m2
        };
        for dependent in firsts.into_iter().flatten() {
            for primary in lasts.iter().copied().flatten() {
                self.colocate(terms, terms.id, None, score, (dependent, primary), roles);
            }
        }
    }
}
