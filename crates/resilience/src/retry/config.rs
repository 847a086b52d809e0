use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::backoff::exponential;
use intertie_core::config::{Invalid, Presets, preset_schema};
use intertie_core::over_presets;
use intertie_core::quantity::{self, DurationText, Ratio};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::budget::BudgetLimits;

/// How often, how fast and at whose expense failed attempts are repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schemars(rename = "Retry", transform = preset_schema)]
pub struct RetryConfig {
    /// Where the values come from that a file leaves out: `standard` (the default), `quick`, `patient` or
    /// `short`.
    pub preset: RetryPreset,
    /// Attempts in all, the first included: 3 means at most two repetitions.
    pub attempts: NonZeroU32,
    /// How the wait grows from one repetition to the next: `fixed`, `linear`, `exponential` or
    /// `decorrelated`.
    pub backoff: Backoff,
    /// The waits themselves, such as `["100ms", "1s"]`, instead of `backoff`, `base`, `cap` and `multiplier`;
    /// the last one is repeated. Empty, the default: computed.
    #[serde(with = "quantity::duration::list")]
    #[schemars(with = "Vec<DurationText>")]
    pub waits: Vec<Duration>,
    /// The wait before the first repetition.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub base: Duration,
    /// No computed wait is longer, jitter aside. A dependency's hint may be.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub cap: Duration,
    /// What an exponential wait is multiplied by.
    pub multiplier: NonZeroU32,
    /// The random addition to each wait, as a share of it.
    pub jitter: Ratio,
    /// Repetitions may be this share of the calls of the last ten seconds.
    pub budget: Ratio,
    /// Repetitions that are allowed in ten seconds however few the calls, so that a quiet service can
    /// retry at all.
    pub budget_minimum: u32,
    /// Repetitions at the same time, those that wait for their turn included; one that finds no place is not
    /// made. Unset, the default: as many as `budget` and `budget_minimum` pay for.
    pub budget_in_flight: Option<NonZeroU32>,
    /// A dependency that asks for a longer wait than this is not waited for: its answer is passed on.
    /// Default 60 s.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub retry_after_max: Duration,
}

/// The starting points that the requirement documents name. All add 30% of jitter, keep repetitions within 20%
/// of the calls, or 10 in ten seconds, and wait for hints of up to 60 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryPreset {
    /// 3 attempts, waiting 1 s and 2 s, at most 30 s (S0).
    Standard,
    /// 3 attempts, waiting 100 ms and 200 ms, at most 5 s (S3).
    Quick,
    /// 5 attempts, waiting 100, 200, 400 and 800 ms, at most 30 s (S4).
    Patient,
    /// 3 attempts, waiting 1 s and 2 s, at most 10 s (S1).
    Short,
}

/// How the wait grows from one repetition to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// Always `base`.
    Fixed,
    /// `base`, 2 × `base`, 3 × `base`…
    Linear,
    /// `base`, `base` × `multiplier`, `base` × `multiplier`²…
    Exponential,
    /// A random wait between `base` and three times the wait before, up to `cap`; `jitter` adds nothing.
    /// Marc Brooker's "decorrelated jitter" (*Exponential Backoff And Jitter*, AWS Architecture Blog, 2015),
    /// drawn below the cap instead of cut off at it, so that capped clients still spread.
    Decorrelated,
}

impl RetryConfig {
    /// [`RetryPreset::Standard`].
    pub fn standard() -> Self {
        Self {
            preset: RetryPreset::Standard,
            attempts: NonZeroU32::new(3).expect("3 is not zero"),
            backoff: Backoff::Exponential,
            waits: Vec::new(),
            base: Duration::from_secs(1),
            cap: Duration::from_secs(30),
            multiplier: NonZeroU32::new(2).expect("2 is not zero"),
            jitter: Ratio::from_percent(30),
            budget: Ratio::from_percent(20),
            budget_minimum: 10,
            budget_in_flight: None,
            retry_after_max: Duration::from_secs(60),
        }
    }

    /// [`RetryPreset::Quick`].
    pub fn quick() -> Self {
        Self {
            preset: RetryPreset::Quick,
            base: Duration::from_millis(100),
            cap: Duration::from_secs(5),
            ..Self::standard()
        }
    }

    /// [`RetryPreset::Patient`].
    pub fn patient() -> Self {
        Self {
            preset: RetryPreset::Patient,
            attempts: NonZeroU32::new(5).expect("5 is not zero"),
            base: Duration::from_millis(100),
            ..Self::standard()
        }
    }

