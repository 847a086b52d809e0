//! How many series of metrics a file makes: as many as its routes, services and endpoints, never its traffic.

use intertie_core::telemetry::{Snapshot, Source};
use intertie_gateway::config::Problem;
use intertie_gateway::plan::Plan;

use crate::file::Loaded;

/// More than all series that no route, limit, service, thread, certificate or revocation list makes.
const OTHERS: usize = 512;

/// The most series that a scrape of a plan can have.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) most: usize,
    /// What makes them, the most first: `route`, `service`, `limit`, `thread`, `certificate`, `list`.
    by_label: Vec<(&'static str, usize)>,
}

impl Series {
    /// Counts what `plan`, the data threads and the certificates of `loaded` would show.
    pub(crate) fn of(plan: &Plan, loaded: &Loaded) -> Self {
        // Nothing is kept of them: of many routes they would be several times what the plan itself takes.
        let mut snapshot = Snapshot::counting();
        plan.read(&mut snapshot);
        let mut by_label: Vec<_> = snapshot.series().collect();
        by_label.push(("thread", loaded.server.threads().get()));
        let of_tls = [("certificate", loaded.certificates()), ("list", loaded.tls.client_crls.len())];
        by_label.extend(of_tls.into_iter().filter(|(_, count)| *count > 0));
        by_label.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Self { most: OTHERS + by_label.iter().map(|(_, count)| count).sum::<usize>(), by_label }
    }

    /// That they are more than the file allows.
    pub(crate) fn problem(&self, loaded: &Loaded) -> Option<Problem> {
        let max = loaded.server.metric_series_max.get() as usize;
        (self.most > max).then(|| {
            let most = self.most;
            let made: Vec<_> =
                self.by_label.iter().map(|(label, count)| format!("{count} by each {label}")).collect();
            let message = format!(
                "the file makes up to {most} series of metrics, and metric_series_max is {max}; of them {}",
                made.join(", ")
            );
            Problem::error(["server", "metric_series_max"], message)
        })
    }
}
