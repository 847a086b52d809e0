use super::Violation;
use super::line::check_text;

/// The most bytes of a chunk's first line: a size, and extensions, which nobody uses and everybody ignores.
pub(super) const CHUNK_LINE_BYTES_MAX: usize = 256;

/// More digits than any size has that fits 64 bits.
const DIGITS_MAX: usize = 16;

/// The size in the first line of a chunk.
pub(super) fn chunk_size(line: &[u8]) -> Result<u64, Violation> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (size, extensions) = line.split_at(digits);
    if size.is_empty() || size.len() > DIGITS_MAX {
        return Err(Violation::ChunkSize);
    }
    check_text(extensions)?;
    if extensions.first().is_some_and(|byte| *byte != b';') {
        return Err(Violation::ChunkSize);
    }
    let digit = |byte: &u8| u64::from((*byte as char).to_digit(16).unwrap_or(0));
    Ok(size.iter().fold(0, |size, byte| size << 4 | digit(byte)))
}
