//! A look at the heads of one HTTP/1 connection before hyper reads them. Pure.
//!
//! hyper mends in silence what weir refuses: it drops a `Content-Length` beside a
//! `Transfer-Encoding`, makes one of equal lengths, and cuts a fragment off a target. What it
//! dropped cannot be seen any more when the request arrives, so it is looked for here.
//!
//! To look at every head would cost a request 3 % of its instructions, so heads are only held, and
//! looked at when one turns out to have a body: the others have nothing that hyper mends but a
//! fragment.
//!
//! **Nothing is decided here about where a message ends**: hyper frames, and a disagreement could
//! only make weir refuse too much or overlook what hyper has mended. So a message is followed to
//! its end as hyper does it, and where that cannot be, it counts as a flaw: what is not seen does
//! not pass.

use memchr::memchr;

/// What is held for a second look; more is looked at when it comes.
const HELD_BYTES: usize = 1 << 10;

/// Of a line that comes in pieces: any field that matters here is shorter once it is squeezed.
const LINE_BYTES: usize = 256;

/// The end of a line that was longer; it stands in no number.
const CUT: u8 = b'~';

/// How much of a head is kept for the log line of its refusal.
pub(in crate::proxy) const EXCERPT_BYTES: usize = 64;

/// What hyper would mend without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Flaw {
    /// `Content-Length` and `Transfer-Encoding` in one head.
    LengthBesideCoding,
    /// `Content-Length` more than once, even if they agree, or one that cannot be read.
    RepeatedLength,
    /// A target with a `#`.
    Fragment,
}

/// Follows the messages of one connection.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Scan {
    /// What has come since the last message that was looked at.
    held: Vec<u8>,
    state: State,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    head: Head,
    /// Heads that are complete.
    heads: u32,
    excerpt: Excerpt,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// A request line, or an empty line before it.
    #[default]
    Start,
    /// The fields of a head.
    Fields,
    /// A body, or the data of a chunk, of so many bytes more.
    Data { left: u64, is_chunk: bool },
    /// The size of a chunk: what of it has come, and whether more of it may.
    Size { value: u64, is_over: bool },
    /// The fields after the last chunk.
    Trailers(Trailer),
    /// Not a request: hyper will say so, or it is a tunnel.
    Lost,
}

/// Where in the trailers. In heads hyper takes a lone line feed for the end of a line, but not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trailer {
    /// At the begin of a line.
    Begin,
    Line,
    /// Behind the carriage return of a line.
    LineCr,
    /// Behind one at the begin of a line.
    EndCr,
}

/// What is known of the head that is being read.
#[derive(Debug, Default)]
struct Head {
    lengths: u32,
    length: u64,
    is_length_unread: bool,
    codings: u32,
    has_fragment: bool,
}

impl Head {
    fn flaw(&self) -> Option<Flaw> {
        if self.codings > 0 && self.lengths > 0 {
            Some(Flaw::LengthBesideCoding)
        } else if self.lengths > 1 || self.is_length_unread {
            Some(Flaw::RepeatedLength)
        } else {
            self.has_fragment.then_some(Flaw::Fragment)
        }
    }
}

impl Scan {
    /// Takes what was read. Tells the first flaw that has been found, and in which head of the
    /// connection it is, counted from 1. `begun` is given when all that came before was a number of
    /// requests and nothing else.
    pub(in crate::proxy) fn note(
        &mut self,
        bytes: &[u8],
        begun: Option<u32>,
    ) -> Option<(u32, Flaw)> {
        if self.state != State::Start || !self.line.is_empty() {
            return self.read(bytes);
        }
        if let Some(begun) = begun {
            self.held.clear();
            self.heads = begun;
        }
        if self.held.len() + bytes.len() <= HELD_BYTES && memchr(b'#', bytes).is_none() {
            self.held.extend_from_slice(bytes);
            return None;
        }
        self.settle().or_else(|| self.read(bytes))
    }

    /// Looks at what is held.
    pub(in crate::proxy) fn settle(&mut self) -> Option<(u32, Flaw)> {
        let mut held = std::mem::take(&mut self.held);
        let flaw = self.read(&held);
        held.clear();
        self.held = held;
        flaw
    }

