//! Which version of the tables a file has, and how an older one becomes the present one.

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::open_error::OpenError;

/// What `file intertie.db` shows, and what tells our files from those of other programs: `Intt`.
const APPLICATION_ID: u32 = 0x496e_7474;

/// Brings tables from one version to the next. Tables are made by their owners when they are first used, so a
/// step changes those that are there and makes none.
pub(super) type Migration = fn(&Transaction<'_>) -> rusqlite::Result<()>;

/// The first leads from version 1 to 2. None yet: files have version 1.
pub(super) const MIGRATIONS: &[Migration] = &[];

/// What a file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// An empty file.
    New,
    /// A file of ours, in this version.
    Ours(u32),
}

/// The version that files have once they are open.
pub(super) fn known_version() -> u32 {
    version_after(MIGRATIONS)
}

fn version_after(migrations: &[Migration]) -> u32 {
    u32::try_from(migrations.len()).unwrap_or(u32::MAX).saturating_add(1)
}

/// Reads whose file it is. Writes nothing, so that a file of another program stays as it is.
pub(super) fn origin(connection: &Connection, database: &Path) -> Result<Origin, OpenError> {
    let sqlite = |source| OpenError::sqlite(database, source);
    let number =
        |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, u32>(0)).map_err(sqlite);
    let tables = "SELECT count(*) FROM sqlite_schema";
    let tables: i64 = connection.query_row(tables, [], |row| row.get(0)).map_err(sqlite)?;
    match (number("application_id")?, number("user_version")?) {
        (APPLICATION_ID, version) if version > 0 => Ok(Origin::Ours(version)),
        (0, 0) if tables == 0 => Ok(Origin::New),
        _ => Err(OpenError::NotOurs { database: database.to_owned() }),
    }
}

/// Makes the file one of the present version: all in one transaction, so a crash leaves the version before.
pub(super) fn migrate(
    connection: &mut Connection,
    database: &Path,
    origin: Origin,
    migrations: &[Migration],
) -> Result<(), OpenError> {
    let known = version_after(migrations);
    let steps = match origin {
        Origin::Ours(found) if found > known => {
            return Err(OpenError::Newer { database: database.to_owned(), found, known });
        }
        Origin::Ours(found) if found == known => return Ok(()),
        Origin::Ours(found) => &migrations[found as usize - 1..],
        Origin::New => &[],
    };
    run(connection, steps, known).map_err(|source| OpenError::sqlite(database, source))
}

fn run(connection: &mut Connection, steps: &[Migration], version: u32) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in steps {
        step(&transaction)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: &[Migration] = &[
        |transaction| transaction.execute_batch("INSERT INTO step VALUES ('1 to 2')"),
        |transaction| transaction.execute_batch("INSERT INTO step VALUES ('2 to 3')"),
    ];

    fn path() -> &'static Path {
        Path::new("a.db")
    }

    fn of_version(version: u32) -> Connection {
        let connection = Connection::open_in_memory().expect("opens");
        connection.execute_batch("CREATE TABLE step (name)").expect("creates");
        connection.pragma_update(None, "application_id", APPLICATION_ID).expect("sets");
        connection.pragma_update(None, "user_version", version).expect("sets");
        connection
    }

    fn steps(connection: &Connection) -> Vec<String> {
        let mut statement = connection.prepare("SELECT name FROM step").expect("prepares");
        let names = statement.query_map([], |row| row.get(0)).expect("runs");
        names.collect::<Result<_, _>>().expect("reads")
    }

    #[test]
    fn an_older_file_takes_the_steps_that_it_lacks_in_order() {
        for (version, expected) in [(1, &["1 to 2", "2 to 3"][..]), (2, &["2 to 3"]), (3, &[])] {
            let mut connection = of_version(version);
            let found = origin(&connection, path()).expect("is ours");
            assert_eq!(found, Origin::Ours(version));
            migrate(&mut connection, path(), found, STEPS).expect("migrates");
            assert_eq!(steps(&connection), expected);
            assert_eq!(origin(&connection, path()).expect("is ours"), Origin::Ours(3));
        }
    }

    #[test]
    fn a_step_that_fails_leaves_the_version_before() {
        let steps_that_fail: &[Migration] = &[STEPS[0], |transaction| transaction.execute_batch("nonsense")];
        let mut connection = of_version(1);
        migrate(&mut connection, path(), Origin::Ours(1), steps_that_fail).expect_err("nonsense");
        assert_eq!(origin(&connection, path()).expect("is ours"), Origin::Ours(1));
        assert_eq!(steps(&connection), [""; 0]);
    }

    #[test]
    fn a_newer_file_is_refused_by_name() {
        let mut connection = of_version(9);
        let refused =
            migrate(&mut connection, path(), Origin::Ours(9), STEPS).expect_err("newer").to_string();
        assert!(refused.contains("a.db has schema version 9") && refused.contains("up to 3"), "{refused}");
    }

    #[test]
    fn a_file_of_another_program_is_refused_and_stays_as_it_is() {
        let connection = Connection::open_in_memory().expect("opens");
        connection.execute_batch("CREATE TABLE theirs (name)").expect("creates");
        let refused = origin(&connection, path()).expect_err("theirs");
        assert!(matches!(refused, OpenError::NotOurs { .. }), "{refused}");
    }
}
