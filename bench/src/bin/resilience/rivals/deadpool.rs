//! deadpool, with resources that are there at once.

use anyhow::{Result, ensure};
use deadpool::managed::{Manager, Metrics, Pool, RecycleResult, Timeouts};

use crate::subject::{Failure, Object, Outcome, Row, Share, Subject, block_on, passes, plain, work};

pub fn subjects() -> Vec<Subject> {
    vec![Subject { row: Row::Pool, name: "deadpool", object: Object::Shared(calls), check }]
}

/// Makes numbers.
struct Numbers;

impl Manager for Numbers {
    type Type = u64;
    type Error = Failure;

    async fn create(&self) -> Result<u64, Failure> {
        Ok(7)
    }

    async fn recycle(&self, _: &mut u64, _: &Metrics) -> RecycleResult<Failure> {
        Ok(())
    }
}

fn pool(most: usize) -> Pool<Numbers> {
    Pool::builder(Numbers).max_size(most).build().expect("the settings work together")
}

fn calls(row: Row) -> Share {
    let shared = pool(10);
    Box::new(move || {
        let pool = shared.clone();
        work(row, async move |number| {
            let Ok(resource) = pool.get().await else { return Outcome::Refused };
            let outcome = plain(&passes(number + *resource).await);
            drop(resource);
            outcome
        })
    })
}

fn check() -> Result<()> {
    let pool = pool(1);
    let at_once = Timeouts { wait: Some(std::time::Duration::ZERO), ..Timeouts::default() };
    block_on(async {
        let held = pool.get().await;
        ensure!(held.is_ok(), "there was no resource");
        ensure!(pool.timeout_get(&at_once).await.is_err(), "a second caller got one of one");
        drop(held);
        ensure!(pool.get().await.is_ok(), "a resource was not given back");
        Ok(())
    })
}