    /// Looks at what comes next.
    fn read(&mut self, mut bytes: &[u8]) -> Option<(u32, Flaw)> {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Start | State::Fields => {
                    let (flaw, rest) = self.lines(bytes);
                    if flaw.is_some() {
                        return flaw;
                    }
                    rest
                }
                State::Data { left, is_chunk } => self.data(bytes, left, is_chunk),
                State::Size { value, is_over } => self.size(bytes, value, is_over),
                State::Trailers(trailer) => match self.trailers(bytes, trailer) {
                    Some(rest) => rest,
                    None => return Some(self.lose()),
                },
                State::Lost => return None,
            };
        }
        None
    }

    /// Where the next head begins is not known, so whatever comes next must not pass.
    fn lose(&mut self) -> (u32, Flaw) {
        self.stop();
        (self.heads.saturating_add(1), Flaw::LengthBesideCoding)
    }

    /// What comes now is no request any more.
    pub(in crate::proxy) fn stop(&mut self) {
        self.state = State::Lost;
        self.held = Vec::new();
    }

    /// How the last head begins.
    pub(in crate::proxy) fn excerpt(&self) -> &[u8] {
        self.excerpt.as_bytes()
    }

    fn lines<'a>(&mut self, mut bytes: &'a [u8]) -> (Option<(u32, Flaw)>, &'a [u8]) {
        while let State::Start | State::Fields = self.state {
            if self.state == State::Start && self.line.is_empty() && !bytes.is_empty() {
                self.excerpt.set(bytes);
            }
            let Some(end) = memchr(b'\n', bytes) else {
                self.keep(bytes);
                return (None, &[]);
            };
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            let flaw = if self.line.is_empty() {
                self.line_is(line)
            } else {
                self.keep(line);
                let whole = std::mem::take(&mut self.line);
                self.line_is(&whole)
            };
            if let Some(flaw) = flaw {
                return (Some((self.heads, flaw)), rest);
            }
        }
        (None, bytes)
    }

    /// Keeps a piece of a line until its end comes. Of spaces, and of zeros before a number, which
    /// may be as many as the client likes, one is enough.
    fn keep(&mut self, piece: &[u8]) {
        // It may stand behind what is kept.
        self.head.has_fragment |= self.state == State::Start && memchr(b'#', piece).is_some();
        for &byte in piece {
            let is_spare = matches!(
                (byte, self.line.as_slice()),
                (b' ' | b'\t', [.., b' ' | b'\t']) | (b'0', [.., b':' | b' ' | b'\t', b'0'])
            );
            if is_spare {
                continue;
            }
            if self.line.len() == LINE_BYTES {
                self.line[LINE_BYTES - 1] = CUT;
                return;
            }
            self.line.push(byte);
        }
    }

    /// A whole line, without its line feed.
    fn line_is(&mut self, line: &[u8]) -> Option<Flaw> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match self.state {
            State::Start => {
                if !line.is_empty() {
                    self.head.has_fragment |= memchr(b'#', line).is_some();
                    self.state = State::Fields;
                }
                None
            }
            _ if line.is_empty() => self.end_head(),
            _ => {
                self.field(line);
                None
            }
        }
    }

    fn field(&mut self, line: &[u8]) {
        if let Some(value) = value_of(line, b"content-length:") {
            self.head.lengths += 1;
            match length_of(value.trim_ascii()) {
                Some(length) => self.head.length = length,
                None => self.head.is_length_unread = true,
            }
        } else if value_of(line, b"transfer-encoding:").is_some() {
            self.head.codings += 1;
        }
    }

    fn end_head(&mut self) -> Option<Flaw> {
        self.heads = self.heads.saturating_add(1);
        let head = std::mem::take(&mut self.head);
        self.state = if head.codings > 0 {
            State::NEXT_SIZE
        } else if head.length > 0 {
            State::Data {
                left: head.length,
                is_chunk: false,
            }
        } else {
            State::Start
        };
        let flaw = head.flaw();
        if flaw.is_some() {
            // Nothing is served behind it.
            self.stop();
        }
        flaw
    }

    fn data<'a>(&mut self, bytes: &'a [u8], left: u64, is_chunk: bool) -> &'a [u8] {
        let part = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let left = left - part as u64;
        self.state = match (left, is_chunk) {
            (0, true) => State::NEXT_SIZE,
            (0, false) => State::Start,
            _ => State::Data { left, is_chunk },
        };
        &bytes[part..]
    }

    /// The line that says how large a chunk is, perhaps with extensions.
    fn size<'a>(&mut self, bytes: &'a [u8], mut value: u64, mut is_over: bool) -> &'a [u8] {
        for (at, byte) in bytes.iter().enumerate() {
            match char::from(*byte).to_digit(16) {
                _ if *byte == b'\n' => {
                    self.state = match value {
                        0 => State::Trailers(Trailer::Begin),
                        // With the line break that ends its data.
                        _ => State::Data {
                            left: value.saturating_add(2),
                            is_chunk: true,
                        },
                    };
                    return &bytes[at + 1..];
                }
                Some(digit) if !is_over => {
                    value = value.saturating_mul(16).saturating_add(digit.into());
                }
                _ => is_over = true,
            }
        }
        self.state = State::Size { value, is_over };
        &[]
    }

    /// Tells what comes behind them; `None` if hyper refuses them.
    fn trailers<'a>(&mut self, bytes: &'a [u8], mut trailer: Trailer) -> Option<&'a [u8]> {
        for (at, byte) in bytes.iter().enumerate() {
            trailer = match (trailer, byte) {
                (Trailer::EndCr, b'\n') => {
                    self.state = State::Start;
                    return Some(&bytes[at + 1..]);
                }
                (Trailer::LineCr, b'\n') => Trailer::Begin,
                (Trailer::LineCr | Trailer::EndCr, _) => return None,
                (Trailer::Begin, b'\r') => Trailer::EndCr,
                (Trailer::Line, b'\r') => Trailer::LineCr,
                (Trailer::Begin | Trailer::Line, _) => Trailer::Line,
            };
        }
        self.state = State::Trailers(trailer);
        Some(&[])
    }
}

impl State {
    const NEXT_SIZE: Self = Self::Size {
        value: 0,
        is_over: false,
    };
}

/// What stands behind this name, in whatever case it is written.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then_some(value)
}

/// A number as hyper reads it: without a sign.
fn length_of(value: &[u8]) -> Option<u64> {
    let is_number = value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok()?;
    text.parse().ok().filter(|_| is_number)
}

/// A few bytes.
#[derive(Debug)]
struct Excerpt {
    bytes: [u8; EXCERPT_BYTES],
    len: usize,
}

impl Default for Excerpt {
    fn default() -> Self {
        Self {
            bytes: [0; EXCERPT_BYTES],
            len: 0,
        }
    }
}

impl Excerpt {
    fn set(&mut self, bytes: &[u8]) {
        self.len = bytes.len().min(EXCERPT_BYTES);
        self.bytes[..self.len].copy_from_slice(&bytes[..self.len]);
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests;
