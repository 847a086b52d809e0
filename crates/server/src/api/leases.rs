//! Messages handed out for a time, and their end.

use std::num::NonZeroU32;
use std::time::Duration;

use http::StatusCode;
use intertie_core::quantity::format_duration;
use intertie_messaging::commit::{Commit, Operation};
use intertie_messaging::queue::{Cause, LeaseId, LeaseRequest, QueueEngine, Settlement};
use intertie_messaging::{Engine, Name};
use serde::Serialize;

use super::exchange::Asked;
use super::failure::{ApiCode, Failure};
use super::fields::Fields;
use super::queues::QUEUES;
use super::resource::{self, Done, Resource};

/// Leases what there is, and waits for the first message if the client asks for that.
pub(super) async fn lease(asked: Asked<'_>, queue: &Name) -> Result<Done, Failure> {
    asked.query.finish()?;
    let limits = &asked.shared.limits;
    let mut fields = Fields::read(&asked.body)?;
    let consumer = fields.parsed("consumer", str::parse::<Name>)?;
    let most = fields.count("most", NonZeroU32::MIN, limits.batch_max)?;
    let bytes_max = fields.size("bytesMax")?.unwrap_or(limits.body_bytes_max);
    let visibility_timeout = fields.duration("visibilityTimeout")?;
    let wait = fields.duration("wait")?.unwrap_or_default();
    if wait > limits.wait_max {
        let most = format_duration(limits.wait_max);
        let detail = format!("nobody waits for longer than `wait_max` of `api_limits`, {most}");
        return Err(Failure::new(ApiCode::LimitExceeded, detail).at(fields.pointer("wait")));
    }
    let Some(consumer) = consumer else {
        return Err(
            fields.wrong("consumer", "who leases must have a name, the same one for all its requests")
        );
    };
    if visibility_timeout.is_some_and(|time| time.is_zero()) {
        let detail = "a lease of 0s is over before anyone has it, and its delivery counts";
        return Err(fields.wrong("visibilityTimeout", detail));
    }
    fields.finish()?;
    let reserved = asked.client.as_ref().map(|client| client.reserve(most, asked.shared.clock.now()));
    let reserved = reserved.transpose()?;
    let most = reserved.as_ref().map_or(most, |reserved| reserved.count);
    let request = LeaseRequest {
        queue: queue.clone(),
        consumer,
        most,
        bytes_max: bytes_max.min(limits.body_bytes_max),
        visibility_timeout,
        wait,
    };
    let leased = tokio::select! {
        biased;
        leased = asked.engine.lease(&request) => leased?,
        // Who waits is let go empty-handed, so that the directory can be closed.
        () = asked.shared.until_it_ends(), if wait > Duration::ZERO => Vec::new(),
    };
    if let Some(reserved) = &reserved {
        reserved.took(leased.iter().map(|lease| (lease.id.clone(), lease.until)));
    }
    let data: Vec<_> = leased.iter().map(resource::lease).collect();
    Ok(Done::with(StatusCode::OK, &data, format!("{QUEUES}/{queue}/leases")))
}

#[derive(Debug, Serialize)]
struct Until {
    until: String,
}

/// Gives a lease a time from now on.
pub(super) async fn extend(asked: Asked<'_>, queue: &Name, lease: &LeaseId) -> Result<Done, Failure> {
    asked.query.finish()?;
    let mut fields = Fields::read(&asked.body)?;
    let Some(time) = fields.duration("visibilityTimeout")? else {
        return Err(fields.wrong("visibilityTimeout", "it says how long the lease has from now on"));
    };
    fields.finish()?;
    let until = asked.engine.extend(queue, lease, time).await?;
    if let Some(client) = &asked.client {
        client.extended(lease, until);
    }
    let attributes = Until { until: resource::text(until) };
    let resource = Resource { id: lease.to_string(), kind: "lease", attributes };
    // Where it stands in the path is what the client sent, and need not be what an answer can repeat.
    Ok(Done::with(StatusCode::OK, &resource, format!("{QUEUES}/{queue}/leases")))
}

#[derive(Debug, Serialize)]
struct Settled {
    settled: usize,
}

/// Ends leases, all of them or none.
pub(super) async fn settle(asked: Asked<'_>, queue: &Name) -> Result<Done, Failure> {
    asked.query.finish()?;
    let is_batch = asked.body.trim_ascii_start().first() == Some(&b'[');
    let each = Fields::read_each(&asked.body, asked.shared.limits.batch_max)?;
    let settled = each.len();
    let operations = each.into_iter().map(|fields| settlement(fields, queue));
    let commit: Commit = operations.collect::<Result<_, _>>()?;
    let leases: Vec<LeaseId> = match &asked.client {
        Some(_) => commit.operations.iter().filter_map(lease_of).cloned().collect(),
        None => Vec::new(),
    };
    let committed = asked.engine.commit(commit).await;
    committed.map_err(|error| Failure::commit(error, is_batch))?;
    if let Some(client) = &asked.client {
        leases.iter().for_each(|lease| client.settled(lease));
    }
    Ok(Done::with(StatusCode::OK, &Settled { settled }, format!("{QUEUES}/{queue}/settlements")))
}

fn lease_of(operation: &Operation) -> Option<&LeaseId> {
    match operation {
        Operation::Settle { lease, .. } => Some(lease),
        _ => None,
    }
}

const OUTCOMES: &str = "`ack`, `retry`, `release` or `dead_letter`";

fn settlement(mut fields: Fields, queue: &Name) -> Result<Operation, Failure> {
    let lease = fields.text("lease")?;
    let outcome = fields.text("outcome")?;
    let after = fields.duration("after")?;
    let reason = fields.text("reason")?;
    let Some(lease) = lease else { return Err(fields.wrong("lease", "it says which lease ends")) };
    let settlement = match outcome.as_deref() {
        Some("ack") => Settlement::Ack,
        Some("retry") => Settlement::Retry { after },
        Some("release") => Settlement::Release,
        Some("dead_letter") => {
            Settlement::DeadLetter { cause: Cause::Rejected, reason: reason.clone().unwrap_or_default() }
        }
        _ => return Err(fields.wrong("outcome", format!("it is {OUTCOMES}"))),
    };
    if after.is_some() && !matches!(settlement, Settlement::Retry { .. }) {
        return Err(fields.wrong("after", "only a `retry` comes after a time"));
    }
    if reason.is_some() && !matches!(settlement, Settlement::DeadLetter { .. }) {
        return Err(fields.wrong("reason", "only a `dead_letter` keeps a reason"));
    }
    fields.finish()?;
    Ok(Operation::Settle { queue: queue.clone(), lease: LeaseId::new(lease), settlement })
}
