//! Dates, durations and periods of ISO 8601, with reasons for what is refused.

use crate::log;

const FILE: &str = "iso8601";
const DAY: i64 = 86_400;

/// A point in time with the offset of its clock from UTC, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// Days since 1970-01-01 of the local date.
    pub days: i64,
    /// Seconds of the local day.
    pub seconds: i64,
    /// Offset of local time from UTC in seconds, east positive.
    pub offset: i64,
}

/// A duration in its parts, which differ in length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Duration {
    /// Years.
    pub years: i64,
    /// Months.
    pub months: i64,
    /// Days.
    pub days: i64,
    /// Seconds.
    pub seconds: i64,
}

fn leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap(year)),
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a day number.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let mp = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Monday is 1.
fn week_day(days: i64) -> i64 {
    (days + 3).rem_euclid(7) + 1
}

/// The Monday of a year's first week.
fn first_monday(year: i64) -> i64 {
    let january_4 = days_of(year, 1, 4);
    january_4 - week_day(january_4) + 1
}

impl Date {
    /// A number of seconds since 1970, in UTC.
    pub fn from_epoch(seconds: i64) -> Date {
        Date { days: seconds.div_euclid(DAY), seconds: seconds.rem_euclid(DAY), offset: 0 }
    }

    /// Now, in UTC.
    pub fn now() -> Date {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Date::from_epoch(since.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(0)))
    }

    /// Seconds since 1970.
    pub fn epoch(self) -> i64 {
        self.days * DAY + self.seconds - self.offset
    }

    /// The same time on a clock of UTC.
    pub fn utc(self) -> Date {
        Date::from_epoch(self.epoch())
    }

    /// The year.
    pub fn year(self) -> i64 {
        civil(self.days).0
    }

    fn plus_months(self, months: i64) -> Date {
        let (year, month, day) = civil(self.days);
        let total = year * 12 + month - 1 + months;
        let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
        let day = day.min(days_in_month(year, month));
        Date { days: days_of(year, month, day), ..self }
    }

    /// Adds a duration; with `sign` −1 subtracts it.
    pub fn plus(self, duration: Duration, sign: i64) -> Date {
        let date = self.plus_months(sign * (duration.years * 12 + duration.months));
        let seconds = date.seconds + sign * duration.seconds;
        Date {
            days: date.days + sign * duration.days + seconds.div_euclid(DAY),
            seconds: seconds.rem_euclid(DAY),
            offset: date.offset,
        }
    }

    fn clock(self, zone: bool) -> String {
        let (h, m, s) = (self.seconds / 3600, self.seconds / 60 % 60, self.seconds % 60);
        let zone = match (zone, self.offset) {
            (false, _) | (true, 0) => "Z".to_string(),
            (true, offset) => {
                let sign = if offset < 0 { '-' } else { '+' };
                let minutes = offset.abs() / 60;
                format!(" {sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
        };
        format!("{h:02}:{m:02}:{s:02}{zone}")
    }

    /// As a calendar date in UTC, or in its own zone.
    pub fn text(self, own_zone: bool) -> String {
        let date = if own_zone { self } else { self.utc() };
        let (year, month, day) = civil(date.days);
        format!("{year:04}-{month:02}-{day:02} {}", date.clock(own_zone))
    }

    /// As year and day of the year.
    pub fn ordinal_text(self) -> String {
        let date = self.utc();
        let year = date.year();
        format!("{year:04}-{:03} {}", date.days - days_of(year, 1, 1) + 1, date.clock(false))
    }

    /// As year, week and day of the week.
    pub fn week_text(self) -> String {
        let date = self.utc();
        // A week belongs to the year of its Thursday.
        let year = civil(date.days - week_day(date.days) + 4).0;
        let week = (date.days - first_monday(year)) / 7 + 1;
        format!("{year:04}-W{week:02}-{} {}", week_day(date.days), date.clock(false))
    }

    /// Reads a date with optional time and zone.
    pub fn parse(text: &str) -> Option<Date> {
        if text.is_empty() {
            log::error("parse_date", FILE, "No ISO 8601 date/time specification given");
            return None;
        }
        if text.trim().starts_with("epoch") {
            return Some(Date::from_epoch(0));
        }
        let text_start = text.trim_start();
        let is_clock = text_start.starts_with('T') || text_start.as_bytes().get(2) == Some(&b':');
        let (days, rest) = if is_clock {
            (Date::now().days, text_start.strip_prefix('T').unwrap_or(text_start))
        } else {
            let end = text_start.find(['T', ' ', '/']).unwrap_or(text_start.len());
            (parse_day(&text_start[..end], text)?, text_start[end..].trim_start_matches(['T', ' ']))
        };
        let rest_of_date = rest.trim_start();
        if rest_of_date.is_empty() || rest_of_date.starts_with('/') {
            return Some(Date { days, seconds: 0, offset: 0 });
        }
        let (seconds, offset) = parse_clock(rest_of_date)?;
        let days = days + seconds.div_euclid(DAY);
        Some(Date { days, seconds: seconds.rem_euclid(DAY), offset })
    }
}

fn refuse_date<T>(whole: &str, reason: &str) -> Option<T> {
    let text =
        format!("'{whole}' is not a valid ISO 8601 date/time specification because {reason}");
    log::error("parse_date", FILE, &text);
    None
}

fn digits(text: &str) -> Option<i64> {
    let good = !text.is_empty() && text.len() <= 10 && text.bytes().all(|b| b.is_ascii_digit());
    good.then(|| text.parse().ok()).flatten()
}

fn parse_day(text: &str, whole: &str) -> Option<i64> {
    let negative = text.starts_with('-');
    let parts: Vec<&str> = text.trim_start_matches('-').split('-').collect();
    let bad = || refuse_date(whole, "the date is not in a known form");
    let year_of = |part: &str| -> Option<i64> {
        let year = digits(part)?;
        let shown = if negative { (1i64 << 32) - year } else { year };
        if year < 1 || negative {
            return refuse_date(whole, &format!("'{shown}' is not a valid year"));
        }
        Some(year)
    };
    let calendar = |year: i64, month: i64, day: i64| -> Option<i64> {
        if !(1..=12).contains(&month) {
            return refuse_date(whole, &format!("'{month}' is not a valid month"));
        }
        if day < 1 || day > days_in_month(year, month) {
            return refuse_date(whole, &format!("'{day}' is not a valid day of the month"));
        }
        Some(days_of(year, month, day))
    };
    let ordinal = |year: i64, day: i64| -> Option<i64> {
        if day < 1 || day > 365 + i64::from(leap(year)) {
            let reason = format!("'{day}' is not a valid day of year {year}");
            return refuse_date(whole, &reason);
        }
        Some(days_of(year, 1, 1) + day - 1)
    };
    match parts[..] {
        [year, week, day] if week.starts_with('W') => {
            let (year, week, day) = (year_of(year)?, digits(&week[1..])?, digits(day)?);
            let weeks = (first_monday(year + 1) - first_monday(year)) / 7;
            if !(1..=weeks).contains(&week) {
                let reason = format!("'{week}' is not a valid week of year {year}");
                return refuse_date(whole, &reason);
            }
            if !(1..=7).contains(&day) {
                return refuse_date(whole, &format!("'{day}' is not a valid day of the week"));
            }
            Some(first_monday(year) + 7 * (week - 1) + day - 1)
        }
        [year, month, day] => {
            calendar(year_of(year)?, digits(month).or_else(bad)?, digits(day).or_else(bad)?)
        }
        [year, day] if day.len() == 3 => ordinal(year_of(year)?, digits(day).or_else(bad)?),
        [plain] if plain.len() == 8 => {
            let (year, rest) = plain.split_at(4);
            let (month, day) = rest.split_at(2);
            calendar(year_of(year)?, digits(month).or_else(bad)?, digits(day).or_else(bad)?)
        }
        [plain] if plain.len() == 7 => {
            let (year, day) = plain.split_at(4);
            ordinal(year_of(year)?, digits(day).or_else(bad)?)
        }
        _ => bad(),
    }
}

/// Seconds of the day (up to a whole day) and offset from UTC.
fn parse_clock(text: &str) -> Option<(i64, i64)> {
    let (seconds, rest) = parse_hms(text)?;
    let rest = rest.trim_start();
    match rest.chars().next() {
        Some(sign @ ('+' | '-')) => {
            let (offset, _) = parse_hms(&rest[1..])?;
            Some((seconds, if sign == '-' { -offset } else { offset }))
        }
        _ => Some((seconds, 0)),
    }
}

fn parse_hms(text: &str) -> Option<(i64, &str)> {
    let refuse = |value: i64, unit: &str| {
        log::error(
            "parse_hms",
            FILE,
            &format!(
                "{text} is not a valid ISO 8601 time specification because {value} is not a valid \
                 {unit}"
            ),
        );
        None
    };
    let mut rest = text;
    let mut parts = [0i64; 3];
    for (ix, part) in parts.iter_mut().enumerate() {
        let after = if ix == 0 { rest } else { rest.strip_prefix(':').unwrap_or(rest) };
        match after.get(..2).and_then(digits) {
            Some(value) => {
                *part = value;
                rest = &after[2..];
            }
            None if ix == 0 => return refuse(-1, "hour"),
            None => break,
        }
    }
    let [hour, minute, second] = parts;
    let end_of_day = hour == 24 && minute == 0 && second == 0;
    if hour > 23 && !end_of_day {
        return refuse(hour, "hour");
    }
    if minute > 59 {
        return refuse(minute, "minute");
    }
    if second > 59 {
        return refuse(second, "second");
    }
    Some((hour * 3600 + minute * 60 + second, rest))
}

impl Duration {
    /// Reads `P1Y2M3DT4H5M6S` and the like; parts may be negative.
    pub fn parse(text: &str) -> Option<Duration> {
        let refuse = |reason: &str| {
            let text = format!("'{text}' is not a valid ISO 8601 time duration because {reason}");
            log::error("crm_time_parse_duration", FILE, &text);
            None
        };
        let refuse_part = |reason: &str| {
            let text = format!("'{text}' is not a valid ISO 8601 duration because {reason}");
            log::error("parse_duration_element", FILE, &text);
            None
        };
        let Some(mut rest) = text.strip_prefix('P') else {
            return refuse("it does not start with a 'P'");
        };
        if rest.is_empty() || rest.starts_with('/') {
            return refuse("nothing follows 'P'");
        }
        let mut out = Duration::default();
        let mut clock = false;
        while !rest.is_empty() && !rest.starts_with('/') {
            if let Some(after) = rest.strip_prefix('T') {
                clock = true;
                rest = after;
                continue;
            }
            let end = rest
                .char_indices()
                .find(|(ix, c)| !(c.is_ascii_digit() || *ix == 0 && matches!(c, '-' | '+')))
                .map_or(rest.len(), |(ix, _)| ix);
            let Ok(n) = rest[..end].parse::<i32>() else {
                return refuse_part(&format!("no valid integer at '{rest}'"));
            };
            let n = i64::from(n);
            let unit = rest[end..].chars().next();
            match (unit, clock) {
                (Some('Y'), _) => out.years += n,
                (Some('M'), false) => out.months += n,
                (Some('M'), true) => out.seconds += n * 60,
                (Some('W'), _) => out.days += n * 7,
                (Some('D'), _) => out.days += n,
                (Some('H'), _) => out.seconds += n * 3600,
                (Some('S'), _) => out.seconds += n,
                (Some(other), _) => {
                    return refuse_part(&format!("'{other}' is not a valid time unit"));
                }
                (None, _) => return refuse_part(&format!("no units after {rest}")),
            }
            rest = &rest[end + unit.map_or(0, char::len_utf8)..];
        }
        if out == Duration::default() {
            return refuse("no amounts of time given");
        }
        Some(out)
    }

    /// In words.
    pub fn text(self) -> String {
        let s = |n: i64| if n == 1 { "" } else { "s" };
        let mut out = String::new();
        if self.years != 0 {
            out.push_str(&format!("{:4} year{} ", self.years, s(self.years)));
        }
        if self.months != 0 {
            out.push_str(&format!("{:2} month{} ", self.months, s(self.months)));
        }
        if self.days != 0 {
            out.push_str(&format!("{:2} day{} ", self.days, s(self.days)));
        }
        if out.is_empty() || self.seconds != 0 {
            out.push_str(&format!("{} second{}", self.seconds, s(self.seconds)));
        }
        if self.seconds.abs() >= 60 {
            let total = self.seconds.abs();
            // What is left of the seconds goes by the number of all, so it is never one.
            let parts =
                [(total / 3600, "hour"), (total / 60 % 60, "minute"), (total % 60, "seconds")];
            let words: Vec<String> = parts
                .iter()
                .filter(|p| p.0 != 0)
                .map(|(n, unit)| match *unit {
                    "seconds" => format!("{n} {unit}"),
                    unit => format!("{n} {unit}{}", s(*n)),
                })
                .collect();
            out.push_str(&format!(" ({})", words.join(" ")));
        }
        out
    }
}

/// Start and end of a period such as `2005-040/P3D`.
pub fn parse_period(text: &str) -> Option<(Date, Date)> {
    let refuse = |reason: String| {
        log::error("parse_period", FILE, &reason);
        None
    };
    if text.is_empty() {
        return refuse("No ISO 8601 time period given".into());
    }
    let invalid = format!("'{text}' is not a valid ISO 8601 time period because it");
    let (mut start, mut end, mut duration) = (None, None, None);
    if text.starts_with('P') {
        duration = Some(Duration::parse(text)?);
    } else {
        start = Some(Date::parse(text)?);
    }
    let second = text.split_once('/').map(|(_, second)| second);
    match second {
        Some(second) if second.starts_with('P') => {
            if duration.is_some() {
                return refuse(format!("{invalid} has two durations"));
            }
            duration = Some(Duration::parse(second)?);
        }
        Some(second) => end = Some(Date::parse(second)?),
        None if duration.is_some() => start = Some(Date::now()),
        None => return refuse(format!("{invalid} has no duration or ending time")),
    }
    let (start, end) = match (start, end, duration) {
        (Some(start), Some(end), _) => (start, end),
        (Some(start), None, Some(duration)) => (start, start.plus(duration, 1)),
        (None, Some(end), Some(duration)) => (end.plus(duration, -1), end),
        _ => return refuse(format!("{invalid} is incomplete")),
    };
    for (which, date) in [("start", start), ("end", end)] {
        if !(1..=9999).contains(&date.year()) {
            let shown = second.unwrap_or(text);
            return refuse(format!(
                "'{shown}' is not a valid ISO 8601 time period because the {which} is invalid \
                 (must be between 0001-01-01T00:00:00 and 9999-12-31T23:59:59)"
            ));
        }
    }
    Some((start, end))
}
