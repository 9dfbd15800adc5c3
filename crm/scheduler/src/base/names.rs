//! Names of operations and of actions that belong to no resource, as numbers.

use cib_model::Str;
use rustc_hash::FxHashMap;

/// An interned name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Sym(pub(crate) u32);

macro_rules! tasks {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// Names that the planner itself uses.
        pub(crate) mod task {
            use super::Sym;
            #[allow(
                non_camel_case_types,
                clippy::upper_case_acronyms,
                dead_code,
                reason = "the variants only number the constants of the same names"
            )]
            enum Number { $($name),* }
            $(pub(crate) const $name: Sym = Sym(Number::$name as u32);)*
        }
        const KNOWN: &[&str] = &[$($text),*];
    };
}

tasks! {
    NONE = "no_action",
    MONITOR = "monitor",
    STOP = "stop",
    STOPPED = "stopped",
    START = "start",
    RUNNING = "running",
    NOTIFY = "notify",
    NOTIFIED = "notified",
    PROMOTE = "promote",
    PROMOTED = "promoted",
    DEMOTE = "demote",
    DEMOTED = "demoted",
    DO_SHUTDOWN = "do_shutdown",
    STONITH = "stonith",
    CANCEL = "cancel",
    CLEAR_FAILCOUNT = "clear_failcount",
    DELETE = "delete",
    LRM_DELETE = "lrm_delete",
    MIGRATE_TO = "migrate_to",
    MIGRATE_FROM = "migrate_from",
    RELOAD_AGENT = "reload-agent",
    MAINTENANCE_NODES = "maintenance_nodes",
    STONITH_ON = "stonith-on",
}

/// The interner.
pub(crate) struct Names {
    list: Vec<Str>,
    index: FxHashMap<Str, Sym>,
    numbers: FxHashMap<i64, Str>,
}

impl Default for Names {
    fn default() -> Names {
        let (list, index) = (Vec::new(), FxHashMap::default());
        let mut names = Names { list, index, numbers: FxHashMap::default() };
        for text in KNOWN {
            names.intern(text);
        }
        names
    }
}

impl Names {
    pub(crate) fn intern(&mut self, text: &str) -> Sym {
        if let Some(sym) = self.index.get(text) {
            return *sym;
        }
        let sym = Sym(self.list.len() as u32);
        let text: Str = text.into();
        self.list.push(text.clone());
        self.index.insert(text, sym);
        sym
    }

    /// The name as text of which there is one only.
    pub(crate) fn shared(&mut self, text: &str) -> Str {
        let sym = self.intern(text);
        self.text(sym).clone()
    }

    /// A number as text: most actions have the same few.
    pub(crate) fn number(&mut self, number: i64) -> Str {
        self.numbers.entry(number).or_insert_with(|| number.to_string().into()).clone()
    }

    pub(crate) fn text(&self, sym: Sym) -> &Str {
        &self.list[sym.0 as usize]
    }

    /// The name as one of a plain action: names within notifications count as what is notified.
    pub(crate) fn ends_with(&self, sym: Sym, suffix: &str) -> bool {
        self.list[sym.0 as usize]
            .strip_suffix(suffix)
            .is_some_and(|r| r.is_empty() || r.ends_with('_'))
    }
}

impl Sym {
    /// The action that marks this one's completion for a collective resource.
    pub(crate) fn completed(self) -> Option<Sym> {
        Some(match self {
            task::STOP | task::STOPPED => task::STOPPED,
            task::START | task::RUNNING => task::RUNNING,
            task::NOTIFY | task::NOTIFIED => task::NOTIFIED,
            task::PROMOTE | task::PROMOTED => task::PROMOTED,
            task::DEMOTE | task::DEMOTED => task::DEMOTED,
            _ => return None,
        })
    }

    /// For a primitive, the action itself rather than its completion.
    pub(crate) fn uncompleted(self) -> Sym {
        match self {
            task::STOPPED => task::STOP,
            task::RUNNING => task::START,
            task::DEMOTED => task::DEMOTE,
            task::PROMOTED => task::PROMOTE,
            other => other,
        }
    }

    /// Whether the planner knows what it means for roles.
    pub(crate) fn is_known(self) -> bool {
        self.0 >= task::MONITOR.0 && self.0 <= task::STONITH.0
    }
}
