//! What is wrong with a configuration, in words that fit on one screen.

use std::fmt;

/// Lines end here, so that they fit a terminal and a log viewer.
const COLUMNS: usize = 100;

/// Longer values are cut in messages; whoever wrote them knows the rest.
const SHOWN_CHARS: usize = 60;

/// The same for keys.
const KEY_CHARS: usize = 100;

/// Who has more problems than these reads no further; the rest is counted.
pub(super) const TOLD: usize = 20;

/// One thing that is wrong, or in a warning, unwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which setting, as a path of names: `queue.max_wait`.
    pub key: String,
    /// What was given for it, ready to be shown; `None` if nothing was.
    pub value: Option<String>,
    /// Where it was given: a file, an environment variable, `--set`, a built-in default.
    pub source: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

/// The key of problems with the config file itself.
pub(super) const FILE_KEY: &str = "--config";

impl Problem {
    pub(super) fn is_about_the_file(&self) -> bool {
        self.key == FILE_KEY
    }

    /// All of it in one line, as a log wants it.
    #[must_use]
    pub fn one_line(&self) -> String {
        let Self {
            key,
            source,
            problem,
            remedy,
            ..
        } = self;
        let value = self.given();
        let line = format!("{key}{value} ({source}): {problem}. Remedy: {remedy}");
        line.replace(char::is_control, " ")
    }

    fn given(&self) -> String {
        match &self.value {
            Some(value) => format!(" = {value}"),
            None => String::new(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.given();
        wrapped(f, "", &format!("{}{value}  ({})", self.key, self.source))?;
        wrapped(f, "    ", &self.problem)?;
        wrapped(f, "    ", &format!("Remedy: {}", self.remedy))
    }
}

/// Everything that is wrong, found in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => writeln!(f, "The configuration cannot be used:")?,
            count => writeln!(f, "The configuration cannot be used; {count} problems:")?,
        }
        for problem in self.0.iter().take(TOLD) {
            write!(f, "\n{problem}")?;
        }
        match self.untold() {
            0 => Ok(()),
            more => writeln!(f, "\n… and {more} more"),
        }
    }
}

impl Problems {
    /// One line for each, as a log wants it; the last one counts those that are left out.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.0.iter().take(TOLD).map(Problem::one_line).collect();
        match self.untold() {
            0 => {}
            more => lines.push(format!("… and {more} more")),
        }
        lines
    }

    fn untold(&self) -> usize {
        self.0.len().saturating_sub(TOLD)
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

/// A value as messages show it: quoted, control characters escaped, cut to a bounded length.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", printable(text, SHOWN_CHARS))
}

/// A key as messages show it.
pub(super) fn shown_key(key: &str) -> String {
    printable(key, KEY_CHARS)
}

fn printable(text: &str, most: usize) -> String {
    let mut shown: String = text.chars().take(most).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    let escaped = shown.escape_debug().to_string();
    escaped.replace("\\\"", "\"").replace("\\'", "'")
}

/// Writes `text` in lines of bounded length, each after `indent`; a word longer than a line is
/// cut.
fn wrapped(f: &mut fmt::Formatter<'_>, indent: &str, text: &str) -> fmt::Result {
    let room = COLUMNS - indent.len();
    let mut line = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        if width > 0 && width + 1 + word.len() > room {
            writeln!(f, "{indent}{line}")?;
            line.clear();
            width = 0;
        }
        if width > 0 {
            line.push(' ');
            width += 1;
        }
        while word.len() > room {
            let rest = word.split_off(room);
            writeln!(f, "{indent}{}", word.iter().collect::<String>())?;
            word = rest;
        }
        width += word.len();
        line.extend(word);
    }
    writeln!(f, "{indent}{line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_problem_is_wrapped_and_complete() {
        let long = "word ".repeat(60) + &"x".repeat(250);
        let problem = Problem {
            key: "queue.max_wait".to_owned(),
            value: Some(quoted("1x")),
            source: "file weir.toml".to_owned(),
            problem: long.clone(),
            remedy: "write 1s".to_owned(),
        };
        let shown = Problems::from(problem).to_string();
        assert!(shown.lines().all(|line| line.chars().count() <= COLUMNS));
        assert_eq!(shown.matches("word").count(), 60);
        assert_eq!(
            shown.matches('x').count(),
            250 + "queue.max_wait".matches('x').count() + 1
        );
        assert!(shown.contains("queue.max_wait = \"1x\"  (file weir.toml)\n"));
        assert!(shown.ends_with("    Remedy: write 1s\n"));
    }

    #[test]
    fn a_log_has_one_line_for_each_and_one_for_the_rest() {
        let problem = Problem {
            key: "queue.max_wait".to_owned(),
            value: Some(quoted("1x")),
            source: "file a\nb.toml".to_owned(),
            problem: "it is wrong ".repeat(20).trim().to_owned(),
            remedy: "write 1s".to_owned(),
        };
        let line = problem.one_line();
        assert!(line.starts_with("queue.max_wait = \"1x\" (file a b.toml): it is wrong "));
        assert!(line.ends_with("it is wrong. Remedy: write 1s"), "{line}");
        assert!(!line.contains('\n'));
        assert_eq!(Problems(vec![problem.clone(); TOLD]).lines().len(), TOLD);
        let many = Problems(vec![problem; TOLD + 7]);
        let lines = many.lines();
        assert_eq!(lines.len(), TOLD + 1);
        assert_eq!(lines[TOLD], "… and 7 more");
        let text = many.to_string();
        assert_eq!(text.matches("Remedy").count(), TOLD);
        assert!(text.contains("; 27 problems:") && text.ends_with("\n… and 7 more\n"));
    }

    #[test]
    fn values_are_shown_safely() {
        assert_eq!(quoted("a\u{1b}[31m\nb"), "\"a\\u{1b}[31m\\nb\"");
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(quoted(&"y".repeat(100)), format!("\"{}…\"", "y".repeat(60)));
    }
}
