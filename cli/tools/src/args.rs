//! Command lines of the field's tools.
//!
//! Long options take their value after `=` or as the next argument, short ones can be clustered and
//! take it attached or as the next argument. A required value is taken whatever it looks like, so
//! that `-v -INFINITY` works; an optional one only if it does not start with a dash.

/// Whether an option has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Never.
    No,
    /// Always.
    Required,
    /// If the next argument does not look like an option.
    Optional,
}

/// One option of a tool.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// Its long name.
    pub long: &'static str,
    /// Its letter, if any.
    pub short: Option<char>,
    /// Whether it has a value.
    pub value: Value,
    /// What it does; not shown in the help if empty.
    pub help: &'static str,
}

/// An option without a value.
pub const fn flag(long: &'static str, short: char, help: &'static str) -> Opt {
    opt(long, short, Value::No, help)
}

/// An option with a value.
pub const fn value(long: &'static str, short: char, help: &'static str) -> Opt {
    opt(long, short, Value::Required, help)
}

/// An option; a blank as its letter means that it has none.
pub const fn opt(long: &'static str, short: char, value: Value, help: &'static str) -> Opt {
    let short = if short == ' ' { None } else { Some(short) };
    Opt { long, short, value, help }
}

/// Options that every tool has.
pub const COMMON: [Opt; 14] = [
    opt("help", '?', Value::No, "Show this help"),
    opt("help", 'h', Value::No, ""),
    opt("help-all", ' ', Value::No, ""),
    opt("version", '$', Value::No, "Show the version"),
    opt("verbose", 'V', Value::No, "Say more; may be given several times"),
    opt("quiet", 'q', Value::No, "Say less"),
    opt("output-as", ' ', Value::Required, "Format of the output: text, html, xml or none"),
    opt("output-to", ' ', Value::Required, "File to write the output to"),
    opt("html-title", ' ', Value::Required, "Title of a page"),
    opt("html-stylesheet", ' ', Value::Required, "Stylesheet that a page names"),
    opt("html-cgi", ' ', Value::No, "A page as a CGI program prints it"),
    opt("text-fancy", ' ', Value::No, ""),
    opt("pipe", ' ', Value::No, ""),
    opt("xml-pretty", ' ', Value::No, ""),
];

/// What was given, in order.
#[derive(Clone, Debug, Default)]
pub struct Given {
    options: Vec<(&'static str, Option<String>)>,
    /// Arguments that are no options.
    pub rest: Vec<String>,
}

impl Given {
    /// Whether the option was given.
    pub fn has(&self, long: &str) -> bool {
        self.options.iter().any(|(name, _)| *name == long)
    }

    /// How often it was given.
    pub fn count(&self, long: &str) -> usize {
        self.options.iter().filter(|(name, _)| *name == long).count()
    }

    /// Its last value.
    pub fn get(&self, long: &str) -> Option<&str> {
        self.options
            .iter()
            .rev()
            .find(|(name, value)| *name == long && value.is_some())
            .and_then(|(_, value)| value.as_deref())
    }

    /// All its values.
    pub fn all(&self, long: &str) -> Vec<&str> {
        let of = self.options.iter().filter(|(name, _)| *name == long);
        of.filter_map(|(_, value)| value.as_deref()).collect()
    }

    /// The one of these options that was given last.
    pub fn last_of(&self, names: &[&str]) -> Option<&'static str> {
        self.options.iter().rev().map(|(name, _)| *name).find(|name| names.contains(name))
    }

    /// Every option in the order given.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Option<&str>)> {
        self.options.iter().map(|(name, value)| (*name, value.as_deref()))
    }
}

