//! `intertie simulate`: a file's policies against a script of faults, in virtual time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use intertie_gateway::config::Problem;
use intertie_gateway::plan::{Effective, Route};
use intertie_resilience::simulate::{Report, SimulationError};
use intertie_resilience::{PipelineConfig, Simulation};
use serde::Serialize;

use crate::file::{Loaded, Script};

/// The arguments of `intertie simulate`.
#[derive(Debug, Args)]
pub(crate) struct SimulateArguments {
    /// The file whose policies are tried.
    file: PathBuf,
    /// The script: load, service and faults of each route that is tried.
    #[arg(long, value_name = "FAULTS")]
    script: PathBuf,
    /// What all chance begins with, instead of the script's `seed`.
    #[arg(long)]
    seed: Option<u64>,
    /// Print JSON for programs instead of tables for people.
    #[arg(long)]
    json: bool,
}

/// What was seen, ready to be printed.
#[derive(Debug)]
pub(crate) struct Simulated {
    pub(crate) text: String,
    /// Whether the consequences of every fault came to an end.
    pub(crate) recovered: bool,
}

/// One route's part.
#[derive(Debug, Serialize)]
struct RouteReport {
    service: String,
    /// What of the file the simulation does not show.
    left_out: Vec<String>,
    report: Report,
}

/// Runs the script.
///
/// # Errors
/// What is wrong with the file or the script, ready to be printed.
pub(crate) fn simulate(arguments: &SimulateArguments) -> Result<Simulated, String> {
    let loaded = Loaded::read(&arguments.file)?;
    let (plan, _) = loaded.plan_to_look_at().map_err(|report| loaded.render(&report.problems))?;
    let (script, source) = Script::read(&arguments.script, &loaded.traffic)?;
    let mut reports = BTreeMap::new();
    for (name, config) in &script.route {
        let Some(route) = plan.routes.iter().find(|route| *route.name == **name) else { continue };
        let effective = loaded.effective(name);
        let report = Simulation::new(config.clone())
            .tier(name, policies(&effective))
            .duration(script.duration)
            .seed(arguments.seed.unwrap_or(script.seed))
            .run()
            .map_err(|error| match error {
                SimulationError::Invalid(invalid) => {
                    source.render(&[Script::wrong(name, invalid.field, invalid.problem)])
                }
                SimulationError::Tier(invalid) => {
                    let key = invalid.policy.name();
                    loaded.render(&[Problem::error(["route", name, key], invalid.invalid.problem)])
                }
                SimulationError::Thread(_) => format!("error: {:#}\n", anyhow::Error::from(error)),
            })?;
        let service = route.service.name.to_string();
        reports.insert(name, RouteReport { service, left_out: left_out(route, &effective), report });
    }
    let recovered = reports.values().all(|route| route.report.has_recovered());
    let text = if arguments.json { as_json(&reports)? } else { tell(&reports) };
    Ok(Simulated { text, recovered })
}

/// What the data plane would do with a call, as a pipeline.
fn policies(effective: &Effective) -> PipelineConfig {
    PipelineConfig {
        deadline: effective.deadline.value,
        rate_limiter: effective.rate_limiter.value.clone(),
        bulkhead: effective.bulkhead.value.clone(),
        retry: effective.retry.value.clone(),
        circuit_breaker: effective.circuit_breaker.value.clone(),
        attempt_timeout: effective.attempt_timeout.value,
        ..PipelineConfig::default()
    }
}

fn left_out(route: &Route, effective: &Effective) -> Vec<String> {
    let mut left_out = Vec::new();
    if let Some(limits) = effective.limits.value.as_ref().filter(|limits| !limits.is_empty()) {
        left_out.push(format!("the shared limits {}", limits.join(", ")));
    }
    let limiter = effective.rate_limiter.value.as_ref();
    if limiter.is_some_and(|limiter| !limiter.overrides.is_empty()) {
        left_out.push("the quotas of named callers: every caller has the usual one".to_owned());
    }
    match route.service.endpoints.len() {
        1 => {}
        endpoints => left_out.push(format!("the choice of an endpoint: one stands for all {endpoints}")),
    }
    left_out
}

fn as_json(reports: &impl Serialize) -> Result<String, String> {
    serde_json::to_string_pretty(reports)
        .map_err(|error| format!("error: the reports can not be written as JSON: {error}\n"))
}

fn tell(reports: &BTreeMap<&String, RouteReport>) -> String {
    let mut text = String::new();
    for (name, RouteReport { service, left_out, report }) in reports {
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = write!(text, "route `{name}` to service `{service}`\n{report}");
        for left_out in left_out {
            let _ = writeln!(text, "  left out       {left_out}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_that_are_no_json_are_an_error_and_not_silence() {
        let keys_are_no_text = BTreeMap::from([([1, 2], "reports")]);
        let error = as_json(&keys_are_no_text).expect_err("JSON has no such keys");
        assert!(error.starts_with("error: the reports can not be written as JSON: "), "{error}");
    }
}
