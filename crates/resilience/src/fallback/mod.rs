//! Answers in another way when a call failed.
//!
//! | substitute | choose it when |
//! |---|---|
//! | a fixed value, [`Call::or_value`](crate::pipeline::Call::or_value) | an empty list or a default price is an honest answer |
//! | the last good value, [`Call::or_last_good`](crate::pipeline::Call::or_last_good) | an answer from a moment ago is better than none |
//! | another operation, [`Call::or_else`](crate::pipeline::Call::or_else) | there is a second provider, or the error must be told differently |
//!
//! A fallback is the outermost of all policies: it never runs inside a retry, which it would make believe
//! that all is well. And it hides nothing: the call that failed is counted as failed by its pipeline, the
//! substitute as a fallback beside it.

mod last_good;
#[cfg(test)]
mod tests;

pub use last_good::LastGood;
