//! `intertie queue`: the verbs of the API against a running server, with tables for people and JSON for scripts.

mod client;
mod table;

use std::io::{IsTerminal, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use intertie_core::clock::WallClock;
use intertie_core::id::Id;
use intertie_core::percent;
use intertie_core::quantity::{Rate, format_duration, parse_duration};
use intertie_gateway::config::Protocol;
use intertie_gateway::tls::{ServiceTls, ServiceTlsConfig};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::file::{Loaded, SecretReference};
use client::Client;
use table::table;

/// What to do at which server.
#[derive(Debug, Args)]
pub(crate) struct QueueArguments {
    #[command(subcommand)]
    verb: Verb,
    /// The file of the server, which says where its API is.
    #[arg(long, global = true, default_value = "intertie.toml")]
    file: PathBuf,
    /// The address of the API, instead of what a file says.
    #[arg(long, global = true, value_name = "ADDRESS")]
    api: Option<SocketAddr>,
    /// The name in the certificate of the API, where it is spoken to with TLS.
    #[arg(long, global = true, value_name = "NAME")]
    tls: Option<String>,
    /// The PEM file with the authorities that sign it. Default: those that the system trusts.
    #[arg(long, global = true, value_name = "FILE", requires = "tls")]
    roots: Option<PathBuf>,
    /// Where the secret of a token stands: env:NAME or file:PATH.
    #[arg(long, global = true, value_name = "REFERENCE")]
    token: Option<String>,
    /// What the server says, as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The queues, and how much is in them.
    List,
    /// One queue.
    Show { queue: String },
    /// Send one message; its data are an argument or, as `-`, the standard input.
    Send {
        queue: String,
        /// What it says; JSON where it is JSON.
        data: Option<String>,
        /// What happened.
        #[arg(long, default_value = "Message")]
        r#type: String,
        /// Where.
        #[arg(long, default_value = "/intertie/cli")]
        source: String,
        /// What tells it from others. Default: random.
        #[arg(long)]
        id: Option<String>,
        /// How long it waits before it is delivered.
        #[arg(long, value_parser = parse_duration)]
        delay: Option<Duration>,
        #[arg(long, default_value_t = 0)]
        priority: u8,
    },
    /// Lease messages: they are this consumer's for a time, and come back unless they are settled.
    Lease {
        queue: String,
        #[arg(long, default_value = "cli")]
        consumer: String,
        #[arg(long, default_value_t = 1)]
        most: u32,
        /// How long to wait for the first.
        #[arg(long, value_parser = parse_duration, default_value = "0s")]
        wait: Duration,
        /// How long they are the consumer's. Default: that of the queue.
        #[arg(long, value_parser = parse_duration)]
        visibility_timeout: Option<Duration>,
    },
    /// Say what becomes of a leased message.
    Settle {
        queue: String,
        lease: String,
        outcome: Outcome,
        /// When it comes again, of `retry`.
        #[arg(long, value_parser = parse_duration)]
        after: Option<Duration>,
        /// Why it never will be done, of `dead-letter`.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Look at messages without leasing them.
    Peek {
        queue: String,
        /// The position of the first.
        #[arg(long, default_value_t = 0)]
        from: u64,
        #[arg(long, default_value_t = 20)]
        most: u32,
    },
    /// Look at what died of a queue.
    DeadLetters {
        queue: String,
        #[arg(long, default_value_t = 0)]
        from: u64,
        #[arg(long, default_value_t = 20)]
        most: u32,
        /// max_deliveries, expired, rejected or undecodable.
        #[arg(long)]
        cause: Option<String>,
        #[arg(long)]
        r#type: Option<String>,
    },
    /// Send what died of a queue again, until nothing of it is left that is wanted.
    Redrive {
        queue: String,
        /// Where to. Default: the queue itself.
        #[arg(long)]
        to: Option<String>,
        #[arg(long)]
        cause: Option<String>,
        #[arg(long)]
        r#type: Option<String>,
        /// Leave what was redriven so often already.
        #[arg(long)]
        redrives_max: Option<u64>,
        /// How fast, such as 100/s. Default: as fast as can be.
        #[arg(long)]
        rate: Option<Rate>,
        /// Tell what would be done.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Outcome {
    Ack,
    Retry,
    Release,
    DeadLetter,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Retry => "retry",
            Self::Release => "release",
            Self::DeadLetter => "dead_letter",
        }
    }
}

/// Why it is not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The file or the command line is wrong; ready to be printed.
    Wrong(String),
    /// The server refuses it, or does not answer.
    Refused(anyhow::Error),
}

