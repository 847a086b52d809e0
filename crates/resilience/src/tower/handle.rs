use crate::registry::RegistryError;
use crate::{Pipeline, Registry};

/// The pipeline of a service: always the same, or the one that a registry has under a name when a call begins.
#[derive(Debug, Clone)]
pub struct Handle {
    pipeline: Pipeline,
    /// Asked before each call, by the pipeline's name.
    registry: Option<Registry>,
}

impl Handle {
    /// The pipeline of this name, with the settings that it has when a call begins.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`].
    pub fn named(registry: &Registry, name: &str) -> Result<Self, RegistryError> {
        let pipeline = registry.get(name).ok_or_else(|| RegistryError::Unknown { name: name.to_owned() })?;
        Ok(Self { pipeline, registry: Some(registry.clone()) })
    }

    /// The pipeline of a call that begins now.
    pub(super) fn get(&self) -> Pipeline {
        let now = self.registry.as_ref().and_then(|registry| registry.get(self.pipeline.name()));
        now.unwrap_or_else(|| self.pipeline.clone())
    }
}

impl From<Pipeline> for Handle {
    fn from(pipeline: Pipeline) -> Self {
        Self { pipeline, registry: None }
    }
}
