//! What appends cost: some callers each append a record, wait until it is durable, and append the next.
//!
//! `appends DIRECTORY [CALLERS [RECORDS [BYTES]]]`, by default 64 callers, 100,000 records of 256 bytes. Run it under
//! `perf stat -e instructions:u` for its work, and under `strace -fc` for its calls of the system.

use std::path::Path;

use intertie_core::clock::{Timestamp, WallClock};
use intertie_core::telemetry::{Events, Snapshot, Source, Value};
use intertie_engine_embedded::store::{State, Store, StoreConfig};
use rusqlite::{Connection, ToSql, params_from_iter};
use tokio::task::JoinSet;

/// Rows of one statement; what is left of a group is inserted one by one.
const ROWS: usize = 32;

struct Log {
    last: i64,
    /// Applied in this group, and inserted at its end.
    rows: Vec<(i64, i64, Vec<u8>)>,
    insert: String,
}

impl State for Log {
    type Command = Vec<u8>;
    type Reply = i64;
    type Refusal = std::convert::Infallible;

    fn bytes(record: &Vec<u8>) -> usize {
        record.len()
    }

    fn check(
        &self,
        _: &Connection,
        _: &Vec<u8>,
        _: Timestamp,
    ) -> rusqlite::Result<Result<(), Self::Refusal>> {
        Ok(Ok(()))
    }

    fn apply(&mut self, _: &Connection, record: Vec<u8>, now: Timestamp) -> rusqlite::Result<i64> {
        self.last += 1;
        self.rows.push((self.last, now.as_unix_nanos().cast_signed(), record));
        Ok(self.last)
    }

    fn flush(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let (many, few) = self.rows.split_at(self.rows.len() / ROWS * ROWS);
        for rows in many.chunks(ROWS) {
            let values =
                rows.iter().flat_map(|(number, time, content)| [number as &dyn ToSql, time, content]);
            connection.prepare_cached(&self.insert)?.execute(params_from_iter(values))?;
        }
        for row in few {
            connection
                .prepare_cached("INSERT INTO record VALUES (?, ?, ?)")?
                .execute((row.0, row.1, &row.2))?;
        }
        self.rows.clear();
        Ok(())
    }
}

fn load(connection: &Connection) -> rusqlite::Result<Log> {
    connection
        .execute_batch("CREATE TABLE IF NOT EXISTS record (number INTEGER PRIMARY KEY, time, content)")?;
    let last = "SELECT coalesce(max(number), 0) FROM record";
    let last = connection.query_row(last, [], |row| row.get(0))?;
    let rows = vec!["(?, ?, ?)"; ROWS].join(", ");
    Ok(Log { last, rows: Vec::new(), insert: format!("INSERT INTO record VALUES {rows}") })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("a directory is needed")?;
    let mut number = |standard| arguments.next().map_or(Ok(standard), |number| number.parse::<usize>());
    let (callers, records, bytes) = (number(64)?, number(100_000)?, number(256)?);

    let config = StoreConfig::default();
    let store = Store::open(Path::new(&directory), &config, WallClock::system(), Events::default(), load)?;
    let store = std::sync::Arc::new(store);
    let begun = tokio::time::Instant::now();
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let store = std::sync::Arc::clone(&store);
        tasks.spawn(async move {
            for _ in 0..records / callers {
                store.submit(vec![caller as u8; bytes]).await.expect("is stored");
            }
        });
    }
    tasks.join_all().await;
    let rate = records as f64 / begun.elapsed().as_secs_f64();
    let mut snapshot = Snapshot::default();
    store.read(&mut snapshot);
    let groups = snapshot.families().iter().find(|family| family.name == "store_groups");
    let Some(Value::Counter(groups)) = groups.map(|family| family.samples[0].value.clone()) else {
        return Err("groups are not counted".into());
    };
    println!("{records} records in {groups} groups of {}, {rate:.0}/s", records as u64 / groups.max(1));
    Ok(())
}
