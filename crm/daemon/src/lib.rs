//! The driver: wires the machines to tokio, disk, IPC, agents and D-Bus.
