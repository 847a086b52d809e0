use std::path::{Path, PathBuf};

use intertie_gateway::config::{Problem, TrafficConfig};

use super::source::{self, Kind, Source};
use super::{File, ServerConfig};

/// A file that was read and understood; its traffic part is not yet proved to work.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) path: PathBuf,
    pub(crate) server: ServerConfig,
    pub(crate) traffic: TrafficConfig,
    source: Source,
}

const KIND: Kind = Kind {
    lists: &["listen", "endpoints", "limits", "calls", "method", "waits"],
    first: "a first file: [service.hello] endpoints = [{ at = \"127.0.0.1:7001\" }] and [route.\"/**\"] to = \"hello\"",
};

impl Loaded {
    /// Reads `path`.
    ///
    /// # Errors
    /// What is wrong, ready to be printed.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let (file, source): (File, Source) = Source::parse(path, source::read(path)?, &KIND)?;
        let traffic = TrafficConfig {
            defaults: file.defaults,
            policies: file.policy,
            limits: file.limit,
            services: file.service,
            routes: file.route,
        };
        let loaded = Self { path: path.to_owned(), server: file.server, traffic, source };
        let problems = loaded.server_problems();
        if problems.is_empty() { Ok(loaded) } else { Err(loaded.render(&problems)) }
    }

    /// Whether the text is the same.
    pub(crate) fn same_text(&self, other: &Self) -> bool {
        self.source.same_text(&other.source)
    }

    /// `problems` with their positions, ready to be printed.
    pub(crate) fn render(&self, problems: &[Problem]) -> String {
        self.source.render(problems)
    }

    /// `file:line` of a key.
    pub(crate) fn place(&self, keys: &[String]) -> String {
        self.source.place(keys)
    }

    fn server_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let server = &self.server;
        if self.traffic.routes.is_empty() {
            let message = "the file has no route: every request would be answered 404";
            problems.push(Problem::error(["route"], message).help("[route.\"/**\"] to = \"SERVICE\""));
        }
        if server.listen.is_empty() {
            problems.push(Problem::error(
                ["server", "listen"],
                "the server needs an address to take requests on",
            ));
        }
        for (position, address) in server.listen.iter().enumerate() {
            let twice = server.listen[..position].contains(address) && address.port() != 0;
            let anywhere = address.ip().is_unspecified() && address.port() == server.admin.port();
            if twice || ((anywhere || *address == server.admin) && address.port() != 0) {
                let message = format!("`{address}` is used twice; routes and admin never share a listener");
                problems.push(Problem::error(["server", "listen"], message));
            }
        }
        if !server.admin.ip().is_loopback() {
            let message = format!(
                "the admin listener must stay on loopback: `{}` can be reached from outside",
                server.admin
            );
            problems.push(Problem::error(["server", "admin"], message).help("admin = \"127.0.0.1:9901\""));
        }
        if server.threads.is_some_and(|threads| threads.get() > 1024) {
            problems.push(Problem::error(
                ["server", "threads"],
                "more than 1024 threads are no use on any machine",
            ));
        }
        problems.extend(server.client_limits.problems());
        problems
    }
}
