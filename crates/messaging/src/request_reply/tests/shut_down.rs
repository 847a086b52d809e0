use tokio::time::Instant;

use super::*;
use crate::EngineError;

/// A request that takes 10 seconds, and a shutdown after one.
async fn check(drain_timeout: Duration) -> (Result<Envelope, RequestError>, ShutDown, Requester, Trial) {
    let trial = Trial::new().await;
    trial.answer_after(10 * SECOND);
    let requester = trial.requester(RequesterConfig { drain_timeout, ..RequesterConfig::default() }).await;
    let stopped = async {
        sleep(SECOND).await;
        requester.shut_down().await
    };
    let (answered, ended) = tokio::join!(requester.request(&trial.queue, question("1")), stopped);
    (answered, ended, requester, trial)
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_may_end() {
    let began = Instant::now();
    let (answered, ended, requester, trial) = check(30 * SECOND).await;
    answered.expect("in time");
    assert_eq!(ended, ShutDown { in_time: true, cut: 0, queue_removed: true });
    assert_eq!(began.elapsed().as_secs(), 10, "and nothing is waited for beyond");
    let gone = trial.engine.depth(requester.reply_to()).await;
    assert!(matches!(gone, Err(EngineError::NotFound { .. })));

    let refused = requester.request(&trial.queue, question("2")).await;
    assert_eq!(refused, Err(RequestError::ShutDown));
    let again = requester.shut_down().await;
    assert_eq!(again, ShutDown { in_time: true, cut: 0, queue_removed: false }, "nothing is left to do");
}

#[tokio::test(start_paused = true)]
async fn requests_that_take_too_long_are_told() {
    let (answered, ended, requester, _) = check(2 * SECOND).await;
    assert_eq!(answered, Err(RequestError::ShutDown));
    assert_eq!(ended, ShutDown { in_time: false, cut: 1, queue_removed: true });
    assert_eq!((requester.stats().cut, requester.stats().begun), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_requester_that_is_dropped_stops_reading_and_its_queue_goes() {
    let trial = Trial::new().await;
    let requester = trial.requester(RequesterConfig::default()).await;
    let reply_to = requester.reply_to().clone();
    let clone = requester.clone();
    drop(requester);
    sleep(SECOND).await;
    assert_eq!(trial.engine.depth(&reply_to).await.expect("a clone reads it").consumers, Some(1));
    drop(clone);
    sleep(SECOND).await;
    assert_eq!(trial.engine.depth(&reply_to).await.expect("not yet").consumers, Some(0));
    sleep(400 * SECOND).await;
    assert!(matches!(trial.engine.depth(&reply_to).await, Err(EngineError::NotFound { .. })));
}
