use std::time::Duration;

use super::cases;
use crate::commit::{CommitError, Refused};
use crate::conformance::case::{Stop, ensure, ensure_eq};
use crate::conformance::topic_trial::TopicTrial;
use crate::conformance::trial::{Trial, event, many, name};
use crate::log::{Assignment, Heartbeat, Join, Record, Seek, StartAt, TopicSpec};
use crate::{EngineError, Listing};

cases!(Log, "members":
    who_joins_again_takes_its_own_place,
    a_member_that_was_replaced_neither_stays_nor_hands_back,
    a_member_that_was_replaced_does_not_take_the_other_along,
    members_outlast_a_restart,
    who_is_not_heard_of_after_a_restart_has_left,
    a_group_goes_on_where_somebody_says,
    a_group_that_is_new_begins_where_somebody_says,
    no_session_is_longer_than_session_timeout_max,
    topics_are_listed_page_by_page,
    groups_are_listed_page_by_page,
    who_was_in_a_topic_that_was_deleted_is_not_in_the_one_of_its_name,
    nobody_advances_beyond_the_end,
    a_group_begins_a_new_partition_at_its_beginning,
);

async fn topic(trial: &Trial, partitions: u32) -> Result<TopicTrial, Stop> {
    let spec = TopicSpec { partitions: many(partitions), ..trial.topic_spec() };
    let topic = trial.topic("prices", &spec).await?;
    for partition in 0..partitions {
        for at in 0..3 {
            let record = Record { partition: Some(partition), ..event(&at.to_string()).into() };
            topic.append(record).await?;
        }
    }
    Ok(topic)
}

fn session(trial: &Trial) -> Duration {
    trial.ticks(10)
}

fn numbers(assignment: &Assignment) -> Vec<u32> {
    let mut numbers: Vec<_> = assignment.partitions.iter().map(|(partition, _)| *partition).collect();
    numbers.sort_unstable();
    numbers
}

/// Whether a member is told that it is none any more.
async fn must_be_out(topic: &TopicTrial, member: &Assignment, released: &[u32]) -> Result<(), Stop> {
    let heartbeat = Heartbeat { membership: member.membership.clone(), released: released.to_vec() };
    let stayed = topic.engine.heartbeat(&heartbeat).await;
    let is_stale = matches!(stayed, Err(EngineError::StaleMembership { generation })
        if generation >= member.membership.generation);
    ensure!(is_stale, "a member that was replaced, or has left, stays: {stayed:?}");
    let position = topic.find(StartAt::End).await?;
    let advanced = topic.commit([topic.advance_to(&member.membership, 0, position)]).await;
    ensure!(advanced.is_err(), "a member that was replaced, or has left, advances: {advanced:?}");
    Ok(())
}

async fn who_joins_again_takes_its_own_place(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 2).await?;
    let first = topic.join("first", session(trial)).await?;
    topic.join("second", session(trial)).await?;
    let twin = topic.join("first", session(trial)).await?;
    let (before, after) = (first.membership.generation, twin.membership.generation);
    ensure!(after > before, "two that joined have the generations {before} and {after}");
    ensure_eq!(numbers(&twin), numbers(&first), "partitions of a member that joined again");
    must_be_out(&topic, &first, &[]).await?;
    topic.commit([topic.advance_to(&twin.membership, 0, 1)]).await?;
    Ok(())
}

async fn a_member_that_was_replaced_neither_stays_nor_hands_back(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 2).await?;
    let first = topic.join("first", session(trial)).await?;
    let second = topic.join("second", session(trial)).await?;
    let twin = topic.join("first", session(trial)).await?;
    // What the one was told to hand back the other works on.
    must_be_out(&topic, &first, &numbers(&first)).await?;
    ensure_eq!(numbers(&topic.stay(&second, &[]).await?), Vec::<u32>::new(), "partitions of the second");
    ensure_eq!(numbers(&topic.stay(&twin, &[]).await?), [0, 1], "partitions of who joined again");
    Ok(())
}

