//! Expression text to syntax tree.

use super::{EXPRESSION_BYTES_MAX, NESTING_MAX, XPathError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    Ancestor,
    AncestorOrSelf,
    Attribute,
    Child,
    Descendant,
    DescendantOrSelf,
    Following,
    FollowingSibling,
    Parent,
    Preceding,
    PrecedingSibling,
    SelfNode,
}

impl Axis {
    fn named(name: &str) -> Option<Axis> {
        Some(match name {
            "ancestor" => Axis::Ancestor,
            "ancestor-or-self" => Axis::AncestorOrSelf,
            "attribute" => Axis::Attribute,
            "child" => Axis::Child,
            "descendant" => Axis::Descendant,
            "descendant-or-self" => Axis::DescendantOrSelf,
            "following" => Axis::Following,
            "following-sibling" => Axis::FollowingSibling,
            "parent" => Axis::Parent,
            "preceding" => Axis::Preceding,
            "preceding-sibling" => Axis::PrecedingSibling,
            "self" => Axis::SelfNode,
            _ => return None,
        })
    }

    /// Whether positions on this axis count against document order.
    pub(super) fn is_reverse(self) -> bool {
        matches!(
            self,
            Axis::Ancestor | Axis::AncestorOrSelf | Axis::Preceding | Axis::PrecedingSibling
        )
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    Name(String),
    Any,
    Node,
    Text,
    Comment,
    /// Processing instructions are not kept, so nothing matches.
    Never,
}

#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) axis: Axis,
    pub(super) test: Test,
    pub(super) predicates: Vec<Expr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Or,
    And,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Union,
}

#[derive(Clone, Debug)]
pub(super) enum Expr {
    Binary(Op, Box<Expr>, Box<Expr>),
    Negate(Box<Expr>),
    Number(f64),
    Text(String),
    Call(Function, Vec<Expr>),
    /// Steps from the document (`absolute`) or the context.
    Path {
        absolute: bool,
        steps: Vec<Step>,
    },
    /// An expression with predicates and further steps.
    Filter {
        base: Box<Expr>,
        predicates: Vec<Expr>,
        steps: Vec<Step>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Last,
    Position,
    Count,
    Id,
    LocalName,
    NamespaceUri,
    Name,
    String,
    Concat,
    StartsWith,
    Contains,
    SubstringBefore,
    SubstringAfter,
    Substring,
    StringLength,
    NormalizeSpace,
    Translate,
    Boolean,
    Not,
    True,
    False,
    Number,
    Sum,
    Floor,
    Ceiling,
    Round,
}

/// Name, function, fewest and most arguments.
const FUNCTIONS: [(&str, Function, usize, usize); 26] = [
    ("last", Function::Last, 0, 0),
    ("position", Function::Position, 0, 0),
    ("count", Function::Count, 1, 1),
    ("id", Function::Id, 1, 1),
    ("local-name", Function::LocalName, 0, 1),
    ("namespace-uri", Function::NamespaceUri, 0, 1),
    ("name", Function::Name, 0, 1),
    ("string", Function::String, 0, 1),
    ("concat", Function::Concat, 2, 64),
    ("starts-with", Function::StartsWith, 2, 2),
    ("contains", Function::Contains, 2, 2),
    ("substring-before", Function::SubstringBefore, 2, 2),
    ("substring-after", Function::SubstringAfter, 2, 2),
    ("substring", Function::Substring, 2, 3),
    ("string-length", Function::StringLength, 0, 1),
    ("normalize-space", Function::NormalizeSpace, 0, 1),
    ("translate", Function::Translate, 3, 3),
    ("boolean", Function::Boolean, 1, 1),
    ("not", Function::Not, 1, 1),
    ("true", Function::True, 0, 0),
    ("false", Function::False, 0, 0),
    ("number", Function::Number, 0, 1),
    ("sum", Function::Sum, 1, 1),
    ("floor", Function::Floor, 1, 1),
    ("ceiling", Function::Ceiling, 1, 1),
    ("round", Function::Round, 1, 1),
];

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Symbol(&'static str),
    /// A name that stands where an operator may (XPath 1.0 §3.7), such as `and`.
    OperatorName(&'static str),
    Name(String),
    Number(f64),
    Text(String),
    End,
}

const SYMBOLS: [&str; 21] = [
    "::", "//", "..", "!=", "<=", ">=", "(", ")", "[", "]", ".", "@", ",", "/", "|", "+", "-", "=",
    "<", ">", "*",
];

fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '\u{b7}')
}

