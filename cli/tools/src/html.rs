//! Results as a page: the text's lists and titles as HTML.

use crate::args::Given;

/// How a page is written.
#[derive(Default)]
pub(crate) struct Page {
    title: Option<String>,
    stylesheet: Option<String>,
    /// Whether a CGI program's head stands before it.
    cgi: bool,
    /// Seconds after which a browser loads it again.
    pub(crate) refresh_s: Option<u32>,
}

impl Page {
    /// As the command line says.
    pub(crate) fn of(given: &Given) -> Page {
        Page {
            title: given.get("html-title").map(str::to_string),
            stylesheet: given.get("html-stylesheet").map(str::to_string),
            cgi: given.has("html-cgi"),
            refresh_s: None,
        }
    }

    /// A page with the content of `text`, as [`crate::output::Out`] writes it: entries of lists
    /// begin with `* ` behind two blanks for each list that they are in, titles end with a colon.
    pub(crate) fn write(&self, tool: &str, text: &str) -> String {
        let mut out = String::from(if self.cgi { "Content-Type: text/html\n\n" } else { "" });
        out.push_str("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        if let Some(seconds) = self.refresh_s {
            out.push_str(&format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">\n"));
        }
        if let Some(uri) = &self.stylesheet {
            let uri = escaped(uri);
            out.push_str(&format!("<link rel=\"stylesheet\" href=\"{uri}\">\n"));
        }
        let title = escaped(self.title.as_deref().unwrap_or(tool));
        out.push_str(&format!("<title>{title}</title>\n</head>\n<body>\n"));
        body(text, &mut out);
        out.push_str("</body>\n</html>\n");
        out
    }
}

fn body(text: &str, out: &mut String) {
    let mut depth = 0;
    for line in text.lines() {
        let blanks = line.len() - line.trim_start_matches(' ').len();
        let (level, content) = match line.trim_start().strip_prefix("* ") {
            Some(entry) => (blanks / 2, entry),
            None => (0, line.trim()),
        };
        let entry = line.trim_start().starts_with("* ");
        let level = if entry { level.max(1) } else { 0 };
        if content.is_empty() {
            continue;
        }
        while depth > level {
            out.push_str("</ul>\n");
            depth -= 1;
        }
        while depth < level {
            out.push_str("<ul>\n");
            depth += 1;
        }
        let content_html = escaped(content);
        out.push_str(&match (entry, content.strip_suffix(':')) {
            (true, _) => format!("<li>{content_html}</li>\n"),
            (false, Some(title)) => format!("<h2>{}</h2>\n", escaped(title)),
            (false, None) => format!("<p>{content_html}</p>\n"),
        });
    }
    out.extend(std::iter::repeat_n("</ul>\n", depth));
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::Page;

    #[test]
    fn lists_are_nested_and_closed_and_text_is_escaped() {
        let text = "Node List:\n  * Online: [ a<b ]\n\nResources:\n  * Group: g:\n    * r\t(x)\n";
        let page = Page { refresh_s: Some(5), ..Page::default() };
        let html = page.write("crm_mon", text);
        assert!(html.contains("content=\"5\""));
        let body = html.split_once("<body>\n").map(|(_, b)| b).unwrap_or_default();
        let expected = "<h2>Node List</h2>\n<ul>\n<li>Online: [ a&lt;b ]</li>\n</ul>\n\
                        <h2>Resources</h2>\n<ul>\n<li>Group: g:</li>\n<ul>\n<li>r\t(x)</li>\n\
                        </ul>\n</ul>\n</body>\n</html>\n";
        assert_eq!(body, expected);
    }
}
