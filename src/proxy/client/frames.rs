//! The heads of HTTP/2 frames out of a stream of bytes, however it is cut (RFC 9113, section 4.1). Pure.

/// `PRI * HTTP/2.0` and what belongs to it, before a client's first frame.
pub(super) const PREFACE_BYTES: usize = 24;

const HEAD_BYTES: usize = 9;
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;

/// What a frame's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) length: usize,
    pub(super) stream: u32,
}

impl Frame {
    /// Whether it carries a part of a request or a response. An empty DATA says at most that there is no
    /// more of it.
    pub(super) fn is_of_message(self) -> bool {
        self.kind == HEADERS || self.kind == DATA && self.length > 0
    }

    /// Whether it is the last of a message.
    pub(super) fn ends_stream(self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// Where in a stream of frames its bytes have got to.
#[derive(Debug)]
pub(super) struct Frames {
    head: [u8; HEAD_BYTES],
    /// So many bytes of a head have come.
    have: usize,
    /// So many bytes come before the next head.
    skip: usize,
    /// Of a stream's reset: as much of its error code as has come.
    code: Option<u32>,
}

impl Frames {
    /// The first frame comes behind so many bytes.
    pub(super) fn behind(skip: usize) -> Self {
        Self {
            head: [0; HEAD_BYTES],
            have: 0,
            skip,
            code: None,
        }
    }

    /// Whether the bytes so far end with a whole frame.
    pub(super) fn is_between(&self) -> bool {
        self.skip == 0 && self.have == 0
    }

    /// Tells of each frame that begins and of each stream's reset with its error code, until it is
    /// told to stop: then false, and what follows is not looked at.
    pub(super) fn walk(&mut self, mut bytes: &[u8], mut tell: impl FnMut(Told) -> bool) -> bool {
        loop {
            let (skipped, rest) = bytes.split_at(bytes.len().min(self.skip));
            self.skip -= skipped.len();
            if let Some(code) = self.note_code(skipped)
                && !tell(Told::Reset(code))
            {
                return false;
            }
            if rest.is_empty() {
                return true;
            }
            let (head, rest) = rest.split_at(rest.len().min(HEAD_BYTES - self.have));
            self.head[self.have..self.have + head.len()].copy_from_slice(head);
            self.have += head.len();
            bytes = rest;
            if self.have < HEAD_BYTES {
                return true;
            }
            let frame = self.begin();
            if !tell(Told::Frame(frame)) {
                return false;
            }
        }
    }

    /// A head is complete.
    fn begin(&mut self) -> Frame {
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.have = 0;
        self.skip = length;
        self.code = (kind == RST_STREAM).then_some(0);
        Frame {
            kind,
            flags,
            length,
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
        }
    }

    /// A part of what follows a head, or nothing; a reset's code once it is complete.
    fn note_code(&mut self, part: &[u8]) -> Option<u32> {
        let code = part
            .iter()
            .fold(self.code?, |code, byte| code << 8 | u32::from(*byte));
        self.code = Some(code);
        if self.skip > 0 {
            return None;
        }
        self.code.take()
    }
}

/// What a look at the bytes finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// A frame begins.
    Frame(Frame),
    /// The frame before was a stream's reset with this error code.
    Reset(u32),
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A frame of stream 1.
    pub(in crate::proxy::client) fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        bytes.extend(vec![0xff; usize::from(length)]);
        bytes
    }

    /// A reset of stream 1.
    pub(in crate::proxy::client) fn reset(code: u8) -> Vec<u8> {
        let mut bytes = frame(RST_STREAM, 0, 4);
        bytes[9..].copy_from_slice(&[0, 0, 0, code]);
        bytes
    }

    #[test]
    fn heads_and_codes_are_found_however_the_bytes_are_cut() {
        let kinds = [HEADERS, DATA, 6, DATA, RST_STREAM, 8];
        let bytes: Vec<u8> = kinds
            .iter()
            .zip([0, 13, 26, 200, 4, 4])
            .flat_map(|(kind, length)| match *kind {
                RST_STREAM => reset(8),
                kind => frame(kind, 0, length),
            })
            .collect();
        for size in 1..=bytes.len() {
            let (mut frames, mut found, mut codes) = (Frames::behind(0), Vec::new(), Vec::new());
            for piece in bytes.chunks(size) {
                assert!(frames.walk(piece, |told| {
                    match told {
                        Told::Frame(frame) => found.push((frame.kind, frame.stream)),
                        Told::Reset(code) => codes.push(code),
                    }
                    true
                }));
            }
            assert_eq!(found, kinds.map(|kind| (kind, 1)), "pieces of {size}");
            assert_eq!(codes, [8], "pieces of {size}");
            assert!(frames.is_between());
        }
    }
}
