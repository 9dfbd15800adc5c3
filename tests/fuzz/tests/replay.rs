//! Every input of the corpus, and mutations of them from a fresh seed, which is printed:
//! `SYSTOLE_FUZZ_SEED` makes the same ones again.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use membership_base::Rng;
use tests_fuzz::TARGETS;

/// Mutations for each target at most.
const MUTATIONS: u64 = 5000;
/// Time for each target at most.
const TIME_MAX: Duration = Duration::from_secs(3);

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

/// Numbers at their ends, as they are and as postcard writes them.
const EXTREMES: [&[u8]; 5] = [
    &[0; 8],
    &[0xff; 8],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0x80, 0, 0, 0],
];

fn mutate(rng: &mut Rng, input: &[u8]) -> Vec<u8> {
    let mut data = input.to_vec();
    for _ in 0..=rng.below(4) {
        let at = rng.below(data.len() as u64 + 1) as usize;
        match rng.below(6) {
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
            3 => {
                let extreme = EXTREMES[rng.below(EXTREMES.len() as u64) as usize];
                let end = (at + rng.below(extreme.len() as u64 + 1) as usize).min(data.len());
                data.splice(at..end, extreme.iter().copied());
            }
            _ => {
                let piece = PIECES[rng.below(PIECES.len() as u64) as usize];
                data.splice(at..at, piece.bytes());
            }
        }
    }
    data
}

/// The run's seed: that of `SYSTOLE_FUZZ_SEED`, else a fresh one.
fn seed() -> u64 {
    let given = std::env::var("SYSTOLE_FUZZ_SEED").ok();
    let given = given.map(|seed| seed.parse().expect("SYSTOLE_FUZZ_SEED is a number"));
    let fresh = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
    given.unwrap_or_else(fresh)
}

/// Inputs of a target to start from: its corpus, and what the program makes itself.
fn inputs(name: &str) -> Vec<Vec<u8>> {
    let mut inputs = tests_fuzz::made(name);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    if folder.exists() {
        let entries = std::fs::read_dir(&folder).expect("a folder can be read");
        let mut files: Vec<_> = entries.map(|e| e.expect("a folder can be read").path()).collect();
        files.sort();
        inputs.extend(files.iter().map(|file| std::fs::read(file).expect("a file can be read")));
    }
    assert!(!inputs.is_empty(), "{name} has nothing to start from");
    inputs
}

#[test]
fn nothing_that_is_read_does_harm() {
    let seed = seed();
    // The input is written down first: a stack that overflows leaves no other trace.
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz-input");
    println!("What fails is in {}: add it to the target's corpus.", kept.display());
    for (name, check) in TARGETS {
        println!("{name}: again with SYSTOLE_FUZZ_SEED={seed}");
        let check = |data: &[u8]| {
            std::fs::write(&kept, data).expect("there is room for the input");
            check(data);
        };
        let inputs = inputs(name);
        inputs.iter().for_each(|data| check(data));
        let begun = Instant::now();
        let mut rng = Rng::new(seed);
        // Whoever replays a seed wants what failed, however slow the machine is.
        let bounded = std::env::var_os("SYSTOLE_FUZZ_SEED").is_none();
        for _ in 0..MUTATIONS {
            if bounded && begun.elapsed() > TIME_MAX {
                break;
            }
            let data = &inputs[rng.below(inputs.len() as u64) as usize];
            check(&mutate(&mut rng, data));
        }
    }
}

#[test]
fn what_the_program_makes_itself_is_worth_to_start_from() {
    for (name, least) in [("ring", 10), ("packet", 10), ("ipmi", 6)] {
        let made = tests_fuzz::made(name).len();
        assert!(made >= least, "{name}: {made} inputs");
    }
}
