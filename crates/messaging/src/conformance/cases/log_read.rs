use std::time::Duration;

use intertie_core::envelope::Data;
use intertie_core::quantity::ByteSize;
use tokio::task::JoinSet;

use super::cases;
use super::queue_delivery::rich;
use crate::EngineError;
use crate::commit::{CommitError, Refused};
use crate::conformance::case::{Stop, ensure, ensure_eq};
use crate::conformance::topic_trial::TopicTrial;
use crate::conformance::trial::{Trial, event, event_of, id, many, name, poll_times};
use crate::log::{Read, Record, StartAt, TopicSpec};
use crate::message::Content;

cases!(Log, "read":
    records_are_read_in_the_order_in_which_they_were_appended,
    records_are_read_as_they_were_appended,
    records_stay_when_they_are_read,
    records_of_a_key_stay_in_its_partition,
    a_record_goes_to_the_partition_that_it_names,
    positions_are_found,
    a_moment_is_found_before_all_that_was_stored_at_it,
    pages_are_no_larger_than_asked,
    the_first_record_comes_however_large,
    a_waiting_reader_wakes_when_a_record_is_appended,
    a_read_that_is_dropped_loses_nothing,
    a_batch_is_appended_whole_or_not_at_all,
    a_dropped_batch_is_appended_whole_or_not_at_all,
    a_record_that_is_too_large_is_refused,
    records_outlast_a_restart,
    unknown_topics_and_partitions_are_refused,
);

async fn one_partition(trial: &Trial) -> Result<TopicTrial, Stop> {
    trial.topic("prices", &trial.topic_spec()).await
}

async fn partitions(trial: &Trial, partitions: u32) -> Result<TopicTrial, Stop> {
    trial.topic("prices", &TopicSpec { partitions: many(partitions), ..trial.topic_spec() }).await
}

fn numbers(to: u32) -> Vec<String> {
    (0..to).map(|at| at.to_string()).collect()
}

async fn append_all(topic: &TopicTrial, ids: &[String]) -> Result<Vec<u64>, Stop> {
    let mut positions = Vec::new();
    for id in ids {
        positions.push(topic.append_at(event(id)).await?);
    }
    Ok(positions)
}

async fn records_are_read_in_the_order_in_which_they_were_appended(trial: &mut Trial) -> Result<(), Stop> {
    let topic = one_partition(trial).await?;
    let ids = numbers(250);
    let positions = append_all(&topic, &ids).await?;
    ensure!(positions.windows(2).all(|pair| pair[0] < pair[1]), "positions do not grow");
    ensure_eq!(topic.ids(0).await?, ids, "records");
    let page = topic.read(0, positions[100], 10).await?;
    let found: Vec<_> = page.records.iter().map(|record| record.position).collect();
    ensure_eq!(found, positions[100..110], "positions from the hundredth on");
    ensure!(page.next > positions[109] && page.next <= positions[110], "reading goes on at {}", page.next);
    ensure!(page.end > positions[249], "the end, {}, is not behind the last record", page.end);
    let behind = topic.read(0, page.end, 10).await?;
    ensure!(behind.records.is_empty() && behind.next == page.end, "behind the end: {behind:?}");
    Ok(())
}