fn error<T>(at: usize, reason: impl Into<String>) -> Result<T, XPathError> {
    Err(XPathError::Syntax { at: at + 1, reason: reason.into() })
}

/// Whether a name or `*` after `last` is an operator (XPath 1.0 §3.7).
fn operator_follows(last: Option<&Token>) -> bool {
    !matches!(
        last,
        None | Some(Token::OperatorName(_))
            | Some(Token::Symbol(
                "@" | "::"
                    | "("
                    | "["
                    | ","
                    | "/"
                    | "//"
                    | "|"
                    | "+"
                    | "-"
                    | "="
                    | "!="
                    | "<"
                    | "<="
                    | ">"
                    | ">="
            ))
    )
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, XPathError> {
    let mut out: Vec<(usize, Token)> = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let operator = operator_follows(out.last().map(|(_, t)| t));
        let digit_follows = rest[c.len_utf8()..].starts_with(|c: char| c.is_ascii_digit());
        let (token, len) = if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        } else if c == '"' || c == '\'' {
            let Some(end) = rest[1..].find(c) else { return error(at, "text is not closed") };
            (Token::Text(rest[1..=end].to_string()), end + 2)
        } else if c.is_ascii_digit() || (c == '.' && digit_follows) {
            let len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            match rest[..len].parse() {
                Ok(n) => (Token::Number(n), len),
                Err(_) => return error(at, format!("{} is not a number", &rest[..len])),
            }
        } else if c == '*' && operator {
            (Token::OperatorName("*"), 1)
        } else if is_name_start(c) {
            let len = name_len(rest);
            let name = &rest[..len];
            match ["and", "or", "mod", "div"].into_iter().find(|o| *o == name) {
                Some(o) if operator => (Token::OperatorName(o), len),
                _ => (Token::Name(name.to_string()), len),
            }
        } else if let Some(s) = SYMBOLS.into_iter().find(|s| rest.starts_with(s)) {
            (Token::Symbol(s), s.len())
        } else {
            return error(at, format!("unexpected character {c:?}"));
        };
        out.push((at, token));
        at += len;
    }
    out.push((at, Token::End));
    Ok(out)
}

/// A name ends before the `::` of an axis; a single colon belongs to it.
fn name_len(rest: &str) -> usize {
    let len = rest.find(|c: char| !is_name_char(c)).unwrap_or(rest.len());
    rest[..len].find("::").unwrap_or(len)
}

pub(super) fn parse(text: &str) -> Result<Expr, XPathError> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return error(0, format!("longer than {EXPRESSION_BYTES_MAX} bytes"));
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    let expr = parser.expr()?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => error(parser.offset(), "unexpected text after the expression"),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
}

