//! What the frames of one HTTP/2 connection tell that h2 does not: who floods, which requests it reset
//! as malformed, and whose responses it has taken whole but not written to their end.
//!
//! **Floods.** h2 answers or forgets pings, settings, priorities, window updates and empty DATA one by
//! one, for as long as they come, and each costs about what a frame of a request costs. Nobody
//! needs many of them without messages between them, so they are counted against two budgets (token
//! buckets) that DATA and HEADERS in either direction fill up again: one for window updates, which are
//! owed for what was sent, however long ago; and one for all others, which cannot be saved up. Envoy
//! bounds the former by the same ratio (`max_inbound_window_update_frames_per_data_frame_sent`, 10),
//! nginx all of them by the bytes of both.
//!
//! Only the nine bytes before each frame are looked at, and the clock only when the budget is spent.
//! Pure.

use std::collections::HashSet;
use std::time::Instant;

use crate::proxy::client::frame_budget::{BURST, Budget};
use crate::proxy::client::frames::{
    Frame, Frames, HEADERS, PREFACE_BYTES, RST_STREAM, Told, WINDOW_UPDATE,
};

/// As many more of each sort for a DATA or HEADERS frame: a client may update two windows for each, and
/// measure the line beside it.
const PER_MESSAGE_FRAME: u32 = 10;

/// One more window update for so many bytes that were sent: clients update by what they read at once,
/// some after 4 KiB, each time two windows.
const BYTES_PER_UPDATE: usize = 1024;

/// The most of the frames that are no window updates that messages can earn.
const SAVINGS_MAX: u32 = 10 * BURST;

/// How many streams that their client has reset are remembered until h2 has written what it had.
const GONE_MAX: usize = 1024;

/// The error code that h2 resets a stream with whose request is malformed.
const PROTOCOL_ERROR: u32 = 1;

/// What a client is told that is cut off: GOAWAY with `ENHANCE_YOUR_CALM`, no stream named, for weir
/// does not say which ones have been acted on.
pub(super) const GOAWAY: [u8; 17] = [
    0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0xb,
];

/// What the IO error of such a client says.
pub(super) const FLOOD: &str =
    "the client floods: more than 10,000 frames beside messages, and 100 more per second";

/// The watch over both directions.
#[derive(Debug)]
pub(super) struct FrameWatch {
    read: Frames,
    written: Frames,
    updates: Budget,
    others: Budget,
    /// Streams whose response has begun and not ended.
    sending: HashSet<u32>,
    /// Streams that the client has reset while h2 may have had frames of theirs to write.
    gone: HashSet<u32>,
}

/// What a look at written bytes has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// A part of a response has gone on its way.
    pub(super) is_progress: bool,
    /// Streams that were reset as malformed.
    pub(super) malformed: u32,
}

impl FrameWatch {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            read: Frames::behind(PREFACE_BYTES),
            written: Frames::behind(0),
            updates: Budget::new(now),
            others: Budget::new(now),
            sending: HashSet::new(),
            gone: HashSet::new(),
        }
    }

    /// Looks at what the client sent; false if it is one frame too many.
    pub(super) fn admits(&mut self, read: &[u8], clock: impl Fn() -> Instant) -> bool {
        let Self {
            read: frames,
            updates,
            others,
            sending,
            gone,
            ..
        } = self;
        frames.walk(read, |told| {
            let Told::Frame(frame) = told else {
                return true;
            };
            if frame.kind == RST_STREAM {
                sending.remove(&frame.stream);
                if gone.len() < GONE_MAX {
                    gone.insert(frame.stream);
                }
            }
            if frame.is_of_message() {
                updates.earn(PER_MESSAGE_FRAME, u32::MAX);
                others.earn(PER_MESSAGE_FRAME, SAVINGS_MAX);
                true
            } else if frame.kind == WINDOW_UPDATE {
                updates.take(&clock)
            } else {
                others.take(&clock)
            }
        })
    }

    /// Looks at what was sent to the client.
    pub(super) fn note_written(&mut self, written: &[u8]) -> Written {
        let Self {
            written: frames,
            updates,
            others,
            sending,
            gone,
            ..
        } = self;
        let mut found = Written {
            // The rest of a frame; those beside messages are written in one piece.
            is_progress: !frames.is_between(),
            malformed: 0,
        };
        frames.walk(written, |told| {
            match told {
                Told::Frame(frame) => {
                    note_response(sending, gone, frame);
                    if frame.is_of_message() {
                        let bytes = u32::try_from(frame.length / BYTES_PER_UPDATE);
                        updates.earn(PER_MESSAGE_FRAME + bytes.unwrap_or(0), u32::MAX);
                        others.earn(PER_MESSAGE_FRAME, SAVINGS_MAX);
                        found.is_progress = true;
                    }
                }
                Told::Reset(PROTOCOL_ERROR) => found.malformed += 1,
                Told::Reset(_) => {}
            }
            true
        });
        found
    }

    /// h2 has nothing left to write of what it had made of streams.
    pub(super) fn note_flushed(&mut self) {
        self.gone.clear();
    }

    /// Whether what was written ends with a whole frame, so that another may follow.
    pub(super) fn is_between_frames(&self) -> bool {
        self.written.is_between()
    }

    /// Whether a response has begun and not ended.
    pub(super) fn is_sending(&self) -> bool {
        !self.sending.is_empty() || !self.written.is_between()
    }
}

