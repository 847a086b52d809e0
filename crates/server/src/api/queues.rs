//! Which queues there are, and how much is in them.

use std::num::NonZeroU32;

use http::StatusCode;
use intertie_messaging::queue::QueueEngine;
use intertie_messaging::{EngineError, Listing, Name};

use super::exchange::Asked;
use super::failure::Failure;
use super::resource::{self, Done};
use crate::file::Verb;

pub(super) const QUEUES: &str = "/api/v1/queues";

/// A page of queues, by name.
pub(super) async fn list(mut asked: Asked<'_>) -> Result<Done, Failure> {
    let most = asked.query.size(asked.shared.limits.batch_max)?;
    let after = asked.query.parsed("after", str::parse::<Name>)?;
    asked.query.finish()?;
    let mut names = visible(&asked, after, most).await?;
    // What comes next is told by the last that the client may know of.
    let more = names.len() > most.get() as usize;
    names.truncate(most.get() as usize);
    let mut data = Vec::new();
    for name in &names {
        // One that went meanwhile is not there.
        match asked.engine.depth(name).await {
            Ok(depth) => data.push(asked.shared.queue(name, depth)),
            Err(EngineError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let next = names.last().filter(|_| more).map(|last| format!("{QUEUES}?size={most}&after={last}"));
    Ok(Done::with(StatusCode::OK, &data, QUEUES.to_owned()).link("next", next))
}

/// The queues that the client may know of, by name; one more than `most` if there is one.
async fn visible(
    asked: &Asked<'_>,
    mut after: Option<Name>,
    most: NonZeroU32,
) -> Result<Vec<Name>, EngineError> {
    let may_see = |name: &Name| asked.client.as_ref().is_none_or(|client| client.may(Verb::Browse, name));
    let wanted = most.get() as usize + 1;
    let page = asked.shared.limits.batch_max;
    let mut seen = Vec::new();
    while seen.len() < wanted {
        let names = asked.engine.queues(&Listing { after, most: page }).await?;
        let is_last = names.len() < page.get() as usize;
        after = names.last().cloned();
        seen.extend(names.into_iter().filter(may_see).take(wanted - seen.len()));
        if is_last {
            break;
        }
    }
    Ok(seen)
}

/// One queue.
pub(super) async fn show(asked: Asked<'_>, queue: &Name) -> Result<Done, Failure> {
    asked.query.finish()?;
    let depth = asked.engine.depth(queue).await?;
    let resource = asked.shared.queue(queue, depth);
    Ok(Done::with(StatusCode::OK, &resource, format!("{QUEUES}/{queue}")))
}

impl super::Shared {
    fn queue(
        &self,
        name: &Name,
        depth: intertie_messaging::queue::Depth,
    ) -> resource::Resource<resource::QueueAttributes> {
        let dead_letters = self.dead_letters_of(name);
        resource::queue(name, depth, &dead_letters, self.declared().contains_key(name))
    }
}
