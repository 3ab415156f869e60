//! Log lines on their way out: whoever logs leaves a line here and goes on, and one thread writes.
//!
//! The output may be a pipe that nobody reads. Then lines pile up to a bound and are dropped from
//! there on; requests, probes and signals never wait for the log.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait at most.
const LINES_MAX: usize = 4096;

/// Bytes that they have at most, together.
const BYTES_MAX: usize = 1 << 20;

/// Lines are written together up to so many bytes: a pipe takes that many whole or not at all, so
/// that no other writer comes in between, and the end of the process cuts no line in two.
const BATCH_BYTES_MAX: usize = 4096;

/// Before another try at an output that somebody has made non-blocking, and that is full.
const PAUSE: Duration = Duration::from_millis(10);

/// The target of the line about lost lines, by which it is known.
const NOTICE: &str = module_path!();

/// Where lines are left. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
    finished: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Lines dropped that no line has told of. While there are any, every line is dropped, so that
    /// the line that tells stands where the gap is.
    untold: u64,
    /// Lines dropped since the start.
    dropped: u64,
    /// Everything is written, and the thread waits.
    idle: bool,
}

impl Lines {
    /// Starts the thread. It ends with the process: blocked in a write, it cannot be joined.
    pub(super) fn start(output: impl Write + Send + 'static) -> io::Result<Self> {
        Self::start_with(output, |_, count| {
            tracing::warn!(
                target: NOTICE,
                count,
                "log lines dropped: whoever reads the log did not keep up"
            );
        })
    }

    /// `tell` logs one line about so many lost ones, with [`Lines::push_notice`] at the end of its
    /// way.
    fn start_with(
        mut output: impl Write + Send + 'static,
        tell: impl Fn(&Self, u64) + Send + 'static,
    ) -> io::Result<Self> {
        let lines = Self::default();
        let source = lines.clone();
        thread::Builder::new()
            .name("weir-log".to_owned())
            .spawn(move || {
                let mut batch = Vec::new();
                loop {
                    let count = source.take(&mut batch);
                    if write(&mut output, &batch).is_err() {
                        // Not told in a line: that would fail in its turn, and so on.
                        source.queue().dropped += count;
                    }
                    if let Some(lost) = source.to_tell() {
                        tell(&source, lost);
                        source.queue().untold -= lost;
                    }
                }
            })?;
        Ok(lines)
    }

    /// Leaves a whole line, or drops it.
    fn push(&self, line: &[u8]) {
        let line = line.to_vec();
        let mut queue = self.queue();
        let fits = queue.lines.len() < LINES_MAX && queue.bytes + line.len() <= BYTES_MAX;
        if fits && queue.untold == 0 {
            queue.add(line);
        } else {
            queue.untold += 1;
            queue.dropped += 1;
        }
        self.wake(queue);
    }

    /// Leaves the line about lost ones, for which there is always room.
    fn push_notice(&self, line: &[u8]) {
        let mut queue = self.queue();
        queue.add(line.to_vec());
        self.wake(queue);
    }

    /// Wakes the thread if it waits. Each wake-up is a system call, so not otherwise.
    fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        let was_idle = std::mem::take(&mut queue.idle);
        drop(queue);
        if was_idle {
            self.0.arrived.notify_one();
        }
    }

    /// Moves lines into `batch` as soon as there are any, or anything to tell. Returns how many.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        batch.clear();
        let mut queue = self.queue();
        while queue.lines.is_empty() && queue.untold == 0 {
            queue.idle = true;
            self.0.finished.notify_all();
            let waited = self.0.arrived.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
        queue.idle = false;
        let mut count = 0;
        while let Some(line) = queue.lines.front() {
            if count > 0 && batch.len() + line.len() > BATCH_BYTES_MAX {
                break;
            }
            batch.extend_from_slice(line);
            queue.bytes -= line.len();
            queue.lines.pop_front();
            count += 1;
        }
        count
    }

    /// The number of lost lines, once it is time to tell: not before the queue is half empty, or a
    /// reader that is just too slow would get one such line for each batch.
    fn to_tell(&self) -> Option<u64> {
        let queue = self.queue();
        let has_room = queue.lines.len() <= LINES_MAX / 2 && queue.bytes <= BYTES_MAX / 2;
        (queue.untold > 0 && has_room).then_some(queue.untold)
    }

    /// Waits until everything is written, but not longer than this. Returns whether it is.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let waited = self
            .0
            .finished
            .wait_timeout_while(self.queue(), limit, |queue| !queue.idle);
        waited.unwrap_or_else(PoisonError::into_inner).0.idle
    }

    /// Lines dropped since the start, and lines that could not be written.
    pub(super) fn dropped(&self) -> u64 {
        self.queue().dropped
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn add(&mut self, line: Vec<u8>) {
        self.bytes += line.len();
        self.lines.push_back(line);
    }
}

fn write(output: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => thread::sleep(PAUSE),
                _ => return Err(error),
            },
        }
    }
    Ok(())
}

/// Takes one line, which the formatter writes whole.
#[derive(Debug)]
pub(super) struct Line<'l> {
    lines: &'l Lines,
    is_notice: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.is_notice {
            self.lines.push_notice(line);
        } else {
            self.lines.push(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'l> MakeWriter<'l> for Lines {
    type Writer = Line<'l>;

    fn make_writer(&'l self) -> Line<'l> {
        Line {
            lines: self,
            is_notice: false,
        }
    }

    fn make_writer_for(&'l self, metadata: &Metadata<'_>) -> Line<'l> {
        Line {
            lines: self,
            is_notice: metadata.target() == NOTICE,
        }
    }
}
