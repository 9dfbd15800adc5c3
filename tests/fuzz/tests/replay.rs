//! Every input of the corpus, and mutations of each that are the same in every run.

use std::path::Path;

use membership_base::Rng;
use tests_fuzz::TARGETS;

/// Mutations of each input of the corpus.
const MUTATIONS: u64 = 500;

/// Pieces that mean something in one of the languages.
const PIECES: [&str; 24] = [
    "<",
    ">",
    "/",
    "\"",
    "&amp;",
    "&#x0;",
    "=",
    "[",
    "]",
    "(",
    ")",
    "//",
    "@",
    "*",
    "::",
    "-",
    "9",
    "0",
    "99999999999999999999",
    "INFINITY",
    "\n",
    "{",
    "}",
    "id=\"\"",
];

fn mutate(rng: &mut Rng, input: &[u8]) -> Vec<u8> {
    let mut data = input.to_vec();
    for _ in 0..=rng.below(4) {
        let at = rng.below(data.len() as u64 + 1) as usize;
        match rng.below(5) {
            0 if at < data.len() => data[at] = rng.below(256) as u8,
            1 if at < data.len() => {
                let end = (at + 1 + rng.below(16) as usize).min(data.len());
                data.drain(at..end);
            }
            2 => {
                let end = (at + rng.below(64) as usize).min(data.len());
                let copy = data[at..end].to_vec();
                let to = rng.below(data.len() as u64 + 1) as usize;
                data.splice(to..to, copy);
            }
            _ => {
                let piece = PIECES[rng.below(PIECES.len() as u64) as usize];
                data.splice(at..at, piece.bytes());
            }
        }
    }
    data
}

#[test]
fn nothing_that_is_read_does_harm() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, check) in TARGETS {
        let folder = corpus.join(name);
        let entries = std::fs::read_dir(&folder).expect("every target has a corpus");
        let mut files: Vec<_> = entries.map(|e| e.expect("a folder can be read").path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has no corpus");
        for (number, file) in files.iter().enumerate() {
            let data = std::fs::read(file).expect("a file can be read");
            println!("{}", file.display());
            check(&data);
            for seed in 0..MUTATIONS {
                let mut rng = Rng::new(seed << 16 | number as u64);
                let mutated = mutate(&mut rng, &data);
                println!("mutation {seed}");
                check(&mutated);
            }
        }
    }
}