/// Does it; what is to be printed.
///
/// # Errors
/// What kept it from being done.
pub(crate) fn run(arguments: QueueArguments) -> Result<String, Failure> {
    let api = match arguments.api {
        Some(api) => api,
        None => {
            let loaded = Loaded::read(&arguments.file).map_err(Failure::Wrong)?;
            if let (Some(_), None) = (&loaded.server.api_certificate, &arguments.tls) {
                let message = "error: the API speaks TLS: say by --tls what name its certificate is for\n";
                return Err(Failure::Wrong(message.to_owned()));
            }
            let missing = || format!("error: {} has no queue and no API\n", arguments.file.display());
            loaded.api().ok_or_else(missing).map_err(Failure::Wrong)?
        }
    };
    let secret = arguments.token.as_deref().map(secret).transpose().map_err(Failure::Wrong)?;
    if secret.is_some() && arguments.tls.is_none() && !api.ip().is_loopback() {
        let message = format!("error: the token would go to {api} in the clear: speak TLS by --tls NAME\n");
        return Err(Failure::Wrong(message));
    }
    let tls = arguments.tls.as_deref().map(|name| Ok((tls(name, arguments.roots)?, name)));
    let tls = tls.transpose().map_err(Failure::Wrong)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Refused(error.into()))?;
    let done = runtime.block_on(async {
        let mut client = Client::connect(api, tls, secret.as_deref()).await?;
        arguments.verb.run(&mut client, arguments.json).await
    });
    done.map_err(Failure::Refused)
}

/// What the certificate of `name` is verified under.
fn tls(name: &str, roots: Option<PathBuf>) -> Result<ServiceTls, String> {
    let config = ServiceTlsConfig { roots, ..ServiceTlsConfig::default() };
    let (at, clock) = (["queue", "api", "tls"], WallClock::system());
    let read = ServiceTls::read(at, &config, Some(name), Protocol::Http1, Path::new(""), &clock, None);
    read.map(|(tls, _)| tls)
        .map_err(|problems| problems.iter().map(|problem| format!("error: {}\n", problem.message)).collect())
}

fn secret(reference: &str) -> Result<String, String> {
    let parsed = SecretReference::parse(reference);
    let parsed = parsed.ok_or_else(|| "error: a token is env:NAME or file:PATH\n".to_owned())?;
    parsed.read(Path::new("")).map_err(|error| format!("error: {:#}\n", anyhow::Error::new(error)))
}

