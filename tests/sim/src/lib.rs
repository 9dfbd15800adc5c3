//! Whole-cluster simulation under a seeded clock and network, with invariant checkers.
