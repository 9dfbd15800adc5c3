//! The lab: hosts, faults and clients for end-to-end tests.
