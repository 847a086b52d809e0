//! A task that ends with who holds it.

use tokio::task::JoinHandle;

/// Its owner wants the task no longer than it lives itself: dropped, it ends the task at its next await.
#[derive(Debug)]
pub(super) struct AbortOnDrop(pub(super) JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_task_ends_with_its_owner() {
        let (held, mut ended) = oneshot::channel::<()>();
        let task = AbortOnDrop(tokio::spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        }));
        tokio::task::yield_now().await;
        assert_eq!(ended.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        drop(task);
        let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
        assert!(ended.expect("the task ends").is_err());
    }
}
