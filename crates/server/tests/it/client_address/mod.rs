//! Who the client is, behind proxies that are trusted and others.

mod forwarded;
mod proxy_protocol;

use crate::harness::{Origin, Received};

/// One route to `origin` with a limit of one call for each address.
fn limited(origin: &Origin) -> String {
    format!(
        "[service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\n[route.\"/**\"]\nto = \"origin\"\n\
         rate_limiter = {{ limit = \"1/h\", by = \"client_address\" }}\n",
        origin.address
    )
}

/// What a service was told of the client: all its headers that begin with `x-forwarded-` or `forwarded`.
fn told(request: &Received) -> Vec<(String, String)> {
    let about = |name: &str| name.replace('_', "-").starts_with("x-forwarded-") || name == "forwarded";
    let mut found: Vec<_> = request
        .headers
        .iter()
        .filter(|(name, _)| about(name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().expect("ASCII").to_owned()))
        .collect();
    found.sort();
    found
}

fn pairs(expected: [&str; 3]) -> Vec<(String, String)> {
    let names = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
    names.into_iter().zip(expected).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
