use std::time::Duration;

use super::cases;
use crate::EngineError;
use crate::commit::{CommitError, Refused};
use crate::conformance::case::{Stop, ensure, ensure_eq};
use crate::conformance::topic_trial::TopicTrial;
use crate::conformance::trial::{Trial, event, many, name};
use crate::log::{Assignment, Join, Record, StartAt, TopicSpec};

cases!(Log, "groups":
    a_member_alone_has_all_partitions,
    a_group_goes_on_where_it_advanced_to,
    positions_outlast_a_restart,
    groups_do_not_share_positions,
    partitions_are_shared_evenly_and_never_doubly,
    a_long_handler_keeps_its_partition_until_it_hands_it_back,
    the_partitions_of_who_left_are_given_on,
    a_session_that_ends_frees_its_partitions,
    a_member_that_was_replaced_can_not_advance,
    nobody_advances_a_partition_of_another,
    a_group_begins_where_it_was_told_to_once,
    lag_is_what_is_left_to_read,
    a_new_partition_is_given_to_the_group,
);

async fn topic(trial: &Trial, partitions: u32) -> Result<TopicTrial, Stop> {
    let topic = TopicSpec { partitions: many(partitions), ..trial.topic_spec() };
    trial.topic("prices", &topic).await
}

async fn fill(topic: &TopicTrial, partition: u32, records: u32) -> Result<(), Stop> {
    for at in 0..records {
        let record = Record { partition: Some(partition), ..event(&at.to_string()).into() };
        topic.append(record).await?;
    }
    Ok(())
}

fn numbers(assignment: &Assignment) -> Vec<u32> {
    let mut numbers: Vec<_> = assignment.partitions.iter().map(|(partition, _)| *partition).collect();
    numbers.sort_unstable();
    numbers
}

fn position(assignment: &Assignment, partition: u32) -> Option<u64> {
    assignment.partitions.iter().find(|(own, _)| *own == partition).map(|(_, position)| *position)
}

fn session(trial: &Trial) -> Duration {
    trial.ticks(10)
}

/// Both members say that they are there, and hand back what they are told to, until nothing moves.
async fn agree(trial: &Trial, topic: &TopicTrial, members: [&str; 2]) -> Result<[Assignment; 2], Stop> {
    let mut told: [Option<Assignment>; 2] = [None, None];
    for _ in 0..6 {
        for (member, told) in members.into_iter().zip(&mut told) {
            *told = Some(match told.take() {
                Some(told) => topic.stay(&told, &told.to_release).await?,
                None => topic.join(member, session(trial)).await?,
            });
        }
        if let [Some(first), Some(second)] = &told {
            let (own, others) = (numbers(first), numbers(second));
            let twice: Vec<_> = own.iter().filter(|partition| others.contains(partition)).collect();
            ensure!(twice.is_empty(), "both members have {twice:?}");
        }
        trial.pass_ticks(1).await;
    }
    match told {
        [Some(first), Some(second)] => Ok([first, second]),
        _ => Err(Stop::Failed("a member was told nothing".to_owned())),
    }
}

async fn a_member_alone_has_all_partitions(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 4).await?;
    let mut alone = topic.join("first", session(trial)).await?;
    for _ in 0..3 {
        trial.pass_ticks(1).await;
        let again = topic.stay(&alone, &[]).await?;
        ensure_eq!(again.membership, alone.membership, "the membership of a member that stays");
        alone = again;
    }
    ensure_eq!(numbers(&alone), [0, 1, 2, 3], "partitions of the only member");
    ensure_eq!(alone.to_release, Vec::<u32>::new(), "what the only member should hand back");
    Ok(())
}

async fn a_group_goes_on_where_it_advanced_to(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 1).await?;
    fill(&topic, 0, 5).await?;
    let records = topic.all(0).await?;
    let first = topic.join("first", session(trial)).await?;
    ensure_eq!(position(&first, 0), Some(records[0].position), "where a new group begins");
    topic.commit([topic.advance_to(&first.membership, 0, records[3].position)]).await?;
    topic.engine.leave(&first.membership).await?;
    let second = topic.join("second", session(trial)).await?;
    ensure_eq!(position(&second, 0), Some(records[3].position), "where the next member goes on");
    Ok(())
}