async fn a_member_that_was_replaced_does_not_take_the_other_along(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 1).await?;
    let first = topic.join("first", session(trial)).await?;
    let twin = topic.join("first", session(trial)).await?;
    topic.engine.leave(&first.membership).await?;
    ensure_eq!(numbers(&topic.stay(&twin, &[]).await?), [0], "partitions after the other one left");
    topic.engine.leave(&twin.membership).await?;
    must_be_out(&topic, &twin, &[]).await
}

async fn members_outlast_a_restart(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 2).await?;
    let first = topic.join("first", session(trial)).await?;
    let topic = trial.restart_with_topic(topic).await?;
    let second = topic.join("second", session(trial)).await?;
    ensure_eq!(numbers(&second), Vec::<u32>::new(), "partitions of who comes first after a restart");
    let stayed = topic.stay(&first, &[]).await?;
    ensure_eq!(stayed.membership, first.membership, "the membership of who was there before a restart");
    ensure_eq!(numbers(&stayed), [0, 1], "its partitions");
    topic.commit([topic.advance_to(&first.membership, 0, 1)]).await?;
    ensure_eq!(stayed.to_release.len(), 1, "what it should hand back to who came");
    let released = stayed.to_release;
    topic.stay(&first, &released).await?;
    ensure_eq!(numbers(&topic.stay(&second, &[]).await?), released, "partitions of who came, later");
    Ok(())
}

async fn who_is_not_heard_of_after_a_restart_has_left(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 2).await?;
    let first = topic.join("first", session(trial)).await?;
    let topic = trial.restart_with_topic(topic).await?;
    let second = topic.join("second", trial.ticks(500)).await?;
    trial.pass_ticks(11).await;
    ensure_eq!(numbers(&topic.stay(&second, &[]).await?), [0, 1], "partitions after one session time");
    must_be_out(&topic, &first, &[]).await
}

fn seek(topic: &TopicTrial, partition: Option<u32>, to: StartAt) -> Seek {
    Seek { topic: topic.name.clone(), group: name("readers"), partition, to }
}

async fn a_group_goes_on_where_somebody_says(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 2).await?;
    let first = topic.join("first", session(trial)).await?;
    let end = topic.find(StartAt::End).await?;
    topic.commit([topic.advance_to(&first.membership, 0, end)]).await?;
    let second = topic.all(0).await?[1].position;
    let moved = topic.engine.seek(&seek(&topic, Some(0), StartAt::Position(second))).await?;
    ensure_eq!(moved, [(0, second)], "where the group goes on");
    // What it still worked on does not undo that.
    must_be_out(&topic, &first, &[]).await?;
    let again = topic.join("first", session(trial)).await?;
    let position = again.partitions.iter().find(|(partition, _)| *partition == 0);
    ensure_eq!(position, Some(&(0, second)), "where the member goes on");
    let beginning = topic.find(StartAt::Beginning).await?;
    for (to, expected) in [
        (StartAt::Beginning, beginning),
        (StartAt::End, end),
        (StartAt::Position(end + 1000), end),
        (StartAt::Time(trial.in_ticks(100)), end),
    ] {
        topic.engine.seek(&seek(&topic, None, to)).await?;
        let positions: Vec<_> = topic.lag().await?.iter().map(|lag| lag.position).collect();
        ensure_eq!(positions[0], expected, "where the group goes on after {to:?}");
        ensure_eq!(positions.len(), 2, "partitions");
    }
    let nowhere = topic.engine.seek(&seek(&topic, Some(2), StartAt::End)).await;
    let expected = Err(EngineError::NoPartition { partition: 2, partitions: 2 });
    ensure_eq!(nowhere, expected, "a partition that is not there");
    Ok(())
}

async fn a_group_that_is_new_begins_where_somebody_says(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 1).await?;
    let end = topic.find(StartAt::End).await?;
    topic.engine.seek(&seek(&topic, None, StartAt::End)).await?;
    let first = topic.join("first", session(trial)).await?;
    ensure_eq!(first.partitions, [(0, end)], "where a group begins that somebody sought before");
    Ok(())
}

