//! One transaction of many commands.

use std::panic::{AssertUnwindSafe, catch_unwind};

use intertie_core::clock::Timestamp;
use rusqlite::Connection;
use tokio::time::Instant;

use super::super::defect::Defect;
use super::super::failure::{Failure, Step};
use super::super::shared::{Envelope, Outcome};
use super::super::state::State;
use super::super::submit_error::SubmitError;
use super::Writer;

/// What a command came to, told once its group is durable.
#[derive(Debug)]
enum Verdict<S: State> {
    Applied(S::Reply),
    Refused(S::Refusal),
}

impl<S: State> Verdict<S> {
    /// What its caller hears.
    fn told(self, committed: &Result<(), Failure>) -> Outcome<S> {
        match (committed, self) {
            (Ok(()), Self::Applied(reply)) => Ok(reply),
            (Ok(()), Self::Refused(refusal)) => Err(SubmitError::Refused(refusal)),
            (Err(failure), Self::Applied(_)) => Err(SubmitError::Unknown(failure.clone())),
            (Err(failure), Self::Refused(_)) => Err(SubmitError::Unavailable(failure.clone())),
        }
    }
}

impl<S: State> Writer<S> {
    pub(super) fn next_group(&mut self) -> Vec<Envelope<S>> {
        let mailbox = &self.shared.mailbox;
        if !self.limits.gather.is_zero() {
            let (answered, waiting) = self.last;
            let target = self.gather.target(answered, waiting).min(self.limits.portion.items);
            if target > 1 {
                let gathered = mailbox.gather(target, self.limits.gather);
                self.gather.observe(waiting, target, gathered);
            }
        }
        mailbox.take(self.limits.portion)
    }

    /// Does what is due, applies a group, commits it, and answers all of it.
    pub(super) fn write(&mut self, envelopes: Vec<Envelope<S>>) -> Result<(), Failure> {
        let (commands, answers): (Vec<_>, Vec<_>) =
            envelopes.into_iter().map(|envelope| (envelope.command, envelope.answer)).unzip();
        self.answers = answers;
        let verdicts = match self.transaction(commands) {
            Ok(verdicts) => verdicts,
            Err(failure) => {
                self.shared.fail(&failure);
                for answer in self.answers.drain(..).flatten() {
                    // A caller who left needs no answer.
                    let _ = answer.send(Err(SubmitError::Unavailable(failure.clone())));
                }
                return Err(failure);
            }
        };
        if self.defect == Some(Defect::AcknowledgesBeforeSync) {
            self.answer(verdicts, &Ok(()))?;
            return commit(&self.connection);
        }
        self.enter(Step::Commit);
        let committed = commit(&self.connection);
        if self.defect == Some(Defect::WritesOnAfterFailedSync) && committed.is_err() {
            return self.answer(verdicts, &committed);
        }
        if let Err(failure) = &committed {
            self.shared.fail(failure);
        }
        let answered = self.answer(verdicts, &committed);
        committed.and(answered)
    }

    /// Begins a transaction, does what is due, and applies the commands that their checks let through.
    fn transaction(&mut self, commands: Vec<S::Command>) -> Result<Vec<Verdict<S>>, Failure> {
        self.enter(Step::Begin);
        let begin = |source| Failure::sqlite(Step::Begin, source);
        execute(&self.connection, "BEGIN IMMEDIATE").map_err(begin)?;
        if data_version(&self.connection).map_err(begin)? != self.data_version {
            return Err(Failure::ForeignWrite);
        }
        self.enter(Step::Apply);
        let now = self.clock.now();
        self.shared.counters.ahead(self.clock.ahead(now));
        self.apply(commands, now).map_err(|source| Failure::sqlite(Step::Apply, source))
    }

    fn apply(&mut self, commands: Vec<S::Command>, now: Timestamp) -> rusqlite::Result<Vec<Verdict<S>>> {
        let (connection, state) = (&self.connection, &mut self.state);
        let changes = connection.total_changes();
        let due = state.next_due().filter(|due| *due <= now);
        self.asked = due.map(|due| (due, Instant::now()));
        if due.is_some() {
            state.run_due(connection, now)?;
        }
        let verdicts = commands.into_iter().map(|command| {
            let changes = connection.total_changes();
            let checked = state.check(connection, &command, now)?;
            debug_assert_eq!(changes, connection.total_changes(), "a check wrote to the database");
            match checked {
                Ok(()) => state.apply(connection, command, now).map(Verdict::Applied),
                Err(refusal) => Ok(Verdict::Refused(refusal)),
            }
        });
        let verdicts = verdicts.collect::<rusqlite::Result<_>>()?;
        state.flush(connection)?;
        // Without a write the commit costs no sync, and nothing that is stored knows of the time.
        if changes != connection.total_changes() {
            self.clock.keep(connection, now)?;
        }
        Ok(verdicts)
    }

    /// Answers each caller, even when the state panics as it hears of its commit, and takes back what nobody heard.
    fn answer(&mut self, verdicts: Vec<Verdict<S>>, committed: &Result<(), Failure>) -> Result<(), Failure> {
        let mut published = Ok(());
        if committed.is_ok() {
            self.enter(Step::Answer);
            let state = AssertUnwindSafe(|| self.state.committed());
            published = catch_unwind(state).map_err(|_| Failure::Panicked { during: Step::Answer });
            let refused = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Refused(_)));
            let refused = refused.count() as u64;
            self.shared.counters.committed(verdicts.len() as u64 - refused, refused);
        }
        self.last = (verdicts.len(), self.shared.mailbox.len());
        let mut undelivered = Vec::new();
        for (verdict, answer) in verdicts.into_iter().zip(self.answers.drain(..)) {
            let outcome = verdict.told(committed);
            let unheard = match answer {
                Some(answer) => answer.send(outcome).err(),
                None => None,
            };
            if let Some(Ok(reply)) = unheard {
                undelivered.push(reply);
            }
        }
        for reply in undelivered {
            self.shared.undelivered(reply);
        }
        published
    }
}

/// Makes what was applied durable: when this returns, the log is synced. Without a write it costs no sync.
fn commit(connection: &Connection) -> Result<(), Failure> {
    execute(connection, "COMMIT").map_err(|source| Failure::sqlite(Step::Commit, source))
}

/// Changes whenever another connection has written to the database.
pub(super) fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

fn execute(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(|_| ())
}