async fn positions_outlast_a_restart(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 1).await?;
    fill(&topic, 0, 5).await?;
    let records = topic.all(0).await?;
    let first = topic.join("first", session(trial)).await?;
    topic.commit([topic.advance_to(&first.membership, 0, records[3].position)]).await?;
    let topic = trial.restart_with_topic(topic).await?;
    // A session may have outlasted the restart, too.
    trial.pass_ticks(11).await;
    let again = topic.join("first", session(trial)).await?;
    ensure_eq!(position(&again, 0), Some(records[3].position), "where the group goes on after a restart");
    let generations = (first.membership.generation, again.membership.generation);
    ensure!(generations.0 < generations.1, "a generation is given again: {generations:?}");
    Ok(())
}

async fn groups_do_not_share_positions(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 1).await?;
    fill(&topic, 0, 5).await?;
    let first = topic.join("first", session(trial)).await?;
    let end = topic.find(StartAt::End).await?;
    topic.commit([topic.advance_to(&first.membership, 0, end)]).await?;
    let mut member = topic.member("first");
    member.group = name("others");
    let start = StartAt::Beginning;
    let join = Join { member, session_timeout: session(trial), start };
    let other = topic.engine.join(&join).await?;
    ensure_eq!(position(&other, 0), Some(topic.find(start).await?), "where another group begins");
    Ok(())
}

async fn partitions_are_shared_evenly_and_never_doubly(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 5).await?;
    let alone = topic.join("first", session(trial)).await?;
    topic.engine.leave(&alone.membership).await?;
    let [first, second] = agree(trial, &topic, ["first", "second"]).await?;
    let mut all = numbers(&first);
    all.extend(numbers(&second));
    all.sort_unstable();
    ensure_eq!(all, [0, 1, 2, 3, 4], "partitions of both members");
    let shares = (numbers(&first).len(), numbers(&second).len());
    ensure!(shares.0.abs_diff(shares.1) <= 1, "shares are not even: {shares:?}");
    for (assignment, partition) in [(&first, numbers(&first)[0]), (&second, numbers(&second)[0])] {
        topic.append(Record { partition: Some(partition), ..event("a").into() }).await?;
        topic.commit([topic.advance_to(&assignment.membership, partition, 1)]).await?;
    }
    Ok(())
}

async fn a_long_handler_keeps_its_partition_until_it_hands_it_back(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 2).await?;
    fill(&topic, 0, 3).await?;
    fill(&topic, 1, 3).await?;
    let mut first = topic.join("first", session(trial)).await?;
    ensure_eq!(numbers(&first), [0, 1], "partitions of the first member");
    let mut second = topic.join("second", session(trial)).await?;
    // Three sessions long the first says that it is there, and works on what it has.
    for _ in 0..6 {
        trial.pass_ticks(5).await;
        second = topic.stay(&second, &[]).await?;
        ensure_eq!(numbers(&second), Vec::<u32>::new(), "partitions of the second while the first works");
        first = topic.stay(&first, &[]).await?;
        ensure_eq!(numbers(&first), [0, 1], "partitions of the first while it works");
    }
    ensure_eq!(first.to_release.len(), 1, "partitions that the first should hand back");
    let released = first.to_release[0];
    topic.commit([topic.advance_to(&first.membership, released, 2)]).await?;
    topic.stay(&first, &[released]).await?;
    let second = topic.stay(&second, &[]).await?;
    ensure_eq!(numbers(&second), [released], "partitions of the second once the first handed it back");
    ensure_eq!(position(&second, released), Some(2), "where the second goes on");
    Ok(())
}

async fn the_partitions_of_who_left_are_given_on(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 2).await?;
    let [first, second] = agree(trial, &topic, ["first", "second"]).await?;
    topic.engine.leave(&first.membership).await?;
    let second = topic.stay(&second, &[]).await?;
    ensure_eq!(numbers(&second), [0, 1], "partitions when the other member has left");
    Ok(())
}

async fn a_session_that_ends_frees_its_partitions(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 2).await?;
    topic.join("first", session(trial)).await?;
    let second = topic.join("second", trial.ticks(100)).await?;
    ensure_eq!(numbers(&second), Vec::<u32>::new(), "partitions of the second while the first is there");
    trial.pass_ticks(11).await;
    let second = topic.stay(&second, &[]).await?;
    ensure_eq!(numbers(&second), [0, 1], "partitions when nothing was heard of the first");
    Ok(())
}

