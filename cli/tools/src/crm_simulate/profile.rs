//! How long planning takes.

use std::sync::Arc;
use std::time::Instant;

use cib_model::Model;
use cib_xml::Doc;
use crm_scheduler::schedule_model;

use super::Session;
use crate::exit;
use crate::input;
use crate::output::Element;

impl Session<'_> {
    /// Plans for every XML file of a folder, and says how long that took.
    pub(super) fn profile(&mut self, folder: &str) -> Result<i32, input::Failure> {
        let times = match self.given.get("repeat").map(str::parse::<u32>) {
            None => 1,
            Some(Ok(times)) => times,
            Some(Err(_)) => return Err((exit::USAGE, "--repeat needs a number".into())),
        };
        let unreadable = |e| (exit::NOINPUT, format!("Couldn't read {folder}: {e}"));
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let hidden = path.file_name().is_none_or(|n| n.to_string_lossy().starts_with('.'));
            if !hidden && path.is_file() && path.extension().is_some_and(|e| e == "xml") {
                files.push(path);
            }
        }
        files.sort();
        self.out.open("Timings");
        let mut xml = Element::new("timings");
        // From the last to the first, as people know it.
        for path in files.iter().rev() {
            let path = path.to_string_lossy();
            let start = Instant::now();
            let Ok(mut doc) = Doc::parse(&input::read_text(&path)?) else { continue };
            if cib_schema::upgrade(&mut doc, None).is_err()
                || !cib_schema::validate(&doc).is_empty()
            {
                continue;
            }
            let doc = Arc::new(doc);
            for _ in 0..times {
                let now = self.effective_time(&doc, false)?;
                let model = Arc::new(Model::from_doc(&doc, now));
                schedule_model(model, now, self.flags, 1);
            }
            let seconds = start.elapsed().as_secs_f64();
            self.out.item(&format!("Testing {path} ... {seconds:.2} secs"));
            xml.push(
                Element::new("timing")
                    .attr("file", &path)
                    .attr("duration", format!("{seconds:.2}")),
            );
        }
        self.out.close();
        self.out.xml(xml);
        Ok(exit::OK)
    }
}
