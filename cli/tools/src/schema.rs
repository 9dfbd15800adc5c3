//! Bringing a configuration to the latest schema, and saying how that went.

use cib_schema::{Dropped, Problem, Schema, Step, UpgradeError};
use cib_xml::Doc;

use crate::exit;
use crate::log::{self, Level};
use crate::output::Out;

/// Part of the field's software that climbs from schema to schema.
const PART: &str = "pcmk__update_schema";

/// Configurations that do not reach this cannot be used.
const NEEDED: Schema = Schema::LATEST;

const NO_SCHEMA: &str = "Schema validation of configuration is disabled (support for validate-with \
                         set to \"none\" is deprecated and will be removed in a future release)";

/// Brings `doc` to the latest schema, and says on the standard error stream what it stumbles over.
///
/// # Errors
/// An exit status, if it cannot be used as it is.
pub(crate) fn update(doc: &mut Doc, out: &mut Out) -> Result<(), i32> {
    let claimed = doc.root().attr("validate-with").map(str::to_string);
    let named = claimed.as_deref().and_then(Schema::named);
    if named == Some(Schema::NONE) {
        out.error(NO_SCHEMA);
        return Ok(());
    }
    let mut last = None;
    let verbose = out.verbose;
    let upgraded = cib_schema::upgrade_told(doc, None, &mut |step| {
        if let Step::Rejected(_, problems) = &step {
            problems.iter().take(1).flat_map(validator_lines).for_each(|line| out.error(&line));
        }
        if let Step::Accepted(schema) = &step {
            last = Some(*schema);
        }
        tell(&step, verbose);
    });
    let reached = match upgraded {
        Ok(_) => last.unwrap_or(NEEDED),
        Err(UpgradeError::UnknownSchema) => return Err(exit::CONFIG),
        Err(UpgradeError::Invalid(_)) => Schema::NONE,
    };
    if named == Some(NEEDED) {
        let problems = cib_schema::validate(doc);
        problems.iter().take(1).flat_map(validator_lines).for_each(|line| out.error(&line));
        return if problems.is_empty() { Ok(()) } else { Err(exit::CONFIG) };
    }
    if reached == NEEDED {
        return Ok(());
    }
    let claimed = claimed.unwrap_or_default();
    let why = if reached == Schema::NONE {
        format!("it does not validate with any schema from {claimed} to the latest")
    } else {
        format!("it would not upgrade past {reached}")
    };
    out.error(&format!(
        "Cannot upgrade configuration (claiming {claimed} schema) to at least {NEEDED} because {why}"
    ));
    Err(exit::CONFIG)
}

/// Writes the steps of an upgrade to the log.
pub(crate) fn tell(step: &Step<'_>, verbose: usize) {
    let (level, text) = match step {
        Step::Rejected(schema, _) => (Level::Debug, format!("Schema {schema} does not validate")),
        Step::Accepted(schema) => (Level::Debug, format!("Schema {schema} validates")),
        Step::Rewriting(from, to, pass) => {
            let version = from.to_string();
            let version = version.trim_start_matches("pacemaker-");
            let what = format!("applying XSL transform upgrade-{version}-{pass}.xsl");
            (Level::Debug, format!("Upgrading schema from {from} to {to}: {what}"))
        }
        Step::Dropped(dropped) => return tell_dropped(dropped, verbose),
        Step::Rewritten(from, to) => {
            (Level::Info, format!("Schema upgrade from {from} to {to} succeeded"))
        }
        Step::Raised(schema) => {
            (Level::Info, format!("Transformed the configuration schema to {schema}"))
        }
    };
    log::write(PART, "schemas", level, verbose, &text);
}

/// Everybody is told what an upgrade leaves behind for good, people who ask for details the rest.
fn tell_dropped(dropped: &Dropped, verbose: usize) {
    match dropped {
        Dropped::Option { block, block_id, operation, resource, name } if verbose > 0 => {
            let block = format!("Resources-operation {block}");
            complain!(
                "INFO: {block}: {operation} (rsc={resource}, meta={block_id}): dropping {name}"
            );
            complain!("INFO: {block}: ... only start/promote operation taken into account");
        }
        Dropped::Reference { block, target } if verbose > 1 => complain!(
            "DEBUG: {block}: original element pointed to with @id-ref ({target}) disappeared \
             during upgrade"
        ),
        Dropped::Unsupported(what) => complain!("WARNING: Dropping {what}"),
        _ => {}
    }
}

/// Writes the steps to the log that an upgrade of `doc` takes.
pub(crate) fn tell_all(doc: &Doc, verbose: usize) {
    let mut copy = doc.clone();
    // Whether it succeeds is for the upgrade itself to say.
    let _ = cib_schema::upgrade_told(&mut copy, None, &mut |step| tell(&step, verbose));
}

/// A problem in the words of the validator that people know from the field.
fn validator_lines(problem: &Problem) -> Vec<String> {
    let element = &problem.element;
    let line = problem.position.map_or(0, |p| p.line);
    if let (Some(attribute), Some(id)) = (&problem.attribute, &problem.dangling) {
        return vec![format!(
            "element {element}: validity error : IDREF attribute {attribute} references an unknown \
             ID \"{id}\""
        )];
    }
    let say = |text: String| format!("{line}: element {element}: Relax-NG validity error : {text}");
    let mut above = problem.path.rsplit('/').skip(1);
    let parent = above.next().unwrap_or_default();
    let parent = parent.split('[').next().unwrap_or_default();
    let extra = || say(format!("Element {parent} has extra content: {element}"));
    match &problem.attribute {
        Some(attribute) => {
            vec![say(format!("Invalid attribute {attribute} for element {element}")), extra()]
        }
        None if problem.message.contains("is not allowed in") => vec![extra()],
        None => vec![say(format!("Element {element} failed to validate content")), extra()],
    }
}
