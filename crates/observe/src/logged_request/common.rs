use intertie_core::token::is_token;

use super::{Form, LineError, LoggedRequest, split_target, time};

/// `CLIENT IDENT USER [TIME] "METHOD TARGET PROTOCOL" STATUS BYTES`, and anything after it.
pub(super) fn parse(line: &str) -> Result<LoggedRequest, LineError> {
    // The user's name may hold spaces, and the time can not stand before the client.
    let (before, rest) = line.split_once(" [").ok_or(LineError::Form)?;
    let (stamp, rest) = rest.split_once("] ").ok_or(LineError::Form)?;
    let client = before.split(' ').next().unwrap_or_default();
    let at = time::common(stamp).ok_or(LineError::Part("time"))?;
    let (request, rest) = quoted(rest).ok_or(LineError::Form)?;
    let mut words = rest.trim_start().split(' ');
    let status = words.next().unwrap_or_default();
    let is_status = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
    let status = status.parse().ok().filter(|_| is_status).ok_or(LineError::Part("status"))?;
    if words.next().is_none_or(|bytes| bytes != "-" && bytes.parse::<u64>().is_err()) {
        return Err(LineError::Part("number of bytes"));
    }
    if matches!(request.as_str(), "" | "-") {
        return Err(LineError::NoRequest);
    }
    let mut words = request.splitn(2, ' ');
    let method =
        words.next().filter(|method| is_token(method.as_bytes())).ok_or(LineError::Part("method"))?;
    // HTTP/0.9 names no protocol.
    let target = words.next().ok_or(LineError::Part("request"))?;
    let target = match target.rsplit_once(' ') {
        Some((target, protocol)) if protocol.starts_with("HTTP/") => target,
        _ => target,
    };
    let (host, path, query) = split_target(method, target);
    Ok(LoggedRequest {
        form: Form::Common,
        at,
        client: client.parse().ok(),
        method: method.to_owned(),
        host: host.map(str::to_owned),
        path: path.to_owned(),
        query: query.map(str::to_owned),
        status: Some(status),
        duration: None,
        endpoint: None,
        attempts: None,
        error: None,
        cut: None,
        sample: None,
    })
}

/// What stands in quotation marks at the beginning, and what follows it. Apache httpd writes `\"`, nginx
/// `\x22`.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut letters = text.strip_prefix('"')?.chars();
    let mut plain = String::new();
    loop {
        match letters.next()? {
            '"' => return Some((plain, letters.as_str())),
            '\\' => match letters.next()? {
                'x' => {
                    let digits = letters.as_str().get(..2)?;
                    let byte = u8::from_str_radix(digits, 16).ok()?;
                    letters = letters.as_str()[2..].chars();
                    plain.push(char::from(byte));
                }
                'n' => plain.push('\n'),
                'r' => plain.push('\r'),
                't' => plain.push('\t'),
                same => plain.push(same),
            },
            letter => plain.push(letter),
        }
    }
}
