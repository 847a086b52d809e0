//! `intertie data`: what operators do with a data directory, of a server that runs or not.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use intertie_engine_embedded::store::maintenance::{self, MaintenanceError, Progress, Stats};
use serde_json::json;

/// What to do with which directory.
#[derive(Debug, Args)]
pub(crate) struct DataArguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Read every page of a data directory and tell what is damaged.
    Verify {
        /// The directory, `[server] data` of its file.
        directory: PathBuf,
    },
    /// Tell how large a data directory is, and what takes the room.
    Stats {
        /// The directory.
        directory: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Copy a data directory, as of this moment, into one new file; its server may go on.
    Backup {
        /// The directory.
        directory: PathBuf,
        /// The file, which is not there yet.
        file: PathBuf,
    },
    /// Make a data directory of the file of a backup.
    Restore {
        /// The file.
        file: PathBuf,
        /// The directory, which is empty or not there yet.
        directory: PathBuf,
    },
}

/// Does it. What is to be printed, and whether all is well.
///
/// # Errors
/// Why nothing was done, ready to be printed.
pub(crate) fn run(arguments: &DataArguments) -> Result<(String, bool), String> {
    let refused = |error: MaintenanceError| format!("error: {:#}\n", anyhow::Error::new(error));
    match &arguments.verb {
        Verb::Verify { directory } => {
            // Pages and their order; rows that do not decode are told by the server that meets them.
            let findings = maintenance::verify(directory, |_| Ok(Vec::new())).map_err(refused)?;
            if findings.is_empty() {
                return Ok((format!("{}: sound", directory.display()), true));
            }
            Ok((findings.join("\n"), false))
        }
        Verb::Stats { directory, json } => {
            let stats = maintenance::stats(directory, progress("tables")).map_err(refused)?;
            Ok((if *json { as_json(&stats) } else { as_table(&stats) }, true))
        }
        Verb::Backup { directory, file } => {
            maintenance::backup(directory, file, progress("pages")).map_err(refused)?;
            Ok((format!("{}: a copy of {}", file.display(), directory.display()), true))
        }
        Verb::Restore { file, directory } => {
            maintenance::restore(file, directory, progress("pages")).map_err(refused)?;
            Ok((format!("{}: restored from {}", directory.display(), file.display()), true))
        }
    }
}

/// Tells people who watch how far it is.
fn progress(what: &'static str) -> impl FnMut(Progress) {
    let is_watched = std::io::stderr().is_terminal();
    move |Progress { done, total }| {
        if is_watched {
            let end = if done == total { "\n" } else { "" };
            let _ = write!(std::io::stderr(), "\r{done} of {total} {what}{end}");
        }
    }
}

fn as_table(stats: &Stats) -> String {
    let Stats { schema_version, database_bytes, wal_bytes, page_bytes, pages, free_pages, tables } = stats;
    let mut text = format!(
        "schema version {schema_version}, {database_bytes} bytes in {pages} pages of {page_bytes}, {free_pages} of them \
         free; {wal_bytes} bytes of log"
    );
    let width = tables.iter().map(|table| table.name.len()).max().unwrap_or_default();
    for table in tables {
        text.push_str(&format!(
            "\n  {:width$}  {:>12} rows  {:>14} bytes",
            table.name, table.rows, table.bytes
        ));
    }
    text
}

fn as_json(stats: &Stats) -> String {
    let tables: Vec<_> = stats
        .tables
        .iter()
        .map(|table| json!({ "name": table.name, "rows": table.rows, "bytes": table.bytes }))
        .collect();
    let text = json!({
        "schemaVersion": stats.schema_version,
        "databaseBytes": stats.database_bytes,
        "walBytes": stats.wal_bytes,
        "pageBytes": stats.page_bytes,
        "pages": stats.pages,
        "freePages": stats.free_pages,
        "tables": tables,
    });
    text.to_string()
}
