//! Numbers, booleans and durations as people write them in a CIB.

use std::cmp::Ordering;

/// Compares without regard to ASCII case.
pub fn eq_ci(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// The integer a text begins with, after white space; the rest is ignored. `None` if there is
/// none. Values beyond 62 bits saturate, so that times and intervals can be added to one another.
pub fn scan_int(text: &str) -> Option<i64> {
    scan_prefix(text).map(|(n, _)| n)
}

/// As [`scan_int`], with what follows the number.
pub(crate) fn scan_prefix(text: &str) -> Option<(i64, &str)> {
    // As nearly all are, and too few digits to overflow.
    let digits = text.bytes().map(|b| b.wrapping_sub(b'0')).take_while(|digit| *digit <= 9);
    let (plain, len) =
        digits.take(19).fold((0_u64, 0), |(n, len), digit| (n * 10 + u64::from(digit), len + 1));
    if (1..=18).contains(&len) {
        return Some((plain as i64, &text[len..]));
    }
    let trimmed = text.trim_start();
    let (negative, digits) = match trimmed.as_bytes().first() {
        Some(b'-') => (true, &trimmed[1..]),
        Some(b'+') => (false, &trimmed[1..]),
        _ => (false, trimmed),
    };
    let (mut value, mut len): (i64, usize) = (0, 0);
    for b in digits.bytes().take_while(u8::is_ascii_digit) {
        value = value.saturating_mul(10).saturating_add(i64::from(b - b'0')).min(1 << 62);
        len += 1;
    }
    if len == 0 {
        return None;
    }
    Some((if negative { -value } else { value }, &digits[len..]))
}

/// An integer of at least `min`; unparsable or missing text gives `min`.
pub fn scan_min_int(text: Option<&str>, min: i32) -> i32 {
    let value = text.and_then(scan_int).unwrap_or(i64::from(min));
    value.clamp(i64::from(min), i64::from(i32::MAX)) as i32
}

/// `true`/`on`/`yes`/`y`/`1` and their opposites, in any case.
pub fn parse_bool(text: &str) -> Option<bool> {
    let any = |list: [&str; 5]| list.iter().any(|v| eq_ci(text, v));
    if any(["true", "on", "yes", "y", "1"]) {
        Some(true)
    } else if any(["false", "off", "no", "n", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// Whether a text is there and says yes.
pub fn is_true(text: Option<&str>) -> bool {
    text.and_then(parse_bool) == Some(true)
}

/// A duration with unit (`ms`, `us`, `s`, `m`, `min`, `h`, … ; none is seconds), in milliseconds.
pub fn parse_ms(text: &str) -> Option<i64> {
    let (value, rest) = scan_prefix(text)?;
    let unit = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').trim_start();
    let letter = |at: usize| unit.as_bytes().get(at).map(u8::to_ascii_lowercase);
    let (mul, div) = match (letter(0), letter(1)) {
        (None | Some(b's'), _) => (1000, 1),
        (Some(b'm'), Some(b's')) => (1, 1),
        (Some(b'u'), Some(b's')) => (1, 1000),
        (Some(b'm'), _) => (60_000, 1),
        (Some(b'h'), _) => (3_600_000, 1),
        _ => return None,
    };
    Some(value.saturating_mul(mul) / div)
}

/// An interval or time-out as configured, also as ISO 8601 duration (`PT5M`), in milliseconds.
/// What is not valid counts as 0.
pub fn parse_interval_ms(text: Option<&str>) -> u32 {
    let Some(text) = text else { return 0 };
    let ms = if text.starts_with('P') {
        crate::time::parse_duration_seconds(text).map_or(0, |s| s.saturating_mul(1000))
    } else {
        parse_ms(text).unwrap_or(0)
    };
    ms.clamp(0, i64::from(u32::MAX)) as u32
}

/// Whether a text is a duration that [`parse_interval_ms`] understands.
pub(crate) fn is_interval(text: &str) -> bool {
    if text.starts_with('P') {
        crate::time::parse_duration_seconds(text).is_some()
    } else {
        parse_ms(text).is_some_and(|ms| ms >= 0)
    }
}

/// Milliseconds as whole seconds, rounded, but never 0 for something above 0.
pub fn seconds_of_ms(ms: u32) -> i64 {
    match ms {
        0 => 0,
        1..1000 => 1,
        _ => i64::from(ms / 1000) + i64::from(ms % 1000 >= 500),
    }
}

/// An operation's time-out in milliseconds; 20 seconds where none or nonsense is configured.
pub fn timeout_ms(text: Option<&str>) -> i32 {
    match text.and_then(parse_ms) {
        Some(ms) if ms > 0 => ms.min(i64::from(i32::MAX)) as i32,
        _ => 20_000,
    }
}

/// Order of names in which runs of digits compare as numbers, without regard to case.
pub fn numeric_cmp(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        match (a.first(), b.first()) {
            (None, None) => return Ordering::Equal,
            (None, _) => return Ordering::Less,
            (_, None) => return Ordering::Greater,
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (x, xl) = digits(a);
                let (y, yl) = digits(b);
                match x.cmp(&y).then(xl.cmp(&yl)) {
                    Ordering::Equal => (a, b) = (&a[xl..], &b[yl..]),
                    other => return other,
                }
            }
            (Some(x), Some(y)) => match x.to_ascii_lowercase().cmp(&y.to_ascii_lowercase()) {
                Ordering::Equal => (a, b) = (&a[1..], &b[1..]),
                other => return other,
            },
        }
    }
}

fn digits(text: &[u8]) -> (u64, usize) {
    let len = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let value = text[..len]
        .iter()
        .fold(0u64, |n, b| n.saturating_mul(10).saturating_add(u64::from(b - b'0')));
    (value, len)
}

/// Order of dotted version numbers; whatever follows the numbers is ignored.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    // The next number, 0 if there is none, and what follows its dot.
    let part = |text: &mut &[u8]| {
        let (number, len) = digits(text);
        *text = match text.get(len) {
            Some(b'.') => &text[len + 1..],
            _ => &[],
        };
        number
    };
    let (mut a, mut b) = (a.trim_start().as_bytes(), b.trim_start().as_bytes());
    while !(a.is_empty() && b.is_empty()) {
        let order = part(&mut a).cmp(&part(&mut b));
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

/// A resource id without the number of a clone instance (`rsc:3` is `rsc`).
pub fn base_name(id: &str) -> &str {
    match id.rfind(':') {
        // A colon at the very end is kept, as is one that stands first.
        Some(at) if at > 0 && at + 1 < id.len() => {
            if id[at + 1..].bytes().all(|b| b.is_ascii_digit()) { &id[..at] } else { id }
        }
        _ => id,
    }
}
