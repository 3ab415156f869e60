//! What the commands say. **Output that cannot be written never changes how a command ends**: a
//! probe with a full disk behind it must not fail for that.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use tokio::sync::Notify;

use crate::config::Problems;

static READER_GONE: Notify = Notify::const_new();

/// A line on the standard output.
pub(super) fn out(text: impl Display) {
    match write(io::stdout(), &text) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => READER_GONE.notify_one(),
        _ => {}
    }
}

/// A line on the standard error output.
pub(super) fn err(text: impl Display) {
    let _ = write(io::stderr(), &text);
}

/// All that is wrong with a configuration, on the standard error output.
pub(super) fn problems(problems: &Problems) {
    err(problems.to_string().trim_end());
}

/// Completes when somebody who read our output has seen enough (`weir demo | head -1`).
pub(super) async fn reader_gone() {
    READER_GONE.notified().await;
}

/// In one go, so that lines of several processes stay whole.
fn write(mut to: impl Write, text: &impl Display) -> io::Result<()> {
    to.write_all(format!("{text}\n").as_bytes())?;
    to.flush()
}
