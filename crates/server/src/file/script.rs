use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::{self, DurationText};
use intertie_gateway::config::{Problem, TrafficConfig, nearest};
use intertie_resilience::SimulationConfig;
use schemars::{JsonSchema, Schema};
use serde::Deserialize;

use super::source::{self, Kind, Source};

/// What `intertie simulate` tries a file's policies with: for each route a load, a service and its faults.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "A script of intertie simulate")]
pub(crate) struct Script {
    /// What all chance begins with: the same seed gives the same report. Default 0.
    #[serde(default)]
    pub(crate) seed: u64,
    /// How long calls arrive, at most a day. Default "60s".
    #[serde(default = "minute", with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub(crate) duration: Duration,
    /// The routes of the file that are simulated, each for itself.
    pub(crate) route: BTreeMap<String, SimulationConfig>,
}

const KIND: Kind = Kind {
    lists: &["fault", "quantiles"],
    first: "a first script: [route.\"/**\"] rate = \"100/s\", latency = { constant = \"20ms\" }, capacity = 10",
};

fn minute() -> Duration {
    Duration::from_secs(60)
}

impl Script {
    /// Reads the script at `path`, which is about the routes of `traffic`.
    ///
    /// # Errors
    /// What is wrong, ready to be printed.
    pub(crate) fn read(path: &Path, traffic: &TrafficConfig) -> Result<(Self, Source), String> {
        let (script, source): (Self, _) = Source::parse(path, source::read(path)?, &KIND)?;
        let problems = script.problems(traffic);
        if problems.is_empty() { Ok((script, source)) } else { Err(source.render(&problems)) }
    }

    fn problems(&self, traffic: &TrafficConfig) -> Vec<Problem> {
        if self.route.is_empty() {
            return vec![Problem::error(["route"], "the script is about no route").help(KIND.first)];
        }
        let mut problems = Vec::new();
        for (name, config) in &self.route {
            if !traffic.routes.contains_key(name) {
                let problem = Problem::error(["route", name], format!("the file has no route `{name}`"));
                let near = nearest(name, traffic.routes.keys().map(String::as_str));
                problems.push(match near {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None => problem,
                });
            }
            for (position, fault) in config.faults.iter().enumerate() {
                if let Err(Invalid { field, problem }) = fault.validate(self.duration) {
                    problems.push(Problem::error(
                        ["route", name, "fault", &position.to_string(), field],
                        problem,
                    ));
                }
            }
            let faultless = SimulationConfig { faults: Vec::new(), ..config.clone() };
            if let Err(Invalid { field, problem }) = faultless.validate(self.duration) {
                problems.push(Self::wrong(name, field, problem));
            }
        }
        problems
    }

    /// An error in a setting of the route `name`, or of the script as a whole.
    pub(crate) fn wrong(name: &str, field: &str, problem: String) -> Problem {
        match field {
            "duration" => Problem::error([field], problem),
            _ => Problem::error(["route", name, field], problem),
        }
    }
}

/// The JSON Schema of a script.
pub(crate) fn script_schema() -> Schema {
    schemars::schema_for!(Script)
}
