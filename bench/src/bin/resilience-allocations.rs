//! What one call of each subject of the named rows allocates: a table for `resilience`, which starts this program.
//!
//! A program of its own, because a counting allocator would slow those that allocate.

#[path = "resilience/ours/mod.rs"]
mod ours;
#[path = "resilience/rivals/mod.rs"]
mod rivals;
#[path = "resilience/subject.rs"]
mod subject;
#[path = "resilience/subjects.rs"]
mod subjects;

use anyhow::Result;

use crate::subject::Row;

const CALLS: u64 = 10_000;

fn main() -> Result<()> {
    let named: Vec<String> = std::env::args().skip(1).collect();
    let rows = Row::ALL.into_iter().filter(|row| named.iter().any(|name| name == row.name()));
    for subject in subjects::of(&rows.collect::<Vec<_>>()) {
        (subject.check)()?;
        let mut work = subject.work();
        work(1_000);
        let counted = allocation_counter::measure(|| work(CALLS));
        let each = |total: u64| total as f64 / CALLS as f64;
        let (count, bytes) = (each(counted.count_total), each(counted.bytes_total));
        println!("{}\t{}\t{count}\t{bytes}", subject.row.name(), subject.name);
    }
    Ok(())
}
