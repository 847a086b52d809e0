//! What `explain` tells of a request's route, and of the policies that it goes through.

use std::fmt::Write as _;

use http::{Method, Uri};
use intertie_core::quantity::format_duration;
use intertie_gateway::plan::{Effective, Explanation};
use intertie_gateway::route::Found;

use super::section::Section;
use super::service;
use crate::cli::counted;
use crate::file::Loaded;

/// Who takes the request, why no other route does, and under which policies it goes where.
pub(super) fn explain(loaded: &Loaded, method: &Method, uri: &Uri, explanation: &Explanation<'_>) -> String {
    let mut text = format!("{method} {uri}\n");
    let place = |name: &str| loaded.place(&["route".to_owned(), name.to_owned()]);
    match explanation.route {
        Some(route) => {
            let (name, at) = (&route.name, place(&route.name));
            let _ = writeln!(text, "  takes route `{name}` ({at}) to service `{}`", route.service.name);
            if *method == Method::CONNECT {
                text.push_str("  opens a tunnel to an endpoint of the service, whatever port is named\n");
            }
        }
        None => {
            let _ = writeln!(text, "  is answered {}", refusal(&explanation.found));
        }
    }
    let winner = explanation.route.map(|route| route.name.as_ref());
    for (route, candidate) in &explanation.candidates {
        if winner == Some(route.name.as_ref()) {
            continue;
        }
        let why = match &candidate.mismatch {
            Some(mismatch) => mismatch.to_string(),
            None => "is less specific".to_owned(),
        };
        let _ = writeln!(text, "  not route `{}` ({}): it {why}", route.name, place(&route.name));
    }
    let Some(route) = explanation.route else { return text };
    let effective = loaded.effective(&route.name);
    text.push_str(&policies(loaded, &effective));
    text.push_str(&worst_case(loaded, &effective, explanation.repeatable));
    text.push_str(&service::explain(loaded, &route.service));
    let mut endpoints = Section::new(loaded, "\nendpoints", &[], 0);
    for (endpoint, config) in route.service.endpoints.iter().zip(&route.service.config.endpoints) {
        endpoints.sentence(format_args!("{} weight {}", endpoint.address, config.weight));
    }
    text + &endpoints.into_text()
}

/// The status of a request that no route takes, and why.
fn refusal(found: &Found) -> String {
    match found {
        Found::OtherMethods(methods) if methods.is_empty() => {
            "405: no route opens a tunnel to this host".to_owned()
        }
        Found::OtherMethods(methods) => {
            let methods: Vec<_> = methods.iter().map(Method::as_str).collect();
            format!("405: this path takes {}", methods.join(", "))
        }
        Found::Ambiguous => "400: the path can be read in more than one way".to_owned(),
        _ => "404: no route wants this host and path".to_owned(),
    }
}

fn policies(loaded: &Loaded, effective: &Effective) -> String {
    let mut section = Section::new(loaded, "\npolicies, outermost first", &[], 20);
    for shown in effective.shown() {
        let origin = shown.origin.as_deref();
        let origin = origin.map_or_else(|| "built-in default".to_owned(), |keys| loaded.place(keys));
        section.row_from(shown.key.name(), &shown.value, &origin);
    }
    section.into_text()
}

fn worst_case(loaded: &Loaded, effective: &Effective, repeatable: bool) -> String {
    let mut section = Section::new(loaded, "\nworst case", &[], 0);
    let attempts = effective.retry.value.as_ref().map_or(1, |retry| retry.attempts.get());
    if repeatable || attempts == 1 {
        let requests = counted(attempts as usize, "request");
        section.sentence(format_args!("{requests} to the service for one call"));
    } else {
        section.sentence(
            "1 request to the service for one call: it is not idempotent and has no Idempotency-Key,",
        );
        section.sentence("so only an attempt that never reached the service is repeated");
    }
    let bounded =
        if effective.deadline.value.is_some() { "; the deadline ends it at the latest" } else { "" };
    match effective.worst_case() {
        Some(worst) => {
            let worst = format_duration(worst);
            section.sentence(format_args!("{worst} by attempts, backoff and queue{bounded}"));
        }
        None if bounded.is_empty() => section.sentence("nothing bounds an attempt"),
        None => section.sentence("nothing but the deadline bounds an attempt"),
    }
    section.into_text()
}
