//! What is said of a panic: one event like every other, and not several lines of bare text.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::thread;
use std::time::Duration;

use super::lines::Lines;

/// A panic may be the last thing that happens in this process, so its line gets a moment to come
/// out. Short: if nobody reads the log, whoever panicked waits so long for nothing.
const FLUSH_MAX: Duration = Duration::from_millis(100);

/// From now on every panic of this process is an event.
pub(super) fn install(lines: Lines) {
    std::panic::set_hook(Box::new(move |info| {
        log(info);
        lines.flush(FLUSH_MAX);
    }));
}

fn log(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let words = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    // Only if the environment asks for one.
    let backtrace = Backtrace::capture();
    let is_wanted = backtrace.status() == BacktraceStatus::Captured;
    tracing::error!(
        panic = words,
        location = info.location().map(ToString::to_string),
        thread = thread::current().name().unwrap_or("unnamed"),
        backtrace = is_wanted.then(|| backtrace.to_string()),
        "panicked: this is a bug of weir"
    );
}
