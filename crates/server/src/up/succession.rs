//! The takeover, as the process sees it that makes room.

use intertie_gateway::proxy::Role;

use super::Server;
use crate::operation::{State, Takeover, TakeoverFailure, TakeoverProgress};

/// Returns when the takeover under way has come further; never without one. Cancellation loses nothing.
pub(super) async fn progress(takeover: &mut Option<Takeover>) -> Result<TakeoverProgress, TakeoverFailure> {
    match takeover {
        Some(takeover) => takeover.progress().await,
        None => std::future::pending().await,
    }
}

impl Server {
    /// Starts the process that is to come after this one.
    pub(super) fn begin_takeover(&mut self) {
        if let Some(cause) = refusal(std::process::id(), self.takeover.is_some()) {
            return self.refuse_takeover(cause);
        }
        self.notify.tell(State::Reloading, "starting the new process");
        let limit = self.loaded.server.takeover_timeout;
        let started = self.gateway.hand_over().and_then(|mut sockets| {
            sockets.push((Role::Admin, self.admin_listener.try_clone()?));
            if let Some((api, _)) = &self.api {
                sockets.push((Role::Api, api.socket()?));
            }
            Takeover::start(sockets, limit)
        });
        match started {
            Ok(started) => {
                let process = started.process().map(|process| process.to_string()).unwrap_or_default();
                self.events.tell("takeover_began", || vec![("process", process)]);
                self.takeover = Some(started);
            }
            Err(error) => {
                self.refuse_takeover(&format!("the new process can not be started: {error}"));
                self.tell_ready();
            }
        }
    }

    /// Lets the new process serve, once it can. Returns whether it does, and this one should go.
    pub(super) async fn continue_takeover(
        &mut self,
        progress: Result<TakeoverProgress, TakeoverFailure>,
    ) -> bool {
        let Some(under_way) = &mut self.takeover else { return false };
        let process = under_way.process().unwrap_or_default();
        let progress = match progress {
            // Before it serves, or the manager would not believe what it says then.
            Ok(TakeoverProgress::Ready) => {
                self.notify.tell(State::MainProcess(process), "");
                under_way.let_serve().await.map(|()| TakeoverProgress::Ready)
            }
            other => other,
        };
        match progress {
            Ok(TakeoverProgress::Ready) => false,
            Ok(TakeoverProgress::Accepts) => {
                self.takeover = None;
                self.events.tell("taken_over", || vec![("process", process.to_string())]);
                true
            }
            Err(failure) => {
                self.takeover = None;
                self.notify.tell(State::MainProcess(std::process::id()), "");
                self.refuse_takeover(&failure.to_string());
                // A reload may have wanted others, which had to wait.
                self.change_threads(&self.loaded.server);
                self.tell_ready();
                false
            }
        }
    }

    fn refuse_takeover(&self, cause: &str) {
        self.events.tell("takeover_refused", || vec![("cause", cause.to_owned())]);
    }
}

/// Why this process can have no successor.
fn refusal(process: u32, under_way: bool) -> Option<&'static str> {
    if process == 1 {
        return Some("this is process 1, and a container ends with it: start a new container instead");
    }
    under_way.then_some("another takeover is under way")
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
