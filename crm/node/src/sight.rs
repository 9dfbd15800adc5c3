//! What a user may see in answers that are not made from the CIB alone.
//!
//! Names, attributes and devices are in memory here and there; to a user to whom access rules apply
//! they are shown only where the user may read them in the CIB.

use cib_store::{Who, acl};
use cib_xml::{Doc, Node};

/// What somebody may see.
pub(crate) enum Sight {
    /// Everything.
    All,
    /// What is in this copy of the CIB; nothing if there is none.
    Part(Option<Doc>),
}

impl Sight {
    /// That of `who`, by the rules in `cib`.
    pub(crate) fn of(cib: &Doc, who: &Who) -> Sight {
        match acl::readable_copy(cib, who) {
            Ok(None) => Sight::All,
            Ok(Some(copy)) => Sight::Part(Some(copy)),
            Err(_) => Sight::Part(None),
        }
    }

    pub(crate) fn is_all(&self) -> bool {
        matches!(self, Sight::All)
    }

    fn finds(&self, find: impl FnOnce(Node<'_>) -> bool) -> bool {
        match self {
            Sight::All => true,
            Sight::Part(copy) => copy.as_ref().is_some_and(|doc| find(doc.root())),
        }
    }

    /// Whether a node of that name may be known of.
    pub(crate) fn node(&self, name: &str) -> bool {
        let is_it = |n: Node<'_>| {
            matches!(n.name(), "node" | "node_state") && n.attr("uname") == Some(name)
        };
        self.finds(|root| root.descendants().any(is_it))
    }

    /// Whether a resource of that id may be known of. (The id alone remains of one in which
    /// something else may be read.)
    pub(crate) fn resource(&self, id: &str) -> bool {
        let is_it = |n: Node<'_>| {
            let told = n.attr("class").is_some() || n.attr("template").is_some();
            n.name() == "primitive" && n.attr("id") == Some(id) && told
        };
        self.finds(|root| root.descendants().any(is_it))
    }

    /// Whether a transient attribute of a node may be known of. Private ones are in no CIB.
    pub(crate) fn attribute(&self, node: &str, name: &str) -> bool {
        let of_node = |state: Node<'_>| {
            state.attr("uname") == Some(node)
                && state
                    .child("transient_attributes")
                    .is_some_and(|all| all.descendants().any(|n| n.attr("name") == Some(name)))
        };
        self.finds(|root| {
            root.child("status").is_some_and(|s| s.children_named("node_state").any(of_node))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CIB: &str = r#"<cib validate-with="none"><configuration><crm_config><cluster_property_set
id="o"><nvpair id="e" name="enable-acl" value="true"/></cluster_property_set></crm_config><nodes>
<node id="1" uname="n1"/><node id="2" uname="n2"/></nodes><resources><primitive id="a" class="ocf">
<meta_attributes id="m"/></primitive><primitive id="b" class="ocf"/></resources><acls><acl_role
id="r"><acl_permission id="p1" kind="read" xpath="//node[@id='1']"/><acl_permission id="p2"
kind="read" xpath="//primitive[@id='b']|//meta_attributes"/><acl_permission id="p3" kind="read"
xpath="//nvpair[@name='open']"/><acl_permission id="p4" kind="read"
xpath="//node_state[@uname='n1']"/></acl_role><acl_target id="ann"><role id="r"/></acl_target>
</acls></configuration><status><node_state id="1" uname="n1"><transient_attributes id="1">
<instance_attributes id="s"><nvpair id="x" name="open" value="1"/></instance_attributes>
</transient_attributes></node_state><node_state id="2" uname="n2"><transient_attributes id="2">
<instance_attributes id="t"><nvpair id="y" name="open" value="1"/></instance_attributes>
</transient_attributes></node_state></status></cib>"#;

    fn sight(user: &str) -> Sight {
        let who = Who { user: user.into(), ..Who::default() };
        Sight::of(&Doc::parse(CIB).unwrap(), &who)
    }

    #[test]
    fn what_may_be_read_in_the_cib_is_seen_elsewhere() {
        let ann = sight("ann");
        assert!(ann.node("n1") && !ann.node("n2"));
        assert!(ann.resource("b") && !ann.resource("a"), "of a only the id remains");
        assert!(ann.attribute("n1", "open") && !ann.attribute("n1", "private"));
        assert!(!ann.attribute("n2", "open"), "the name of its node is not told");
    }

    #[test]
    fn who_may_read_nothing_sees_nothing_and_root_everything() {
        let (bob, root) = (sight("bob"), sight("root"));
        assert!(!bob.node("n1") && !bob.resource("b") && !bob.attribute("n1", "open"));
        assert!(root.is_all() && root.node("n2") && root.attribute("n2", "private"));
    }
}
