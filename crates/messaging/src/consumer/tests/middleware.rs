use std::task::Poll;

use tokio::time::sleep;
use tower_layer::{Layer, layer_fn};
use tower_service::Service;

use super::*;

/// A layer that notes before and after, around any handler of messages.
#[derive(Clone)]
struct Noted<S>(S, Diary, &'static str);

impl<S: Service<Delivery>> Service<Delivery> for Noted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, delivery: Delivery) -> S::Future {
        self.1.note(self.2);
        self.0.call(delivery)
    }
}

#[tokio::test(start_paused = true)]
async fn layers_of_tower_stand_around_the_handler() {
    let trial = Trial::new(QueueSpec::default()).await;
    trial.send(["1"]).await;
    let diary = Diary::default();
    let handler = answering(&diary, |_, _| Ok(Commit::default()));
    let handler = layer_fn(|handler| Noted(handler, diary.clone(), "inner")).layer(handler);
    let handler = layer_fn(|handler| Noted(handler, diary.clone(), "outer")).layer(handler);
    trial.consumer(ConsumerConfig::default()).run(handler, sleep(SECOND)).await.expect("drained");
    assert_eq!(diary.read(), ["outer", "inner", "1"]);
}

/// A layer whose error is its own.
#[derive(Clone)]
struct Closed;

impl Service<Delivery> for Closed {
    type Response = Commit;
    type Error = std::io::Error;
    type Future = std::future::Ready<Result<Commit, std::io::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Err(std::io::Error::other("closed")))
    }

    fn call(&mut self, _: Delivery) -> Self::Future {
        unreachable!("it is never ready")
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_layer_refuses_has_failed() {
    let trial = Trial::new(QueueSpec { max_deliveries: number(2), ..QueueSpec::default() }).await;
    trial.send(["1"]).await;
    trial.consumer(ConsumerConfig::default()).run(Closed, sleep(MINUTE)).await.expect("drained");
    assert_eq!(trial.dead().await, [("1".to_owned(), "max_deliveries", "closed".to_owned())]);
}
