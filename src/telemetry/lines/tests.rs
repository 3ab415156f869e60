//! Outputs that block, stutter and fail, and what becomes of the lines.

use super::*;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;

const SOON: Duration = Duration::from_secs(20);

/// An output that nobody reads until the other end lets go.
struct Stuck {
    let_go: Receiver<()>,
    kept: Arc<Mutex<Vec<u8>>>,
}

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An error says that the other end is gone: from then on everything passes.
        let _ = self.let_go.recv();
        self.kept.lock().expect("not poisoned").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn tell(lines: &Lines, lost: u64) {
    lines.push_notice(format!("lost {lost}\n").as_bytes());
}

fn stuck() -> (Lines, Sender<()>, Arc<Mutex<Vec<u8>>>) {
    let (reader, let_go) = mpsc::channel();
    let kept = Arc::<Mutex<Vec<u8>>>::default();
    let output = Stuck {
        let_go,
        kept: kept.clone(),
    };
    let lines = Lines::start_with(output, tell).expect("a thread");
    (lines, reader, kept)
}

fn text(kept: &Mutex<Vec<u8>>) -> Vec<String> {
    let bytes = kept.lock().expect("not poisoned").clone();
    let text = String::from_utf8(bytes).expect("UTF-8");
    text.lines().map(str::to_owned).collect()
}

/// On a thread of its own, so that a caller that blocks fails the test instead of hanging it.
fn push_all(lines: &Lines, all: impl Iterator<Item = String> + Send + 'static) {
    let (done, over) = mpsc::channel();
    let lines = lines.clone();
    thread::spawn(move || {
        all.for_each(|line| lines.push(line.as_bytes()));
        done.send(()).expect("the test waits");
    });
    over.recv_timeout(SOON).expect("nobody who logs is blocked");
}

#[test]
fn a_blocked_output_costs_lines_and_nobodys_time() {
    const SENT: usize = 3 * LINES_MAX;
    let (lines, reader, kept) = stuck();
    push_all(&lines, (0..SENT).map(|at| format!("{at}\n")));
    let lost = usize::try_from(lines.dropped()).expect("few");
    let in_hand = BATCH_BYTES_MAX / 2;
    assert!(lost <= SENT - LINES_MAX, "{lost}: the queue was used");
    assert!(lost + LINES_MAX + in_hand >= SENT, "{lost}: it is bounded");

    let begun = Instant::now();
    assert!(!lines.flush(Duration::from_millis(20)), "nobody reads");
    assert!(begun.elapsed() < SOON);

    drop(reader);
    assert!(lines.flush(SOON));
    push_all(&lines, std::iter::once("after\n".to_owned()));
    assert!(lines.flush(SOON));
    let mut expected: Vec<String> = (0..SENT - lost).map(|at| at.to_string()).collect();
    expected.extend([format!("lost {lost}"), "after".to_owned()]);
    assert!(text(&kept) == expected, "order, or the place of the gap");
    assert_eq!(lines.dropped(), lost as u64, "none after that");
}

#[test]
fn lines_that_wait_are_bounded_in_bytes() {
    let (lines, reader, kept) = stuck();
    let long = format!("{}\n", "x".repeat((64 << 10) - 1));
    push_all(&lines, std::iter::repeat_n(long, 100));
    assert!((100 - 17..=100 - 16).contains(&lines.dropped()));
    push_all(
        &lines,
        std::iter::once("short, but behind a gap\n".to_owned()),
    );
    drop(reader);
    assert!(lines.flush(SOON));
    let lost = lines.dropped();
    assert_eq!(text(&kept).last(), Some(&format!("lost {lost}")));

    let endless = "x".repeat(BYTES_MAX + 1);
    push_all(&lines, std::iter::once(endless));
    assert!(lines.flush(SOON));
    assert_eq!(text(&kept).last(), Some(&"lost 1".to_owned()));
}

/// Takes a few bytes at a time, and now and then none.
struct Stutters {
    turn: usize,
    kept: Arc<Mutex<Vec<u8>>>,
}

impl Write for Stutters {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.turn += 1;
        match self.turn % 500 {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            1 => Err(io::ErrorKind::Interrupted.into()),
            _ => {
                let part = &bytes[..bytes.len().min(7)];
                self.kept.lock().expect("not poisoned").write(part)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_stay_whole_and_in_the_order_of_their_thread() {
    const EACH: usize = LINES_MAX / 4;
    let kept = Arc::<Mutex<Vec<u8>>>::default();
    let output = Stutters {
        turn: 0,
        kept: kept.clone(),
    };
    let lines = Lines::start_with(output, tell).expect("a thread");
    thread::scope(|scope| {
        for name in ["a", "b", "c", "d"] {
            let lines = &lines;
            scope.spawn(move || {
                for at in 0..EACH {
                    lines.push(format!("{name} {at}\n").as_bytes());
                }
            });
        }
    });
    assert!(lines.flush(SOON));
    let text = text(&kept);
    assert_eq!(text.len(), 4 * EACH);
    for name in ["a", "b", "c", "d"] {
        let own = text.iter().filter(|line| line.starts_with(name));
        let expected = (0..EACH).map(|at| format!("{name} {at}"));
        assert!(own.eq(expected.collect::<Vec<_>>().iter()), "{name}");
    }
}

#[test]
fn what_cannot_be_written_is_counted() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::start_with(Closed, tell).expect("a thread");
    push_all(&lines, (0..5).map(|at| format!("{at}\n")));
    assert!(lines.flush(SOON));
    assert_eq!(lines.dropped(), 5);
}
