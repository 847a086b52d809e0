use std::path::Path;

use rusqlite::Connection;

use super::super::directory::DATABASE;
use super::{MaintenanceError, open};

/// The most findings that are told of one file.
const FINDINGS_MAX: usize = 100;

/// Reads every page of the database in `directory` and tells what is damaged: nothing, if the list is empty.
///
/// First SQLite looks at its own structures: pages that are lost or used twice, rows out of order, indexes that
/// lack a row. Only if they are sound, `checks` look at what the rows say, by rules that their owners know.
/// A bit that flipped inside the bytes of a value is found by neither, unless `checks` know what it should be.
///
/// # Errors
/// When the database can not be opened, or a check can not be made.
pub fn verify(
    directory: &Path,
    checks: impl FnOnce(&Connection) -> rusqlite::Result<Vec<String>>,
) -> Result<Vec<String>, MaintenanceError> {
    let database = directory.join(DATABASE);
    let connection = open(&database)?;
    let findings = structure(&connection).and_then(|mut findings| {
        if findings.is_empty() {
            findings = checks(&connection)?;
            findings.truncate(FINDINGS_MAX);
        }
        Ok(findings)
    });
    findings.map_err(|source| MaintenanceError::sqlite(&database, source))
}

/// What SQLite finds wrong with a whole database.
pub(super) fn structure(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({FINDINGS_MAX})"))?;
    let findings: Vec<String> =
        statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(findings.into_iter().filter(|finding| finding != "ok").collect())
}
