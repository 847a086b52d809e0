use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Problem;

/// `[server.answers]`: what the gateway says of itself in messages that pass through it, and in its own answers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Answers")]
pub struct AnswersConfig {
    /// What the gateway calls itself in `Via` and `Proxy-Status`: a letter, then letters, digits and `-_.`, at
    /// most 64. Default "intertie".
    pub name: String,
    /// Where `Via` is added: `off`, `requests` (the default), which RFC 9110 asks of a gateway, or `both`, to
    /// answers too.
    pub via: Via,
    /// Entries that a request's `Via` may have when it comes. One with more goes round in circles and is
    /// answered 502. Default 20.
    pub hops_max: NonZeroU32,
    /// Whether the gateway's own answers say in `Proxy-Status` what went wrong. Default true.
    pub proxy_status: bool,
    /// Whether the answers of a route that has rate limiters say in `RateLimit` and `RateLimit-Policy` what is
    /// left. Default true.
    pub rate_limit_headers: bool,
    /// The URL that the `type` of a problem document begins with; the error's code follows. Default: none, and
    /// `type` is "about:blank".
    pub error_pages: Option<String>,
}

/// Where `Via` is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// Nowhere.
    Off,
    /// To requests.
    #[default]
    Requests,
    /// To requests and to answers.
    Both,
}

impl Via {
    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Requests => "requests",
            Self::Both => "both",
        }
    }
}

impl Default for AnswersConfig {
    fn default() -> Self {
        Self {
            name: "intertie".to_owned(),
            via: Via::default(),
            hops_max: NonZeroU32::new(20).expect("20 is not zero"),
            proxy_status: true,
            rate_limit_headers: true,
            error_pages: None,
        }
    }
}

const NAME_BYTES_MAX: usize = 64;

/// More hops than this no head has room for.
const HOPS_MAX: u32 = 1000;

impl AnswersConfig {
    /// What is wrong with the settings.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, message: String| {
            problems.push(Problem::error(["server", "answers", key], message));
        };
        let name = &self.name;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !name.starts_with(|first: char| first.is_ascii_alphabetic()) || !name.bytes().all(allowed) {
            wrong("name", format!("`{name}` is no name: a letter, then letters, digits and `-_.`"));
        } else if name.len() > NAME_BYTES_MAX {
            let length = name.len();
            wrong("name", format!("the name has {length} characters; it may have {NAME_BYTES_MAX}"));
        }
        if self.hops_max.get() > HOPS_MAX {
            wrong("hops_max", format!("hops_max is {}; it must be from 1 to {HOPS_MAX}", self.hops_max));
        }
        if let Some(pages) = &self.error_pages {
            let url = pages.parse::<http::Uri>().ok();
            let complete = url.as_ref().is_some_and(|url| {
                matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some()
            });
            if !complete {
                wrong("error_pages", format!("`{pages}` is no URL such as \"https://docs.example/errors/\""));
            }
        }
        problems
    }
}
