//! The Totem single-ring protocol as a pure machine: frames, sealing, ring, recovery, links.
