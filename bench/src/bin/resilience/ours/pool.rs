//! Our pool, with resources that are there at once and not checked.

use std::num::NonZeroU32;

use anyhow::{Result, ensure};
use intertie_resilience::pool::{CheckOnCheckout, Manage};
use intertie_resilience::{Pool, PoolConfig};

use crate::subject::{Failure, Object, Outcome, Row, Share, Subject, block_on, passes, plain, work};

pub fn subjects() -> Vec<Subject> {
    vec![Subject { row: Row::Pool, name: "ours", object: Object::Shared(calls), check }]
}

/// Makes numbers.
struct Numbers;

impl Manage for Numbers {
    type Resource = u64;
    type Error = Failure;

    async fn connect(&self) -> Result<u64, Failure> {
        Ok(7)
    }

    async fn check(&self, _: &mut u64) -> Result<(), Failure> {
        Ok(())
    }

    fn is_broken(&self, _: &u64) -> bool {
        false
    }
}

fn pool(most: u32) -> Pool<Numbers> {
    let config = PoolConfig {
        max: NonZeroU32::new(most).expect("some"),
        min_idle: 0,
        queue: 0,
        check_on_checkout: CheckOnCheckout::Never,
        ..PoolConfig::default()
    };
    Pool::new(Numbers, config).expect("the settings work together")
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
    block_on(async {
        let held = pool.get().await;
        ensure!(held.is_ok(), "there was no resource");
        ensure!(pool.get().await.is_err(), "a second caller got one of one");
        drop(held);
        ensure!(pool.get().await.is_ok(), "a resource was not given back");
        Ok(())
    })
}
