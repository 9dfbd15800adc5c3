//! Syntax tree to value.

use std::cell::{Cell, OnceCell};

use rustc_hash::FxHashSet;

use super::parse::{Axis, Expr, Function, Op, Step, Test};
use super::{Found, VISITS_MAX, Value, XPathError};
use crate::tree::{Doc, Kind, NONE, NodeId};

/// Text of this length costs as much as a visit.
const BYTES_PER_VISIT: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Document,
    Node(u32),
    /// Element and index of the attribute in the arena.
    Attr(u32, u32),
}

enum Val {
    Nodes(Vec<Item>),
    Bool(bool),
    Num(f64),
    Text(String),
}

struct Eval<'a> {
    doc: &'a Doc,
    visits: Cell<u64>,
    /// Place of each node in document order, made when first needed.
    order: OnceCell<Vec<u32>>,
}

#[derive(Clone, Copy)]
struct Context {
    item: Item,
    position: usize,
    size: usize,
}

pub(super) fn evaluate(
    expr: &Expr,
    doc: &Doc,
    context: Option<NodeId>,
) -> Result<Value, XPathError> {
    let eval = Eval { doc, visits: Cell::new(0), order: OnceCell::new() };
    let item = context.map_or(Item::Document, |id| Item::Node(id.0));
    Ok(match eval.expr(expr, Context { item, position: 1, size: 1 })? {
        Val::Bool(b) => Value::Boolean(b),
        Val::Num(n) => Value::Number(n),
        Val::Text(t) => Value::Text(t),
        Val::Nodes(items) => {
            let found = |item| match item {
                Item::Document => Found::Document,
                Item::Node(ix) => Found::Node(NodeId(ix)),
                Item::Attr(ix, at) => Found::Attr(NodeId(ix), eval.attr_name(at).to_string()),
            };
            Value::Nodes(items.into_iter().map(found).collect())
        }
    })
}

impl<'a> Eval<'a> {
    fn visit(&self) -> Result<(), XPathError> {
        self.charge(1)
    }

    /// Counts work as so many visits.
    fn charge(&self, visits: usize) -> Result<(), XPathError> {
        let visits = self.visits.get().saturating_add(visits as u64);
        self.visits.set(visits);
        if visits > VISITS_MAX { Err(XPathError::TooLong) } else { Ok(()) }
    }

    /// Counts the making of a text.
    fn charged(&self, text: String) -> Result<String, XPathError> {
        self.charge(text.len() / BYTES_PER_VISIT)?;
        Ok(text)
    }