async fn records_are_read_as_they_were_appended(trial: &mut Trial) -> Result<(), Stop> {
    let topic = one_partition(trial).await?;
    let json = Data::json(r#"{ "b": 1.50, "a": [ null ] }"#).expect("JSON");
    let json = event("json").with_data(json, Some("application/json")).expect("an event");
    let bare = event("bare").without_data(None).expect("an event");
    let sent = [rich("rich"), json, bare];
    for event in &sent {
        topic.append(event.clone()).await?;
    }
    let found: Vec<_> = topic.all(0).await?.into_iter().map(|record| record.content).collect();
    ensure_eq!(found, sent.map(Content::Envelope), "records");
    Ok(())
}

async fn records_stay_when_they_are_read(trial: &mut Trial) -> Result<(), Stop> {
    let topic = one_partition(trial).await?;
    append_all(&topic, &numbers(10)).await?;
    let first = topic.all(0).await?;
    ensure_eq!(topic.all(0).await?, first, "records when they are read again");
    Ok(())
}

async fn records_of_a_key_stay_in_its_partition(trial: &mut Trial) -> Result<(), Stop> {
    let topic = partitions(trial, 4).await?;
    // So many that dealing records out in turn does not happen to keep keys together.
    let keys = ["a", "b", "c", "d", "e", "f", "g"];
    for at in 0..10 {
        for key in keys {
            topic.append(event_of(key, &format!("{key}{at}"))).await?;
        }
    }
    let mut of_key = vec![Vec::new(); keys.len()];
    for partition in 0..4 {
        let ids = topic.ids(partition).await?;
        for (key, all) in keys.iter().zip(&mut of_key) {
            let here: Vec<_> = ids.iter().filter(|id| id.starts_with(key)).cloned().collect();
            ensure!(here.is_empty() || here.len() == 10, "of `{key}` partition {partition} has {here:?}");
            all.extend(here);
        }
    }
    for (key, found) in keys.iter().zip(of_key) {
        let expected: Vec<_> = (0..10).map(|at| format!("{key}{at}")).collect();
        ensure_eq!(found, expected, "records of `{key}`");
    }
    Ok(())
}

async fn a_record_goes_to_the_partition_that_it_names(trial: &mut Trial) -> Result<(), Stop> {
    let topic = partitions(trial, 3).await?;
    for partition in [2, 0, 2] {
        let record = Record { partition: Some(partition), ..event_of("key", "a").into() };
        ensure_eq!(topic.append(record).await?.partition, partition, "the partition of the receipt");
    }
    let mut counts = Vec::new();
    for partition in 0..3 {
        counts.push(topic.all(partition).await?.len());
    }
    ensure_eq!(counts, [1, 0, 2], "records of each partition");
    Ok(())
}

async fn positions_are_found(trial: &mut Trial) -> Result<(), Stop> {
    let topic = one_partition(trial).await?;
    let empty_end = topic.find(StartAt::End).await?;
    ensure_eq!(topic.find(StartAt::Beginning).await?, empty_end, "the beginning of nothing");
    let positions = append_all(&topic, &numbers(10)).await?;
    ensure_eq!(topic.find(StartAt::Beginning).await?, positions[0], "the beginning");
    ensure_eq!(topic.find(StartAt::Position(positions[4])).await?, positions[4], "a position");
    let end = topic.find(StartAt::End).await?;
    ensure!(end > positions[9], "the end, {end}, is not behind the last record");
    ensure_eq!(topic.find(StartAt::Position(end + 1000)).await?, end, "a position behind the end");
    let next = topic.append_at(event("next")).await?;
    let page = topic.read(0, end, 10).await?;
    let found: Vec<_> = page.records.iter().map(|record| record.position).collect();
    ensure_eq!(found, [next], "what is read from the end on");
    Ok(())
}

async fn a_moment_is_found_before_all_that_was_stored_at_it(trial: &mut Trial) -> Result<(), Stop> {
    let topic = one_partition(trial).await?;
    for batch in 0..3 {
        let ids: Vec<_> = (0..5).map(|at| format!("{batch}-{at}")).collect();
        // One commit, so that as many as can be are stored at one moment.
        topic.commit(ids.iter().map(|id| topic.append_to(event(id)))).await?;
        trial.pass_ticks(1).await;
    }
    let all = topic.all(0).await?;
    ensure_eq!(all.len(), 15, "records");
    ensure!(all.is_sorted_by_key(|record| record.stored_at), "records are not in the order of their times");
    for record in &all {
        let first = all.iter().find(|other| other.stored_at >= record.stored_at);
        let expected = first.map(|first| first.position);
        let found = topic.find(StartAt::Time(record.stored_at)).await?;
        ensure_eq!(Some(found), expected, "the first record of {}", record.stored_at);
    }
    let end = topic.find(StartAt::End).await?;
    ensure_eq!(topic.find(StartAt::Time(trial.in_ticks(100))).await?, end, "a moment to come");
    Ok(())
}

fn large(id: &str, bytes: usize) -> Record {
    event(id).with_data(Data::binary(vec![7; bytes]), Some("application/octet-stream")).expect("bytes").into()
}

async fn pages_are_no_larger_than_asked(trial: &mut Trial) -> Result<(), Stop> {
    let topic = one_partition(trial).await?;
    for at in 0..10 {
        topic.append(large(&at.to_string(), 1000)).await?;
    }
    ensure_eq!(topic.read(0, 0, 3).await?.records.len(), 3, "records of which three were asked for");
    let read = Read { bytes_max: ByteSize::from_bytes(3500), ..topic.request(0, 0, 100, Duration::ZERO) };
    let page = topic.engine.read(&read).await?;
    let count = page.records.len();
    ensure!((1..=3).contains(&count), "{count} records of 1000 bytes on a page of 3500");
    let rest = topic.read(0, page.next, 100).await?;
    ensure_eq!(rest.records.len(), 10 - count, "records on the pages behind");
    Ok(())
}

async fn the_first_record_comes_however_large(trial: &mut Trial) -> Result<(), Stop> {
    let topic = one_partition(trial).await?;
    topic.append(large("large", 10_000)).await?;
    topic.append(large("too", 10_000)).await?;
    let read = Read { bytes_max: ByteSize::from_bytes(1), ..topic.request(0, 0, 100, Duration::ZERO) };
    let page = topic.engine.read(&read).await?;
    let ids: Vec<_> = page.records.iter().map(|record| id(&record.content)).collect();
    ensure_eq!(ids, ["large"], "records on a page of one byte");
    Ok(())
}

async fn a_waiting_reader_wakes_when_a_record_is_appended(trial: &mut Trial) -> Result<(), Stop> {
    let topic = one_partition(trial).await?;
    let (other, read) = (topic.clone(), topic.request(0, 0, 10, trial.ticks(100)));
    let mut waiting = JoinSet::new();
    waiting.spawn(async move { other.engine.read(&read).await });
    trial.pass_ticks(1).await;
    topic.append(event("a")).await?;
    let woken = tokio::time::timeout(trial.ticks(50), waiting.join_next()).await;
    let Ok(Some(Ok(records))) = woken else {
        return Err(Stop::Failed(format!("a waiting reader did not wake: {woken:?}")));
    };
    ensure_eq!(records?.records.len(), 1, "records that a waiting reader got");
    let read = topic.request(0, 100_000, 10, trial.ticks(3));
    let waited = tokio::time::timeout(trial.ticks(20), topic.engine.read(&read)).await;
    ensure!(matches!(&waited, Ok(Ok(page)) if page.records.is_empty()), "a wait for nothing: {waited:?}");
    Ok(())
}

async fn a_read_that_is_dropped_loses_nothing(trial: &mut Trial) -> Result<(), Stop> {
    let topic = one_partition(trial).await?;
    append_all(&topic, &numbers(5)).await?;
    for polls in 1..10 {
        let read = topic.request(0, 0, 10, Duration::ZERO);
        poll_times(topic.engine.read(&read), polls).await;
        ensure_eq!(topic.ids(0).await?, numbers(5), "records after a read that was dropped");
    }
    Ok(())
}

async fn a_batch_is_appended_whole_or_not_at_all(trial: &mut Trial) -> Result<(), Stop> {
    let spec = TopicSpec { record_bytes_max: ByteSize::from_bytes(4096), ..trial.topic_spec() };
    let topic = trial.topic("prices", &spec).await?;
    let mut batch: Vec<_> = numbers(5).iter().map(|id| topic.append_to(event(id))).collect();
    batch.insert(3, topic.append_to(large("large", 5000)));
    let refused = topic.commit(batch.clone()).await;
    let operation = match &refused {
        Err(CommitError::Refused { operation, .. }) => Some(*operation),
        _ => None,
    };
    ensure_eq!(operation, Some(3), "the refused operation of {refused:?}");
    ensure_eq!(topic.all(0).await?.len(), 0, "records of a refused batch");
    batch.remove(3);
    topic.commit(batch).await?;
    ensure_eq!(topic.ids(0).await?, numbers(5), "records of a batch");
    Ok(())
}

async fn a_dropped_batch_is_appended_whole_or_not_at_all(trial: &mut Trial) -> Result<(), Stop> {
    for polls in 1..100 {
        let topic = trial.topic(&format!("prices-{polls}"), &trial.topic_spec()).await?;
        let batch: Vec<_> = numbers(5).iter().map(|id| topic.append_to(event(id))).collect();
        let stored = poll_times(topic.commit(batch), polls).await;
        if stored.is_none() {
            trial.pass_ticks(2).await;
        }
        let count = topic.all(0).await?.len();
        ensure!(count == 0 || count == 5, "{count} of 5 records are stored after {polls} polls");
        if let Some(stored) = stored {
            stored?;
            return Ok(());
        }
    }
    Err(Stop::Failed("a commit is not done after 100 polls".to_owned()))
}

async fn a_record_that_is_too_large_is_refused(trial: &mut Trial) -> Result<(), Stop> {
    let spec = TopicSpec { record_bytes_max: ByteSize::from_bytes(4096), ..trial.topic_spec() };
    let topic = trial.topic("prices", &spec).await?;
    topic.append(large("fits", 2000)).await?;
    let Refused::TooLarge { bytes, limit } = topic.refused(large("large", 4097)).await? else {
        return Err(Stop::Failed("a record that is too large is refused for another reason".to_owned()));
    };
    ensure!(bytes >= 4097 && limit == 4096, "{bytes} bytes of {limit}");
    Ok(())
}

async fn records_outlast_a_restart(trial: &mut Trial) -> Result<(), Stop> {
    let topic = one_partition(trial).await?;
    append_all(&topic, &numbers(10)).await?;
    let before = topic.all(0).await?;
    let topic = trial.restart_with_topic(topic).await?;
    ensure_eq!(topic.all(0).await?, before, "records after a restart");
    let next = topic.append_at(event("next")).await?;
    ensure!(next > before[9].position, "position {next} is given again after a restart");
    Ok(())
}

async fn unknown_topics_and_partitions_are_refused(trial: &mut Trial) -> Result<(), Stop> {
    let topic = partitions(trial, 2).await?;
    let unknown = TopicTrial::new(topic.engine.clone(), name("price"));
    let not_found = EngineError::NotFound { name: name("price"), nearest: Some(name("prices")) };
    let read = unknown.request(0, 0, 1, Duration::ZERO);
    ensure_eq!(unknown.engine.read(&read).await.err(), Some(not_found.clone()), "a read");
    ensure_eq!(unknown.refused(event("a")).await?, Refused::Engine(not_found), "a record");
    let no_partition = EngineError::NoPartition { partition: 2, partitions: 2 };
    let read = topic.request(2, 0, 1, Duration::ZERO);
    ensure_eq!(topic.engine.read(&read).await.err(), Some(no_partition.clone()), "a read");
    let found = topic.engine.find(&topic.name, 2, StartAt::End).await.err();
    ensure_eq!(found, Some(no_partition.clone()), "a position");
    let record = Record { partition: Some(2), ..event("a").into() };
    ensure_eq!(topic.refused(record).await?, Refused::Engine(no_partition), "a record");
    topic.engine.delete_topic(&topic.name).await?;
    let read = topic.request(0, 0, 1, Duration::ZERO);
    let found = topic.engine.read(&read).await.err();
    ensure!(matches!(found, Some(EngineError::NotFound { .. })), "a deleted topic: {found:?}");
    Ok(())
}
