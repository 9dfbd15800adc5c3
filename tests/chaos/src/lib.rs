//! Random faults on real daemons: `cargo xtask chaos`.
//!
//! Each round makes a cluster in the lab, lets it run resources whose agent keeps a ledger of its
//! activity outside of the hosts, makes the faults of a list happen, ends them all, and waits until
//! everything runs again. What must hold (numbers are those of the invariants in ARCHITECTURE.md;
//! 8 is that of this crate):
//!
//! - 1: a resource is active on at most one host ([`Evidence::at_most_one_active`]);
//! - 2: what a lost host had starts elsewhere only after a device has confirmed that host's fence
//!   ([`Evidence::nothing_starts_before_the_fence`]);
//! - 4: every change that was acknowledged to a writer is there in the end, on all nodes;
//! - 5: everything runs again within a bound, and nobody is fenced without need
//!   ([`need::fences_allowed`] has the rule);
//! - 7: no daemon panics;
//! - 8: a stop gets the parameters of its start ([`Evidence::stops_get_what_starts_got`]).
//!
//! Faults come from a seed ([`Script::draw`]). The moments at which daemons act do not, so a seed
//! gives the same faults again, and not always the same outcome. A list that failed is shortened
//! ([`shrink`]) by trying shorter ones.
//!
//! Pure: drawing, the text of lists, the checkers over the ledger, shrinking. The rest needs root.

#![forbid(unsafe_code)]

mod faults;
mod ledger;
pub mod need;
mod random;
mod round;
mod shrink;
mod stage;

pub use faults::{Command, Fault, Kind, Script, Trouble};
pub use ledger::{Cut, End, Entry, Evidence, Power, Tenure, What};
pub use round::{Report, keep_folder, run};
pub use shrink::shrink;
