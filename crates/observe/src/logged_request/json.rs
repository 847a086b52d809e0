use std::time::Duration;

use intertie_core::quantity::Ratio;
use intertie_core::token::is_token;
use serde::Deserialize;

use super::{Form, LineError, LoggedRequest, split_target, time};

/// Our line. Keys that it does not know are those of a later version.
#[derive(Deserialize)]
struct Line {
    at: String,
    client: String,
    method: String,
    #[serde(default)]
    host: String,
    path: String,
    status: u16,
    duration_ms: f64,
    endpoint: Option<String>,
    attempts: u32,
    error: Option<String>,
    cut: Option<String>,
    #[serde(default)]
    sample: Option<Ratio>,
}

pub(super) fn parse(line: &[u8]) -> Result<LoggedRequest, LineError> {
    let line: Line = serde_json::from_slice(line).map_err(LineError::Json)?;
    if !is_token(line.method.as_bytes()) {
        return Err(LineError::Part("method"));
    }
    let (_, path, query) = split_target(&line.method, &line.path);
    let duration = Duration::try_from_secs_f64(line.duration_ms / 1e3);
    Ok(LoggedRequest {
        form: Form::Json,
        at: time::rfc_3339(&line.at).ok_or(LineError::Part("time"))?,
        client: line.client.parse().ok(),
        host: Some(line.host).filter(|host| !host.is_empty()),
        path: path.to_owned(),
        query: query.map(str::to_owned),
        method: line.method,
        status: Some(line.status).filter(|status| *status != 0),
        duration: Some(duration.map_err(|_| LineError::Part("duration"))?),
        endpoint: line.endpoint,
        attempts: Some(line.attempts),
        error: line.error,
        cut: line.cut,
        sample: line.sample,
    })
}