async fn topics_are_listed_page_by_page(trial: &mut Trial) -> Result<(), Stop> {
    let mut expected = Vec::new();
    for number in [3, 1, 5, 2, 4] {
        expected.push(trial.topic(&format!("facts-{number}"), &trial.topic_spec()).await?.name);
    }
    expected.sort();
    let logs = trial.logs()?;
    let first = logs.topics(&Listing { after: None, most: many(3) }).await?;
    ensure_eq!(first, expected[..3], "the first three topics");
    let rest = logs.topics(&Listing { after: first.last().cloned(), most: many(3) }).await?;
    ensure_eq!(rest, expected[3..], "the topics behind them");
    Ok(())
}

async fn groups_are_listed_page_by_page(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 1).await?;
    let mut expected = Vec::new();
    for group in ["billing", "audit", "search"] {
        topic.engine.seek(&Seek { group: name(group), ..seek(&topic, None, StartAt::End) }).await?;
        expected.push(name(group));
    }
    expected.sort();
    let first = topic.engine.groups(&topic.name, &Listing { after: None, most: many(2) }).await?;
    ensure_eq!(first, expected[..2], "the first two groups");
    let rest = Listing { after: first.last().cloned(), most: many(2) };
    ensure_eq!(topic.engine.groups(&topic.name, &rest).await?, expected[2..], "the group behind them");
    let unknown = topic.engine.groups(&name("zzz"), &rest).await;
    ensure!(matches!(unknown, Err(EngineError::NotFound { .. })), "groups of no topic: {unknown:?}");
    Ok(())
}

async fn no_session_is_longer_than_session_timeout_max(trial: &mut Trial) -> Result<(), Stop> {
    let spec = TopicSpec { session_timeout_max: trial.ticks(20), ..trial.topic_spec() };
    let topic = trial.topic("prices", &spec).await?;
    let (member, start) = (topic.member("first"), StartAt::Beginning);
    let join = Join { member, session_timeout: trial.ticks(21), start };
    let refused = topic.engine.join(&join).await;
    let is_limit = matches!(refused, Err(EngineError::Limit { key: "session_timeout_max", .. }));
    ensure!(is_limit, "a session that is longer than allowed: {refused:?}");
    ensure_eq!(
        numbers(&topic.join("first", trial.ticks(20)).await?),
        [0],
        "partitions of the longest session"
    );
    Ok(())
}

async fn who_was_in_a_topic_that_was_deleted_is_not_in_the_one_of_its_name(
    trial: &mut Trial,
) -> Result<(), Stop> {
    let old = topic(trial, 1).await?;
    let first = old.join("first", session(trial)).await?;
    old.engine.delete_topic(&old.name).await?;
    let new = topic(trial, 1).await?;
    let again = new.join("first", session(trial)).await?;
    must_be_out(&new, &first, &[]).await?;
    new.commit([new.advance_to(&again.membership, 0, 1)]).await?;
    Ok(())
}

async fn nobody_advances_beyond_the_end(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 1).await?;
    let end = topic.find(StartAt::End).await?;
    let member = topic.join("first", session(trial)).await?;
    for beyond in [end + 1, u64::MAX] {
        let advanced = topic.try_commit([topic.advance_to(&member.membership, 0, beyond)]).await;
        let limit = Refused::Engine(EngineError::Limit { key: "end", limit: end.to_string() });
        let expected = Err(CommitError::Refused { operation: 0, cause: limit });
        ensure_eq!(advanced, expected, "an advance beyond the end");
    }
    topic.commit([topic.advance_to(&member.membership, 0, end)]).await?;
    topic.append(event("later")).await?;
    ensure_eq!(topic.lag().await?[0].records, 1, "records left that were appended afterwards");
    Ok(())
}

async fn a_group_begins_a_new_partition_at_its_beginning(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 1).await?;
    let (member, session_timeout) = (topic.member("first"), session(trial));
    let first = topic.engine.join(&Join { member, session_timeout, start: StartAt::End }).await?;
    let spec = TopicSpec { partitions: many(2), ..trial.topic_spec() };
    topic.engine.declare_topic(&topic.name, &spec).await?;
    let at = topic.append_at(Record { partition: Some(1), ..event("new").into() }).await?;
    let grown = topic.stay(&first, &[]).await?;
    let begins = grown.partitions.iter().find(|(partition, _)| *partition == 1).map(|(_, begins)| *begins);
    ensure!(begins.is_some_and(|begins| begins <= at), "the record at {at} is missed from {begins:?} on");
    Ok(())
}
