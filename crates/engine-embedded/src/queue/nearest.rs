use intertie_messaging::Name;
use rusqlite::Connection;

/// Of the names that there are the one that somebody may have meant, read beside the writer.
pub(crate) fn nearest(connection: &Connection, name: &Name) -> rusqlite::Result<Option<Name>> {
    let wanted = name.as_str();
    // What is shorter or longer than this is too far away by that alone.
    let (shortest, longest) = (wanted.len() * 3 / 4, wanted.len() * 3 / 2 + 1);
    let sql = "SELECT name FROM queue WHERE length(name) BETWEEN ?1 AND ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([shortest as i64, longest as i64])?;
    let mut nearest: Option<(usize, String)> = None;
    while let Some(row) = rows.next()? {
        let known: String = row.get(0)?;
        let distance = strsim::damerau_levenshtein(wanted, &known);
        let found = (distance, known);
        if distance <= found.1.len().div_ceil(4) && nearest.as_ref().is_none_or(|nearest| found < *nearest) {
            nearest = Some(found);
        }
    }
    Ok(nearest.and_then(|(_, known)| known.parse().ok()))
}
