use std::error::Error;
use std::ffi::OsString;
use std::fmt;

use intertie_core::quantity::parse_duration;

use super::config::TimeoutConfig;

/// An environment variable whose value can not be a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidVariable {
    /// The variable's name.
    pub variable: String,
    /// Why its value can not be a limit, with the value.
    pub problem: String,
}

impl fmt::Display for InvalidVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the environment variable {}: {}", self.variable, self.problem)
    }
}

impl Error for InvalidVariable {}

impl TimeoutConfig {
    /// Takes the limit from the process's environment where `variable` is set, so that one program can have
    /// another limit in each environment: `PAYMENTS_TIMEOUT=5s`.
    ///
    /// # Errors
    /// When the variable is set and is no duration above zero. An empty one is: it is a mistake more often
    /// than a wish.
    pub fn with_env(self, variable: &str) -> Result<Self, InvalidVariable> {
        self.with_variable(variable, |name| std::env::var_os(name))
    }

    /// The same with any environment: `lookup` gives the value of a variable, `None` when it is not set.
    ///
    /// # Errors
    /// As of [`TimeoutConfig::with_env`].
    pub fn with_variable(
        self,
        variable: &str,
        lookup: impl FnOnce(&str) -> Option<OsString>,
    ) -> Result<Self, InvalidVariable> {
        let Some(value) = lookup(variable) else { return Ok(self) };
        let invalid = |problem| InvalidVariable { variable: variable.to_owned(), problem };
        let text = value.to_str().ok_or_else(|| invalid(format!("{value:?} is no text")))?;
        let limit = parse_duration(text).map_err(|error| invalid(error.to_string()))?;
        let overridden = Self { limit, ..self };
        overridden.validate().map_err(|error| invalid(error.problem))?;
        Ok(overridden)
    }
}
