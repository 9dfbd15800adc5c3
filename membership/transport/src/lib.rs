//! The driver of the ring: sockets, its own real-time thread, timers.
