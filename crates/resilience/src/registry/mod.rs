//! The pipelines of a program by their names, with defaults that are set once.
//!
//! It is made where the program starts and handed to whoever calls something: each asks for its pipeline by
//! name and gets a handle on the same state. What is common to all pipelines, a deadline or a preset of
//! retries, is said once, as the registry's defaults.

mod health;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use intertie_core::telemetry::{Snapshot, Source};

pub use health::{Health, State};

use crate::MonotonicClock;
use crate::pipeline::{InvalidPipeline, Pipeline, PipelineConfig};

/// Pipelines by name. Clones are handles on the same registry.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use intertie_resilience::{CircuitBreakerConfig, PipelineConfig, Registry};
///
/// let registry = Registry::new(PipelineConfig {
///     deadline: Some(Duration::from_secs(30)),
///     circuit_breaker: Some(CircuitBreakerConfig::standard()),
///     ..PipelineConfig::default()
/// })?;
/// let shorter = PipelineConfig { deadline: Some(Duration::from_secs(5)), ..PipelineConfig::default() };
/// registry.add("payments", shorter)?;
/// let payments = registry.get("payments").expect("just added");
/// assert_eq!(payments.config().deadline, Some(Duration::from_secs(5)));
/// assert!(payments.circuit_breaker().is_some(), "by default");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Registry {
    shared: Arc<RwLock<Inner>>,
}

#[derive(Debug)]
struct Inner {
    defaults: PipelineConfig,
    /// Each with its own settings, without the defaults.
    pipelines: BTreeMap<String, (PipelineConfig, Pipeline)>,
}

/// Why a pipeline was not added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryError {
    /// It can not work.
    Invalid(InvalidPipeline),
    /// There is one of this name with other settings: one of the two would silently go without.
    Taken {
        /// The name.
        name: String,
    },
    /// There is none of this name.
    Unknown {
        /// The name.
        name: String,
    },
}

impl Registry {
    /// No pipelines yet. `defaults` applies to each, policy by policy, where it sets none of its own.
    ///
    /// # Errors
    /// When the defaults alone can not work.
    pub fn new(defaults: PipelineConfig) -> Result<Self, InvalidPipeline> {
        Pipeline::new("defaults", defaults.clone())?;
        let inner = Inner { defaults, pipelines: BTreeMap::new() };
        Ok(Self { shared: Arc::new(RwLock::new(inner)) })
    }

    /// Adds a pipeline and returns it. Adding the same again returns the one that is there.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] when it can not work with the defaults, [`RegistryError::Taken`] when the
    /// name stands for other settings.
    pub fn add(&self, name: &str, config: PipelineConfig) -> Result<Pipeline, RegistryError> {
        let mut inner = self.write();
        if let Some((known, pipeline)) = inner.pipelines.get(name) {
            let same = *known == config;
            return same
                .then(|| pipeline.clone())
                .ok_or_else(|| RegistryError::Taken { name: name.to_owned() });
        }
        let pipeline = Pipeline::new(name, config.clone().or(&inner.defaults))?;
        inner.pipelines.insert(name.to_owned(), (config, pipeline.clone()));
        Ok(pipeline)
    }

    /// The pipeline of this name. Who keeps it does not see later changes of its settings; who asks again
    /// does.
    pub fn get(&self, name: &str) -> Option<Pipeline> {
        self.read().pipelines.get(name).map(|(_, pipeline)| pipeline.clone())
    }

    /// Gives a pipeline other settings. The state of policies whose own settings stay lives on; calls under
    /// way end under the settings that they began with.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`], and the old settings stay in force; [`RegistryError::Unknown`].
    pub fn configure(&self, name: &str, config: PipelineConfig) -> Result<Pipeline, RegistryError> {
        let mut inner = self.write();
        let defaults = inner.defaults.clone();
        let Some((known, pipeline)) = inner.pipelines.get_mut(name) else {
            return Err(RegistryError::Unknown { name: name.to_owned() });
        };
        *pipeline = pipeline.reconfigured(config.clone().or(&defaults))?;
        *known = config;
        Ok(pipeline.clone())
    }

    /// Changes the defaults, and every pipeline that takes something from them.
    ///
    /// # Errors
    /// When one of the pipelines can not work with them; then nothing is changed.
    pub fn configure_defaults(&self, defaults: PipelineConfig) -> Result<(), RegistryError> {
        Pipeline::new("defaults", defaults.clone())?;
        let mut inner = self.write();
        let mut changed = BTreeMap::new();
        for (name, (config, pipeline)) in &inner.pipelines {
            let pipeline = pipeline.reconfigured(config.clone().or(&defaults))?;
            changed.insert(name.clone(), (config.clone(), pipeline));
        }
        *inner = Inner { defaults, pipelines: changed };
        Ok(())
    }

    /// The names in use, in alphabetical order.
    pub fn names(&self) -> Vec<String> {
        self.read().pipelines.keys().cloned().collect()
    }

    /// How each pipeline fares, by name.
    pub fn health(&self) -> BTreeMap<String, Health> {
        let now = MonotonicClock::now();
        let inner = self.read();
        inner
            .pipelines
            .iter()
            .map(|(name, (_, pipeline))| (name.clone(), Health::of(pipeline, now)))
            .collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.shared.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.shared.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Registry {
    fn read(&self, snapshot: &mut Snapshot) {
        for (name, (_, pipeline)) in &Registry::read(self).pipelines {
            let stats = pipeline.stats();
            for (outcome, count) in [
                ("succeeded", stats.succeeded),
                ("failed", stats.failed),
                ("rejected", stats.rejected),
                ("deadline_exceeded", stats.deadline_exceeded),
                ("cancelled", stats.cancelled),
            ] {
                let labels = [("pipeline", name.as_str()), ("outcome", outcome)];
                snapshot.counter("pipeline_calls", "Calls by how they ended.", &labels, count);
            }
            let labels = [("pipeline", name.as_str())];
            let retries = "Attempts after the first of a call.";
            snapshot.counter("pipeline_retries", retries, &labels, stats.retries);
            let timeouts = "Attempts that took too long.";
            snapshot.counter("pipeline_attempt_timeouts", timeouts, &labels, stats.attempt_timeouts);
            let fallbacks = "Failed calls that a fallback answered, or failed in another way.";
            snapshot.counter("pipeline_fallbacks", fallbacks, &labels, stats.fell_back);
        }
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(_) => f.write_str("the pipeline can not work"),
            Self::Taken { name } => write!(f, "there is a pipeline `{name}` with other settings"),
            Self::Unknown { name } => write!(f, "there is no pipeline `{name}`"),
        }
    }
}

impl std::error::Error for RegistryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Invalid(invalid) => Some(invalid),
            Self::Taken { .. } | Self::Unknown { .. } => None,
        }
    }
}

impl From<InvalidPipeline> for RegistryError {
    fn from(invalid: InvalidPipeline) -> Self {
        Self::Invalid(invalid)
    }
}
