//! Disks that lose power, for tests of what must survive that.
//!
//! A [`Disk`] stands beneath SQLite for all files of one directory. It records every write, truncation, sync and
//! deletion, and fails those that it is told to fail. [`Disk::crashes`] then goes through the moments at which
//! power could have been lost, and lays out for each what a real disk may hold: what was synced, and of the rest
//! any part, in any order, torn at 512 or 4096 bytes, or with bits flipped.
//!
//! A sync that fails is as bad as kernels make it: what it should have synced is lost or not, as chance has it;
//! reads still find it, and the next sync does not write it.
//!
//! Nothing in the code under test knows of this: [`Disk::beneath`] makes SQLite's default VFS one that asks for
//! each file whether a simulated disk is beneath it. It passes everything on to the VFS that was the default
//! before, except syncs, which are only recorded.
//!
//! What a program writes past SQLite is not seen, but for one thing: a file that it replaced by another is taken to be
//! synced, and to have taken the place of the one before at once.

mod crash;
mod disk;
mod journal;
mod vfs;

pub use crash::{Crash, Crashes};
pub use disk::{Disk, Fault};