/// Binary operators, loosest first; each level is left-associative.
const LEVELS: [&[(&str, Op)]; 6] = [
    &[("or", Op::Or)],
    &[("and", Op::And)],
    &[("=", Op::Eq), ("!=", Op::Ne)],
    &[("<", Op::Lt), ("<=", Op::Le), (">", Op::Gt), (">=", Op::Ge)],
    &[("+", Op::Add), ("-", Op::Sub)],
    &[("*", Op::Mul), ("div", Op::Div), ("mod", Op::Mod)],
];

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].1
    }

    fn peek_after(&self) -> &Token {
        self.tokens.get(self.at + 1).map_or(&Token::End, |t| &t.1)
    }

    fn offset(&self) -> usize {
        self.tokens[self.at].0
    }

    fn next(&mut self) -> Token {
        let token = self.tokens[self.at].1.clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(s) if *s == symbol);
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, symbol: &str) -> Result<(), XPathError> {
        if self.take(symbol) { Ok(()) } else { error(self.offset(), format!("expected {symbol}")) }
    }

    fn expr(&mut self) -> Result<Expr, XPathError> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return error(self.offset(), format!("nests deeper than {NESTING_MAX}"));
        }
        let expr = self.binary(0)?;
        self.depth -= 1;
        Ok(expr)
    }

    fn binary(&mut self, level: usize) -> Result<Expr, XPathError> {
        let Some(ops) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        loop {
            let op = match self.peek() {
                Token::Symbol(s) | Token::OperatorName(s) => {
                    ops.iter().find(|(name, _)| name == s).map(|(_, op)| *op)
                }
                _ => None,
            };
            let Some(op) = op else { return Ok(left) };
            self.next();
            let right = self.binary(level + 1)?;
            left = Expr::Binary(op, Box::new(left), Box::new(right));
        }
    }

    fn unary(&mut self) -> Result<Expr, XPathError> {
        let mut negative = false;
        while self.take("-") {
            negative = !negative;
        }
        let mut left = self.path()?;
        while self.take("|") {
            let right = self.path()?;
            left = Expr::Binary(Op::Union, Box::new(left), Box::new(right));
        }
        Ok(if negative { Expr::Negate(Box::new(left)) } else { left })
    }

    fn path(&mut self) -> Result<Expr, XPathError> {
        let call = match (self.peek(), self.peek_after()) {
            (Token::Name(name), Token::Symbol("(")) => {
                !matches!(name.as_str(), "node" | "text" | "comment" | "processing-instruction")
            }
            (Token::Number(_) | Token::Text(_) | Token::Symbol("("), _) => true,
            _ => false,
        };
        if call {
            let base = self.primary()?;
            let predicates = self.predicates()?;
            let mut steps = Vec::new();
            if matches!(self.peek(), Token::Symbol("/" | "//")) {
                self.steps(&mut steps, true)?;
            }
            if predicates.is_empty() && steps.is_empty() {
                return Ok(base);
            }
            return Ok(Expr::Filter { base: Box::new(base), predicates, steps });
        }
        let absolute = matches!(self.peek(), Token::Symbol("/" | "//"));
        let mut steps = Vec::new();
        self.steps(&mut steps, absolute)?;
        Ok(Expr::Path { absolute, steps })
    }

    fn primary(&mut self) -> Result<Expr, XPathError> {
        let at = self.offset();
        match self.next() {
            Token::Number(n) => Ok(Expr::Number(n)),
            Token::Text(s) => Ok(Expr::Text(s)),
            Token::Symbol("(") => {
                let inner = self.expr()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Name(name) => {
                self.expect("(")?;
                let mut args = Vec::new();
                if !self.take(")") {
                    loop {
                        args.push(self.expr()?);
                        if !self.take(",") {
                            break;
                        }
                    }
                    self.expect(")")?;
                }
                let Some((_, function, low, high)) = FUNCTIONS.iter().find(|f| f.0 == name) else {
                    return error(at, format!("there is no function {name}()"));
                };
                if args.len() < *low || args.len() > *high {
                    return error(at, format!("{name}() does not take {} arguments", args.len()));
                }
                Ok(Expr::Call(*function, args))
            }
            _ => error(at, "expected an expression"),
        }
    }

    fn predicates(&mut self) -> Result<Vec<Expr>, XPathError> {
        let mut out = Vec::new();
        while self.take("[") {
            out.push(self.expr()?);
            self.expect("]")?;
        }
        Ok(out)
    }

    /// Reads `/step//step…`; `slash` says that a slash comes first.
    fn steps(&mut self, steps: &mut Vec<Step>, slash: bool) -> Result<(), XPathError> {
        let mut slash = slash;
        loop {
            let mut deep = false;
            if slash {
                if self.take("//") {
                    deep = true;
                } else {
                    self.expect("/")?;
                    // A slash alone is the document.
                    if steps.is_empty() && !self.step_follows() {
                        return Ok(());
                    }
                }
            }
            let step = self.step()?;
            if deep {
                push_deep(steps, step);
            } else {
                steps.push(step);
            }
            if !matches!(self.peek(), Token::Symbol("/" | "//")) {
                return Ok(());
            }
            slash = true;
        }
    }

    fn step_follows(&self) -> bool {
        matches!(self.peek(), Token::Name(_) | Token::Symbol("." | ".." | "@" | "*"))
    }

    fn step(&mut self) -> Result<Step, XPathError> {
        let bare = |axis| Step { axis, test: Test::Node, predicates: Vec::new() };
        if self.take(".") {
            return Ok(bare(Axis::SelfNode));
        }
        if self.take("..") {
            return Ok(bare(Axis::Parent));
        }
        let mut axis = Axis::Child;
        if self.take("@") {
            axis = Axis::Attribute;
        } else if let (Token::Name(name), Token::Symbol("::")) = (self.peek(), self.peek_after()) {
            match Axis::named(name) {
                Some(named) => axis = named,
                None => return error(self.offset(), format!("there is no axis {name}")),
            }
            self.next();
            self.next();
        }
        let test = self.test()?;
        let predicates = self.predicates()?;
        Ok(Step { axis, test, predicates })
    }

    fn test(&mut self) -> Result<Test, XPathError> {
        let at = self.offset();
        match self.next() {
            Token::Symbol("*") => Ok(Test::Any),
            Token::Name(name) => {
                if !self.take("(") {
                    return Ok(Test::Name(name));
                }
                let test = match name.as_str() {
                    "node" => Test::Node,
                    "text" => Test::Text,
                    "comment" => Test::Comment,
                    "processing-instruction" => Test::Never,
                    _ => return error(at, format!("there is no node test {name}()")),
                };
                if test == Test::Never && matches!(self.peek(), Token::Text(_)) {
                    self.next();
                }
                self.expect(")")?;
                Ok(test)
            }
            _ => error(at, "expected a step"),
        }
    }
}

