//! What died of a queue: looked at, and sent again.

use std::num::NonZeroU32;

use http::StatusCode;
use intertie_messaging::commit::{Commit, CommitError, Operation, Refused};
use intertie_messaging::queue::{Browse, Browsed, QueueEngine};
use intertie_messaging::{Engine, Name};
use serde::Serialize;

use super::exchange::{Asked, may};
use super::failure::{ApiCode, Failure};
use super::fields::{Fields, unknown_name};
use super::queues::QUEUES;
use super::resource::{self, Done};
use crate::file::Verb;

/// The names of [`intertie_messaging::queue::Cause`].
const CAUSES: [&str; 4] = ["max_deliveries", "expired", "rejected", "undecodable"];

/// Messages that one request looks at to find those that it wants; where it ended, the next one goes on.
const LOOKED_AT_MAX: NonZeroU32 = NonZeroU32::new(1000).expect("1000 is not zero");

/// Which dead letters are meant.
#[derive(Debug)]
struct Filter {
    /// Where they died.
    queue: Name,
    cause: Option<String>,
    /// What their type is.
    r#type: Option<String>,
}

impl Filter {
    fn wants(&self, message: &Browsed) -> bool {
        use intertie_messaging::Content;
        use intertie_messaging::queue::Origin;
        let Some(dead) = &message.dead_letter else { return false };
        let died_here = matches!(&dead.origin, Origin::Queue { queue, .. } if *queue == self.queue);
        let r#type = match &message.content {
            Content::Envelope(event) => Some(event.r#type()),
            Content::Undecodable { .. } => None,
        };
        died_here
            && self.cause.as_deref().is_none_or(|cause| cause == dead.cause.name())
            && self.r#type.as_deref().is_none_or(|wanted| r#type == Some(wanted))
    }
}

fn cause(text: &str) -> Result<String, String> {
    let is_known = CAUSES.contains(&text);
    if is_known { Ok(text.to_owned()) } else { Err(unknown_name("cause", text, &CAUSES)) }
}

/// What a look found.
struct Found {
    messages: Vec<Browsed>,
    /// Where the next look begins, if something is left.
    next: Option<u64>,
}

/// Looks for at most `most` dead letters from a position on.
async fn look(
    asked: &Asked<'_>,
    dead: &Name,
    filter: &Filter,
    from: u64,
    most: NonZeroU32,
) -> Result<Found, Failure> {
    let bytes_max = asked.shared.limits.body_bytes_max;
    let browse = Browse { queue: dead.clone(), from, most: LOOKED_AT_MAX, bytes_max };
    let page = asked.engine.browse(&browse).await?;
    let (mut messages, mut next) = (Vec::new(), page.next);
    for message in page.messages.into_iter().filter(|message| filter.wants(message)) {
        if messages.len() == most.get() as usize {
            next = Some(message.position);
            break;
        }
        messages.push(message);
    }
    Ok(Found { messages, next })
}

