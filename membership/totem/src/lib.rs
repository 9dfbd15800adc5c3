//! The Totem single-ring protocol as a pure machine: frames, sealing, ring, recovery, links.
//!
//! What it promises to the layer above (extended virtual synchrony, after Amir, Moser,
//! Melliar-Smith, Agarwal and Ciarfella, "The Totem Single-Ring Ordering and Membership Protocol",
//! 1995):
//!
//! 1. All members of a ring deliver the same messages in the same order.
//! 2. Members that go together from one view to the next have delivered the same messages before
//!    the change; [`RingView::came_with_us`] names them.
//! 3. A message that was accepted from the local node is delivered to it exactly once, unless the
//!    node ends first.
//! 4. A message sent with [`Guarantee::Safe`] is delivered in a view only when every member of that
//!    view has received it; if that cannot be known, a transitional view, which has only the
//!    members that came along, is announced before it is delivered.
//!
//! The phases: *gather* (join messages until all agree on the members), *commit* (a token goes
//! round twice and collects what each member knows of its old ring), *recovery* (what some members
//! of an old ring missed is sent again on the new one), *operational*.
//!
//! Unlike the paper, the loss of a node is found by heartbeats, not by waiting for the token: a
//! silent peer is suspected, then probed, and left out only when it stays silent. A peer counts as
//! connected only if it says that it hears us. The loss of the token remains as the upper bound.
//!
//! [`Totem`] follows the machine contract: one input, then [`Totem::poll_effect`] until `None`, then
//! [`Totem::poll_timeout`].

#![forbid(unsafe_code)]

mod commit;
mod gather;
mod machine;
mod outbox;
mod peers;
mod seal;
mod settings;
mod store;
mod token;
mod wire;

pub use membership_base::Guarantee;

pub use machine::{Effect, Input, PeerStatus, Reason, RingView, Status, Totem};
pub use peers::Liveness;
pub use seal::{Reject, VERSION};
pub use settings::{NodeLinks, Settings, Timing};
pub use wire::{Phase, RingId, WireError};
