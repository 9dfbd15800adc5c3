//! Operation queues and recurring operations of one node, as a pure machine.
