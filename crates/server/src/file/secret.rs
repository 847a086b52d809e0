use std::fmt;
use std::path::{Path, PathBuf};

/// Where a secret stands: files name it and never hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecretReference {
    /// `env:NAME`: a variable of the process's environment.
    Environment(String),
    /// `file:PATH`: a file, without the line breaks at its end; a relative path begins in the folder of the file.
    File(PathBuf),
}

/// Why there is no secret.
#[derive(Debug)]
pub(crate) enum SecretError {
    /// The variable is not set, or is no text.
    Environment(String),
    /// The file can not be read.
    File(PathBuf, std::io::Error),
}

impl SecretReference {
    /// Reads `env:NAME` or `file:PATH`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("env", name) if !name.is_empty() && !name.contains(['=', '\0']) => {
                Some(Self::Environment(name.to_owned()))
            }
            ("file", path) if !path.is_empty() => Some(Self::File(path.into())),
            _ => None,
        }
    }

    /// The secret itself.
    ///
    /// # Errors
    /// That it is not where the reference says. The secret is in no message.
    pub(crate) fn read(&self, folder: &Path) -> Result<String, SecretError> {
        match self {
            Self::Environment(name) => {
                std::env::var(name).map_err(|_| SecretError::Environment(name.clone()))
            }
            Self::File(path) => {
                let path = folder.join(path);
                match std::fs::read_to_string(&path) {
                    Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
                    Err(error) => Err(SecretError::File(path, error)),
                }
            }
        }
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "the environment has no variable `{name}` that is text"),
            Self::File(path, _) => write!(f, "the secret in {} can not be read", path.display()),
        }
    }
}

impl std::error::Error for SecretError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Environment(_) => None,
            Self::File(_, error) => Some(error),
        }
    }
}
