//! `systole explain`: why a resource is (not) where it is, and why each action is planned.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use cib_model::{Model, Time};
use cib_xml::Doc;
use crm_scheduler::explain::{action_lines, explain, explain_plan};

use crate::print_json;
use crate::session::Session;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The resource; without one, every action of the plan is explained
    resource: Option<String>,
    /// Why it is, or is not, on this node
    #[arg(long, requires = "resource")]
    node: Option<String>,
    /// A CIB in a file, rather than that of the running cluster
    #[arg(long)]
    file: Option<PathBuf>,
}

impl Args {
    /// Whether a running cluster is needed.
    pub(crate) fn needs_cluster(&self) -> bool {
        self.file.is_none()
    }
}

/// Explains from a file.
pub(crate) fn run_on_file(args: &Args, json: bool) -> anyhow::Result<()> {
    let path = args.file.as_deref().context("a file is given")?;
    let text = cli_tools::input::read_file(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let doc = Doc::parse(&text).with_context(|| format!("{} is no CIB", path.display()))?;
    tell(args, doc, json)
}

/// Explains from the running cluster.
pub(crate) fn run(session: &mut Session, args: &Args) -> anyhow::Result<()> {
    let doc = session.cib()?;
    tell(args, doc, session.json)
}

fn tell(args: &Args, doc: Doc, json: bool) -> anyhow::Result<()> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let now = Time::from_epoch(i64::try_from(seconds).unwrap_or(i64::MAX));
    let model = Arc::new(Model::from_doc(&Arc::new(doc), now));
    match &args.resource {
        Some(resource) => {
            let explanation = explain(&model, now, resource, args.node.as_deref())?;
            if json { print_json(&explanation) } else { out!("{explanation}") }
        }
        None => {
            let actions = explain_plan(&model, now);
            if json {
                print_json(&actions);
            } else if actions.is_empty() {
                outln!("Nothing is to be done.");
            } else {
                out!("{}", action_lines(&actions));
            }
        }
    }
    Ok(())
}
