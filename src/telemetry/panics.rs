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

#[cfg(test)]
mod tests {
    use crate::telemetry::{LogFormat, LogSettings, log};
    use std::process::Command;

    const MARK: &str = "WEIR_TEST_PANICS";

    /// Panics as it goes, also when a panic is what it goes by: that ends the process.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("another on its way out");
        }
    }

    fn in_the_child() {
        let settings = LogSettings {
            level: "info".to_owned(),
            format: LogFormat::Json,
            access: false,
        };
        let _log = log::install(&settings).expect("nothing is set up yet");
        let thread = std::thread::Builder::new().name("clumsy".to_owned());
        let thread = thread.spawn(|| panic!("of {}\nlines", "two"));
        thread.expect("a thread").join().expect_err("it panicked");
        let _bomb = Bomb;
        panic!("the last one");
    }

    /// In a process of its own: the hook is the process's. Fails when the hook is not installed,
    /// and when it does not wait for its line before the process aborts.
    #[test]
    fn a_panic_is_one_event_even_if_it_ends_the_process() {
        if std::env::var_os(MARK).is_some() {
            return in_the_child();
        }
        let this = std::env::current_exe().expect("known on this system");
        let test = "telemetry::panics::tests::a_panic_is_one_event_even_if_it_ends_the_process";
        let output = Command::new(this)
            .args(["--exact", test, "--nocapture"])
            .env(MARK, "1")
            .env_remove("RUST_BACKTRACE")
            .env_remove("RUST_LIB_BACKTRACE")
            .output()
            .expect("it runs already");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        let lines: Vec<serde_json::Value> = said
            .lines()
            .filter(|line| line.starts_with('{'))
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let panics: Vec<_> = lines.iter().map(|line| line["panic"].as_str()).collect();
        let expected = ["of two\nlines", "the last one", "another on its way out"];
        assert!(panics.starts_with(&expected.map(Some)), "{said}");
        assert_eq!(lines[0]["thread"], "clumsy");
        assert_eq!(lines[0]["level"], "ERROR");
        let location = lines[0]["location"].as_str().expect("known");
        assert!(location.starts_with(file!()), "{location}");
        assert!(!said.contains("panicked at"), "no bare text: {said}");
        assert!(!output.status.success());
    }
}
