//! Benchmarks and figures as commands anyone can run.
