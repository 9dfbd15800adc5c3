//! Fence devices, levels, delays, retries and history, as a pure machine.
