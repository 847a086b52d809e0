//! Everything durable in one data directory: SQLite behind one writer that commits in groups.
//!
//! [`Embedded`] is the engine: queues, topics, inboxes and the records of requests are parts of one state of one
//! [`store::Store`], with their tables in one file, so that one transaction reaches across all of them.
//! The event store, sagas and timers join the same file; they are not in the tree yet. Any tool that
//! reads SQLite opens that file, also while it is in use; one that writes to it stops the store.
//!
//! # What is promised, and when
//!
//! **A command that was answered with its reply is on the disk.** Its group's pages stand in the write-ahead
//! log, and the log was synced, before any caller of the group was answered. It is found after a crash of the
//! process, a kill, a crash of the system and a loss of power, wherever the disk keeps what it said to have
//! synced.
//!
//! **A group is stored whole or not at all**, and groups are stored in the order in which they were answered:
//! what a crash leaves is all groups up to some point, and all that were answered are before that point.
//!
//! **A command that was answered with an error is not stored**, but for [`store::SubmitError::Unknown`]: the
//! disk failed while it was asked to sync, and only opening again tells.
//!
//! **After the first error of the disk nothing is written.** A sync that failed can not be repeated: the
//! kernel takes the pages for written, and the next sync says yes without them. So the store is
//! [`store::Health::Failed`], answers what waits with [`store::SubmitError::Unavailable`], and goes on
//! reading. Opening it again copies what the log holds, syncs the copy, and moves it into the database,
//! before the first write. A full disk is no exception, though its group is often certainly not stored: the
//! checkpoints that would have to follow need room as well, and opening again, which takes milliseconds,
//! makes some.
//!
//! **A panic of the writer is a failure like another**: whoever waits is told at once, and nobody is told that
//! something is not stored which is.
//!
//! **The time that a state is told never runs back and never stands still**, whatever the wall clock does, across
//! crashes too: while that clock is behind, time goes on by the monotonic clock from where it was.
//!
//! # What that costs
//!
//! A commit takes one sync, whatever the number of commands in it, so the rate grows with those who wait
//! together. On a disk that syncs in 250 µs one caller makes less than 4,000 commits a second. 64 callers who
//! share each sync also share it with the work on 64 rows of 256 bytes, which took 220 µs here (without a
//! sync: 293,000 rows a second): 64 in 470 µs would be 136,000 a second. That is arithmetic: the example
//! `appends` made 114,000 to 140,000 on a disk while others used the machine, and 13,000 to 36,000 when its disk
//! synced no more than 590 to 1,010 times a second.
//!
//! Counted for 64 callers who append records of 256 bytes to one table (the example `appends`): a group is
//! one sync, 22 writes of 54 KiB in all (the log, and later the database), 6 calls for locks, and 5,200
//! instructions of the writer for each record. One statement for each row instead of [`store::State::flush`]
//! makes that 6,800; a table `WITHOUT ROWID`, 7,500 and 73 KiB; pages of 8 KiB, 5,500 and 68 KiB in 15
//! writes. A file that gives nothing back would save 2 writes and 350 instructions. How often the log is
//! moved to the database changes nothing here.
//!
//! To share a sync, a group waits for callers of the last one to come back, for at most
//! [`gather`](store::StoreConfig::gather): 64 callers made groups of 46 without it, and of 63.9 with the
//! default. Callers who do not come back are soon waited for in one group of 64.
//!
//! Between two groups, when [`checkpoint_after`](store::StoreConfig::checkpoint_after) of the log is not in
//! the database yet, the writer moves it there, with a sync of each file: 16 MiB are 4,096 pages, and for all
//! writers a pause of some tens of milliseconds. Readers do not wait for it.
//!
//! What queues cost stands with their tables, in `queue/tables.rs`: a message that is sent, leased and
//! acknowledged is six rows written and one read. Memory holds what happens next and not what waits: the
//! heads of what is ready, the leases that are out, the settlements that are remembered. A lease is as fast
//! however much waits behind it, and opening reads queues, leases and settlements, and no message that nobody
//! holds.
//!
//! What topics cost stands with theirs, in `log/tables.rs`: a record is one row, and nothing is read to append it.
//! Its place is known from memory, and so is the end of its partition to whoever reads, who asks the file only
//! when there is something, on a connection of its own, a page at a time. A reader that is slow, or a group that
//! is a million records behind, takes no memory and holds nobody up; it holds no record back either: what is over
//! by `retention` is removed, whether a group has read it or not.
//!
//! A group also moves bytes that none of its commands brought: messages that are leased, that die, that are redriven.
//! Each of these is bounded by [`group_bytes_max`](store::StoreConfig::group_bytes_max), so that 64 consumers who ask for
//! 16 MiB each get 8 MiB a group in turn, and time that ends ten thousand leases at once does so group by group.
//!
//! Who waits for messages is told of as many as there are, the first who came first, and nobody of what its share does
//! not allow it. A name that is not there is compared with those that are by a reader, and not by the writer.
//!
//! What of the store is in memory is bounded by its settings: 64 MiB of commands that wait, 64 MiB of pages
//! of the writer and 8 MiB of each of two readers are the defaults, and what the states keep.
//!
//! On the disk a reserve, at least [`checkpoint_after`](store::StoreConfig::checkpoint_after) larger than the
//! log, keeps the room that opening needs for a copy of the log: so a store that a full disk stopped opens on
//! that full disk, and can be read and emptied. Where there is no room for a reserve, the store says so
//! (`store_reserve_short`) and goes on.
//!
//! SQLite syncs by `fsync` unless it is built with `LIBSQLITE3_FLAGS=-DHAVE_FDATASYNC=1`, as this workspace
//! does. The promise is the same; one caller alone makes a fifth fewer commits.
//!
//! # What is damaged, and what a later version wrote
//!
//! A message whose row is gone or is none of this program's is taken out of the way when it would be delivered or would
//! die, and the next one is delivered. What there is of it stays in the table `message`, for whoever can mend it. A queue
//! whose specification can not be read is refused as unavailable when it is named, keeps its messages and its place, and
//! can be deleted; all others are open, and what dies in one whose dead letters go there stays at its end. Each is told by its name, as the event `storage_damaged`, counted in
//! `storage_damages`, and listed by [`Embedded::damages`] beside [`Embedded::health`], which only says whether the
//! directory takes writes: it does.
//!
//! A topic of which the specification or a partition's counters can not be read is treated likewise. A record that can
//! not be read comes to its readers as one that can not be decoded, at its position, and those behind it come, too. Of a
//! group a position that can not be read is none: it begins there as it once began.
//!
//! A specification with a key that this version does not know was written by a later one. To leave the key out would break
//! what was promised with it, so the directory is not opened, by the name of the queue or topic and of the key
//! ([`store::OpenError::NewerSpec`]), and nothing in it is changed. The report of how a message died promises nothing:
//! what a later version says in it beyond what is known is left out.
//!
//! # What is not promised
//!
//! A bit that flips on the disk after its sync is found by SQLite's checks only where it breaks a structure,
//! and in the write-ahead log it ends the log there; [`store::maintenance::verify`] and backups are for that.
//! Network filesystems are refused where they can be told, since their locks and syncs promise less.

mod damage;
mod embedded;
mod inbox;
mod log;
mod moment;
mod queue;
mod requests;
mod state;
mod statement;
pub mod store;
mod wakes;

pub use damage::{Damage, Damaged};
pub use embedded::{Embedded, EmbeddedConfig};
use intertie_messaging::stored as content;
