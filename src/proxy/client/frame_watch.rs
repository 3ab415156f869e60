//! What the frames of one HTTP/2 connection tell that h2 does not: who floods, which requests it reset
//! as malformed, and whose responses it has taken whole but not written to their end.
//!
//! **Floods.** h2 answers or forgets pings, settings, priorities, window updates and empty DATA one by
//! one, for as long as they come, and each costs about what a frame of a request costs. Nobody
//! needs many of them without messages between them, so they are counted against a budget (a token
//! bucket) that DATA and HEADERS in either direction fill up again. Envoy bounds them by the same
//! ratio (`max_inbound_window_update_frames_per_data_frame_sent`, 10), nginx by the bytes of both.
//!
//! Only the nine bytes before each frame are looked at, and the clock only when the budget is spent.
//! Pure.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::proxy::client::frames::{Frame, Frames, PREFACE_BYTES, RST_STREAM, Told};

/// Frames beside messages that may come at once. h2load and browsers send a handful, gRPC a few per
/// megabyte; 10,000 take some 10 ms of one core.
const BURST: u32 = 10_000;

/// As many more in each second: far above any keep-alive or measurement of bandwidth.
const PER_SECOND: u32 = 100;

/// As many more for each DATA or HEADERS frame, and these add up: a client may update two windows for
/// each frame it gets, and measure the line beside it, and it may do so long after they were sent.
const PER_MESSAGE_FRAME: u32 = 10;

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
    /// How many frames beside messages may still come.
    left: u32,
    filled_at: Instant,
    /// Streams whose response has begun and not ended.
    sending: HashSet<u32>,
}

/// What a look at written bytes has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Parts of responses.
    pub(super) parts: u32,
    /// Malformed requests that were reset.
    pub(super) malformed: u32,
}

impl FrameWatch {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            read: Frames::behind(PREFACE_BYTES),
            written: Frames::behind(0),
            left: BURST,
            filled_at: now,
            sending: HashSet::new(),
        }
    }

    /// Looks at what the client sent; false if it is one frame too many.
    pub(super) fn admits(&mut self, read: &[u8], clock: impl Fn() -> Instant) -> bool {
        let Self {
            read: frames,
            left,
            filled_at,
            sending,
            ..
        } = self;
        frames.walk(read, |told| {
            let Told::Frame(frame) = told else {
                return true;
            };
            if frame.kind == RST_STREAM {
                sending.remove(&frame.stream);
            }
            if frame.is_of_message() {
                *left = left.saturating_add(PER_MESSAGE_FRAME);
                return true;
            }
            if *left == 0 {
                let now = clock();
                *left = grown(now.saturating_duration_since(*filled_at));
                *filled_at = now;
            }
            let is_admitted = *left > 0;
            *left = left.saturating_sub(1);
            is_admitted
        })
    }

    /// Looks at what was sent to the client.
    pub(super) fn note_written(&mut self, written: &[u8]) -> Written {
        let Self {
            written: frames,
            left,
            sending,
            ..
        } = self;
        let mut found = Written::default();
        frames.walk(written, |told| {
            match told {
                Told::Frame(frame) => {
                    note_response(sending, frame);
                    if frame.is_of_message() {
                        *left = left.saturating_add(PER_MESSAGE_FRAME);
                        found.parts += 1;
                    }
                }
                Told::Reset(PROTOCOL_ERROR) => found.malformed += 1,
                Told::Reset(_) => {}
            }
            true
        });
        found
    }

    /// Whether what was written ends with a whole frame, so that another may follow.
    pub(super) fn is_between_frames(&self) -> bool {
        self.written.is_between()
    }

    /// Whether a response has begun and not ended.
    pub(super) fn is_sending(&self) -> bool {
        !self.sending.is_empty()
    }
}

fn note_response(sending: &mut HashSet<u32>, frame: Frame) {
    if frame.ends_stream() || frame.kind == RST_STREAM {
        sending.remove(&frame.stream);
    } else if frame.is_of_message() {
        sending.insert(frame.stream);
    }
}

/// What the budget has gained in that time.
fn grown(since: Duration) -> u32 {
    let frames = since.as_millis() * u128::from(PER_SECOND) / 1000;
    u32::try_from(frames).unwrap_or(BURST).min(BURST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::client::frames::tests::{frame, reset};
    use crate::proxy::client::frames::{DATA, HEADERS};

    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;

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
            assert_eq!(found.parts, 2);
            assert!(watch.is_sending());
            watch.note_written(&end);
            assert!(!watch.is_sending(), "{end:?}");
        }
        let (mut watch, clock) = Clock::watch();
        watch.note_written(&begin);
        assert!(watch.admits(&reset(8), || clock.0));
        assert!(!watch.is_sending(), "the client has reset it");
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
