//! Deliberate defects, by which the simulator proves that its checkers would find real ones.
//!
//! Each place that carries a promise asks [`mutant`] whether it is to break it. That is a constant
//! `false`, and is compiled away, unless the feature `mutants` is on, which only the simulator has;
//! the daemon refuses to be built with it.

#[cfg(feature = "mutants")]
use std::cell::Cell;

/// Whether this build can break its promises.
pub const BUILT_IN: bool = cfg!(feature = "mutants");

macro_rules! mutants {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*) => {
        /// A promise that is broken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Mutant] = &[$(Mutant::$variant,)*];

            /// What it is called.
            pub fn name(self) -> &'static str {
                match self {
                    $(Mutant::$variant => $name,)*
                }
            }
        }
    };
}

mutants! {
    /// A change is acknowledged before any disk has it.
    NoDisk = "acknowledged-without-disk",
    /// One replica is changed in another way than the others.
    Diverging = "replica-diverges",
    /// A fence that failed counts as confirmed.
    FailedFence = "failed-fence-succeeds",
    /// An operation begins though the CIB does not say that it is pending.
    NoPending = "no-pending-entry",
    /// Nothing waits for what an earlier transition has begun.
    NoLanes = "lanes-off",
    /// A plan is carried out though something has happened since it was begun.
    OutdatedPlan = "outdated-plan",
    /// A migration begins before all members know of it.
    AgreedMigration = "migration-not-safe",
    /// Half of the votes are taken for a majority.
    WeakQuorum = "quorum-without-majority",
    /// A node that is on its way back from a fence is fenced again at once.
    NoPatience = "patience-ignored",
    /// A stop gets the parameters of the configuration instead of those of its start.
    StopParameters = "stop-without-start-parameters",
}

#[cfg(feature = "mutants")]
thread_local! {
    static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Whether this promise is to be broken.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn mutant(_: Mutant) -> bool {
    false
}

/// Whether this promise is to be broken.
#[cfg(feature = "mutants")]
pub fn mutant(mutant: Mutant) -> bool {
    ON.get() == Some(mutant)
}

/// Has a promise broken on this thread from now on, or none.
#[cfg(feature = "mutants")]
pub fn set(mutant: Option<Mutant>) {
    ON.set(mutant);
}
