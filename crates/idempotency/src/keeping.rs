//! What became of a request is kept even when the store fails for a while.

use std::time::Duration;

use intertie_core::telemetry::Events;
use tokio::time::{Instant, sleep_until};

use crate::{Pending, StoreError};

/// The wait before the second try, and the longest between two.
const WAITS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Tries to keep what became of a request of `scope` until it is kept, another has the record, or `time` is over, and
/// tells of a failure when it comes and when it stays. There is one try at least.
///
/// The key is not told: whoever has it hears the answer.
pub(crate) async fn keep<'a>(
    scope: &str,
    time: Duration,
    events: &Events,
    mut attempt: impl FnMut() -> Pending<'a, Result<(), StoreError>>,
) {
    let over = Instant::now() + time;
    let (mut wait, longest) = WAITS;
    for attempts in 1_u32.. {
        let Err(error) = attempt().await else { return };
        let fields = || {
            let cause = error.to_string();
            vec![("scope", scope.to_owned()), ("cause", cause), ("attempts", attempts.to_string())]
        };
        let next = Instant::now() + wait;
        if error == StoreError::Lost || next >= over {
            events.tell("idempotency_answer_lost", fields);
            return;
        }
        if attempts == 1 {
            events.tell("idempotency_answer_waits", fields);
        }
        sleep_until(next).await;
        wait = (wait * 2).min(longest);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;

    use intertie_core::telemetry::Event;

    use super::*;

    /// Keeps within a minute in a store that answers as `answers`, again and again; how often it was asked, how long that
    /// took, and what was told.
    async fn check(answers: &[Result<(), StoreError>]) -> (usize, Duration, Vec<&'static str>) {
        let events = Events::default();
        let told: Receiver<Event> = events.subscribe(8);
        let (mut asked, begun) = (0, Instant::now());
        keep("ann", Duration::from_secs(60), &events, || {
            let answer = answers[asked.min(answers.len() - 1)].clone();
            asked += 1;
            Box::pin(async { answer })
        })
        .await;
        let told = told.try_iter();
        let told = told.inspect(|event| assert!(event.fields.contains(&("scope", "ann".to_owned()))));
        (asked, begun.elapsed(), told.map(|event| event.name).collect())
    }

    fn fails() -> Result<(), StoreError> {
        Err(StoreError::Unavailable { cause: "it is full".to_owned() })
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_tried_until_it_works_or_is_anothers_or_its_time_is_over() {
        let silent: [&str; 0] = [];
        assert_eq!(check(&[Ok(())]).await, (1, Duration::ZERO, silent.to_vec()));
        let (asked, passed, told) = check(&[fails(), fails(), Ok(())]).await;
        assert_eq!((asked, told), (3, vec!["idempotency_answer_waits"]));
        assert_eq!(passed.as_millis(), 50 + 100);
        let (asked, _, told) = check(&[fails(), Err(StoreError::Lost)]).await;
        assert_eq!((asked, told), (2, vec!["idempotency_answer_waits", "idempotency_answer_lost"]));
        let (asked, passed, told) = check(&[fails()]).await;
        assert_eq!(told, ["idempotency_answer_waits", "idempotency_answer_lost"]);
        assert!(passed < Duration::from_secs(60) && passed > Duration::from_secs(55), "{passed:?}");
        assert!((30..40).contains(&asked), "{asked}");
    }
}