/// `//step` is `/descendant-or-self::node()/step`; where positions do not matter, one walk does.
fn push_deep(steps: &mut Vec<Step>, mut step: Step) {
    if step.axis == Axis::Child && !step.predicates.iter().any(positional) {
        step.axis = Axis::Descendant;
    } else {
        let axis = Axis::DescendantOrSelf;
        steps.push(Step { axis, test: Test::Node, predicates: Vec::new() });
    }
    steps.push(step);
}

/// Whether the value of a predicate may depend on the position in the list that it filters.
fn positional(expr: &Expr) -> bool {
    fn is_number(expr: &Expr) -> bool {
        use Function as F;
        match expr {
            Expr::Number(_) | Expr::Negate(_) => true,
            Expr::Binary(op, ..) => {
                matches!(op, Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Mod)
            }
            Expr::Call(f, _) => matches!(
                f,
                F::Last
                    | F::Position
                    | F::Count
                    | F::StringLength
                    | F::Number
                    | F::Sum
                    | F::Floor
                    | F::Ceiling
                    | F::Round
            ),
            _ => false,
        }
    }
    fn mentions(expr: &Expr) -> bool {
        match expr {
            Expr::Binary(_, a, b) => mentions(a) || mentions(b),
            Expr::Negate(a) => mentions(a),
            Expr::Call(Function::Last | Function::Position, _) => true,
            Expr::Call(_, args) => args.iter().any(mentions),
            // Predicates inside of a path have a list of their own.
            Expr::Filter { base, .. } => mentions(base),
            Expr::Number(_) | Expr::Text(_) | Expr::Path { .. } => false,
        }
    }
    is_number(expr) || mentions(expr)
}