fn note_response(sending: &mut HashSet<u32>, gone: &HashSet<u32>, frame: Frame) {
    if frame.ends_stream() || frame.kind == RST_STREAM {
        sending.remove(&frame.stream);
    } else if frame.kind == HEADERS && !gone.contains(&frame.stream) {
        sending.insert(frame.stream);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proxy::client::frames::DATA;
    use crate::proxy::client::frames::tests::{frame, reset};

    const PING: u8 = 6;

    struct Clock(Instant);

    impl Clock {
        fn watch() -> (FrameWatch, Self) {
            let now = Instant::now();
            let mut watch = FrameWatch::new(now);
            assert!(watch.admits(&[0xff; PREFACE_BYTES], || now));
            (watch, Self(now))
        }
    }

    /// How many of these a client may send before it is cut off, at most `most`.
    fn borne(watch: &mut FrameWatch, clock: &Clock, bytes: &[u8], most: u32) -> u32 {
        let mut count = 0;
        while count < most && watch.admits(bytes, || clock.0) {
            count += 1;
        }
        count
    }

    #[test]
    fn a_burst_is_borne_and_one_more_is_not() {
        for kind in [2, 3, 4, PING, 7, WINDOW_UPDATE, 9, 0xbb] {
            let (mut watch, clock) = Clock::watch();
            assert_eq!(
                borne(&mut watch, &clock, &frame(kind, 0, 8), 2 * BURST),
                BURST,
                "{kind}"
            );
        }
        let (mut watch, clock) = Clock::watch();
        let empty = frame(DATA, 0, 0);
        assert_eq!(borne(&mut watch, &clock, &empty, 2 * BURST), BURST);
    }

    #[test]
    fn the_budget_comes_back_with_time() {
        let (mut watch, mut clock) = Clock::watch();
        let ping = frame(PING, 0, 8);
        assert_eq!(borne(&mut watch, &clock, &ping, BURST), BURST);
        clock.0 += Duration::from_secs(1);
        assert_eq!(borne(&mut watch, &clock, &ping, 100), 100);
        clock.0 += Duration::from_secs(100_000);
        assert_eq!(borne(&mut watch, &clock, &ping, 2 * BURST), BURST);
    }

    #[test]
    fn who_pings_now_and_then_is_never_cut_off() {
        let (mut watch, mut clock) = Clock::watch();
        let ping = frame(PING, 0, 8);
        for _ in 0..10 * BURST {
            clock.0 += Duration::from_millis(20);
            assert!(watch.admits(&ping, || clock.0));
        }
    }

    #[test]
    fn window_updates_for_what_is_sent_are_free() {
        let (mut watch, clock) = Clock::watch();
        let (data, update) = (frame(DATA, 0, 1), frame(WINDOW_UPDATE, 0, 4));
        for _ in 0..10 * BURST {
            watch.note_written(&data);
        }
        let most = 20 * BURST;
        assert_eq!(borne(&mut watch, &clock, &update, most), most, "read late");
    }

    #[test]
    fn messages_that_come_are_free() {
        let (mut watch, clock) = Clock::watch();
        let messages = [frame(HEADERS, 4, 20), frame(DATA, 0, 1), frame(DATA, 1, 0)].concat();
        assert_eq!(borne(&mut watch, &clock, &messages, 10 * BURST), 10 * BURST);
    }

    /// A reader that updates both windows for each KiB of a large frame.
    #[test]
    fn large_frames_earn_by_their_bytes() {
        let (mut watch, clock) = Clock::watch();
        let update = frame(WINDOW_UPDATE, 0, 4);
        for _ in 0..BURST {
            let mut data = vec![0, 0x40, 0, DATA, 0, 0, 0, 0, 1];
            data.resize(9 + 0x4000, 0);
            watch.note_written(&data);
            assert_eq!(borne(&mut watch, &clock, &update, 26), 26);
        }
    }

    #[test]
    fn other_frames_cannot_be_saved_up_for() {
        let (mut watch, clock) = Clock::watch();
        let (data, ping) = (frame(DATA, 0, 1), frame(PING, 0, 8));
        for _ in 0..10 * BURST {
            watch.note_written(&data);
        }
        let most = 2 * SAVINGS_MAX;
        assert_eq!(borne(&mut watch, &clock, &ping, most), SAVINGS_MAX);
    }

    #[test]
    fn empty_ends_of_streams_pay_for_none() {
        let (mut watch, clock) = Clock::watch();
        let end = frame(DATA, 1, 0);
        assert_eq!(borne(&mut watch, &clock, &end, 2 * BURST), BURST);
    }

    #[test]
    fn answers_to_pings_pay_for_none() {
        let (mut watch, clock) = Clock::watch();
        let (ping, answer) = (frame(PING, 0, 8), frame(PING, 1, 8));
        let mut count = 0;
        while watch.admits(&ping, || clock.0) && count <= BURST {
            watch.note_written(&answer);
            count += 1;
        }
        assert_eq!(count, BURST);
    }

    #[test]
    fn resets_of_malformed_requests_are_counted_and_no_others() {
        let bytes = [reset(1), reset(8), frame(DATA, 0, 4), reset(1), reset(0)].concat();
        for size in 1..=bytes.len() {
            let (mut watch, _) = Clock::watch();
            let found: u32 = bytes
                .chunks(size)
                .map(|piece| watch.note_written(piece).malformed)
                .sum();
            assert_eq!(found, 2, "pieces of {size}");
        }
    }

    #[test]
    fn a_response_is_being_sent_until_its_last_frame_or_its_reset() {
        let begin = frame(HEADERS, 4, 20);
        let ends = [
            frame(DATA, 1, 0),
            frame(DATA, 1, 5),
            frame(HEADERS, 5, 5),
            reset(8),
        ];
        for end in ends {
            let (mut watch, _) = Clock::watch();
            let found = watch.note_written(&[begin.clone(), frame(DATA, 0, 9)].concat());
            assert!(found.is_progress);
            assert!(watch.is_sending());
            let (half, rest) = end.split_at(end.len() - 1);
            watch.note_written(half);
            assert!(watch.is_sending(), "its last byte has not gone");
            let end = rest;
            watch.note_written(end);
            assert!(!watch.is_sending(), "{end:?}");
        }
    }

    #[test]
    fn nothing_is_being_sent_of_what_the_client_has_reset() {
        let begin = frame(HEADERS, 4, 20);
        let (mut watch, clock) = Clock::watch();
        watch.note_written(&begin);
        assert!(watch.admits(&reset(8), || clock.0));
        assert!(!watch.is_sending());
        // What h2 had made of it before it read the reset.
        watch.note_written(&[begin.clone(), frame(DATA, 0, 9)].concat());
        assert!(!watch.is_sending());
        watch.note_flushed();
        watch.note_written(&begin);
        assert!(watch.is_sending(), "another one");
        watch.note_written(&frame(DATA, 1, 0));
        watch.note_written(&frame(HEADERS, 5, 20));
        assert!(!watch.is_sending(), "all in one frame");
    }

    #[test]
    fn the_goodbye_is_one_whole_frame() {
        let mut frames = Frames::behind(0);
        let mut heads = Vec::new();
        frames.walk(&GOAWAY, |told| {
            heads.push(told);
            true
        });
        let goaway = Frame {
            kind: 7,
            flags: 0,
            length: 8,
            stream: 0,
        };
        assert_eq!(heads, [Told::Frame(goaway)]);
        assert!(frames.is_between());
    }
}
