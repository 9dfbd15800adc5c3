//! Results as a page: the text's lists and titles as HTML.

/// A page with the content of `text`, as [`crate::output::Out`] writes it: entries of lists begin
/// with `* ` behind two blanks for each list that they are in, titles end with a colon. A browser
/// loads it again after `refresh_s` seconds.
pub(crate) fn page(title: &str, text: &str, refresh_s: Option<u32>) -> String {
    let mut out =
        String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    if let Some(seconds) = refresh_s {
        out.push_str(&format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">\n"));
    }
    out.push_str(&format!("<title>{}</title>\n</head>\n<body>\n", escaped(title)));
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
    out.push_str("</body>\n</html>\n");
    out
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
    use super::page;

    #[test]
    fn lists_are_nested_and_closed_and_text_is_escaped() {
        let text = "Node List:\n  * Online: [ a<b ]\n\nResources:\n  * Group: g:\n    * r\t(x)\n";
        let html = page("crm_mon", text, Some(5));
        assert!(html.contains("content=\"5\""));
        let body = html.split_once("<body>\n").map(|(_, b)| b).unwrap_or_default();
        let expected = "<h2>Node List</h2>\n<ul>\n<li>Online: [ a&lt;b ]</li>\n</ul>\n\
                        <h2>Resources</h2>\n<ul>\n<li>Group: g:</li>\n<ul>\n<li>r\t(x)</li>\n\
                        </ul>\n</ul>\n</body>\n</html>\n";
        assert_eq!(body, expected);
    }
}