    /// [`RetryPreset::Short`].
    pub fn short() -> Self {
        Self { preset: RetryPreset::Short, cap: Duration::from_secs(10), ..Self::standard() }
    }

    /// What the budget of these settings allows.
    pub fn budget_limits(&self) -> BudgetLimits {
        BudgetLimits { ratio: self.budget, minimum: self.budget_minimum, in_flight: self.budget_in_flight }
    }

    /// The wait before the `repetition`-th repetition, counted from 1, without jitter. Decorrelated waits
    /// are random from the first on: this is the least.
    pub fn wait(&self, repetition: u32) -> Duration {
        let place = usize::try_from(repetition.saturating_sub(1)).unwrap_or(usize::MAX);
        if let Some(wait) = self.waits.get(place).or(self.waits.last()) {
            return *wait;
        }
        let growth = match self.backoff {
            Backoff::Fixed | Backoff::Decorrelated => 1,
            Backoff::Linear => repetition.max(1),
            Backoff::Exponential => {
                return exponential(self.base, self.multiplier.get(), repetition, self.cap);
            }
        };
        self.base.saturating_mul(growth).min(self.cap)
    }

    /// The same with the most jitter.
    pub fn longest_wait(&self, repetition: u32) -> Duration {
        if self.is_decorrelated() {
            return self.base.saturating_mul(3_u32.saturating_pow(repetition)).min(self.cap);
        }
        let wait = self.wait(repetition);
        wait.saturating_add(self.jitter_at(wait, Ratio::ONE))
    }

    fn is_decorrelated(&self) -> bool {
        self.waits.is_empty() && self.backoff == Backoff::Decorrelated
    }

    /// The wait before the `repetition`-th repetition when the one before was `before`; `random` between 0
    /// and 1 chooses the jitter.
    pub(super) fn next_wait(&self, repetition: u32, before: Option<Duration>, random: Ratio) -> Duration {
        if self.is_decorrelated() {
            let most = before.unwrap_or(self.base).saturating_mul(3).min(self.cap);
            let spread = intertie_core::clock::nanos(most.saturating_sub(self.base));
            return self.base + Duration::from_nanos(random.of(spread));
        }
        let wait = self.wait(repetition);
        wait.saturating_add(self.jitter_at(wait, random))
    }

    /// No call waits longer in all between its attempts, with the most jitter. Hints come on top.
    pub fn longest_backoff(&self) -> Duration {
        // From the 65th on each wait is taken to be the cap, which keeps absurd attempt counts cheap.
        let computed = (self.attempts.get() - 1).min(64);
        let rest = self.attempts.get() - 1 - computed;
        let sum = (1..=computed).map(|n| self.longest_wait(n)).fold(Duration::ZERO, Duration::saturating_add);
        sum.saturating_add(self.longest_wait(u32::MAX).saturating_mul(rest))
    }

    pub(super) fn jitter_at(&self, wait: Duration, random: Ratio) -> Duration {
        let most = self.jitter.of(intertie_core::clock::nanos(wait));
        Duration::from_nanos(random.of(most))
    }

    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// Names the first setting that can not, with its value and the limit.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.attempts.get() > 100 {
            return Err(Invalid::new(
                "attempts",
                format!("{} is above 100, the most that is sane", self.attempts),
            ));
        }
        if self.waits.len() > 100 {
            let problem = format!("{} waits are more than 100, the most that can be used", self.waits.len());
            return Err(Invalid::new("waits", problem));
        }
        if self.cap < self.base {
            return Err(Invalid::new(
                "cap",
                format!(
                    "{} is shorter than `base`, {}",
                    quantity::format_duration(self.cap),
                    quantity::format_duration(self.base)
                ),
            ));
        }
        if self.attempts.get() > 1 && self.budget == Ratio::ZERO && self.budget_minimum == 0 {
            return Err(Invalid::new(
                "budget",
                "0% with a budget_minimum of 0 forbids every repetition; set attempts = 1",
            ));
        }
        Ok(())
    }
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self::standard()
    }
}

impl Presets for RetryConfig {
    type Name = RetryPreset;

    fn preset(name: RetryPreset) -> Self {
        match name {
            RetryPreset::Standard => Self::standard(),
            RetryPreset::Quick => Self::quick(),
            RetryPreset::Patient => Self::patient(),
            RetryPreset::Short => Self::short(),
        }
    }

    fn unnamed() -> Option<Self> {
        Some(Self::standard())
    }
}

over_presets!(RetryConfig);
