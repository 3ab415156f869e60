//! The demo as it goes: a live view on a terminal, a line a second elsewhere.
//!
//! The view is drawn in place and never takes the keyboard, so that Ctrl-C works as always and
//! there is nothing to restore but the cursor, which its drop does.

use std::io::{IsTerminal, Stdout, stdout};
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Constraint, Layout, Position};
use ratatui::style::{Color, Style};
use ratatui::text::Line;
use ratatui::widgets::Gauge;
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};

use super::setup::mib;
use crate::cli::print;

const HEIGHT: u16 = 5;

/// Everything at one moment.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) at: Duration,
    pub(super) of: Duration,
    pub(super) requests_bytes: u64,
    pub(super) target_bytes: u64,
    /// What a full bar means.
    pub(super) scale_bytes: u64,
    /// Absent without weir.
    pub(super) permits: Option<u64>,
    pub(super) in_flight: Option<u64>,
    pub(super) queued: Option<u64>,
    pub(super) sent: u64,
    pub(super) ok: u64,
    pub(super) rejected: u64,
    pub(super) failed: u64,
}

impl Snapshot {
    fn over(&self) -> bool {
        self.requests_bytes > self.target_bytes
    }

    fn memory(&self) -> String {
        let over = if self.over() { "  OVER" } else { "" };
        format!(
            "{} of {}{over}",
            mib(self.requests_bytes),
            mib(self.target_bytes)
        )
    }

    fn flow(&self) -> String {
        let number = |value: Option<u64>| value.map_or("-".into(), |value| value.to_string());
        let of_permits = self
            .permits
            .map_or(String::new(), |permits| format!("/{permits}"));
        format!(
            "in flight {}{of_permits}   queued {}",
            number(self.in_flight),
            number(self.queued)
        )
    }

    fn counts(&self) -> String {
        format!(
            "sent {}   served {}   rejected {}   failed {}",
            self.sent, self.ok, self.rejected, self.failed
        )
    }
}

/// Where the progress of one half goes.
pub(super) struct View {
    title: &'static str,
    output: Output,
}

enum Output {
    Live(Box<Live>),
    /// With the seconds that have been printed.
    Lines(Option<u64>),
}

impl View {
    /// On a terminal that can tell where its cursor is, a live view.
    pub(super) fn open(title: &'static str) -> Self {
        let live = stdout().is_terminal().then(Live::open).flatten();
        let output = live.map_or(Output::Lines(None), |live| Output::Live(Box::new(live)));
        Self { title, output }
    }

    pub(super) fn show(&mut self, snapshot: &Snapshot) {
        match &mut self.output {
            Output::Live(live) => {
                // A terminal that went away takes the view with it, not the measurement.
                if live
                    .terminal
                    .draw(|frame| draw(frame, self.title, snapshot))
                    .is_err()
                {
                    self.output = Output::Lines(None);
                }
            }
            Output::Lines(printed) => {
                let second = snapshot.at.as_secs();
                if *printed != Some(second) {
                    *printed = Some(second);
                    print::out(line(self.title, snapshot));
                }
            }
        }
    }
}

struct Live {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Live {
    fn open() -> Option<Self> {
        let options = TerminalOptions {
            viewport: Viewport::Inline(HEIGHT),
        };
        let terminal = Terminal::with_options(CrosstermBackend::new(stdout()), options).ok()?;
        Some(Self { terminal })
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let area = self.terminal.get_frame().area();
        let below = Position::new(0, area.bottom().saturating_sub(1));
        // Nothing can be done for a terminal that is gone.
        let _ = self.terminal.set_cursor_position(below);
        let _ = self.terminal.show_cursor();
        print::out("");
    }
}

fn line(title: &str, snapshot: &Snapshot) -> String {
    format!(
        "{title:<13} {:>2} s   memory {}   {}   {}",
        snapshot.at.as_secs(),
        snapshot.memory(),
        snapshot.flow(),
        snapshot.counts()
    )
}

fn draw(frame: &mut Frame<'_>, title: &str, snapshot: &Snapshot) {
    let [head, memory, mark, flow, counts] =
        Layout::vertical([Constraint::Length(1); HEIGHT as usize]).areas(frame.area());
    let at = snapshot.at.min(snapshot.of).as_secs();
    let head_text = format!("{title}: {at} of {} s", snapshot.of.as_secs());
    frame.render_widget(Line::styled(head_text, Style::new().bold()), head);

    let color = if snapshot.over() {
        Color::Red
    } else {
        Color::Green
    };
    let scale = snapshot.scale_bytes.max(1) as f64;
    let ratio = (snapshot.requests_bytes as f64 / scale).min(1.0);
    let bar = Gauge::default()
        .ratio(ratio)
        .label(snapshot.memory())
        .gauge_style(Style::new().fg(color));
    frame.render_widget(bar, memory);

    let share =
        snapshot.target_bytes.saturating_mul(u64::from(mark.width)) / snapshot.scale_bytes.max(1);
    let indent = usize::try_from(share).unwrap_or(0);
    frame.render_widget(Line::raw(format!("{:indent$}^ target", "")), mark);
    frame.render_widget(Line::raw(snapshot.flow()), flow);
    frame.render_widget(Line::raw(snapshot.counts()), counts);
}

#[cfg(test)]
mod tests {
    use ratatui::backend::TestBackend;

    use super::*;

    fn snapshot(requests_mib: u64) -> Snapshot {
        Snapshot {
            at: Duration::from_millis(3_400),
            of: Duration::from_secs(10),
            requests_bytes: requests_mib << 20,
            target_bytes: 192 << 20,
            scale_bytes: 960 << 20,
            permits: Some(38),
            in_flight: Some(38),
            queued: Some(17),
            sent: 900,
            ok: 200,
            rejected: 600,
            failed: 0,
        }
    }

    fn drawn(snapshot: &Snapshot) -> String {
        let mut terminal = Terminal::new(TestBackend::new(60, HEIGHT)).expect("a terminal");
        terminal
            .draw(|frame| draw(frame, "with weir", snapshot))
            .expect("drawn");
        terminal.backend().to_string()
    }

    #[test]
    fn the_live_view_shows_memory_permits_queue_and_rejects() {
        let drawn = drawn(&snapshot(150));
        for part in [
            "with weir: 3 of 10 s",
            "150 MiB of 192 MiB",
            "in flight 38/38",
            "queued 17",
            "rejected 600",
        ] {
            assert!(drawn.contains(part), "{part} in\n{drawn}");
        }
        assert!(!drawn.contains("OVER"), "{drawn}");
        // A fifth of 60 columns.
        assert!(drawn.contains(&format!("\"{:12}^ target", "")), "{drawn}");
    }

    #[test]
    fn memory_above_the_target_is_said_even_beyond_the_scale() {
        assert!(drawn(&snapshot(5_000)).contains("OVER"));
    }

    #[test]
    fn a_line_holds_the_same() {
        let line = line("with weir", &snapshot(150));
        assert!(
            line.contains("150 MiB of 192 MiB") && line.contains("rejected 600"),
            "{line}"
        );
    }
}
