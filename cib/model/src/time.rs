//! Dates and durations of ISO 8601, as far as a CIB uses them.

use crate::text::scan_prefix;

/// An instant with the zone in which its calendar fields are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since the epoch, UTC.
    pub seconds: i64,
    /// Offset of local time from UTC in seconds, east positive.
    pub offset: i32,
}

/// Years beyond this are taken for it.
const YEAR_MAX: i64 = 9_999_999;
/// The first and last second of the years that can be read, from the epoch.
const SECONDS_MIN: i64 = days_to_year(1) * 86_400;
const SECONDS_MAX: i64 = days_to_year(YEAR_MAX + 1) * 86_400 - 1;
/// Days of 400 years, after which the calendar repeats itself.
const CYCLE_DAYS: i64 = 146_097;

/// Days from the epoch to the first of January of `year` (proleptic Gregorian).
const fn days_to_year(year: i64) -> i64 {
    let y = year - 1;
    365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) - 719_162
}

fn leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn month_days(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

fn days_of_date(year: i64, month: u32, day: u32) -> i64 {
    let before: u32 = (1..month).map(|m| month_days(year, m)).sum();
    days_to_year(year) + i64::from(before) + i64::from(day) - 1
}

/// Calendar fields of a [`Time`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) year: i64,
    pub(crate) month: u32,
    pub(crate) day: u32,
    pub(crate) year_day: u32,
    pub(crate) hour: u32,
    pub(crate) minute: u32,
    pub(crate) second: u32,
    pub(crate) week_year: i64,
    pub(crate) week: u32,
    /// Monday is 1.
    pub(crate) week_day: u32,
}

impl Time {
    /// The instant `seconds` after the epoch, read in UTC.
    pub fn from_epoch(seconds: i64) -> Time {
        Time { seconds, offset: 0 }
    }

    /// Reads a date, or date and time, with optional offset; without one it is UTC.
    /// `now` is used where only a time of day is given. What an offset takes out of the years that
    /// can be written is the first or last instant of them.
    pub fn parse(text: &str, now: Option<Time>) -> Option<Time> {
        let text = text.trim();
        if text.len() >= 5 && text.is_char_boundary(5) && text[..5].eq_ignore_ascii_case("epoch") {
            return Some(Time::from_epoch(0));
        }
        let (days, rest) = if text.starts_with('T') || text.as_bytes().get(2) == Some(&b':') {
            let today = now?.seconds.div_euclid(86_400);
            (today, Some(text.strip_prefix('T').unwrap_or(text)))
        } else {
            let end = text
                .find(|c: char| !c.is_ascii_digit() && c != '-' && c != 'W')
                .unwrap_or(text.len());
            let rest = text[end..].strip_prefix([' ', 'T']).map(str::trim_start);
            (parse_date(&text[..end])?, rest)
        };
        let (second, offset) = match rest {
            Some(rest) if !rest.is_empty() => parse_clock(rest)?,
            _ => (0, 0),
        };
        let seconds = days * 86_400 + second - i64::from(offset);
        Some(Time { seconds: seconds.clamp(SECONDS_MIN, SECONDS_MAX), offset })
    }

    /// Seconds of the local clock, within the years that can be written.
    fn local(self) -> i64 {
        self.seconds.saturating_add(i64::from(self.offset)).clamp(-SECONDS_MAX, SECONDS_MAX)
    }

