use std::fmt;
use std::path::PathBuf;

use rustls::pki_types::ServerName;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess};

use crate::config::Problem;

/// `[service.NAME] tls`: what the certificate of a service must be, and which one it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "ServiceTls")]
pub struct ServiceTlsConfig {
    /// The PEM file with the authorities that sign the service's certificates. Default: those that the
    /// system trusts.
    #[schemars(with = "Option<String>")]
    pub roots: Option<PathBuf>,
    /// The name that the service is asked for and its certificate must be for: a DNS name or an address.
    /// Default: the host of each endpoint.
    pub server_name: Option<String>,
    /// The PEM file with the certificate that the service is shown when it asks for one. Needs `key`.
    /// Default: none.
    #[schemars(with = "Option<String>")]
    pub certificate: Option<PathBuf>,
    /// The PEM file with the private key of `certificate`, not encrypted.
    #[schemars(with = "Option<String>")]
    pub key: Option<PathBuf>,
}

impl ServiceTlsConfig {
    /// What is wrong with the settings, which stand at `at` and are for `hosts`, before any file is read.
    pub(super) fn problems<'a>(
        &self,
        at: [&str; 3],
        hosts: impl IntoIterator<Item = &'a str>,
    ) -> Vec<Problem> {
        let mut problems = Vec::new();
        let [a, b, c] = at;
        let mut wrong = |key, message: String| problems.push(Problem::error([a, b, c, key], message));
        match (&self.certificate, &self.key) {
            (Some(_), None) => wrong("certificate", "the key of the certificate is missing".to_owned()),
            (None, Some(_)) => wrong("key", "the certificate of the key is missing".to_owned()),
            _ => {}
        }
        match &self.server_name {
            Some(given) if ServerName::try_from(given.as_str()).is_err() => {
                let message = format!("`{given}` is neither a DNS name nor an address, without a port");
                wrong("server_name", message);
            }
            Some(_) => {}
            None => {
                for host in hosts.into_iter().filter(|host| ServerName::try_from(*host).is_err()) {
                    let message = format!("no certificate can be for the host `{host}`");
                    let help = "name the one that the certificate is for by `server_name`";
                    problems.push(Problem::error(at, message).help(help));
                }
            }
        }
        problems
    }
}

/// Reads `true`, for TLS with all defaults, or a table.
///
/// # Errors
/// When it is neither.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ServiceTlsConfig>, D::Error> {
    struct TrueOrTable;

    impl<'de> de::Visitor<'de> for TrueOrTable {
        type Value = ServiceTlsConfig;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true or a table")
        }

        fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Self::Value, E> {
            if truth {
                Ok(ServiceTlsConfig::default())
            } else {
                Err(E::custom("leave `tls` out for a service without it"))
            }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            ServiceTlsConfig::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_any(TrueOrTable).map(Some)
}

/// The schema of what [`deserialize`] reads.
pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
    let table = generator.subschema_for::<ServiceTlsConfig>();
    schemars::json_schema!({ "anyOf": [{ "const": true }, table] })
}
