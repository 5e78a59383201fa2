//! Replays the corpus of `fuzz/` and many variations of it, on stable Rust: no input makes a parser panic.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

use faythe::fuzzing::{Entry, TARGETS};
use faythe_bed::dice::Dice;

/// Variations of each input. All targets together take some seconds.
const VARIATIONS: u64 = 1_000;
/// The most changes that a variation has.
const CHANGES: u64 = 6;
/// What parsers look out for: lengths, pointers, ends of lines and of brackets, numbers out of range.
const SPICES: [&[u8]; 16] = [
    b"\0",
    b"\xff",
    b"\xc0\x0c",
    b"\xc0\xff",
    b"\x3f",
    b"\xff\xff",
    b"\x00\x00",
    b"\"",
    b"\\u0000",
    b"{",
    b"]",
    b"\n",
    b"*.",
    b"-1",
    b"99999999999999999999",
    "ß\u{202e}".as_bytes(),
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(folder("corpus").join(target)).unwrap();
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// Runs an entry, and says with which input it panicked.
fn run(entry: Entry, input: &[u8], what: &dyn Fn() -> String) {
    if std::panic::catch_unwind(|| entry(input)).is_err() {
        panic!("{} of {:?}", what(), input.escape_ascii().to_string());
    }
}

#[test]
fn each_target_has_a_corpus_and_a_program_and_no_other_has() {
    let names: Vec<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let listed = |name: &str| {
        let mut found: Vec<String> = fs::read_dir(folder(name))
            .unwrap()
            .map(|entry| {
                entry
                    .unwrap()
                    .path()
                    .file_stem()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        found.sort();
        found
    };
    assert_eq!(listed("corpus"), names);
    assert_eq!(listed("fuzz_targets"), names);
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for name in &names {
        assert!(corpus(name).len() >= 5, "{name} has next to no corpus");
        let program = fs::read_to_string(folder("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(
            program.contains(&format!("faythe::fuzzing::run(\"{name}\", bytes)")),
            "{program}"
        );
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "{name} is not in fuzz/Cargo.toml"
        );
    }
}

#[test]
fn the_corpus_makes_no_parser_panic() {
    for (target, entry) in TARGETS {
        for (path, input) in corpus(target) {
            run(entry, &input, &|| path.display().to_string());
        }
    }
}

#[test]
fn no_variation_of_the_corpus_makes_a_parser_panic() {
    // The same each time, so that a change is judged by what it changes; `FAYTHE_SEED` looks elsewhere.
    let seed = Dice::seed_or("variations of the corpus", 1);
    let mut dice = Dice::new(seed);
    for (target, entry) in TARGETS {
        let inputs = corpus(target);
        for (path, input) in &inputs {
            for _ in 0..VARIATIONS {
                let varied = vary(input, &inputs, &mut dice);
                run(entry, &varied, &|| {
                    format!("seed {seed}: a variation of {}", path.display())
                });
            }
        }
    }
}

/// Changes an input here and there.
fn vary(input: &[u8], others: &[(PathBuf, Vec<u8>)], dice: &mut Dice) -> Vec<u8> {
    let mut varied = input.to_owned();
    for _ in 0..=dice.below(CHANGES) {
        let at = place(dice, varied.len());
        match dice.below(6) {
            0 => varied.truncate(at),
            1 => {
                if let Some(byte) = varied.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
            2 => {
                if let Some(byte) = varied.get_mut(at) {
                    *byte = u8::try_from(dice.below(256)).unwrap();
                }
            }
            3 => {
                let spice = *dice.pick(&SPICES).unwrap();
                varied.splice(at..at, spice.iter().copied());
            }
            4 => {
                let end = at + place(dice, varied.len() - at);
                let part = varied[at..end].to_owned();
                varied.splice(at..at, part);
            }
            _ => {
                let other = &dice.pick(others).unwrap().1;
                let from = place(dice, other.len());
                varied.truncate(at);
                varied.extend_from_slice(&other[from..]);
            }
        }
    }
    varied
}

/// A place in something of this length, its end included.
fn place(dice: &mut Dice, length: usize) -> usize {
    usize::try_from(dice.below(length as u64 + 1)).unwrap()
}
