//! One node's machines wired together: the same wiring in the daemon and in the simulator.
