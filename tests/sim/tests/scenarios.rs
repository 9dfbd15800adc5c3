//! What happens to a cluster and what it does, as text: each file in `tests/scenarios` is named by
//! what must be, and has a story (the language is that of `play`), and after `----` how it goes.
//! `UPDATE_EXPECT=1` writes that anew, but what a story expects is written by hand and must hold.
//! Read the difference before you commit it. `ONLY=TEXT` plays those whose names contain the text.

use std::path::{Path, PathBuf};

use tests_sim::{Told, play};

/// Fewer than this would mean that some got lost.
const STORIES_MIN: usize = 58;

/// What follows at once from a step is nested in it, deeper than the stack of a test's thread.
fn with_room(story: &str) -> Told {
    let story = story.to_owned();
    let run = std::thread::Builder::new().stack_size(256 << 20);
    let run = run.spawn(move || play(&story)).expect("a thread can be started");
    run.join().expect("the story can be played")
}

#[test]
fn clusters_do_what_the_stories_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let entries = std::fs::read_dir(&folder).expect("there are stories");
    let mut files: Vec<PathBuf> =
        entries.map(|e| e.expect("a folder can be read").path()).collect();
    files.sort();
    assert!(files.len() >= STORIES_MIN, "only {} stories", files.len());
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let only = std::env::var("ONLY").unwrap_or_default();
    let mut wrong = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !name.contains(&only) {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a file can be read");
        let (story, expected) = text.split_once("----\n").unwrap_or((&text, ""));
        assert!(story.contains(" expect "), "{name} expects nothing");
        let Told { log, wrong: unmet } = with_room(story);
        wrong.extend(unmet.iter().map(|why| format!("{name}: {why}\n{log}")));
        if log != expected && update {
            let text = format!("{}\n----\n{log}", story.trim_end());
            std::fs::write(&file, text).expect("a file can be written");
        } else if log != expected {
            wrong.push(format!("{name}: it was to go\n{expected}\nbut it goes\n{log}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}
