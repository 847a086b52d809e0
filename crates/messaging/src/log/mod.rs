//! What happened, in order: records stay when they are read, and every reader goes at its own pace.
//!
//! - [`TopicSpec`]: what a topic promises.
//! - [`LogEngine`]: who keeps topics.
//! - [`Read`] and [`StartAt`]: reading on, and again from the beginning, from a position or from a moment.
//! - [`Join`], [`Heartbeat`] and [`Assignment`]: members of a group, who share the partitions of a topic.
//! - [`Seek`]: where a group goes on, said by somebody else.
//! - [`Coordinator`]: who of them gets which, where the engine does not decide it.
//! - [`Lag`]: how far a group is behind.
//! - [`KeyHash`]: which partition a key has, where the engine does not decide it.
//!
//! A partition is in order, a topic is not. A group remembers one position for each partition and nothing of single
//! records; that is what [`queue`](crate::queue) is for.

mod coordinator;
mod key_hash;
mod port;
mod spec;

#[cfg(test)]
mod tests;

pub use coordinator::{Coordinator, Held, Turn};
pub use key_hash::KeyHash;
pub use port::{
    Assignment, Heartbeat, Join, Lag, LogEngine, Member, Membership, Read, Record, Records, Seek, StartAt,
    Stored,
};
pub use spec::{Cleanup, TopicFeature, TopicSpec};
