//! What is measured: a policy around an operation that is ready at once.

use std::future::{Ready, ready};
use std::hint::black_box;

use anyhow::Result;
use tokio::runtime::{Builder, Runtime};

/// The same job, done by ours and by its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Row {
    Closed,
    Failing,
    Consecutive,
    Open,
    Retry,
    Timeout,
    Limiter,
    Keyed,
    Bulkhead,
    Pool,
    Alone,
    Pipeline,
}

impl Row {
    pub const ALL: [Self; 12] = [
        Self::Closed,
        Self::Failing,
        Self::Consecutive,
        Self::Open,
        Self::Retry,
        Self::Timeout,
        Self::Limiter,
        Self::Keyed,
        Self::Bulkhead,
        Self::Pool,
        Self::Alone,
        Self::Pipeline,
    ];

    /// As the command line spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Failing => "failing",
            Self::Consecutive => "consecutive",
            Self::Open => "open",
            Self::Retry => "retry",
            Self::Timeout => "timeout",
            Self::Limiter => "limiter",
            Self::Keyed => "keyed",
            Self::Bulkhead => "bulkhead",
            Self::Pool => "pool",
            Self::Alone => "alone",
            Self::Pipeline => "pipeline",
        }
    }

    /// What becomes of the calls of this row.
    const fn plan(self) -> Plan {
        match self {
            Self::Failing => Plan::EveryTenthFails,
            Self::Open => Plan::Refused,
            _ => Plan::Passes,
        }
    }
}

/// One policy of one library.
pub struct Subject {
    pub row: Row,
    pub name: &'static str,
    pub object: Object,
    /// Fails unless the policy does what it is there for, so that nobody is measured doing nothing.
    pub check: fn() -> Result<()>,
}

/// How the policy comes into being.
#[derive(Clone, Copy)]
pub enum Object {
    /// Many threads can use one.
    Shared(fn(Row) -> Share),
    /// Each thread needs its own.
    Single(fn(Row) -> Work),
}

/// Makes one more handle on the same object, for another thread.
pub type Share = Box<dyn Fn() -> Work>;

/// Makes so many calls.
pub type Work = Box<dyn FnMut(u64) + Send>;

impl Subject {
    /// A new object, ready to work.
    pub fn work(&self) -> Work {
        match self.object {
            Object::Shared(make) => make(self.row)(),
            Object::Single(make) => make(self.row),
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// The operation failed.
    Failed,
    /// The policy did not let it through, or gave it up.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    Passes,
    EveryTenthFails,
    Refused,
}

impl Plan {
    const fn expects(self, number: u64) -> Outcome {
        match self {
            Self::Passes => Outcome::Passed,
            Self::EveryTenthFails if fails(number) => Outcome::Failed,
            Self::EveryTenthFails => Outcome::Passed,
            Self::Refused => Outcome::Refused,
        }
    }
}

/// Calls made one after the other on this thread, each of which must end as the row has it.
///
/// Nothing ever has to wait, so tokio's cooperative budget would only make those yield who ask for it.
pub fn work<C>(row: Row, mut call: C) -> Work
where
    C: AsyncFnMut(u64) -> Outcome + Send + 'static,
{
    let plan = row.plan();
    let runtime = runtime();
    Box::new(move |calls| {
        let surprises = runtime.block_on(tokio::task::unconstrained(async {
            let mut surprises = 0_u64;
            for number in 0..calls {
                let outcome = black_box(call(black_box(number)).await);
                surprises += u64::from(outcome != plan.expects(number));
            }
            surprises
        }));
        assert_eq!(surprises, 0, "{surprises} of {calls} calls did not end as planned");
    })
}

/// What went wrong in an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure;

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the operation failed")
    }
}

impl std::error::Error for Failure {}

/// An operation that is ready at first poll.
pub type Done = Ready<Result<u64, Failure>>;

pub fn passes(number: u64) -> Done {
    ready(Ok(number))
}

pub fn every_tenth_fails(number: u64) -> Done {
    ready(if fails(number) { Err(Failure) } else { Ok(number) })
}

pub fn always_fails(_: u64) -> Done {
    ready(Err(Failure))
}

const fn fails(number: u64) -> bool {
    number % 10 == 9
}

/// The outcome of an operation that no policy refuses.
pub fn plain<T, E>(result: &Result<T, E>) -> Outcome {
    match result {
        Ok(_) => Outcome::Passed,
        Err(_) => Outcome::Failed,
    }
}

pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime without I/O")
}

/// Runs a check that has to wait.
pub fn block_on<T>(check: impl Future<Output = T>) -> T {
    runtime().block_on(check)
}
