//! What users see of the whole server: real processes, real sockets, real signals.

mod harness;

mod policies;
