use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// What both commands are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Args {
    /// How long everything takes.
    pub(super) lasts: Duration,
    pub(super) seed: u64,
    /// The server; built with the profile `dist` when it is not named.
    pub(super) binary: Option<PathBuf>,
}

/// Reads `words`, in which the length is called `--minutes`.
pub(super) fn parse(words: &[&str], minutes: u64) -> Result<Args> {
    let mut args = Args { lasts: Duration::from_secs(minutes * 60), seed: 1, binary: None };
    let mut words = words.iter();
    while let Some(flag) = words.next() {
        let value = words.next().with_context(|| format!("{flag} needs a value"))?;
        match *flag {
            "--minutes" => {
                let minutes: u64 = value
                    .parse()
                    .ok()
                    .filter(|minutes| (1..=1440).contains(minutes))
                    .with_context(|| format!("--minutes takes a number from 1 to 1440, not {value:?}"))?;
                args.lasts = Duration::from_secs(minutes * 60);
            }
            "--seed" => {
                args.seed = value.parse().with_context(|| format!("--seed takes a number, not {value:?}"))?;
            }
            "--binary" => args.binary = Some(PathBuf::from(value)),
            _ => bail!("unknown flag {flag}; there are --minutes N, --seed N and --binary PATH"),
        }
    }
    Ok(args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_and_what_is_wrong_is_refused() {
        let args = parse(&["--minutes", "2", "--seed", "9", "--binary", "x"], 60).expect("good");
        assert_eq!((args.lasts, args.seed), (Duration::from_secs(120), 9));
        assert_eq!(args.binary.as_deref(), Some(std::path::Path::new("x")));
        assert_eq!(parse(&[], 60).expect("good").lasts, Duration::from_secs(3600));
        for wrong in [&["--minutes"][..], &["--minutes", "0"], &["--seed", "x"], &["--fast", "1"]] {
            assert!(parse(wrong, 60).is_err(), "{wrong:?}");
        }
    }
}
