use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use http::Method;
use intertie_core::config::Setting;
use intertie_core::quantity::ByteSize;
use intertie_resilience::{BulkheadConfig, CircuitBreakerConfig, RateLimiterConfig, RetryConfig};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use super::policy::with_policy_keys;

with_policy_keys! {
    /// `[route."/orders/**"]` or `[route.NAME]` with a `match`: which requests go where, under which
    /// policy. The policy keys that stand here win over those of the policies that are used.
    #[derive(Debug, Clone, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[schemars(rename = "Route")]
    pub struct RouteConfig {
        /// The requests that take this route. Left out when the route's name says it: a name such as
        /// `"/orders/**"` or `"POST /orders"`.
        #[serde(rename = "match", default)]
        pub matches: Option<MatchConfig>,
        /// The service that answers.
        pub to: String,
        /// The policy that applies, by the name of its `[policy.NAME]` table.
        #[serde(rename = "use", default)]
        pub uses: Option<String>,
    }
}

/// The conditions of a route; all that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Match")]
pub struct MatchConfig {
    /// `"shop.example"`, or `"*.example"` for every name below it. Default: any host.
    pub host: Option<String>,
    /// `"/orders"` alone, `"/orders/{id}"` with one segment, `"/files/*/raw"` likewise without a name,
    /// `"/orders/**"` with everything below. Default: `"/**"`.
    pub path: Option<String>,
    /// One method or a list of them. Default: any method but CONNECT. `"CONNECT"` alone, without `path` and
    /// `query`: tunnels to this host are opened, and lead to the service.
    pub method: Option<Methods>,
    /// Header names and the value each must have; `"*"` for any value.
    pub headers: BTreeMap<String, String>,
    /// Query parameters and the value each must have; `"*"` for any value.
    pub query: BTreeMap<String, String>,
}

/// One method or several: `"GET"` or `["GET", "HEAD"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Methods(pub Vec<Method>);

impl<'de> Deserialize<'de> for Methods {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;

        impl<'de> de::Visitor<'de> for OneOrMore {
            type Value = Methods;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a method such as \"GET\", or a list of methods")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Methods, E> {
                parse_method(name).map(|method| Methods(vec![method])).map_err(E::custom)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Methods, A::Error> {
                let mut methods = Vec::new();
                while let Some(name) = list.next_element::<Cow<'_, str>>()? {
                    methods.push(parse_method(&name).map_err(de::Error::custom)?);
                }
                if methods.is_empty() {
                    return Err(de::Error::invalid_length(0, &self));
                }
                Ok(Methods(methods))
            }
        }

        deserializer.deserialize_any(OneOrMore)
    }
}

/// Reads a method; lower case is taken for the mistake that it nearly always is.
pub(crate) fn parse_method(name: &str) -> Result<Method, ParseMethodError> {
    if name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(ParseMethodError::LowerCase(name.to_owned()));
    }
    Method::from_bytes(name.as_bytes()).map_err(|_| ParseMethodError::NoMethod(name.to_owned()))
}

/// Why a text is no method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ParseMethodError {
    /// Methods are case-sensitive, and those in use know no lower case.
    LowerCase(String),
    /// It has letters that no method has.
    NoMethod(String),
}

impl fmt::Display for ParseMethodError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LowerCase(name) => {
                write!(f, "methods are case-sensitive; did you mean `{}`?", name.to_ascii_uppercase())
            }
            Self::NoMethod(name) => write!(f, "`{name}` is no HTTP method"),
        }
    }
}

impl std::error::Error for ParseMethodError {}

impl JsonSchema for Methods {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Methods".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string", "examples": ["GET"] },
            { "type": "array", "items": { "type": "string" }, "minItems": 1 },
        ] })
    }
}
