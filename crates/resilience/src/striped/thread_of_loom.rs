//! Numbers of loom's threads, which are all one thread of the system: each test says who is who.

use std::cell::Cell;

loom::thread_local! {
    static NUMBER: Cell<usize> = Cell::new(0);
}

/// From now on the calling thread has this number.
#[cfg(test)]
pub(crate) fn be_thread(number: usize) {
    NUMBER.with(|own| own.set(number));
}

pub(crate) fn thread_number() -> usize {
    NUMBER.with(Cell::get)
}
