//! What is wrong with a configuration, in words that fit on one screen.

use std::fmt;

/// Lines end here, so that they fit a terminal and a log viewer.
const COLUMNS: usize = 100;

/// Longer values are cut in messages; whoever wrote them knows the rest.
const SHOWN_CHARS: usize = 60;

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
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = match &self.value {
            Some(value) => format!(" = {value}"),
            None => String::new(),
        };
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
        for problem in &self.0 {
            write!(f, "\n{problem}")?;
        }
        Ok(())
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
    let mut shown: String = text.chars().take(SHOWN_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!(
        "\"{}\"",
        shown
            .escape_debug()
            .to_string()
            .replace("\\\"", "\"")
            .replace("\\'", "'")
    )
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
    fn values_are_shown_safely() {
        assert_eq!(quoted("a\u{1b}[31m\nb"), "\"a\\u{1b}[31m\\nb\"");
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(quoted(&"y".repeat(100)), format!("\"{}…\"", "y".repeat(60)));
    }
}