    pub(crate) fn fields(self) -> Fields {
        let local = self.local();
        let days = local.div_euclid(86_400);
        let clock = local.rem_euclid(86_400) as u32;
        // The calendar repeats itself, so only the rest is searched for.
        let cycles = days.div_euclid(CYCLE_DAYS);
        let mut year = 1970 + 400 * cycles + days.rem_euclid(CYCLE_DAYS) / 366;
        while days_to_year(year + 1) <= days {
            year += 1;
        }
        while days_to_year(year) > days {
            year -= 1;
        }
        let year_day = (days - days_to_year(year)) as u32 + 1;
        let (mut month, mut day) = (1, year_day);
        while month < 12 && day > month_days(year, month) {
            day -= month_days(year, month);
            month += 1;
        }
        let week_day = (days + 3).rem_euclid(7) as u32 + 1;
        // The week belongs to the year that holds its Thursday.
        let thursday = days - i64::from(week_day) + 4;
        let week_year = if thursday < days_to_year(year) {
            year - 1
        } else if thursday >= days_to_year(year + 1) {
            year + 1
        } else {
            year
        };
        let week = ((thursday - days_to_year(week_year)) / 7) as u32 + 1;
        let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
        Fields { year, month, day, year_day, hour, minute, second, week_year, week, week_day }
    }

    /// Date and time of day in UTC, as `2013-07-03 11:01:18Z`.
    pub fn text(self) -> String {
        let f = Time::from_epoch(self.seconds).fields();
        format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}Z",
            f.year, f.month, f.day, f.hour, f.minute, f.second
        )
    }

    /// The same clock time some years and months later; the day is clipped to the month's end.
    pub(crate) fn plus_months(self, months: i64) -> Time {
        let f = self.fields();
        let months = months.clamp(-12 * YEAR_MAX, 12 * YEAR_MAX);
        let total = f.year * 12 + i64::from(f.month) - 1 + months;
        let (year, month) = (total.div_euclid(12), total.rem_euclid(12) as u32 + 1);
        let day = f.day.min(month_days(year, month));
        let clock = self.local().rem_euclid(86_400);
        let seconds = days_of_date(year, month, day) * 86_400 + clock - i64::from(self.offset);
        Time { seconds, offset: self.offset }
    }

    /// `seconds` later.
    pub fn plus(self, seconds: i64) -> Time {
        Time { seconds: self.seconds.saturating_add(seconds), offset: self.offset }
    }
}

