//! The conditions of one route, and which of them a request does not meet.

use super::glob::Glob;
use super::{Asked, FieldId, Fields};

/// Which requests a route takes: those that meet every condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// One of these fits the path. None: any path.
    pub paths: Vec<PathRule>,
    /// The method is one of these.
    pub methods: Methods,
    /// It is a gRPC call.
    pub is_grpc: bool,
    /// It comes from a peer that is believed.
    pub is_trusted: bool,
    /// For each of these, some value of the field passes the test.
    pub fields: Vec<FieldRule>,
}

/// What a path may be. Paths are compared as they were sent: case matters, and nothing is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRule {
    /// Exactly this.
    Exact(Box<str>),
    /// This, or what is below it: `/a` has `/a`, `/a/` and `/a/b`, and not `/ab`. One that ends in
    /// `/` has only what is below.
    Prefix(Box<str>),
    /// What fits a pattern.
    Glob(Glob),
}

/// A set of methods; an empty one stands for all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Methods {
    /// Those of RFC 9110 and `PATCH`, as bits.
    known: Method,
    others: Vec<Box<str>>,
}

/// A test of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRule {
    /// Which field.
    pub field: FieldId,
    /// What one of its values is.
    pub test: FieldTest,
}

/// What a value is compared with. Case matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldTest {
    /// Nothing: the field is there.
    Present,
    /// It is this.
    Is(Box<str>),
    /// It begins with this.
    Begins(Box<str>),
}

/// The first condition that a request does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// No path rule fits.
    Path,
    /// Another method.
    Method,
    /// It is no gRPC call.
    NotGrpc,
    /// Its peer is not believed.
    NotTrusted,
    /// The field of this rule, by its place in [`When::fields`].
    Field(usize),
}

/// The bit of a method that is known; none for another one.
pub(super) type Method = u16;

const KNOWN: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

pub(super) fn method_bit(method: &str) -> Method {
    let known = KNOWN.iter().position(|known| *known == method);
    known.map_or(0, |at| 1 << at)
}

impl Methods {
    /// These methods.
    #[must_use]
    pub fn of<'a>(methods: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all = Self::default();
        for method in methods {
            match method_bit(method) {
                0 if all.others.iter().all(|other| **other != *method) => {
                    all.others.push(method.into());
                }
                bit => all.known |= bit,
            }
        }
        all
    }

    /// Whether every method is meant.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.known == 0 && self.others.is_empty()
    }

    /// Those that are listed.
    pub fn listed(&self) -> impl Iterator<Item = &str> {
        let known = KNOWN.iter().copied();
        let known = known.filter(|method| self.known & method_bit(method) != 0);
        known.chain(self.others.iter().map(|other| &**other))
    }

    /// Whether a method is one of them.
    #[must_use]
    pub fn has(&self, method: &str) -> bool {
        self.has_bit(method_bit(method), method)
    }

    /// The same for a method whose bit is known.
    pub(super) fn has_bit(&self, bit: Method, method: &str) -> bool {
        match bit {
            0 => self.is_any() || self.others.iter().any(|other| **other == *method),
            bit => self.known & bit != 0 || self.is_any(),
        }
    }
}

impl PathRule {
    /// Whether a path, without its query, is as this says.
    #[must_use]
    pub fn fits(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) => is_in(path, prefix),
            Self::Glob(glob) => glob.fits(path),
        }
    }

    /// What was written.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Prefix(text) => text,
            Self::Glob(glob) => glob.text(),
        }
    }
}

/// Whether a path is a prefix or below it, in whole segments.
pub(super) fn is_in(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|below| below.is_empty() || below.starts_with('/') || prefix.ends_with('/'))
}

impl FieldTest {
    /// Whether a value passes.
    #[must_use]
    pub fn passes(&self, value: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::Is(text) => value == text.as_bytes(),
            Self::Begins(text) => value.starts_with(text.as_bytes()),
        }
    }
}

/// The field that was looked at last: many routes in a row test the same one.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    field: FieldId,
    first: Option<&'a [u8]>,
    is_repeated: bool,
}

impl FieldRule {
    /// [`holds`](Self::holds), without another look at the field that was seen last.
    pub(super) fn holds_again<'a, F: Fields>(
        &self,
        fields: &'a F,
        seen: &mut Option<Seen<'a>>,
    ) -> bool {
        let last = match *seen {
            Some(last) if last.field == self.field => last,
            _ => {
                let mut values = fields.values(self.field);
                *seen.insert(Seen {
                    field: self.field,
                    first: values.next(),
                    is_repeated: values.next().is_some(),
                })
            }
        };
        if last.is_repeated {
            return self.holds(fields);
        }
        last.first.is_some_and(|value| self.test.passes(value))
    }

    fn holds<F: Fields>(&self, fields: &F) -> bool {
        fields
            .values(self.field)
            .any(|value| self.test.passes(value))
    }
}

impl When {
    /// Whether only the path matters.
    pub(super) fn is_path_only(&self) -> bool {
        self.methods.is_any() && !self.is_grpc && !self.is_trusted && self.fields.is_empty()
    }

    pub(super) fn path_fits(&self, path: &str) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|rule| rule.fits(path))
    }

    /// The first condition that a request does not meet, of all in the order of the fields;
    /// `None` if it meets them all.
    #[must_use]
    pub fn mismatch<F: Fields>(&self, asked: &Asked<'_, F>) -> Option<Mismatch> {
        if !self.path_fits(asked.path) {
            return Some(Mismatch::Path);
        }
        if !self.methods.has(asked.method) {
            return Some(Mismatch::Method);
        }
        if self.is_grpc && !asked.is_grpc {
            return Some(Mismatch::NotGrpc);
        }
        if self.is_trusted && !asked.is_trusted {
            return Some(Mismatch::NotTrusted);
        }
        let failed = self
            .fields
            .iter()
            .position(|rule| !rule.holds(asked.fields));
        failed.map(Mismatch::Field)
    }
}
