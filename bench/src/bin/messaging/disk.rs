//! What the disk can do by itself: the bound of everything that is durable.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// How often a block of 4 KiB was written and synced, one after the other, in a file whose blocks are there already.
#[derive(Debug, Clone, Copy)]
pub struct Disk {
    pub syncs_per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

const BLOCK: usize = 4096;
const BLOCKS: usize = 4096;
const TIME: Duration = Duration::from_secs(1);

impl Disk {
    pub fn measure(dir: &Path) -> Result<Self> {
        let path = dir.join("disk");
        let measured = Self::measure_in(&path).with_context(|| format!("write {}", path.display()));
        std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        measured
    }

    fn measure_in(path: &Path) -> std::io::Result<Self> {
        let file = File::create(path)?;
        file.write_all_at(&vec![0; BLOCK * BLOCKS], 0)?;
        file.sync_all()?;
        let block: Vec<u8> = (0..BLOCK).map(|at| at as u8).collect();
        let began = Instant::now();
        let mut times = Vec::new();
        while began.elapsed() < TIME {
            let start = Instant::now();
            file.write_all_at(&block, (times.len() % BLOCKS * BLOCK) as u64)?;
            file.sync_data()?;
            times.push(start.elapsed());
        }
        let elapsed = began.elapsed();
        times.sort_unstable();
        let at = |part: f64| times[(times.len() as f64 * part) as usize].as_secs_f64() * 1e6;
        let syncs_per_second = times.len() as f64 / elapsed.as_secs_f64();
        Ok(Self { syncs_per_second, p50_us: at(0.5), p99_us: at(0.99) })
    }
}