async fn must_be_stale(
    topic: &TopicTrial,
    assignment: &Assignment,
    partition: u32,
    what: &str,
) -> Result<(), Stop> {
    let before = topic.lag().await?;
    let stale = topic.commit([topic.advance_to(&assignment.membership, partition, 2)]).await;
    let is_stale = matches!(
        stale,
        Err(CommitError::Refused {
            operation: 0,
            cause: Refused::Engine(EngineError::StaleMembership { .. })
        })
    );
    ensure!(is_stale, "{what} advanced: {stale:?}");
    ensure_eq!(topic.lag().await?, before, "positions after {what} tried to advance");
    Ok(())
}

async fn a_member_that_was_replaced_can_not_advance(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 1).await?;
    fill(&topic, 0, 3).await?;
    let first = topic.join("first", session(trial)).await?;
    trial.pass_ticks(11).await;
    let second = topic.join("second", session(trial)).await?;
    must_be_stale(&topic, &first, 0, "a member that was replaced").await?;
    topic.commit([topic.advance_to(&second.membership, 0, 1)]).await?;
    topic.engine.leave(&second.membership).await?;
    must_be_stale(&topic, &second, 0, "a member that left").await?;
    let again = topic.join("first", session(trial)).await?;
    ensure!(again.membership.generation > second.membership.generation, "generations do not grow");
    must_be_stale(&topic, &first, 0, "an earlier joining of the same member").await
}

async fn nobody_advances_a_partition_of_another(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 2).await?;
    fill(&topic, 0, 3).await?;
    fill(&topic, 1, 3).await?;
    let [first, second] = agree(trial, &topic, ["first", "second"]).await?;
    must_be_stale(&topic, &first, numbers(&second)[0], "a member without the partition").await
}

async fn a_group_begins_where_it_was_told_to_once(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 1).await?;
    fill(&topic, 0, 3).await?;
    let (member, session_timeout) = (topic.member("first"), session(trial));
    let join = Join { member, session_timeout, start: StartAt::End };
    let first = topic.engine.join(&join).await?;
    let end = topic.find(StartAt::End).await?;
    ensure_eq!(position(&first, 0), Some(end), "where a group begins that begins at the end");
    topic.engine.leave(&first.membership).await?;
    topic.append(event("meanwhile")).await?;
    let again = topic.engine.join(&join).await?;
    ensure_eq!(position(&again, 0), Some(end), "where the group goes on that never advanced");
    Ok(())
}

async fn lag_is_what_is_left_to_read(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 2).await?;
    let member = topic.join("first", session(trial)).await?;
    for at in 0..5 {
        let record = Record { partition: Some(1), ..event(&at.to_string()).into() };
        topic.append(record).await?;
        trial.pass_ticks(1).await;
    }
    let records = topic.all(1).await?;
    let lag = topic.lag().await?;
    let counts: Vec<_> = lag.iter().map(|lag| (lag.partition, lag.records)).collect();
    ensure_eq!(counts, [(0, 0), (1, 5)], "records that are left in each partition");
    ensure_eq!(lag[0].oldest, None, "the oldest of none");
    topic.commit([topic.advance_to(&member.membership, 1, records[2].position)]).await?;
    let lag = topic.lag().await?[1];
    ensure_eq!((lag.position, lag.records), (records[2].position, 3), "position and records left");
    ensure_eq!(lag.oldest, Some(records[2].stored_at), "when the oldest of them was stored");
    ensure!(lag.end > records[4].position, "the end, {}, is not behind the last record", lag.end);
    topic.commit([topic.advance_to(&member.membership, 1, lag.end)]).await?;
    let lag = topic.lag().await?[1];
    ensure_eq!((lag.records, lag.oldest), (0, None), "what is left at the end");
    Ok(())
}

async fn a_new_partition_is_given_to_the_group(trial: &mut Trial) -> Result<(), Stop> {
    let topic = topic(trial, 1).await?;
    let first = topic.join("first", session(trial)).await?;
    let spec = TopicSpec { partitions: many(2), ..trial.topic_spec() };
    topic.engine.declare_topic(&topic.name, &spec).await?;
    let grown = topic.stay(&first, &[]).await?;
    ensure_eq!(numbers(&grown), [0, 1], "partitions of the only member after there were more");
    Ok(())
}
