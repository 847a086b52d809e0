//! Nine items in two batches; one of them poisons its batch and is found by halves.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Result, ensure};
use intertie_resilience::batch::BatchError;
use intertie_resilience::{BatchConfig, Batcher};

/// Indexes documents; indexing one twice does no harm. A malformed one fails the whole request.
async fn index(documents: Vec<u32>) -> Result<Vec<Result<(), &'static str>>, &'static str> {
    tokio::time::sleep(Duration::from_millis(5)).await;
    let outcome = if documents.contains(&6) { Err("malformed") } else { Ok(vec![Ok(()); documents.len()]) };
    println!("{documents:?}: {}", if outcome.is_ok() { "indexed" } else { "refused" });
    outcome
}

pub(crate) async fn example() -> Result<()> {
    let config = BatchConfig { bisect: true, ..BatchConfig::new(NonZeroU32::new(8).expect("8 is not zero")) };
    let batcher = Batcher::new(config, index)?;
    let mut callers = tokio::task::JoinSet::new();
    for document in 1..=9 {
        let batcher = batcher.clone();
        callers.spawn(async move { (document, batcher.call(document).await) });
    }
    for (document, outcome) in callers.join_all().await {
        let expected = if document == 6 { Err(BatchError::Batch("malformed")) } else { Ok(()) };
        ensure!(outcome == expected, "document {document}: {outcome:?}");
    }
    let stats = batcher.stats();
    println!("{} items in {} batches, cut {} times", stats.items, stats.batches, stats.bisections);
    ensure!((stats.items, stats.batches, stats.bisections) == (9, 2, 3));
    Ok(())
}