impl std::fmt::Display for Time {
    /// Date, time of day and zone: `2026-01-31 12:00:00Z`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let d = self.fields();
        write!(f, "{:04}-{:02}-{:02} ", d.year, d.month, d.day)?;
        write!(f, "{:02}:{:02}:{:02}", d.hour, d.minute, d.second)?;
        if self.offset == 0 {
            return write!(f, "Z");
        }
        let minutes = self.offset.abs() / 60;
        let sign = if self.offset < 0 { '-' } else { '+' };
        write!(f, " {sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

/// An instant in the manner of `ctime(3)`, in UTC: `Thu Jan  1 00:00:00 1970`.
pub fn ctime_text(seconds: i64) -> String {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let f = Time::from_epoch(seconds).fields();
    format!(
        "{} {} {:>2} {:02}:{:02}:{:02} {}",
        DAYS[(f.week_day as usize + 6) % 7],
        MONTHS[(f.month as usize + 11) % 12],
        f.day,
        f.hour,
        f.minute,
        f.second,
        f.year
    )
}

fn number(text: &str, len: usize) -> Option<i64> {
    let part = text.get(..len)?;
    part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten()
}

fn parse_date(text: &str) -> Option<i64> {
    let parts: Vec<&str> = text.split('-').collect();
    let all = |s: &str| number(s, s.len()).filter(|_| !s.is_empty());
    match parts[..] {
        [y, w, d] if w.starts_with('W') => {
            let (year, week, day) = (all(y)?, all(&w[1..])?, all(d)?);
            let known = (1..=YEAR_MAX).contains(&year);
            if !known || !(1..=53).contains(&week) || !(1..=7).contains(&day) {
                return None;
            }
            let jan4 = days_of_date(year, 1, 4);
            let monday = jan4 - (jan4 + 3).rem_euclid(7);
            Some(monday + (week - 1) * 7 + day - 1)
        }
        [y, m, d] => calendar(all(y)?, all(m)?, all(d)?),
        [y, d] => ordinal(all(y)?, all(d)?),
        [plain] if plain.len() == 8 => {
            calendar(number(plain, 4)?, number(&plain[4..], 2)?, number(&plain[6..], 2)?)
        }
        [plain] if plain.len() == 7 => ordinal(number(plain, 4)?, number(&plain[4..], 3)?),
        _ => None,
    }
}

fn calendar(year: i64, month: i64, day: i64) -> Option<i64> {
    let month = u32::try_from(month).ok().filter(|m| (1..=12).contains(m))?;
    let day = u32::try_from(day).ok().filter(|d| (1..=month_days(year, month)).contains(d))?;
    (1..=YEAR_MAX).contains(&year).then(|| days_of_date(year, month, day))
}

fn ordinal(year: i64, day: i64) -> Option<i64> {
    let last = if leap(year) { 366 } else { 365 };
    ((1..=last).contains(&day) && (1..=YEAR_MAX).contains(&year))
        .then(|| days_to_year(year) + day - 1)
}

/// Seconds of the day and offset from UTC.
fn parse_clock(text: &str) -> Option<(i64, i32)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(text.len());
    let clock = clock_seconds(&text[..end])?;
    let mut rest = &text[end..];
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    let rest = rest.trim();
    let offset = match rest.as_bytes().first() {
        None | Some(b'Z') => 0,
        Some(b'+') => clock_seconds(&rest[1..])? as i32,
        Some(b'-') => -(clock_seconds(&rest[1..])? as i32),
        Some(_) => return None,
    };
    Some((clock, offset))
}

fn clock_seconds(text: &str) -> Option<i64> {
    let parts: Vec<i64> = if text.contains(':') {
        text.split(':').map(|p| number(p, p.len())).collect::<Option<_>>()?
    } else {
        (0..text.len()).step_by(2).map(|i| number(text.get(i..)?, 2)).collect::<Option<_>>()?
    };
    let get = |i: usize| parts.get(i).copied().unwrap_or(0);
    let (h, m, s) = (parts.first().copied()?, get(1), get(2));
    let valid = (h < 24 && m < 60 && s < 60) || (h == 24 && m == 0 && s == 0);
    valid.then(|| h * 3600 + m * 60 + s)
}

/// An ISO 8601 duration (`P1DT2H`) in seconds; a year counts 365 days, a month 30.
pub fn parse_duration_seconds(text: &str) -> Option<i64> {
    let mut rest = text.strip_prefix('P')?;
    let (mut total, mut clock, mut any) = (0i64, false, false);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('T') {
            clock = true;
            rest = after;
            continue;
        }
        let (n, after) = scan_prefix(rest)?;
        let unit = match (after.chars().next()?, clock) {
            ('Y', _) => 365 * 86_400,
            ('M', false) => 30 * 86_400,
            ('W', _) => 7 * 86_400,
            ('D', _) => 86_400,
            ('H', _) => 3600,
            ('M', true) => 60,
            ('S', _) => 1,
            _ => return None,
        };
        total = total.saturating_add(n.saturating_mul(unit));
        any = true;
        rest = &after[1..];
    }
    any.then_some(total)
}

#[cfg(test)]
mod tests {
    use super::Time;

    #[test]
    fn the_first_and_last_years_are_read_as_they_are_written() {
        for (text, written) in [
            ("9999990-100", "9999990-04-10 00:00:00Z"),
            ("9999999-12-31 23:59:59", "9999999-12-31 23:59:59Z"),
            ("9999999-12-31 23:59:59 -05:00", "9999999-12-31 23:59:59Z"),
            ("0001-01-01 00:00:00", "0001-01-01 00:00:00Z"),
            ("0001-01-01 00:00:00 +05:00", "0001-01-01 00:00:00Z"),
        ] {
            let time = Time::parse(text, None).unwrap();
            assert_eq!(time.text(), written, "{text}");
            let again = Time::parse(written, None).unwrap();
            assert_eq!(again.seconds, time.seconds, "{text}");
        }
    }
}
