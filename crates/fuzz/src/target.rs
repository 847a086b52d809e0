use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use intertie_gateway::fuzz;

use crate::{Mutations, access_log, corpus, envelope};

/// Something that reads bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name, also of its program in `fuzz/fuzz_targets`.
    pub name: &'static str,
    /// Inputs to begin with.
    pub corpus: &'static [&'static [u8]],
    /// Reads an input; panics when something is wrong.
    pub body: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "requests", corpus: corpus::REQUESTS, body: fuzz::requests },
    Target { name: "answers", corpus: corpus::ANSWERS, body: fuzz::answers },
    Target { name: "headers", corpus: corpus::HEADERS, body: fuzz::headers },
    Target { name: "routes", corpus: corpus::ROUTES, body: fuzz::routes },
    Target { name: "access_log", corpus: corpus::ACCESS_LOG, body: access_log::line },
    Target { name: "envelope", corpus: corpus::ENVELOPE, body: envelope::one },
    Target { name: "envelope_batch", corpus: corpus::ENVELOPE_BATCH, body: envelope::several },
    Target { name: "envelope_headers", corpus: corpus::ENVELOPE_HEADERS, body: envelope::headers },
];

/// Runs the target called `name` on one input.
///
/// # Panics
/// When something is wrong, or nothing has that name.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("no target is called {name}")).body)(input);
}

/// Inputs for each target in the gate; `INTERTIE_FUZZ_INPUTS` asks for more of them, `INTERTIE_FUZZ_SEED` for
/// others.
const INPUTS: usize = 20_000;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

impl Target {
    /// Reads the corpus and as many mutations of it as the gate does, unless the environment asks for others.
    ///
    /// # Panics
    /// When something is wrong, and when what the environment says is no number.
    pub fn check(&self) {
        let seed = from_environment("INTERTIE_FUZZ_SEED").unwrap_or(1);
        let inputs = from_environment("INTERTIE_FUZZ_INPUTS").and_then(|inputs| usize::try_from(inputs).ok());
        self.try_mutations(seed, inputs.unwrap_or(INPUTS));
    }

    /// Reads the corpus and `inputs` mutations of it.
    ///
    /// # Panics
    /// When something is wrong: seed and input are printed before.
    pub fn try_mutations(&self, seed: u64, inputs: usize) {
        let corpus = self.corpus.iter().map(|input| input.to_vec());
        for input in corpus.chain(Mutations::new(self.corpus, seed).take(inputs)) {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.body)(&input))) {
                eprintln!("{}, seed {seed}: b\"{}\"", self.name, input.escape_ascii());
                resume_unwind(panic);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str) {
        TARGETS.iter().find(|target| target.name == name).expect("a target").check();
    }

    #[test]
    fn requests() {
        check("requests");
    }

    #[test]
    fn answers() {
        check("answers");
    }

    #[test]
    fn headers() {
        check("headers");
    }

    #[test]
    fn routes() {
        check("routes");
    }

    #[test]
    fn access_log() {
        check("access_log");
    }

    #[test]
    fn envelope() {
        check("envelope");
    }

    #[test]
    fn envelope_batch() {
        check("envelope_batch");
    }

    #[test]
    fn envelope_headers() {
        check("envelope_headers");
    }

    #[test]
    fn each_target_has_its_program() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        for Target { name, .. } in TARGETS {
            let program = std::fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs")));
            assert!(program.expect("a program").contains(&format!("run(\"{name}\"")), "{name}");
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        }
    }

    /// A target that can not fail proves nothing.
    #[test]
    #[should_panic(expected = "found")]
    fn what_is_wrong_is_found() {
        let body = |input: &[u8]| assert!(!input.contains(&b'%'), "found");
        Target { name: "x", corpus: &[b"abcdefgh"], body }.try_mutations(1, INPUTS);
    }
}
