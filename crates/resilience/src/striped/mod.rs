//! What several threads write without passing a cache line between them: the stripe of a thread, counters,
//! and counts over a time window.

mod counters;
#[cfg(all(test, intertie_loom))]
mod loom;
#[cfg(not(intertie_loom))]
mod thread;
#[cfg(intertie_loom)]
mod thread_of_loom;
mod window;

pub(crate) use counters::StripedCounters;
#[cfg(not(intertie_loom))]
pub(crate) use thread::thread_number;
#[cfg(all(test, intertie_loom))]
pub(crate) use thread_of_loom::be_thread;
#[cfg(intertie_loom)]
pub(crate) use thread_of_loom::thread_number;
pub(crate) use window::StripedWindow;

/// Stripes of a striped structure; threads beyond the eighth share. Under loom two stand for eight: all that
/// happens between stripes happens between two.
pub(crate) const STRIPES: usize = if cfg!(intertie_loom) { 2 } else { 8 };

/// The stripe of the calling thread.
#[inline]
pub(crate) fn stripe() -> usize {
    stripe_of(thread_number())
}

#[inline]
fn stripe_of(thread: usize) -> usize {
    thread % STRIPES
}

/// Keeps what is written by different threads on different cache lines, and apart from their neighbours,
/// which processors fetch in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);
