//! Patterns for paths: `*` is any run of bytes without `/`, `**` is any run at all.
//!
//! **A look takes time in proportion to the path, whatever the pattern**: the path is chosen by
//! whoever sends it, and ways to match are followed all at once, as the bits of one word.

/// Steps between the first wildcard and the last that one word of states has room for.
const STEPS_MAX: usize = 63;

/// A path with wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    text: Box<str>,
    /// What stands before the first wildcard, and after the last.
    head: Box<str>,
    tail: Box<str>,
    middle: Middle,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobError {
    /// There is no wildcard in it.
    NoWildcard,
    /// More than [`Glob::LONGEST`] characters from the first wildcard to the last.
    TooLong,
}

/// What may stand between head and tail.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Middle {
    /// One wildcard.
    Run { crosses: bool },
    /// Several, with text between them.
    Steps(Box<Steps>),
}

/// Several wildcards as an automaton. State `i` is: the first `i` steps are behind us.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Steps {
    /// For each byte, which of `masks` is its own; 0 for those that the pattern does not name.
    columns: Box<[u8; 256]>,
    /// For each byte that is named, the steps that it is.
    masks: Vec<u64>,
    /// The steps that are `*`, and those that are `**`.
    within: u64,
    across: u64,
    /// The state in which all steps are done.
    done: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Byte(u8),
    Within,
    Across,
}

impl Glob {
    /// The most characters from the first wildcard to the last, each run of `*` counted once.
    pub const LONGEST: usize = STEPS_MAX;

    /// Reads a pattern.
    pub fn new(text: &str) -> Result<Self, GlobError> {
        let (Some(first), Some(last)) = (text.find('*'), text.rfind('*')) else {
            return Err(GlobError::NoWildcard);
        };
        let steps = steps(&text.as_bytes()[first..=last]);
        if steps.len() > STEPS_MAX {
            return Err(GlobError::TooLong);
        }
        let middle = match steps[..] {
            [only] => Middle::Run {
                crosses: only == Step::Across,
            },
            _ => Middle::Steps(Box::new(Steps::new(&steps))),
        };
        Ok(Self {
            text: text.into(),
            head: text[..first].into(),
            tail: text[last + 1..].into(),
            middle,
        })
    }

    /// Whether the whole path is as the pattern says.
    #[must_use]
    pub fn fits(&self, path: &str) -> bool {
        let inner = path
            .strip_prefix(&*self.head)
            .and_then(|rest| rest.strip_suffix(&*self.tail));
        inner.is_some_and(|inner| match &self.middle {
            Middle::Run { crosses } => *crosses || !inner.as_bytes().contains(&b'/'),
            Middle::Steps(steps) => steps.lead_through(inner.as_bytes()),
        })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What every path that fits begins with.
    pub(super) fn head(&self) -> &str {
        &self.head
    }

    /// If everything that begins with the head fits: the head.
    pub(super) fn only_head(&self) -> Option<&str> {
        let crosses = self.middle == Middle::Run { crosses: true };
        (crosses && self.tail.is_empty()).then_some(&*self.head)
    }
}

fn steps(text: &[u8]) -> Vec<Step> {
    let mut steps = Vec::new();
    for byte in text {
        match (byte, steps.last()) {
            (b'*', Some(Step::Within | Step::Across)) => {
                steps.pop();
                steps.push(Step::Across);
            }
            (b'*', _) => steps.push(Step::Within),
            (byte, _) => steps.push(Step::Byte(*byte)),
        }
    }
    steps
}

impl Steps {
    fn new(steps: &[Step]) -> Self {
        let mut made = Self {
            columns: Box::new([0; 256]),
            masks: vec![0],
            within: 0,
            across: 0,
            done: 1 << steps.len(),
        };
        for (at, step) in steps.iter().enumerate() {
            let bit = 1_u64 << at;
            match *step {
                Step::Within => made.within |= bit,
                Step::Across => made.across |= bit,
                Step::Byte(byte) => {
                    let column = &mut made.columns[usize::from(byte)];
                    if *column == 0 {
                        *column = u8::try_from(made.masks.len()).expect("fewer than the steps");
                        made.masks.push(0);
                    }
                    made.masks[usize::from(*column)] |= bit;
                }
            }
        }
        made
    }

    /// Whether the text leads from the first state to the last. No two wildcards are neighbours,
    /// so one move past each is all that can be had without a byte.
    fn lead_through(&self, text: &[u8]) -> bool {
        let wild = self.within | self.across;
        let past = |states: u64| states | (states & wild) << 1;
        let mut states = past(1);
        for byte in text {
            let named = self.masks[usize::from(self.columns[usize::from(*byte)])];
            let stays = if *byte == b'/' { self.across } else { wild };
            states = past((states & named) << 1 | states & stays);
            if states == 0 {
                return false;
            }
        }
        states & self.done != 0
    }
}
