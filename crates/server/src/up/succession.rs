//! The upgrade, as the process sees it that makes room.

use intertie_gateway::proxy::Role;

use super::Server;
use crate::operation::{State, Upgrade, UpgradeFailure, UpgradeProgress};

/// Returns when the upgrade under way has come further; never without one. Cancellation loses nothing.
pub(super) async fn progress(upgrade: &mut Option<Upgrade>) -> Result<UpgradeProgress, UpgradeFailure> {
    match upgrade {
        Some(upgrade) => upgrade.progress().await,
        None => std::future::pending().await,
    }
}

impl Server {
    /// Starts the process that is to come after this one.
    pub(super) fn begin_upgrade(&mut self) {
        if let Some(cause) = refusal(std::process::id(), self.upgrade.is_some()) {
            return self.refuse_upgrade(cause);
        }
        self.notify.tell(State::Reloading, "starting the new process");
        let limit = self.loaded.server.upgrade_timeout;
        let started = self.gateway.hand_over().and_then(|mut sockets| {
            sockets.push((Role::Admin, self.admin_listener.try_clone()?));
            Upgrade::start(sockets, limit)
        });
        match started {
            Ok(started) => {
                let process = started.process().map(|process| process.to_string()).unwrap_or_default();
                self.events.tell("upgrade_began", || vec![("process", process)]);
                self.upgrade = Some(started);
            }
            Err(error) => {
                self.refuse_upgrade(&format!("the new process can not be started: {error}"));
                self.tell_ready();
            }
        }
    }

    /// Lets the new process serve, once it can. Returns whether it does, and this one should go.
    pub(super) async fn continue_upgrade(
        &mut self,
        progress: Result<UpgradeProgress, UpgradeFailure>,
    ) -> bool {
        let Some(under_way) = &mut self.upgrade else { return false };
        let process = under_way.process().unwrap_or_default();
        let progress = match progress {
            // Before it serves, or the manager would not believe what it says then.
            Ok(UpgradeProgress::Ready) => {
                self.notify.tell(State::MainProcess(process), "");
                under_way.let_serve().await.map(|()| UpgradeProgress::Ready)
            }
            other => other,
        };
        match progress {
            Ok(UpgradeProgress::Ready) => false,
            Ok(UpgradeProgress::Accepts) => {
                self.upgrade = None;
                self.events.tell("upgraded", || vec![("process", process.to_string())]);
                true
            }
            Err(failure) => {
                self.upgrade = None;
                self.notify.tell(State::MainProcess(std::process::id()), "");
                self.refuse_upgrade(&failure.to_string());
                // A reload may have wanted others, which had to wait.
                self.change_threads(&self.loaded.server);
                self.tell_ready();
                false
            }
        }
    }

    fn refuse_upgrade(&self, cause: &str) {
        self.events.tell("upgrade_refused", || vec![("cause", cause.to_owned())]);
    }
}

/// Why this process can have no successor.
fn refusal(process: u32, under_way: bool) -> Option<&'static str> {
    if process == 1 {
        return Some("this is process 1, and a container ends with it: start a new container instead");
    }
    under_way.then_some("another upgrade is under way")
}

#[cfg(test)]
mod tests {
    use super::refusal;

    #[test]
    fn process_1_has_no_successor_and_others_one_at_a_time() {
        assert!(refusal(1, false).expect("refused").contains("container"));
        assert!(refusal(7, true).expect("refused").contains("under way"));
        assert_eq!(refusal(7, false), None);
    }
}
