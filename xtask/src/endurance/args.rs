use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// What both commands are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Args {
    /// How long everything takes.
    pub(super) lasts: Duration,
    pub(super) seed: u64,
    /// Requests in a second, where that is for the caller to say.
    pub(super) rate: Option<u64>,
    /// The server; built with the profile `dist` when it is not named.
    pub(super) binary: Option<PathBuf>,
}

/// Reads `words`, in which the length is called `--minutes`. A `rate` is what `--rate` is unless it is said; without
/// one there is no such flag.
pub(super) fn parse(words: &[&str], minutes: u64, rate: Option<u64>) -> Result<Args> {
    let mut args = Args { lasts: Duration::from_secs(minutes * 60), seed: 1, rate, binary: None };
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
            "--rate" if rate.is_some() => {
                let told = value.parse().ok().filter(|rate| (50..=2000).contains(rate));
                args.rate = Some(
                    told.with_context(|| format!("--rate takes a number from 50 to 2000, not {value:?}"))?,
                );
            }
            "--binary" => args.binary = Some(PathBuf::from(value)),
            _ => {
                let rate = if rate.is_some() { ", --rate N" } else { "" };
                bail!("unknown flag {flag}; there are --minutes N{rate}, --seed N and --binary PATH");
            }
        }
    }
    Ok(args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_and_what_is_wrong_is_refused() {
        let args = parse(&["--minutes", "2", "--seed", "9", "--binary", "x"], 60, None).expect("good");
        assert_eq!((args.lasts, args.seed), (Duration::from_secs(120), 9));
        assert_eq!(args.binary.as_deref(), Some(std::path::Path::new("x")));
        assert_eq!(parse(&[], 60, None).expect("good").lasts, Duration::from_secs(3600));
        for wrong in [
            &["--minutes"][..],
            &["--minutes", "0"],
            &["--seed", "x"],
            &["--fast", "1"],
            &["--rate", "49"],
            &["--rate", "2001"],
        ] {
            assert!(parse(wrong, 60, Some(300)).is_err(), "{wrong:?}");
        }
        assert_eq!(parse(&["--rate", "50"], 60, Some(300)).expect("good").rate, Some(50));
        assert_eq!(parse(&[], 60, Some(300)).expect("good").rate, Some(300));
        assert!(parse(&["--rate", "50"], 60, None).is_err(), "no rate is to be told");
    }
}
