//! Blocks of name/value pairs, with scores, rules and references.

use cib_xml::Node;

use crate::attrs::{Attrs, Str};
use crate::model::Reader;
use crate::rule::{NextChange, Rule, RuleInput};
use crate::score::parse_score;

/// One `<nvpair>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nvpair {
    /// Name.
    pub name: Str,
    /// Value; `#default` takes an earlier setting back.
    pub value: Str,
}

/// One `<meta_attributes>`, `<instance_attributes>`, `<utilization>` or `<cluster_property_set>`.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Its id.
    pub id: Str,
    /// Blocks of higher score count first.
    pub score: i32,
    /// Under which condition it applies.
    pub rule: Option<Rule>,
    /// The pairs, in document order.
    pub pairs: Vec<Nvpair>,
}

/// The blocks of one kind under one element, in the order in which they are to be applied: the
/// first setting of a name counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Blocks(pub Vec<Block>);

impl Blocks {
    /// Reads the children of `parent` called `kind`. A block with id `first` goes before all.
    /// Of blocks with equal score the later one in the document goes first.
    pub(crate) fn read(reader: &Reader<'_>, parent: Node<'_>, kind: &str, first: &str) -> Blocks {
        let mut blocks: Vec<Block> = parent
            .children_named(kind)
            .filter_map(|n| reader.resolve(n))
            .map(|n| read_block(reader, n))
            .collect();
        blocks.reverse();
        blocks.sort_by_key(|b| (first.is_empty() || &*b.id != first, -i64::from(b.score)));
        Blocks(blocks)
    }

    /// Adds what applies to `into`, where names that are there already stay as they are.
    pub fn unpack(&self, input: &RuleInput<'_>, into: &mut Attrs, next: &mut NextChange) {
        for block in &self.0 {
            if block.rule.as_ref().is_some_and(|r| !r.evaluate(input, next)) {
                continue;
            }
            for pair in &block.pairs {
                if pair.value.eq_ignore_ascii_case("#default") {
                    into.remove(&pair.name);
                } else {
                    into.set_default(&pair.name, &pair.value);
                }
            }
        }
    }

    /// Whether what applies depends on anything.
    pub fn have_rules(&self) -> bool {
        self.0.iter().any(|block| block.rule.is_some())
    }

    /// Whether there is no block.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A set of blocks that holds just these pairs, unconditionally.
    pub fn of(pairs: &[(&str, &str)]) -> Blocks {
        let pairs =
            pairs.iter().map(|(n, v)| Nvpair { name: (*n).into(), value: (*v).into() }).collect();
        Blocks(vec![Block { id: "".into(), score: 0, rule: None, pairs }])
    }
}

fn read_block(reader: &Reader<'_>, node: Node<'_>) -> Block {
    // Very old configurations have the pairs one level down.
    let holder = node.child("attributes").unwrap_or(node);
    let pairs = holder.children_named("nvpair").filter_map(|n| read_pair(reader, n)).collect();
    Block {
        id: node.attr("id").unwrap_or("").into(),
        score: node.attr("score").and_then(parse_score).unwrap_or(0),
        rule: node.child("rule").map(|r| Rule::read(reader, r)),
        pairs,
    }
}

fn read_pair(reader: &Reader<'_>, node: Node<'_>) -> Option<Nvpair> {
    let target = reader.resolve(node)?;
    // A reference may give the pair another name.
    let name = node.attr("name").or(target.attr("name"))?;
    Some(Nvpair { name: reader.common(name), value: target.attr("value")?.into() })
}