    fn attr_name(&self, at: u32) -> &'a str {
        &self.doc.names[self.doc.attrs[at as usize].name as usize]
    }

    fn expr(&self, expr: &Expr, cx: Context) -> Result<Val, XPathError> {
        match expr {
            Expr::Number(n) => Ok(Val::Num(*n)),
            Expr::Text(t) => Ok(Val::Text(self.charged(t.clone())?)),
            Expr::Negate(e) => Ok(Val::Num(-self.number(&self.expr(e, cx)?)?)),
            Expr::Call(f, args) => self.call(*f, args, cx),
            Expr::Path { absolute, steps } => {
                let start = if *absolute { Item::Document } else { cx.item };
                self.steps(vec![start], steps)
            }
            Expr::Filter { base, predicates, steps } => {
                let value = self.expr(base, cx)?;
                let Val::Nodes(mut items) = value else {
                    if predicates.is_empty() && steps.is_empty() {
                        return Ok(value);
                    }
                    return Err(XPathError::NotNodes("value with a predicate or steps"));
                };
                for predicate in predicates {
                    items = self.filter(items, predicate)?;
                }
                self.steps(items, steps)
            }
            Expr::Binary(op, a, b) => self.binary(*op, a, b, cx),
        }
    }

    fn binary(&self, op: Op, a: &Expr, b: &Expr, cx: Context) -> Result<Val, XPathError> {
        Ok(match op {
            Op::Or => {
                Val::Bool(self.boolean(&self.expr(a, cx)?) || self.boolean(&self.expr(b, cx)?))
            }
            Op::And => {
                Val::Bool(self.boolean(&self.expr(a, cx)?) && self.boolean(&self.expr(b, cx)?))
            }
            Op::Union => match (self.expr(a, cx)?, self.expr(b, cx)?) {
                (Val::Nodes(mut a), Val::Nodes(b)) => {
                    a.extend(b);
                    self.charge(a.len())?;
                    self.sort(&mut a);
                    Val::Nodes(a)
                }
                _ => return Err(XPathError::NotNodes("value in a union")),
            },
            Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge => {
                Val::Bool(self.compare(op, &self.expr(a, cx)?, &self.expr(b, cx)?)?)
            }
            Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Mod => {
                let (a, b) = (self.number(&self.expr(a, cx)?)?, self.number(&self.expr(b, cx)?)?);
                Val::Num(match op {
                    Op::Add => a + b,
                    Op::Sub => a - b,
                    Op::Mul => a * b,
                    Op::Div => a / b,
                    _ => a % b,
                })
            }
        })
    }

    /// XPath 1.0 §3.4: a node set compares true if any of its nodes does.
    fn compare(&self, op: Op, a: &Val, b: &Val) -> Result<bool, XPathError> {
        match (a, b) {
            (Val::Nodes(_), Val::Bool(_)) | (Val::Bool(_), Val::Nodes(_)) => {
                Ok(compare_atoms(op, &Val::Bool(self.boolean(a)), &Val::Bool(self.boolean(b))))
            }
            (Val::Nodes(left), Val::Nodes(right)) => {
                let text = |item: &Item| self.text_of(*item).map(Val::Text);
                let texts: Vec<Val> = right.iter().map(text).collect::<Result<_, _>>()?;
                for item in left {
                    let item = text(item)?;
                    for text in &texts {
                        self.visit()?;
                        if compare_atoms(op, &item, text) {
                            return Ok(true);
                        }
                    }
                }
                Ok(false)
            }
            (Val::Nodes(items), atom) => {
                for item in items {
                    if compare_atoms(op, &Val::Text(self.text_of(*item)?), atom) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            (atom, Val::Nodes(items)) => {
                for item in items {
                    if compare_atoms(op, atom, &Val::Text(self.text_of(*item)?)) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            (a, b) => Ok(compare_atoms(op, a, b)),
        }
    }

    fn boolean(&self, value: &Val) -> bool {
        match value {
            Val::Nodes(items) => !items.is_empty(),
            Val::Bool(b) => *b,
            Val::Num(n) => *n != 0.0 && !n.is_nan(),
            Val::Text(t) => !t.is_empty(),
        }
    }

    fn number(&self, value: &Val) -> Result<f64, XPathError> {
        Ok(match value {
            Val::Nodes(_) => text_number(&self.text(value)?),
            other => atom_number(other),
        })
    }

    fn text(&self, value: &Val) -> Result<String, XPathError> {
        match value {
            Val::Nodes(items) => match items.first() {
                Some(item) => self.text_of(*item),
                None => Ok(String::new()),
            },
            Val::Bool(b) => Ok(b.to_string()),
            Val::Num(n) => Ok(number_text(*n)),
            Val::Text(t) => self.charged(t.clone()),
        }
    }

    fn text_of(&self, item: Item) -> Result<String, XPathError> {
        self.visit()?;
        let id = match item {
            Item::Document => self.doc.root_id(),
            Item::Node(ix) => NodeId(ix),
            Item::Attr(_, at) => {
                return self.charged(self.doc.slice(self.doc.attrs[at as usize].value).to_owned());
            }
        };
        let node = self.doc.node(id);
        if node.kind() != Kind::Element {
            return self.charged(node.text().to_owned());
        }
        let mut text = String::new();
        for below in node.descendants() {
            self.visit()?;
            if below.kind() == Kind::Text {
                text.push_str(below.text());
            }
        }
        self.charged(text)
    }

    fn steps(&self, mut items: Vec<Item>, steps: &[Step]) -> Result<Val, XPathError> {
        for step in steps {
            let several = items.len() > 1;
            let mut next = Vec::new();
            for item in items {
                let mut found = Vec::new();
                self.axis(item, step, &mut found)?;
                for predicate in &step.predicates {
                    found = self.filter(found, predicate)?;
                }
                next.append(&mut found);
            }
            if several || step.axis.is_reverse() {
                self.charge(next.len())?;
                self.sort(&mut next);
            }
            items = next;
        }
        Ok(Val::Nodes(items))
    }

    fn filter(&self, items: Vec<Item>, predicate: &Expr) -> Result<Vec<Item>, XPathError> {
        let size = items.len();
        let mut kept = Vec::new();
        for (ix, item) in items.into_iter().enumerate() {
            self.visit()?;
            let position = ix + 1;
            let value = self.expr(predicate, Context { item, position, size })?;
            let keep = match value {
                Val::Num(n) => n == position as f64,
                other => self.boolean(&other),
            };
            if keep {
                kept.push(item);
            }
        }
        Ok(kept)
    }

    fn matches(&self, ix: u32, test: &Test) -> bool {
        let node = self.doc.node(NodeId(ix));
        match test {
            Test::Name(name) => node.is_element() && node.name() == name,
            Test::Any => node.is_element(),
            Test::Node => true,
            Test::Text => node.kind() == Kind::Text,
            Test::Comment => node.kind() == Kind::Comment,
            Test::Never => false,
        }
    }

    /// Appends what lies on `step`'s axis from `item` and passes its test, in the axis' order.
    fn axis(&self, item: Item, step: &Step, out: &mut Vec<Item>) -> Result<(), XPathError> {
        let keep = |ix: u32, out: &mut Vec<Item>| -> Result<(), XPathError> {
            self.visit()?;
            if self.matches(ix, &step.test) {
                out.push(Item::Node(ix));
            }
            Ok(())
        };
        let node = match item {
            Item::Node(ix) => ix,
            Item::Document => return self.axis_of_document(step, out),
            Item::Attr(ix, _) => return self.axis_of_attr(item, ix, step, out),
        };
        let data = |ix: u32| &self.doc.nodes[ix as usize];
        match step.axis {
            Axis::SelfNode => keep(node, out)?,
            Axis::Child => {
                let mut at = data(node).first_child;
                while at != NONE {
                    keep(at, out)?;
                    at = data(at).next;
                }
            }
            Axis::Descendant | Axis::DescendantOrSelf => {
                let skip = usize::from(step.axis == Axis::Descendant);
                for n in self.doc.node(NodeId(node)).descendants().skip(skip) {
                    keep(n.id().0, out)?;
                }
            }
            Axis::Attribute => {
                for at in data(node).attrs() {
                    self.visit()?;
                    let matches = match &step.test {
                        Test::Name(name) => self.attr_name(at) == name,
                        Test::Any | Test::Node => true,
                        _ => false,
                    };
                    if matches {
                        out.push(Item::Attr(node, at));
                    }
                }
            }
            Axis::Parent => self.up(node, step, out),
            Axis::Ancestor | Axis::AncestorOrSelf => {
                if step.axis == Axis::AncestorOrSelf {
                    keep(node, out)?;
                }
                let mut at = data(node).parent;
                while at != NONE {
                    keep(at, out)?;
                    at = data(at).parent;
                }
                if step.test == Test::Node {
                    out.push(Item::Document);
                }
            }
            Axis::FollowingSibling | Axis::PrecedingSibling => {
                let forward = step.axis == Axis::FollowingSibling;
                let go = |ix: u32| if forward { data(ix).next } else { data(ix).prev };
                let mut at = go(node);
                while at != NONE {
                    keep(at, out)?;
                    at = go(at);
                }
            }
            Axis::Following | Axis::Preceding => {
                let forward = step.axis == Axis::Following;
                let mut up = node;
                while up != NONE {
                    let mut at = if forward { data(up).next } else { data(up).prev };
                    while at != NONE {
                        let below: Vec<u32> =
                            self.doc.node(NodeId(at)).descendants().map(|n| n.id().0).collect();
                        if forward {
                            below.into_iter().try_for_each(|ix| keep(ix, out))?;
                            at = data(at).next;
                        } else {
                            below.into_iter().rev().try_for_each(|ix| keep(ix, out))?;
                            at = data(at).prev;
                        }
                    }
                    up = data(up).parent;
                }
            }
        }
        Ok(())
    }

    fn up(&self, node: u32, step: &Step, out: &mut Vec<Item>) {
        match self.doc.nodes[node as usize].parent {
            NONE if step.test == Test::Node => out.push(Item::Document),
            NONE => {}
            parent if self.matches(parent, &step.test) => out.push(Item::Node(parent)),
            _ => {}
        }
    }

    fn axis_of_document(&self, step: &Step, out: &mut Vec<Item>) -> Result<(), XPathError> {
        let root = self.doc.root_id();
        if matches!(step.axis, Axis::SelfNode | Axis::DescendantOrSelf | Axis::AncestorOrSelf)
            && step.test == Test::Node
        {
            out.push(Item::Document);
        }
        match step.axis {
            Axis::Child if self.matches(root.0, &step.test) => out.push(Item::Node(root.0)),
            Axis::Descendant | Axis::DescendantOrSelf => {
                for n in self.doc.root().descendants() {
                    self.visit()?;
                    if self.matches(n.id().0, &step.test) {
                        out.push(Item::Node(n.id().0));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn axis_of_attr(
        &self,
        item: Item,
        element: u32,
        step: &Step,
        out: &mut Vec<Item>,
    ) -> Result<(), XPathError> {
        match step.axis {
            Axis::SelfNode | Axis::DescendantOrSelf if step.test == Test::Node => out.push(item),
            Axis::Parent if self.matches(element, &step.test) => out.push(Item::Node(element)),
            Axis::Ancestor | Axis::AncestorOrSelf => {
                if step.axis == Axis::AncestorOrSelf && step.test == Test::Node {
                    out.push(item);
                }
                let above = Step {
                    axis: Axis::AncestorOrSelf,
                    test: step.test.clone(),
                    predicates: vec![],
                };
                self.axis(Item::Node(element), &above, out)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Puts items in document order without duplicates.
    fn sort(&self, items: &mut Vec<Item>) {
        let order = self.order.get_or_init(|| {
            let mut order = vec![0; self.doc.arena_len()];
            for (place, node) in self.doc.root().descendants().enumerate() {
                order[node.id().index()] = place as u32 + 1;
            }
            order
        });
        let key = |item: &Item| match item {
            Item::Document => (0, 0),
            Item::Node(ix) => (order[*ix as usize], 0),
            // Attributes of one element come in the order in which the axis lists them.
            Item::Attr(ix, at) => {
                (order[*ix as usize], at - self.doc.nodes[*ix as usize].first_attr + 1)
            }
        };
        items.sort_by_cached_key(key);
        items.dedup();
    }

    fn call(&self, f: Function, args: &[Expr], cx: Context) -> Result<Val, XPathError> {
        use Function as F;
        let arg = |n: usize| self.expr(&args[n], cx);
        let text = |n: usize| self.text(&arg(n)?);
        // The argument, or the context node if there is none.
        let text_or_context = || match args.is_empty() {
            true => self.text_of(cx.item),
            false => text(0),
        };
        let nodes = |n: usize| match arg(n)? {
            Val::Nodes(items) => Ok(items),
            _ => Err(XPathError::NotNodes("value as an argument")),
        };
        Ok(match f {
            F::Last => Val::Num(cx.size as f64),
            F::Position => Val::Num(cx.position as f64),
            F::Count => Val::Num(nodes(0)?.len() as f64),
            F::Id => Val::Nodes(self.by_id(&arg(0)?)?),
            F::NamespaceUri => Val::Text(String::new()),
            F::LocalName | F::Name => {
                let item = if args.is_empty() { Some(cx.item) } else { nodes(0)?.first().copied() };
                let name = match item {
                    Some(Item::Node(ix)) => self.doc.node(NodeId(ix)).name(),
                    Some(Item::Attr(_, at)) => self.attr_name(at),
                    _ => "",
                };
                let local = name.rsplit(':').next().unwrap_or(name);
                Val::Text(if f == F::Name { name } else { local }.to_string())
            }
            F::String => Val::Text(text_or_context()?),
            F::Concat => {
                let mut out = String::new();
                for n in 0..args.len() {
                    out.push_str(&text(n)?);
                }
                Val::Text(self.charged(out)?)
            }
            F::StartsWith => Val::Bool(text(0)?.starts_with(&text(1)?)),
            F::Contains => Val::Bool(text(0)?.contains(&text(1)?)),
            F::SubstringBefore => {
                let (a, b) = (text(0)?, text(1)?);
                Val::Text(a.split_once(&b).map_or("", |(before, _)| before).to_string())
            }
            F::SubstringAfter => {
                let (a, b) = (text(0)?, text(1)?);
                Val::Text(a.split_once(&b).map_or("", |(_, after)| after).to_string())
            }
            F::Substring => {
                let from = round(self.number(&arg(1)?)?);
                let to = match args.len() {
                    3 => from + round(self.number(&arg(2)?)?),
                    _ => f64::INFINITY,
                };
                let inside = |ix: usize| (ix + 1) as f64 >= from && ((ix + 1) as f64) < to;
                let text = text(0)?;
                Val::Text(text.chars().enumerate().filter(|c| inside(c.0)).map(|c| c.1).collect())
            }
            F::StringLength => Val::Num(text_or_context()?.chars().count() as f64),
            F::NormalizeSpace => {
                Val::Text(text_or_context()?.split_whitespace().collect::<Vec<_>>().join(" "))
            }
            F::Translate => {
                let from: Vec<char> = text(1)?.chars().collect();
                let to: Vec<char> = text(2)?.chars().collect();
                let map = |c: char| match from.iter().position(|f| *f == c) {
                    Some(ix) => to.get(ix).copied(),
                    None => Some(c),
                };
                let text = text(0)?;
                self.charge(text.len().saturating_mul(from.len()) / BYTES_PER_VISIT)?;
                Val::Text(text.chars().filter_map(map).collect())
            }
            F::Boolean => Val::Bool(self.boolean(&arg(0)?)),
            F::Not => Val::Bool(!self.boolean(&arg(0)?)),
            F::True => Val::Bool(true),
            F::False => Val::Bool(false),
            F::Number if args.is_empty() => Val::Num(text_number(&self.text_of(cx.item)?)),
            F::Number => Val::Num(self.number(&arg(0)?)?),
            F::Sum => {
                let mut sum = 0.0;
                for item in nodes(0)? {
                    sum += text_number(&self.text_of(item)?);
                }
                Val::Num(sum)
            }
            F::Floor => Val::Num(self.number(&arg(0)?)?.floor()),
            F::Ceiling => Val::Num(self.number(&arg(0)?)?.ceil()),
            F::Round => Val::Num(round(self.number(&arg(0)?)?)),
        })
    }

    fn by_id(&self, value: &Val) -> Result<Vec<Item>, XPathError> {
        let texts: Vec<String> = match value {
            Val::Nodes(items) => {
                items.iter().map(|i| self.text_of(*i)).collect::<Result<_, _>>()?
            }
            atom => vec![self.text(atom)?],
        };
        let ids: FxHashSet<&str> = texts.iter().flat_map(|t| t.split_whitespace()).collect();
        let mut found = Vec::new();
        for node in self.doc.root().descendants() {
            self.visit()?;
            if node.attr("id").is_some_and(|id| ids.contains(id)) {
                found.push(Item::Node(node.id().0));
            }
        }
        Ok(found)
    }
}

fn compare_atoms(op: Op, a: &Val, b: &Val) -> bool {
    if matches!(op, Op::Eq | Op::Ne) {
        let equal = match (a, b) {
            (Val::Bool(_), _) | (_, Val::Bool(_)) => atom_boolean(a) == atom_boolean(b),
            (Val::Num(_), _) | (_, Val::Num(_)) => atom_number(a) == atom_number(b),
            (Val::Text(a), Val::Text(b)) => a == b,
            _ => false,
        };
        return equal == (op == Op::Eq);
    }
    let (a, b) = (atom_number(a), atom_number(b));
    match op {
        Op::Lt => a < b,
        Op::Le => a <= b,
        Op::Gt => a > b,
        _ => a >= b,
    }
}

fn atom_boolean(value: &Val) -> bool {
    match value {
        Val::Bool(b) => *b,
        Val::Num(n) => *n != 0.0 && !n.is_nan(),
        Val::Text(t) => !t.is_empty(),
        Val::Nodes(items) => !items.is_empty(),
    }
}

fn atom_number(value: &Val) -> f64 {
    match value {
        Val::Bool(b) => f64::from(u8::from(*b)),
        Val::Num(n) => *n,
        Val::Text(t) => text_number(t),
        Val::Nodes(_) => f64::NAN,
    }
}

/// XPath numbers have digits, a point and a minus only: no exponent, no plus, no names.
fn text_number(text: &str) -> f64 {
    let text = text.trim();
    if text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-')) {
        text.parse().unwrap_or(f64::NAN)
    } else {
        f64::NAN
    }
}

fn number_text(n: f64) -> String {
    if n.is_nan() {
        "NaN".into()
    } else if n.is_infinite() {
        if n > 0.0 { "Infinity".into() } else { "-Infinity".into() }
    } else if n == 0.0 {
        "0".into()
    } else {
        n.to_string()
    }
}

/// Halves round up (XPath 1.0 §4.4).
fn round(n: f64) -> f64 {
    (n + 0.5).floor()
}
