use intertie_core::clock::Timestamp;
use rusqlite::Connection;

/// What a store keeps: tables in its database, and beside them what the writer has in memory to be fast.
///
/// The writer owns it and calls it from one thread. For each group it begins a transaction, gives every command in
/// turn to [`State::check`] and, unless that refuses it, to [`State::apply`]; then it calls [`State::flush`], commits,
/// calls [`State::committed`], and answers. A command sees what those before it in its group did.
///
/// What is in memory follows the database exactly, because a state outlives no failure: after a failed statement,
/// commit or panic the writer drops it with the transaction, and opening loads the next one from what is stored. So
/// `apply` may change memory as it goes. What others may see of it leaves in `committed`, and not before.
///
/// The `now` of each call is not before that of any call whose group was committed, in this process or an earlier one,
/// and it goes on while the wall clock is set back.
///
/// Applying is deterministic: `now` is an argument, and a command that needs a random number or a new identifier
/// carries it. A command is a plain value, never a closure.
pub trait State: Send + 'static {
    /// What can be asked of it.
    type Command: Send + 'static;
    /// What a command that was stored is answered.
    type Reply: Send + 'static;
    /// Why a command is not stored.
    type Refusal: Send + 'static;

    /// What a command weighs against `pending_bytes_max` and `group_bytes_max`: the bytes that its sender chose.
    fn bytes(command: &Self::Command) -> usize;

    /// Whether `command` can be applied. It writes nothing, so a refusal costs its neighbours nothing.
    ///
    /// # Errors
    /// Those of the database; they stop the store. The inner error refuses the command.
    fn check(
        &self,
        connection: &Connection,
        command: &Self::Command,
        now: Timestamp,
    ) -> rusqlite::Result<Result<(), Self::Refusal>>;

    /// Does what `command` says, which was checked right before.
    ///
    /// # Errors
    /// Those of the database; they stop the store. A statement that breaks a constraint is one too: the check
    /// should have refused its command.
    fn apply(
        &mut self,
        connection: &Connection,
        command: Self::Command,
        now: Timestamp,
    ) -> rusqlite::Result<Self::Reply>;

    /// Writes what [`State::apply`] only noted in memory, at the end of each group, before its commit: with statements
    /// that insert 32 rows each, the writer has a fifth less to do than with one for each row. Until then no check finds
    /// those rows in their tables.
    ///
    /// # Errors
    /// Those of the database; they stop the store.
    fn flush(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let _ = connection;
        Ok(())
    }

    /// What the last group did is durable, and its callers are about to be answered.
    fn committed(&mut self) {}

    /// What takes back `reply`, whose caller dropped its [`Answer`](super::Answer) before it had it: a lease that
    /// nobody has is released. It is submitted like any other command, but past the bounds on what waits, and nobody
    /// hears what becomes of it.
    ///
    /// A caller may drop its answer in any thread, so this is called there. What is dropped while the store closes, or
    /// after, is not taken back, and neither is what a crash keeps from being heard.
    fn undelivered(reply: Self::Reply) -> Option<Self::Command> {
        let _ = reply;
        None
    }

    /// When something is to be done though no command comes. It is asked after each group.
    fn next_due(&self) -> Option<Timestamp> {
        None
    }

    /// Does what is due at `now`, or a part of it that takes no longer than a group of commands may: what is left is
    /// done after the group, before which this is called. Whoever still names the same moment after that is called
    /// again, a millisecond later at the soonest.
    ///
    /// A wall clock that jumps ahead while nobody sends is noticed within a minute.
    ///
    /// # Errors
    /// Those of the database; they stop the store.
    fn run_due(&mut self, connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
        let _ = (connection, now);
        Ok(())
    }
}
