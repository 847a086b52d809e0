use std::time::Duration;

use intertie_core::token::is_token;

use super::{Form, LineError, LoggedRequest, split_target, time};

/// Our line: `TIME CLIENT METHOD PATH STATUS 1.5ms`, then fields such as `attempts=3`.
pub(super) fn parse(line: &str) -> Result<LoggedRequest, LineError> {
    let mut words = line.split(' ');
    let mut next = |part| words.next().ok_or(LineError::Part(part));
    let at = time::rfc_3339(next("time")?).ok_or(LineError::Part("time"))?;
    let client = next("client")?.parse().map_err(|_| LineError::Part("client"))?;
    let method = Some(next("method")?).filter(|method| is_token(method.as_bytes()));
    let path = unescape(next("path")?).ok_or(LineError::Part("path"))?;
    let status = match next("status")? {
        "-" => None,
        status => Some(status.parse().map_err(|_| LineError::Part("status"))?),
    };
    let duration = next("duration")?.strip_suffix("ms").and_then(|millis| millis.parse::<f64>().ok());
    let duration = duration.and_then(|millis| Duration::try_from_secs_f64(millis / 1e3).ok());
    let method = method.ok_or(LineError::Part("method"))?;
    let (host, bare, query) = split_target(method, &path);
    let mut request = LoggedRequest {
        form: Form::Text,
        at,
        client: Some(client),
        method: method.to_owned(),
        host: host.map(str::to_owned),
        path: bare.to_owned(),
        query: query.map(str::to_owned),
        status,
        duration: Some(duration.ok_or(LineError::Part("duration"))?),
        endpoint: None,
        attempts: None,
        error: None,
        cut: None,
        sample: None,
    };
    // A route's name may hold spaces, so a word without a name belongs to the one before it.
    for (name, value) in words.filter_map(|word| word.split_once('=')) {
        match name {
            "endpoint" => request.endpoint = Some(value.to_owned()),
            "error" => request.error = Some(value.to_owned()),
            "cut" => request.cut = Some(value.to_owned()),
            "sample" => {
                request.sample = Some(value.parse().map_err(|_| LineError::Part("sample"))?);
            }
            "attempts" => {
                request.attempts = Some(value.parse().map_err(|_| LineError::Part("attempts"))?);
            }
            _ => {}
        }
    }
    // One attempt is not written, and none leaves no endpoint.
    request.attempts = request.attempts.or(Some(u32::from(request.endpoint.is_some())));
    Ok(request)
}

/// Reads what `str::escape_debug` wrote.
fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        plain.push(match letters.next()? {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '0' => '\0',
            'u' => {
                let (digits, rest) = letters.as_str().strip_prefix('{')?.split_once('}')?;
                letters = rest.chars();
                char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
            }
            same => same,
        });
    }
    Some(plain)
}
