//! `systole status`: what runs where, what failed, and why.

use crate::session::Session;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Show it again whenever something changes, until interrupted
    #[arg(long)]
    watch: bool,
}

pub(crate) fn run(session: &mut Session, _args: &Args) -> anyhow::Result<()> {
    let cib = session.cib()?;
    print!(
        "{}",
        cib.root().child("status").map(|s| s.to_xml(cib_xml::Style::Pretty)).unwrap_or_default()
    );
    Ok(())
}
