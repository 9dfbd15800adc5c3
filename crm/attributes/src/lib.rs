//! The replicated node attributes, as a pure machine.
