//! Location constraints.

use cib_model::{
    Location, LocationTarget, Role, Rule, RuleInput, Str, Submatches, eq_ci, parse_score,
};

use super::Named;
use crate::base::{LocationCon, NodeIx, Probe, RscIx, Where, Ws};

/// The role to which a location applies; `Err` if there is no such role. Started and unpromoted
/// mean any.
fn location_role(text: Option<&str>) -> Result<Role, ()> {
    match text {
        None => Ok(Role::Unknown),
        Some(text) => match Role::parse(text).ok_or(())? {
            Role::Started | Role::Unpromoted => Ok(Role::Unknown),
            role => Ok(role),
        },
    }
}

impl Ws {
    pub(crate) fn unpack_location(&mut self, con: &Location) {
        if !con.sets.is_empty() {
            for set in self.expand_sets(&con.id, &con.sets) {
                for member in &set.members {
                    let Some(rsc) = self.constraint_rsc(member) else {
                        let id = set.id.as_deref().unwrap_or("");
                        self.error(format!("{id}: No resource found for {member}"));
                        return;
                    };
                    self.location_of(con, rsc, set.role.as_deref(), set.score.as_deref(), None);
                }
            }
            return;
        }
        match &con.target {
            LocationTarget::Resource(id) => match self.named(id) {
                Named::Rsc(rsc) => self.location_of(con, rsc, None, None, None),
                Named::Tag(refs) => {
                    for member in refs {
                        let Some(rsc) = self.constraint_rsc(&member) else {
                            self.error(format!("{id}: No resource found for {member}"));
                            return;
                        };
                        self.location_of(con, rsc, con.role.as_deref(), None, None);
                    }
                }
                Named::Nothing => {
                    let text = format!(
                        "Ignoring constraint '{}' because '{id}' is not a valid resource or tag",
                        con.id
                    );
                    self.error(text);
                }
            },
            LocationTarget::Pattern { .. } => {
                for rsc in self.top.clone() {
                    if let Some(found) = con.target.matches(&self[rsc].id) {
                        self.location_of(con, rsc, None, None, found.as_ref());
                    }
                }
            }
            LocationTarget::None => {}
        }
    }

    fn location_of(
        &mut self,
        con: &Location,
        rsc: RscIx,
        role: Option<&str>,
        score: Option<&str>,
        matched: Option<&Submatches>,
    ) {
        let probe = match con.discovery.as_deref() {
            None => Probe::Always,
            Some(d) if eq_ci(d, "never") => Probe::Never,
            Some(d) if eq_ci(d, "exclusive") => Probe::Exclusive,
            Some(_) => Probe::Always,
        };
        let score = score.or(con.score.as_deref());
        let (Some(node), Some(score)) = (con.node.as_deref(), score) else {
            if let Some(rule) = &con.rule {
                self.location_by_rule(con, rsc, rule, probe, matched);
            }
            return;
        };
        let Some(node) = self.find_node(node) else { return };
        let role = location_role(role.or(con.role.as_deref()));
        let (Some(score), Ok(role)) = (parse_score(score), role) else {
            self.error(format!(
                "Ignoring location constraint {} because its score or role is not valid",
                con.id
            ));
            return;
        };
        let nodes = vec![(node, score)];
        self.add_location(LocationCon { id: con.id.clone(), rsc, nodes, role, probe });
    }

    fn location_by_rule(
        &mut self,
        con: &Location,
        rsc: RscIx,
        rule: &Rule,
        probe: Probe,
        matched: Option<&Submatches>,
    ) {
        let role = location_role(rule.role.as_deref());
        let attribute: Option<Str> = rule.score_attribute.as_ref().map(|name| match matched {
            Some(m) => m.expand(name).into(),
            None => name.clone(),
        });
        let fixed = rule.score_value();
        let usable = rule.combine.is_some() && (attribute.is_some() || fixed.is_some());
        let Some(role) = role.ok().filter(|_| usable) else {
            self.error(format!(
                "Ignoring location constraint '{}' because rule '{}' is not valid",
                con.id, rule.id
            ));
            return;
        };
        let mut nodes: Vec<(NodeIx, i32)> = Vec::new();
        let mut next = None;
        for node in self.node_order.clone() {
            let at = self.params_at(rsc, Some(node));
            let r = &self[rsc];
            let input = RuleInput {
                now: Some(self.config.now),
                node_attrs: Some(&self[node].attrs),
                params: Some(&r.params[at].1),
                meta: Some(&r.meta),
                submatches: matched,
                ..RuleInput::default()
            };
            if !rule.evaluate(&input, &mut next) {
                continue;
            }
            let score = match &attribute {
                Some(name) => {
                    let target = r.meta.get("container-attribute-target");
                    let value = self.node_attr(node, name, target, Where::Current);
                    value
                        .filter(|v| !v.is_empty())
                        .and_then(|v| cib_model::parse_score_with(v, self.config.health))
                }
                None => fixed,
            };
            if let Some(score) = score {
                nodes.push((node, score));
            }
        }
        next.into_iter().for_each(|at| self.recheck_at(at));
        self.add_location(LocationCon { id: rule.id.clone(), rsc, nodes, role, probe });
    }
}
