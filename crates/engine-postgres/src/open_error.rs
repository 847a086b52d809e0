use std::fmt;

use intertie_core::config::Invalid;

/// Why a database can not be used.
#[derive(Debug)]
pub enum OpenError {
    /// A setting can not work.
    Config(Invalid),
    /// The server is too old.
    Version {
        /// As it says it.
        found: String,
    },
    /// The server follows another one, and takes no writes.
    Standby,
    /// A later version of this engine has written the schema.
    Later {
        /// The version of the schema.
        version: i32,
        /// The latest that this engine knows.
        known: i32,
    },
    /// The server does not answer, or refuses.
    Server {
        /// What it says, or what became of the connection.
        cause: String,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(invalid) => invalid.fmt(f),
            Self::Version { found } => write!(f, "the server is PostgreSQL {found}; it must be 13 or later"),
            Self::Standby => {
                f.write_str("the server follows another one and takes no writes; name the primary")
            }
            Self::Later { version, known } => write!(
                f,
                "the schema has version {version}, and this engine knows up to {known}: a later version wrote it"
            ),
            Self::Server { cause } => f.write_str(cause),
        }
    }
}

impl std::error::Error for OpenError {}
