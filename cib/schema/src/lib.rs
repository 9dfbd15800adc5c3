//! The CIB grammar as data: validation with positions, version ladder, upgrade steps.
