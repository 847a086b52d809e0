//! Our bulkhead without a queue.

use std::num::NonZeroU32;

use anyhow::{Result, ensure};
use intertie_core::rejection::Rejection;
use intertie_resilience::bulkhead::Permit;
use intertie_resilience::{Bulkhead, BulkheadConfig};

use crate::subject::{Object, Outcome, Row, Share, Subject, passes, plain, work};

pub fn subjects() -> Vec<Subject> {
    vec![Subject { row: Row::Bulkhead, name: "ours", object: Object::Shared(calls), check }]
}

pub fn config(places: u32) -> BulkheadConfig {
    BulkheadConfig::new(NonZeroU32::new(places).expect("some places"))
}

fn bulkhead(places: u32) -> Bulkhead {
    Bulkhead::new(config(places)).expect("the settings work together")
}

fn enter(bulkhead: &Bulkhead) -> Result<Permit<'_>, Rejection> {
    bulkhead.try_acquire()
}

fn calls(row: Row) -> Share {
    let shared = bulkhead(100);
    Box::new(move || {
        let bulkhead = shared.clone();
        work(row, async move |number| {
            let Ok(place) = enter(&bulkhead) else { return Outcome::Refused };
            let outcome = plain(&passes(number).await);
            drop(place);
            outcome
        })
    })
}

fn check() -> Result<()> {
    let bulkhead = bulkhead(2);
    let held = (enter(&bulkhead), enter(&bulkhead));
    ensure!(held.0.is_ok() && held.1.is_ok(), "two places were not to be had");
    ensure!(enter(&bulkhead).is_err(), "a third call found a place");
    drop(held);
    ensure!(enter(&bulkhead).is_ok(), "a place was not given back");
    Ok(())
}
