//! Scores: integers that saturate at ±1,000,000, which stand for ±infinity.

use crate::text::{eq_ci, scan_int};

/// The score that means "must"; its negative means "must not".
pub const INFINITY: i32 = 1_000_000;

/// What the words `red`, `yellow` and `green` are worth, from the node health options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthScores {
    /// Score of `red`.
    pub red: i32,
    /// Score of `yellow`.
    pub yellow: i32,
    /// Score of `green`.
    pub green: i32,
}

/// A score as configured; `None` if it is not one.
pub fn parse_score(text: &str) -> Option<i32> {
    parse_score_with(text, HealthScores::default())
}

/// As [`parse_score`], where the health words may have values.
pub fn parse_score_with(text: &str, health: HealthScores) -> Option<i32> {
    match text {
        "-INFINITY" => Some(-INFINITY),
        "INFINITY" | "+INFINITY" => Some(INFINITY),
        _ if eq_ci(text, "red") => Some(health.red),
        _ if eq_ci(text, "yellow") => Some(health.yellow),
        _ if eq_ci(text, "green") => Some(health.green),
        _ => {
            let limit = i64::from(INFINITY);
            scan_int(text).map(|n| n.clamp(-limit, limit) as i32)
        }
    }
}

/// Sum of two scores: minus infinity absorbs everything, plus infinity everything else.
pub fn add_scores(a: i32, b: i32) -> i32 {
    if a <= -INFINITY || b <= -INFINITY {
        -INFINITY
    } else if a >= INFINITY || b >= INFINITY {
        INFINITY
    } else {
        (a + b).clamp(-INFINITY, INFINITY)
    }
}

/// A score as people read it.
pub fn readable_score(score: i32) -> String {
    if score >= INFINITY {
        "INFINITY".into()
    } else if score <= -INFINITY {
        "-INFINITY".into()
    } else {
        score.to_string()
    }
}
