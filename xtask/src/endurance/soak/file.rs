//! The file whose limits are twice the load: what half load means here.

use std::net::SocketAddr;

use super::super::identity::NAME;
use super::mix::Task;

/// Where the services are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Services {
    pub(super) work: SocketAddr,
    pub(super) streams: SocketAddr,
    pub(super) calls: SocketAddr,
}

/// The traffic part for `rate` requests a second, changed by its `reload`-th reload.
pub(super) fn traffic(services: &Services, rate: u64, reload: u64) -> String {
    let Services { work, streams, calls } = services;
    let idle = 4 + reload % 2;
    let mut text = format!(
        "# reload {reload}\n[defaults]\nretry = {{ attempts = 2, base = \"10ms\", budget = \"20%\" }}\n\
         circuit_breaker = {{ preset = \"sensitive\", failures = 50, open = \"1s\" }}\n\n\
         [service.work]\nendpoints = [{{ at = \"{work}\" }}]\nidle_timeout = \"{idle}s\"\n\n\
         [service.streams]\nendpoints = [{{ at = \"{streams}\" }}]\nidle_timeout = \"{idle}s\"\n\
         protocol = \"negotiate\"\ntls = {{ roots = \"server.crt\", server_name = \"{NAME}\" }}\n\
         connect_timeout = \"400ms\"\n\n\
         [service.calls]\nendpoints = [{{ at = \"{calls}\" }}]\nidle_timeout = \"{idle}s\"\nprotocol = \"http2\"\n"
    );
    let streams = [Task::Upload, Task::Download, Task::Events, Task::Socket];
    for (service, tasks) in [("work", &[Task::Work][..]), ("streams", &streams), ("calls", &[Task::Call])] {
        let places = tasks.iter().map(|task| places(*task, rate)).sum::<u64>();
        for task in tasks {
            let (deadline, attempt) = match task {
                Task::Work => ("2s", "500ms"),
                // What is slow to send is not late.
                Task::Upload => ("6s", "5s"),
                _ => ("6s", "1s"),
            };
            text.push_str(&format!(
                "\n[route.\"{}\"]\nto = \"{service}\"\ndeadline = \"{deadline}\"\nattempt_timeout = \"{attempt}\"\n\
                 upgrade_idle_timeout = \"5s\"\nrate_limiter = {{ limit = \"{}/s\" }}\n\
                 bulkhead = {{ concurrent = {places}, queue = {places}, wait = \"100ms\" }}\n",
                task.path(),
                limit(*task, rate),
            ));
        }
    }
    text
}

/// Requests for `task` that are admitted in a second: twice as many as come.
pub(super) fn limit(task: Task, rate: u64) -> u64 {
    2 * (rate * task.percent()).div_ceil(100)
}

/// Requests for `task` that run at the same time when as many come as its limit admits.
pub(super) fn places(task: Task, rate: u64) -> u64 {
    u64::try_from(limit(task, rate) as u128 * task.takes().as_millis()).unwrap_or(u64::MAX).div_ceil(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_twice_what_comes() {
        // 78 % of 320 are 250 short requests of 40 ms each in a second.
        assert_eq!((limit(Task::Work, 320), places(Task::Work, 320)), (500, 20));
        // 6 % of 320 are 20 calls of a second each.
        assert_eq!((limit(Task::Call, 320), places(Task::Call, 320)), (40, 40));
    }
}
