//! The native OCF agents: vip, container, dummy, stateful.
