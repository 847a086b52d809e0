//! The end of a service's stream, when it comes behind an answer that is whole without it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::pool::Connection;

/// How long it may come after the answer. Streams that wait have places that others need.
const PATIENCE: Duration = Duration::from_secs(2);

/// Keeps the stream, and its place on `connection`, until the service has ended it, at most for [`PATIENCE`] and until
/// `deadline`.
///
/// One that is dropped before is reset, and the service takes an answer for given up that its client has.
pub(super) fn wait(mut incoming: Incoming, connection: Option<Connection>, deadline: Option<Instant>) {
    let latest = Instant::now() + PATIENCE;
    let latest = deadline.map_or(latest, |deadline| deadline.min(latest));
    tokio::task::spawn_local(async move {
        let _connection = connection;
        let ended = async {
            // Data behind the last byte is for nobody.
            while let Some(Ok(frame)) = incoming.frame().await
                && frame.data_ref().is_none_or(Bytes::is_empty)
            {}
        };
        // An error is an end too.
        let _ = timeout_at(latest, ended).await;
    });
}
