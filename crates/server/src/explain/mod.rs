//! What `intertie explain` tells: of a request, or of the process itself.
//!
//! Each section is a file here, written by [`section`].

mod every_route;
mod process;
mod route;
mod section;
mod service;
mod telemetry;
mod tls;

use std::path::Path;

use http::header::{HeaderName, HeaderValue};
use http::uri::Scheme;
use http::{HeaderMap, Method, Uri};
use intertie_gateway::plan::explain;
use intertie_gateway::route::{RequestView, request_host};

use crate::file::Loaded;

/// What is told.
#[derive(Debug)]
pub(crate) struct Explained {
    pub(crate) text: String,
    /// Whether a route wants the request; so it is where none was asked about.
    pub(crate) found: bool,
}

/// Tells of the process that serves the file at `path`.
///
/// # Errors
/// What is wrong with the file, ready to be printed.
pub(crate) fn explain_process(path: &Path) -> Result<Explained, String> {
    let loaded = Loaded::read(path)?;
    let (plan, _) = loaded.plan_to_look_at().map_err(|report| loaded.render(&report.problems))?;
    Ok(Explained { text: process::explain(&loaded, &plan) + &telemetry::explain(&loaded), found: true })
}

/// Tells what the server of the file at `path` would do with a request.
///
/// # Errors
/// What is wrong with the file or the request, ready to be printed.
pub(crate) fn explain_request(
    path: &Path,
    method: &str,
    url: &str,
    header_lines: &[String],
) -> Result<Explained, String> {
    let loaded = Loaded::read(path)?;
    let (plan, _) = loaded.plan_to_look_at().map_err(|report| loaded.render(&report.problems))?;
    let method =
        Method::from_bytes(method.as_bytes()).map_err(|_| format!("error: `{method}` is no method\n"))?;
    let uri: Uri = url.parse().map_err(|error| format!("error: `{url}` is no URL: {error}\n"))?;
    let headers = headers(header_lines)?;
    let host = request_host(&uri, &headers);
    let view = RequestView {
        host: host.unwrap_or_default(),
        path: uri.path(),
        query: uri.query(),
        method: &method,
        headers: &headers,
    };
    if host.is_err() {
        let text = format!("{method} {uri}\n  is answered 400: a request names exactly one host\n");
        return Ok(Explained { text, found: false });
    }
    let explanation = explain(&plan, &view);
    let mut text = route::explain(&loaded, &method, &uri, &explanation);
    text.push_str(&every_route::explain(&loaded));
    if uri.scheme() == Some(&Scheme::HTTPS) {
        text.push_str(&tls::explain(&loaded, uri.host().unwrap_or_default())?);
    }
    text.push_str(&telemetry::explain(&loaded));
    Ok(Explained { text, found: explanation.route.is_some() })
}

/// Reads lines such as `Name: value`.
fn headers(lines: &[String]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let parsed = line.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value.trim()).ok()?))
        });
        let (name, value) =
            parsed.ok_or_else(|| format!("error: `{line}` is no header; write -H 'Name: value'\n"))?;
        headers.append(name, value);
    }
    Ok(headers)
}
