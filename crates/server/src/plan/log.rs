use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use intertie_observe::logged_request::{LineError, LoggedRequest};
use serde::Serialize;

/// An access log, read line by line.
pub(super) struct Log {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
    pub(super) lines: Lines,
}

/// The lines of a log.
#[derive(Debug, Default, Serialize)]
pub(super) struct Lines {
    /// Those that hold anything.
    pub(super) read: u64,
    /// Those that are no request.
    pub(super) bad: u64,
    /// The first of these.
    pub(super) first_bad: Option<BadLine>,
    #[serde(skip)]
    number: u64,
}

/// A line that is no request.
#[derive(Debug, Serialize)]
pub(super) struct BadLine {
    /// Counted from 1.
    pub(super) line: u64,
    pub(super) why: String,
}

/// The longest line. A request's head is far below it; what is longer has lost its ends of lines.
const LINE_BYTES_MAX: u64 = 64 * 1024;

const BUFFER_BYTES: usize = 256 * 1024;

impl Log {
    /// Opens the log at `path`, or the standard input for `-`.
    ///
    /// # Errors
    /// Why it can not be read, ready to be printed.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let source: Box<dyn Read> = if path == Path::new("-") {
            Box::new(io::stdin().lock())
        } else {
            let file = File::open(path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    format!("error: there is no such file\n  --> {}\n\n", path.display())
                }
                _ => unreadable(path, &error),
            })?;
            Box::new(file)
        };
        Self::new(path, Box::new(BufReader::with_capacity(BUFFER_BYTES, source)))
    }

    fn new(path: &Path, mut reader: Box<dyn BufRead>) -> Result<Self, String> {
        let start = reader.fill_buf().map_err(|error| unreadable(path, &error))?;
        let packed = match start {
            [0x1f, 0x8b, ..] => Some(("gzip", "zcat")),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(("zstd", "zstdcat")),
            _ => None,
        };
        if let Some((form, unpack)) = packed {
            let log = path.display();
            return Err(format!(
                "error: the log is packed by {form}\n  --> {log}\n  = help: {unpack} {log} | intertie plan OLD NEW --log -\n\n"
            ));
        }
        Ok(Self { path: path.to_owned(), reader, line: Vec::new(), lines: Lines::default() })
    }

    /// The next request, `None` at the end. What is none is counted and passed over.
    ///
    /// # Errors
    /// Why the log can not be read further, ready to be printed.
    pub(super) fn next(&mut self) -> Result<Option<LoggedRequest>, String> {
        loop {
            self.line.clear();
            let mut limited = self.reader.by_ref().take(LINE_BYTES_MAX);
            let bytes =
                limited.read_until(b'\n', &mut self.line).map_err(|error| unreadable(&self.path, &error))?;
            if bytes == 0 {
                return Ok(None);
            }
            self.lines.number += 1;
            if self.line.trim_ascii().is_empty() {
                continue;
            }
            self.lines.read += 1;
            if bytes as u64 == LINE_BYTES_MAX && self.line.last() != Some(&b'\n') {
                self.lines.bad(format!("it is longer than {LINE_BYTES_MAX} bytes"));
                self.reader.skip_until(b'\n').map_err(|error| unreadable(&self.path, &error))?;
                continue;
            }
            match LoggedRequest::parse(&self.line) {
                Ok(request) => return Ok(Some(request)),
                Err(error) => self.lines.bad(LineError::to_string(&error)),
            }
        }
    }
}

impl Lines {
    fn bad(&mut self, why: String) {
        self.bad += 1;
        let line = self.number;
        self.first_bad.get_or_insert(BadLine { line, why });
    }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("error: the log can not be read: {error}\n  --> {}\n\n", path.display())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn log(text: impl AsRef<[u8]>) -> Result<Log, String> {
        Log::new(Path::new("access.log"), Box::new(Cursor::new(text.as_ref().to_vec())))
    }

    #[test]
    fn every_line_is_a_request_or_is_counted() {
        let good = "::1 - - [01/Mar/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200 5";
        let long = "x".repeat(200_000);
        let mut log = log(format!("{good}\n\n{long}\r\n{good}\nwrong\n \n{good}")).expect("no packed log");
        let mut requests = 0;
        while log.next().expect("readable").is_some() {
            requests += 1;
        }
        assert_eq!((requests, log.lines.read, log.lines.bad), (3, 5, 2));
        let first = log.lines.first_bad.expect("the first bad one");
        assert_eq!((first.line, first.why.as_str()), (3, "it is longer than 65536 bytes"));
    }

    #[test]
    fn packed_logs_are_refused_with_the_command_that_unpacks_them() {
        let refusal = log(b"\x1f\x8b\x08").err().expect("refused");
        assert!(refusal.contains("packed by gzip") && refusal.contains("zcat access.log |"), "{refusal}");
        assert!(log(b"\x28\xb5\x2f\xfd").err().expect("refused").contains("zstdcat"));
    }
}
