//! DC election, join, transition execution and fail counts, as a pure machine.