impl Verb {
    async fn run(self, client: &mut Client, as_json: bool) -> Result<String> {
        let shown = |said: Value, show: fn(&Value) -> String| {
            if as_json { said.to_string() } else { show(&said["data"]) }
        };
        match self {
            Self::List => list(client, as_json).await,
            Self::Show { queue } => {
                Ok(shown(get(client, &of(&queue, "")?).await?, |queue| queues(std::slice::from_ref(queue))))
            }
            Self::Send { queue, data, r#type, source, id, delay, priority } => {
                let id = id.unwrap_or_else(|| Id::random().to_string());
                let event = event(&id, &source, &r#type, data.as_deref())?;
                let mut headers = vec![("content-type", "application/cloudevents+json".to_owned())];
                headers.push(("intertie-priority", priority.to_string()));
                headers.extend(delay.map(|delay| ("intertie-delay", format_duration(delay))));
                let path = of(&queue, "/messages")?;
                let said = client.ask(Method::POST, &path, &headers, event, Duration::ZERO).await?;
                Ok(shown(said, sent))
            }
            Self::Lease { queue, consumer, most, wait, visibility_timeout } => {
                let mut body = json!({ "consumer": consumer, "most": most, "wait": format_duration(wait) });
                if let Some(time) = visibility_timeout {
                    body["visibilityTimeout"] = format_duration(time).into();
                }
                Ok(shown(post(client, &of(&queue, "/leases")?, &body, wait).await?, leases))
            }
            Self::Settle { queue, lease, outcome, after, reason } => {
                let mut body = json!({ "lease": lease, "outcome": outcome.name(), "reason": reason });
                if let Some(after) = after {
                    body["after"] = format_duration(after).into();
                }
                let said = post(client, &of(&queue, "/settlements")?, &body, Duration::ZERO).await?;
                Ok(shown(said, |_| "settled".to_owned()))
            }
            Self::Peek { queue, from, most } => {
                let path = of(&queue, &format!("/messages?from={from}&size={most}"))?;
                Ok(shown(get(client, &path).await?, messages))
            }
            Self::DeadLetters { queue, from, most, cause, r#type } => {
                let filter = [("cause", cause), ("type", r#type)].map(|(name, value)| {
                    value.map(|value| format!("&{name}={}", escaped(&value))).unwrap_or_default()
                });
                let path = of(&queue, &format!("/dead-letters?from={from}&size={most}{}", filter.concat()))?;
                Ok(shown(get(client, &path).await?, dead_letters))
            }
            Self::Redrive { queue, to, cause, r#type, redrives_max, rate, dry_run } => {
                let body = json!({ "to": to, "cause": cause, "type": r#type, "redrivesMax": redrives_max, "dryRun": dry_run });
                redrive(client, &of(&queue, "/redrives")?, body, rate, as_json).await
            }
        }
    }
}

async fn get(client: &mut Client, path: &str) -> Result<Value> {
    client.ask(Method::GET, path, &[], Vec::new(), Duration::ZERO).await
}

async fn post(client: &mut Client, path: &str, body: &Value, wait: Duration) -> Result<Value> {
    client.ask(Method::POST, path, &[], body.to_string().into_bytes(), wait).await
}

/// A path of a queue.
fn of(queue: &str, rest: &str) -> Result<String> {
    let name: intertie_messaging::Name = queue.parse().with_context(|| format!("`{queue}` is no queue"))?;
    Ok(format!("/api/v1/queues/{name}{rest}"))
}

fn escaped(text: &str) -> String {
    percent::encoded(text.as_bytes(), |byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

/// All pages of the list.
async fn list(client: &mut Client, as_json: bool) -> Result<String> {
    let (mut all, mut next) = (Vec::new(), Some("/api/v1/queues?size=100".to_owned()));
    while let Some(path) = next {
        let mut page = get(client, &path).await?;
        if let Value::Array(queues) = page["data"].take() {
            all.extend(queues);
        }
        next = page["links"]["next"].as_str().map(str::to_owned);
    }
    Ok(if as_json { json!({ "data": all }).to_string() } else { queues(&all) })
}

/// The event of `send`.
#[derive(Serialize)]
struct Event<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    datacontenttype: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
}

/// Data that are JSON are sent as that, as they were written; others as text.
fn event(id: &str, source: &str, r#type: &str, data: Option<&str>) -> Result<Vec<u8>> {
    let text = match data {
        Some("-") => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("the standard input is no text")?;
            Some(text)
        }
        other => other.map(str::to_owned),
    };
    let mut event = Event { specversion: "1.0", id, source, r#type, datacontenttype: None, data: None };
    if let Some(text) = text {
        match serde_json::from_str(&text) {
            Ok(json) => event.data = Some(json),
            Err(_) => {
                event.datacontenttype = Some("text/plain");
                event.data = Some(to_raw_value(&text)?);
            }
        }
    }
    Ok(serde_json::to_vec(&event)?)
}

/// Steps until nothing is left, as fast as `rate` says.
async fn redrive(
    client: &mut Client,
    path: &str,
    mut body: Value,
    rate: Option<Rate>,
    as_json: bool,
) -> Result<String> {
    const STEP: u64 = 100;
    let is_watched = std::io::stderr().is_terminal();
    // A step is what the rate gives in a tenth of a second, so that it does not come in heaps.
    let per_second = rate.map(|rate| rate.amount() as f64 / rate.period().as_secs_f64());
    let step = per_second.map_or(STEP, |rate| ((rate / 10.0) as u64).clamp(1, STEP));
    // What dies again while this goes on stands behind all that is there now, and would keep it from ever ending.
    if body["dryRun"] != true {
        body["until"] = end_of_dead_letters(client, path, &body).await?.into();
    }
    body["most"] = step.into();
    let (mut redriven, mut skipped) = (0, 0);
    loop {
        let began = tokio::time::Instant::now();
        let said = post(client, path, &body, Duration::ZERO).await?;
        let count = |of: &str| said["data"][of].as_array().map_or(0, Vec::len);
        redriven += count("positions");
        skipped += count("skipped");
        if is_watched {
            let _ = write!(std::io::stderr(), "\r{redriven} redriven, {skipped} skipped");
        }
        let Some(next) = said["data"]["next"].as_u64() else { break };
        if body["from"].as_u64() == Some(next) {
            bail!("the server does not come further than position {next}");
        }
        body["from"] = next.into();
        if let Some(rate) = per_second {
            tokio::time::sleep_until(began + Duration::from_secs_f64(count("positions") as f64 / rate)).await;
        }
    }
    if is_watched {
        let _ = writeln!(std::io::stderr());
    }
    Ok(if as_json {
        json!({ "data": { "redriven": redriven, "skipped": skipped, "dryRun": body["dryRun"] } }).to_string()
    } else if body["dryRun"] == true {
        format!("{redriven} would be redriven, {skipped} skipped")
    } else {
        format!("{redriven} redriven, {skipped} skipped")
    })
}

/// The position behind the last dead letter that is wanted now.
async fn end_of_dead_letters(client: &mut Client, path: &str, redrive: &Value) -> Result<u64> {
    let mut body = redrive.clone();
    body["dryRun"] = true.into();
    let mut end = 0;
    loop {
        let said = post(client, path, &body, Duration::ZERO).await?;
        let found =
            ["positions", "skipped"].map(|of| said["data"][of].as_array().cloned().unwrap_or_default());
        let last = found.concat().iter().filter_map(Value::as_u64).max();
        end = last.map_or(end, |last| last + 1);
        let Some(next) = said["data"]["next"].as_u64() else { return Ok(end) };
        if body["from"].as_u64() == Some(next) {
            bail!("the server does not come further than position {next}");
        }
        body["from"] = next.into();
    }
}

/// A member as it is shown: text without its quotation marks, nothing for null.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => harmless(text),
        other => harmless(&other.to_string()),
    }
}

/// Text that whoever sent a message chose, without what a terminal would obey.
fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        // Those that turn the direction of writing make one thing look like another.
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A table of what stands in `members` of each resource, its id first.
fn rows(resources: &[Value], heads: &[&str], members: &[&str]) -> String {
    let cells = |one: &Value| {
        let attributes =
            members.iter().map(|member| plain(one["attributes"].pointer(member).unwrap_or(&Value::Null)));
        std::iter::once(plain(&one["id"])).chain(attributes).collect()
    };
    table(heads, &resources.iter().map(cells).collect::<Vec<_>>())
}

fn queues(queues: &[Value]) -> String {
    let heads = ["queue", "ready", "delayed", "in flight", "oldest", "dead letters"];
    rows(queues, &heads, &["/ready", "/delayed", "/inFlight", "/oldest", "/deadLetters"])
}

fn sent(message: &Value) -> String {
    let said = if message["attributes"]["duplicate"] == true { "was stored before" } else { "stored" };
    format!("{}: {said} at position {}", plain(&message["id"]), plain(&message["attributes"]["position"]))
}

fn leases(leases: &Value) -> String {
    let heads = ["lease", "deliveries", "until", "type", "id", "data"];
    let members = ["/deliveries", "/until", "/event/type", "/event/id", "/event/data"];
    rows(leases.as_array().map_or(&[], Vec::as_slice), &heads, &members)
}

fn messages(messages: &Value) -> String {
    let heads = ["position", "deliveries", "due", "leased until", "type", "id", "data"];
    let members = ["/deliveries", "/due", "/leasedUntil", "/event/type", "/event/id", "/event/data"];
    rows(messages.as_array().map_or(&[], Vec::as_slice), &heads, &members)
}

fn dead_letters(messages: &Value) -> String {
    let heads = ["position", "cause", "redrives", "died", "type", "id", "reason"];
    let dead = ["/deadLetter/cause", "/deadLetter/redrives", "/deadLetter/at"];
    let members = [&dead[..], &["/event/type", "/event/id", "/deadLetter/reason"]].concat();
    rows(messages.as_array().map_or(&[], Vec::as_slice), &heads, &members)
}
