//! What follows from a change: versions, notes, and whether it may be so.

use cib_xml::Doc;
use cib_xml::patch::{self, Positions};

use super::{Context, Run};
use crate::error::{ErrorKind, StoreError};
use crate::operation::{Operation, Target};
use crate::version::Version;

/// What follows from a change that was made: versions, notes, and whether it may be so.
pub(super) fn conclude(
    doc: &mut Doc,
    before: Option<&Doc>,
    op: &Operation,
    cx: &Context<'_>,
    old: Version,
) -> Run<Option<bool>> {
    if doc.root().name() != "cib" {
        return Err(ErrorKind::Corrupt.into());
    }
    if cx.check_features {
        check_features(doc)?;
    }
    let pending = match before {
        Some(before) => patch::make(before, doc, Positions::Count)
            .map(|p| patch::touches(&p, "/cib/configuration")),
        None => patch::pending_change(doc),
    };
    let pending = pending.or_else(|| swaps_section(op).then_some(true));
    let Some(config_changed) = pending else { return Ok(None) };
    let given = Version::of(doc);
    if given.config() < old.config() {
        let detail = format!("version {given} is older than {old}");
        return Err(StoreError::new(ErrorKind::OldData, detail));
    }
    if config_changed {
        Version { epoch: given.epoch + 1, num_updates: 0, ..given }.write_changed(doc, given);
        note_origin(doc, cx)?;
    } else {
        Version { num_updates: given.num_updates + 1, ..given }.write_changed(doc, given);
    }
    if cx.validate && !op.is_status_only() {
        let changed =
            if cx.valid && before.is_none() { patch::pending_attributes(doc) } else { None };
        let problems = match changed {
            Some(changed) => cib_schema::validate_changed(doc, &changed),
            None => cib_schema::validate(doc),
        };
        if let Some(first) = problems.first() {
            let detail = format!("{first}");
            return Err(StoreError::new(ErrorKind::SchemaInvalid, detail));
        }
    }
    Ok(Some(config_changed))
}

impl Version {
    /// Writes those parts that differ from `given`, in the order in which the field writes them.
    fn write_changed(self, doc: &mut Doc, given: Version) {
        let root = doc.root_id();
        if self.num_updates != given.num_updates || doc.root().attr("num_updates").is_none() {
            doc.set_attr(root, "num_updates", &self.num_updates.to_string());
        }
        if self.epoch != given.epoch {
            doc.set_attr(root, "epoch", &self.epoch.to_string());
        }
    }
}

fn check_features(doc: &Doc) -> Run<()> {
    let parse = |text: &str| -> Vec<u64> {
        text.split('.').map(|part| part.parse().unwrap_or(0)).collect()
    };
    match doc.root().attr("crm_feature_set") {
        Some(theirs) if parse(theirs) > parse(cib_model::FEATURE_SET) => {
            Err(StoreError::new(ErrorKind::TooNew, format!("feature set {theirs}")))
        }
        _ => Ok(()),
    }
}

/// Notes when, where, with what and by whom the configuration was changed.
fn note_origin(doc: &mut Doc, cx: &Context<'_>) -> Run<()> {
    let Some(now) = cx.now_seconds else { return Ok(()) };
    let root = doc.root_id();
    let Some(schema) = doc.root().attr("validate-with").map(str::to_string) else {
        return Err(StoreError::new(ErrorKind::Corrupt, "the CIB does not name its schema"));
    };
    doc.set_attr(root, "cib-last-written", &time_text(now));
    // Earlier schemas do not know these.
    if cib_schema::compare_names(&schema, "pacemaker-1.2").is_lt() {
        return Ok(());
    }
    let notes = [
        ("update-origin", cx.origin),
        ("update-client", cx.who.client.as_str()),
        ("update-user", cx.who.user.as_str()),
    ];
    for (name, value) in notes {
        if value.is_empty() {
            doc.remove_attr(root, name);
        } else {
            doc.set_attr(root, name, value);
        }
    }
    Ok(())
}

/// Seconds since 1970 as `Sat Nov 21 02:52:15 2026`, in UTC so that it is the same everywhere.
pub(crate) fn time_text(seconds: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // Beyond this years have more than four digits.
    let seconds = seconds.clamp(0, 253_402_300_799);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Civil date of a day number, counting years from March (eras of 400 years have 146,097 days).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_of_era + i64::from(month < 2);
    format!(
        "{} {} {day:2} {:02}:{:02}:{:02} {year}",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize],
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// Whether part of the configuration is put in the place of another, which counts as a change even
/// if both are the same.
fn swaps_section(op: &Operation) -> bool {
    match op {
        Operation::Replace { target, xml } => {
            let status = matches!(target, Target::Section(s) if s == "status");
            let whole = Doc::parse(xml).is_ok_and(|d| d.root().name() == "cib");
            !status && !whole
        }
        _ => false,
    }
}
