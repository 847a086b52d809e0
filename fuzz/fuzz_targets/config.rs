//! The server is a program, so what it reads its file with is compiled in here.

#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../crates/server/src/file/mod.rs"]
mod file;
#[path = "../../crates/server/src/fuzz.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::whole(input));
