//! Where log lines go, how they look, and from which level on.

use std::fmt;
use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing::Subscriber;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, reload};

use super::lines::Lines;
use super::panics;
use super::settings::{LOG_LEVEL_REMEDY, LogFormat, LogSettings, log_filter};

/// How long the end of the process waits for the last lines.
const FLUSH_MAX: Duration = Duration::from_millis(500);

/// The lines of this process, once the log is set up.
static INSTALLED: OnceLock<Lines> = OnceLock::new();

/// Changes the level while weir runs. Cheap to clone.
#[derive(Clone)]
pub struct LogControl {
    replace: Arc<dyn Fn(Targets) -> Result<(), String> + Send + Sync>,
}

impl LogControl {
    /// From now on this level, or this filter. On an error nothing changes.
    pub fn set_level(&self, level: &str) -> Result<(), String> {
        (self.replace)(filter(level)?)
    }
}

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogControl").finish_non_exhaustive()
    }
}

/// To be kept until nothing logs any more. Dropping it waits for the last lines to come out, but
/// not for long: nobody may be reading them.
#[derive(Debug)]
#[must_use = "dropped at once, it waits for nothing"]
pub struct LastLines(Lines);

impl Drop for LastLines {
    fn drop(&mut self) {
        self.0.flush(FLUSH_MAX);
    }
}

/// Makes every line of this process go to the standard error output, as the settings say, panics
/// among them. Once. Nobody who logs ever waits for that output.
pub fn install(settings: &LogSettings) -> Result<(LogControl, LastLines), String> {
    let terminal = std::io::stderr().is_terminal();
    let lines = Lines::start(std::io::stderr())
        .map_err(|error| format!("no thread to write it: {error}"))?;
    let (subscriber, control) = subscriber(settings, terminal, lines.clone())?;
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|_| "the log is already set up in this process".to_owned())?;
    panics::install(lines.clone());
    let _ = INSTALLED.set(lines.clone());
    Ok((control, LastLines(lines)))
}

/// Log lines of this process that were dropped, because nobody read the log in time.
pub(super) fn lines_dropped() -> u64 {
    INSTALLED.get().map_or(0, Lines::dropped)
}

/// The subscriber for one writer.
fn subscriber<W>(
    settings: &LogSettings,
    terminal: bool,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync, LogControl), String>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let json = match settings.format {
        LogFormat::Auto => !terminal,
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    let (filter, handle) = reload::Layer::<Targets, Registry>::new(filter(&settings.level)?);
    // A log that cannot be written must not become a panic, which reporting it on a closed
    // standard error would be.
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .log_internal_errors(false);
    let layer = if json {
        layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed()
    } else {
        layer.with_ansi(terminal).boxed()
    };
    let control = LogControl {
        replace: Arc::new(move |filter| handle.reload(filter).map_err(|error| error.to_string())),
    };
    Ok((Registry::default().with(filter).with(layer), control))
}

/// Reads a level or a filter, or says in plain words what is wrong with it.
pub(crate) fn filter(text: &str) -> Result<Targets, String> {
    log_filter(text).map_err(|part| format!("`{part}` is not a log level; {LOG_LEVEL_REMEDY}"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Mutex;

    /// A writer that keeps what was written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is logged while `act` runs on this thread.
    pub(in super::super) fn capture(
        format: LogFormat,
        level: &str,
        act: impl FnOnce(&LogControl),
    ) -> String {
        capture_on(format, level, false, act)
    }

    fn capture_on(
        format: LogFormat,
        level: &str,
        terminal: bool,
        act: impl FnOnce(&LogControl),
    ) -> String {
        let settings = LogSettings {
            level: level.to_owned(),
            format,
            access: false,
        };
        let kept = Kept::default();
        let writer = kept.clone();
        let (subscriber, control) =
            subscriber(&settings, terminal, move || writer.clone()).expect("a good level");
        tracing::subscriber::with_default(subscriber, || act(&control));
        let bytes = kept.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn lines_are_json_off_a_terminal_and_readable_on_it() {
        let hello = |_: &LogControl| tracing::info!(answer = 42, "hello");
        let json = capture_on(LogFormat::Auto, "info", false, hello);
        let line: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(line["message"], "hello");
        assert_eq!(line["answer"], 42, "fields stand at the top");
        assert_eq!(line["level"], "INFO");

        let text = capture_on(LogFormat::Auto, "info", true, hello);
        assert!(text.contains("hello") && !text.starts_with('{'), "{text}");
        let plain = capture_on(LogFormat::Text, "info", false, hello);
        assert!(
            plain.contains("hello") && !plain.contains('\u{1b}'),
            "{plain}"
        );
    }

    #[test]
    fn the_level_can_be_changed_while_running() {
        let log = capture(LogFormat::Text, "warn", |control| {
            tracing::info!("one");
            control.set_level("debug").expect("a level");
            tracing::debug!("two");
            let error = control.set_level("inof").expect_err("not a level");
            assert!(
                error.contains("`inof`") && error.contains("info"),
                "{error}"
            );
            tracing::debug!("three");
            control.set_level("weir=error").expect("a filter");
            tracing::warn!("four");
            tracing::error!("five");
        });
        let seen: Vec<_> = ["one", "two", "three", "four", "five"]
            .into_iter()
            .filter(|word| log.contains(word))
            .collect();
        assert_eq!(seen, ["two", "three", "five"]);
    }

    #[test]
    fn mistyped_levels_are_refused() {
        for good in [
            "info",
            "WARN",
            "off",
            "weir=debug,info",
            "weir::proxy=trace",
            "info, hyper=warn",
        ] {
            assert_eq!(filter(good).map(drop), Ok(()), "{good}");
        }
        for bad in [
            "",
            "inof",
            "weir",
            "weir=",
            "weir=loud",
            "=info",
            "weir gate=info",
            "[span]=info",
            "weir[{a=b}]",
            "info,",
            "debug;info",
        ] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}
