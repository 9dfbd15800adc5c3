//! Small values as they are written in a CIB.

/// A span of time in milliseconds: a number with an optional unit (`10`, `10s`, `5min`, `2h`,
/// `100ms`, `50us`); without a unit it is seconds. `None` if it is neither that nor an ISO 8601
/// duration of the simple form `PT5M`.
///
/// Source: Pacemaker Explained, "Property types" (`duration`, `timeout`).
pub fn interval_ms(text: &str) -> Option<u64> {
    let text = text.trim();
    if let Some(iso) = text.strip_prefix('P') {
        return iso_ms(iso);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    match text[digits..].trim() {
        "" | "s" | "sec" => number.checked_mul(1000),
        "ms" | "msec" => Some(number),
        "us" | "usec" => Some(number / 1000),
        "m" | "min" => number.checked_mul(60_000),
        "h" | "hr" => number.checked_mul(3_600_000),
        "d" => number.checked_mul(86_400_000),
        _ => None,
    }
}

fn iso_ms(text: &str) -> Option<u64> {
    let (days, time) = text.split_once('T').unwrap_or((text, ""));
    let mut total = 0u64;
    for (part, units) in
        [(days, &[('W', 604_800), ('D', 86_400)][..]), (time, &[('H', 3600), ('M', 60), ('S', 1)])]
    {
        let mut rest = part;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            let number: u64 = rest[..end].parse().ok()?;
            let unit = rest[end..].chars().next()?;
            let seconds = units.iter().find(|u| u.0 == unit)?.1;
            total = total.checked_add(number.checked_mul(seconds)?)?;
            rest = &rest[end + unit.len_utf8()..];
        }
    }
    total.checked_mul(1000)
}

/// Whether the POSIX-like regular expression `pattern` matches somewhere in `text`, without
/// regard to case. A pattern that is no expression matches nothing.
pub fn pattern_matches(pattern: &str, text: &str) -> bool {
    regex::RegexBuilder::new(pattern)
        .case_insensitive(true)
        .size_limit(1 << 20)
        .build()
        .is_ok_and(|r| r.is_match(text))
}

/// Whether a value means yes, in the words that the field uses; `None` if it is no truth value.
pub fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "y" | "1" => Some(true),
        "false" | "off" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time() {
        for (text, expected) in [
            ("10", Some(10_000)),
            ("10s", Some(10_000)),
            ("150ms", Some(150)),
            ("2 min", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("PT1M30S", Some(90_000)),
            ("P1D", Some(86_400_000)),
            ("fast", None),
            ("10x", None),
            ("-3", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(interval_ms(text), expected, "{text}");
        }
    }
}