/// A page of what died of a queue.
pub(super) async fn list(mut asked: Asked<'_>, queue: &Name) -> Result<Done, Failure> {
    let most = asked.query.size(asked.shared.limits.batch_max)?;
    let from = asked.query.parsed("from", str::parse::<u64>)?.unwrap_or(0);
    let cause = asked.query.parsed("cause", cause)?;
    let r#type = asked.query.parsed("type", |text| Ok::<_, String>(text.to_owned()))?;
    asked.query.finish()?;
    let own = format!("{QUEUES}/{queue}/dead-letters");
    // The queue itself must be there, whatever of it is dead.
    asked.engine.depth(queue).await?;
    let dead = asked.shared.dead_letters_name(queue)?;
    let link = |next| {
        let cause = cause.as_deref().map(|cause| format!("&cause={cause}")).unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let r#type = r#type
            .as_deref()
            .map(|text| format!("&type={}", intertie_core::percent::encoded(text.as_bytes(), plain)));
        format!("{own}?size={most}&from={next}{cause}{}", r#type.unwrap_or_default())
    };
    let filter = Filter { queue: queue.clone(), cause: cause.clone(), r#type: r#type.clone() };
    let found = look(&asked, &dead, &filter, from, most).await?;
    let data: Vec<_> = found.messages.iter().map(resource::message).collect();
    Ok(Done::with(StatusCode::OK, &data, own.clone()).link("next", found.next.map(link)))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Redriven {
    /// The positions that they had as dead letters.
    positions: Vec<u64>,
    /// Of those that were looked at and wanted, what was redriven too often.
    skipped: Vec<u64>,
    /// Where the next request begins, if something is left.
    next: Option<u64>,
    dry_run: bool,
}

/// Sends dead letters again, as one commit; what is left is for another request.
pub(super) async fn redrive(asked: Asked<'_>, queue: &Name) -> Result<Done, Failure> {
    asked.query.finish()?;
    let mut fields = Fields::read(&asked.body)?;
    let most = asked.shared.limits.batch_max;
    let most = fields.count("most", NonZeroU32::new(100).expect("100 is not zero"), most)?;
    let from = fields.number("from")?.unwrap_or(0);
    let to = fields.parsed("to", str::parse::<Name>)?.unwrap_or_else(|| queue.clone());
    let cause = fields.parsed("cause", cause)?;
    let r#type = fields.text("type")?;
    let until = fields.number("until")?.unwrap_or(u64::MAX);
    let redrives_max = fields.number("redrivesMax")?;
    let dry_run = fields.flag("dryRun")?;
    fields.finish()?;
    if let Some(client) = &asked.client
        && to != *queue
    {
        may(client, Verb::Send, &to)
            .inspect_err(|failure| asked.shared.denied(asked.peer, Some(client), asked.parts, failure))?;
    }
    asked.engine.depth(queue).await?;
    let dead = asked.shared.dead_letters_name(queue)?;
    let filter = Filter { queue: queue.clone(), cause, r#type };
    let mut found = look(&asked, &dead, &filter, from, most).await?;
    found.messages.retain(|message| message.position < until);
    found.next = found.next.filter(|next| *next < until);
    let is_looping = |message: &Browsed| {
        let redrives = message.dead_letter.as_ref().map_or(0, |dead| u64::from(dead.redrives));
        redrives_max.is_some_and(|most| redrives >= most)
    };
    let (looping, free): (Vec<_>, Vec<_>) = found.messages.iter().partition(|message| is_looping(message));
    let mut positions: Vec<u64> = free
        .into_iter()
        .filter(|message| message.leased_until.is_none())
        .map(|message| message.position)
        .collect();
    let mut unfit = Vec::new();
    while !dry_run && !positions.is_empty() {
        let operation =
            |position: &u64| Operation::Redrive { queue: dead.clone(), position: *position, to: to.clone() };
        let commit: Commit = positions.iter().map(operation).collect();
        match asked.engine.commit(commit).await {
            Ok(_) => break,
            // Somebody else has taken it meanwhile: the others go all the same.
            Err(CommitError::Refused { operation, cause: Refused::NotWaiting }) => {
                positions.remove(operation);
            }
            // What its target takes from nobody stays where it is, and keeps no other there.
            Err(CommitError::Refused {
                operation,
                cause: Refused::TooLarge { .. } | Refused::NotDeclared { .. } | Refused::Tombstone { .. },
            }) => unfit.push(positions.remove(operation)),
            Err(error) => return Err(Failure::commit(error, false)),
        }
    }
    let skipped = looping.into_iter().map(|message| message.position).chain(unfit).collect();
    let redriven = Redriven { positions, skipped, next: found.next, dry_run };
    Ok(Done::with(StatusCode::OK, &redriven, format!("{QUEUES}/{queue}/redrives")))
}

impl super::Shared {
    /// Where the dead letters of a queue go, as a name.
    fn dead_letters_name(&self, queue: &Name) -> Result<Name, Failure> {
        self.dead_letters_of(queue)
            .parse()
            .map_err(|_| Failure::new(ApiCode::QueueNotFound, "it has no queue of dead letters"))
    }
}
