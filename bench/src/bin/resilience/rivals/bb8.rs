//! bb8, with resources that are there at once and not checked.

use std::time::Duration;

use anyhow::{Result, ensure};
use bb8::{ManageConnection, Pool};

use crate::subject::{Failure, Object, Outcome, Row, Share, Subject, block_on, passes, plain, work};

pub fn subjects() -> Vec<Subject> {
    vec![Subject { row: Row::Pool, name: "bb8", object: Object::Shared(calls), check }]
}

/// Makes numbers.
struct Numbers;

impl ManageConnection for Numbers {
    type Connection = u64;
    type Error = Failure;

    async fn connect(&self) -> Result<u64, Failure> {
        Ok(7)
    }

    async fn is_valid(&self, _: &mut u64) -> Result<(), Failure> {
        Ok(())
    }

    fn has_broken(&self, _: &mut u64) -> bool {
        false
    }
}

/// Without the lives of connections, which would want a task of its own.
fn pool(most: u32) -> Pool<Numbers> {
    Pool::builder()
        .max_size(most)
        .test_on_check_out(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connection_timeout(Duration::from_millis(5))
        .build_unchecked(Numbers)
}

fn calls(row: Row) -> Share {
    let shared = pool(10);
    // It spawns a task for each connect; the first is made here, where somebody drives it.
    block_on(async { drop(shared.get().await.expect("a number")) });
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
    block_on(async {
        let held = pool.get().await;
        ensure!(held.is_ok(), "there was no resource");
        ensure!(pool.get().await.is_err(), "a second caller got one of one");
        drop(held);
        ensure!(pool.get().await.is_ok(), "a resource was not given back");
        Ok(())
    })
}
