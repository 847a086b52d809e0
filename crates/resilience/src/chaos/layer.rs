use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use intertie_core::config::Invalid;
use intertie_core::quantity::Ratio;

use super::config::ChaosConfig;

/// Injects faults into the operations that run through it. Clones are handles on the same sequence.
///
/// # Example
/// ```
/// use intertie_core::quantity::Ratio;
/// use intertie_resilience::{Chaos, ChaosConfig};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let fault_rate = Ratio::from_percent(100);
/// let chaos = Chaos::new(ChaosConfig { enabled: true, fault_rate, ..ChaosConfig::default() })?;
/// let charge = || chaos.run(async { Ok("paid") }, || Err("the card reader is on fire"));
/// assert_eq!(charge().await, Err("the card reader is on fire"));
/// chaos.set_enabled(false);
/// assert_eq!(charge().await, Ok("paid"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Chaos {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: ChaosConfig,
    enabled: AtomicBool,
    random: Mutex<Rng>,
    faults: AtomicU64,
    delays: AtomicU64,
}

/// What happens to one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Injection {
    /// It is held up for so long first.
    pub(crate) latency: Option<Duration>,
    /// It fails without reaching the operation.
    pub(crate) is_fault: bool,
}

/// What was injected so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Calls that were made to fail.
    pub faults: u64,
    /// Calls that were held up.
    pub delays: u64,
}

impl Chaos {
    /// Injects as `config` says.
    ///
    /// # Errors
    /// When the settings can not work together.
    pub fn new(config: ChaosConfig) -> Result<Self, Invalid> {
        config.validate()?;
        let shared = Shared {
            enabled: AtomicBool::new(config.enabled),
            random: Mutex::new(Rng::with_seed(config.seed)),
            faults: AtomicU64::new(0),
            delays: AtomicU64::new(0),
            config,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The options in force.
    pub fn config(&self) -> &ChaosConfig {
        &self.shared.config
    }

    /// Switches the injection on or off from now on.
    pub fn set_enabled(&self, enabled: bool) {
        self.shared.enabled.store(enabled, Ordering::Relaxed);
    }

    /// Runs `operation`, or what `fault` makes instead: an error, or a value that the operation would not
    /// have given. Cancellation is that of the operation.
    pub async fn run<T>(&self, operation: impl Future<Output = T>, fault: impl FnOnce() -> T) -> T {
        let Some(injection) = self.draw() else { return operation.await };
        if let Some(latency) = injection.latency {
            tokio::time::sleep(latency).await;
        }
        if injection.is_fault {
            return fault();
        }
        operation.await
    }

    /// What happens to the next call, if anything does.
    pub(crate) fn draw(&self) -> Option<Injection> {
        if !self.shared.enabled.load(Ordering::Relaxed) {
            return None;
        }
        let (is_fault, is_delay) = self.shared.draw();
        self.shared.faults.fetch_add(is_fault.into(), Ordering::Relaxed);
        self.shared.delays.fetch_add(is_delay.into(), Ordering::Relaxed);
        let latency = is_delay.then_some(self.shared.config.latency);
        (is_fault || is_delay).then_some(Injection { latency, is_fault })
    }

    /// What was injected so far.
    pub fn stats(&self) -> Stats {
        Stats {
            faults: self.shared.faults.load(Ordering::Relaxed),
            delays: self.shared.delays.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    /// Whether the next call is made to fail, and whether it is held up. Two numbers for each call, whatever
    /// the rates, so that changing one rate leaves the other's choice as it was.
    fn draw(&self) -> (bool, bool) {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chosen = |rate: Ratio| random.f64() < rate.as_f64();
        (chosen(self.config.fault_rate), chosen(self.config.latency_rate))
    }
}