/// Reads `args`. An option of the tool hides a common one with the same letter.
///
/// # Errors
/// What is wrong, in a sentence.
pub fn parse(options: &[Opt], args: &[String]) -> Result<Given, String> {
    let known = |test: &dyn Fn(&Opt) -> bool| {
        options.iter().find(|o| test(o)).or_else(|| COMMON.iter().find(|o| test(o))).copied()
    };
    let mut given = Given::default();
    let mut args = args.iter().peekable();
    while let Some(arg) = args.next() {
        if arg == "--" {
            given.rest.extend(args.cloned());
            break;
        }
        if let Some(long) = arg.strip_prefix("--") {
            let (name, attached) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_string())),
                None => (long, None),
            };
            // The parts of the help are one.
            let name = if name.starts_with("help-") { "help-all" } else { name };
            let opt = known(&|o| o.long == name).ok_or(format!("Unknown option --{name}"))?;
            let value = match (opt.value, attached) {
                (Value::No, Some(_)) => return Err(format!("Option --{name} takes no value")),
                (Value::No, None) => None,
                (_, Some(value)) => Some(value),
                (Value::Required, None) => {
                    Some(args.next().cloned().ok_or(format!("Missing argument for --{name}"))?)
                }
                (Value::Optional, None) => args.next_if(|a| !a.starts_with('-')).cloned(),
            };
            given.options.push((opt.long, value));
        } else if arg.len() > 1 && arg.starts_with('-') {
            let mut letters = arg[1..].chars();
            while let Some(letter) = letters.next() {
                let opt = known(&|o| o.short == Some(letter))
                    .ok_or(format!("Unknown option -{letter}"))?;
                let attached = letters.as_str();
                let value = match opt.value {
                    Value::No => None,
                    _ if !attached.is_empty() => {
                        let value = attached.strip_prefix('=').unwrap_or(attached).to_string();
                        letters = "".chars();
                        Some(value)
                    }
                    Value::Required => Some(
                        args.next().cloned().ok_or(format!("Missing argument for -{letter}"))?,
                    ),
                    Value::Optional => args.next_if(|a| !a.starts_with('-')).cloned(),
                };
                given.options.push((opt.long, value));
            }
        } else {
            given.rest.push(arg.clone());
        }
    }
    Ok(given)
}

/// The command line as one line, with those arguments quoted that a shell would split.
pub fn quoted(name: &str, args: &[String]) -> String {
    let mut out = name.to_string();
    for arg in args {
        out.push(' ');
        if words(arg) == Some(1) {
            out.push_str(arg);
        } else {
            out.push('\'');
            out.push_str(&arg.replace('\'', "'\\''"));
            out.push('\'');
        }
    }
    out
}

/// How many words a shell makes of `text`, `None` if its quotes do not match.
fn words(text: &str) -> Option<usize> {
    let mut count = 0;
    let mut inside = false;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c.is_whitespace() {
            inside = false;
            continue;
        }
        if c == '#' && !inside {
            break;
        }
        if !inside {
            inside = true;
            count += 1;
        }
        match c {
            '\\' => {
                chars.next()?;
            }
            '\'' => {
                chars.find(|c| *c == '\'')?;
            }
            '"' => loop {
                match chars.next()? {
                    '"' => break,
                    '\\' => {
                        chars.next()?;
                    }
                    _ => {}
                }
            },
            _ => {}
        }
    }
    (count > 0).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::{Opt, Value, flag, opt, parse, quoted, value};

    const OPTIONS: [Opt; 3] = [
        flag("all", 'a', "x"),
        value("node", 'N', "x"),
        opt("promotion", 'p', Value::Optional, "x"),
    ];

    fn check(line: &str, expect: &str) {
        let args: Vec<String> = line.split(' ').map(str::to_string).collect();
        let text = match parse(&OPTIONS, &args) {
            Ok(given) => {
                let each = given.iter().map(|(n, v)| format!("{n}={}", v.unwrap_or("-")));
                each.chain(given.rest.iter().cloned()).collect::<Vec<_>>().join(" ")
            }
            Err(error) => error,
        };
        assert_eq!(text, expect, "{line}");
    }

    #[test]
    fn options_are_read_in_all_their_forms() {
        check("-aN node1 x", "all=- node=node1 x");
        check("-Nnode1 --all", "node=node1 all=-");
        check("--node=n1 --node n2", "node=n1 node=n2");
        check("-p -N -INFINITY", "promotion=- node=-INFINITY");
        check("-p rsc -- -a", "promotion=rsc -a");
        check("--nonsense", "Unknown option --nonsense");
        check("-N", "Missing argument for -N");
    }

    #[test]
    fn request_lines_are_quoted_where_needed() {
        let args: Vec<String> =
            ["-d", "2009 01", "", "a'b", "plain"].iter().map(|s| s.to_string()).collect();
        assert_eq!(quoted("tool", &args), "tool -d '2009 01' '' 'a'\\''b' plain");
    }
}
