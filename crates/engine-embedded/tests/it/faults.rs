//! A disk that says no.
