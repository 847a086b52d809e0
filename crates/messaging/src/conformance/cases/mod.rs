//! The promises, a file for each group of them.

mod commit;
mod commit_once;
mod commit_request;
mod log_groups;
mod log_members;
mod log_read;
mod log_retention;
mod queue_bounds;
mod queue_dead_letter;
mod queue_dead_letter_target;
mod queue_deduplication;
mod queue_delivery;
mod queue_fence;
mod queue_lease;
mod queue_life;
mod queue_order;
mod queue_redrive;
mod queue_time;
mod support;
mod verbs;

use super::case::Case;

/// Lists the cases of a file.
macro_rules! cases {
    ($port:ident, $feature:literal: $($name:ident),+ $(,)?) => {
        pub(super) fn cases() -> Vec<$crate::conformance::Case> {
            use $crate::conformance::{Case, Port};
            vec![$(Case {
                port: Port::$port,
                feature: $feature,
                name: stringify!($name),
                test: |trial| Box::pin($name(trial)),
            }),+]
        }
    };
}

use cases;

pub(super) fn all() -> Vec<Case> {
    let groups = [
        queue_delivery::cases(),
        queue_lease::cases(),
        queue_fence::cases(),
        queue_dead_letter::cases(),
        queue_dead_letter_target::cases(),
        queue_redrive::cases(),
        queue_time::cases(),
        queue_order::cases(),
        queue_deduplication::cases(),
        queue_bounds::cases(),
        queue_life::cases(),
        log_read::cases(),
        log_groups::cases(),
        log_members::cases(),
        log_retention::cases(),
        commit::cases(),
        commit_once::cases(),
        commit_request::cases(),
        support::cases(),
        verbs::cases(),
    ];
    groups.into_iter().flatten().collect()
}
