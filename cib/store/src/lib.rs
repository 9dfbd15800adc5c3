//! The replicated CIB: versions, patches, access control, sync and merge, as a pure machine.
