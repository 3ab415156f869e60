//! `weir check`: every value that is in effect, where it was given, and what it makes.

use std::fmt::{self, Write as _};
use std::process::ExitCode;

use super::explain::Explanation;
use super::{CheckArgs, print};
use crate::config::{self, Effective, Loaded, show_quantity, show_quotient};
use crate::gate::{Mode, Strategy};
use crate::proxy::{
    ClientAuth, MinVersion, QUEUED_BYTES_HTTP1, QUEUED_BYTES_HTTP2, QUEUED_BYTES_TLS,
};

/// Columns beyond this are not padded to: one long value would push every source off the screen.
const WIDEST_VALUE: usize = 40;

/// Pairs of routes that share requests, told one by one.
const OVERLAPS_TOLD: usize = 10;

/// Loads the configuration and prints it, or what it makes of some requests; 0 if it can be used,
/// else 1 and every problem.
#[must_use]
pub(super) fn check(args: &CheckArgs) -> ExitCode {
    match config::load(&args.config.sources()) {
        Ok(loaded) if !args.explain.is_empty() => {
            let config = &loaded.config;
            let all = args.explain.iter();
            let all: Vec<String> = all
                .map(|ask| Explanation { config, ask }.to_string())
                .collect();
            print::out(all.join("\n").trim_end());
            ExitCode::SUCCESS
        }
        Ok(loaded) => {
            print::out(Report(&loaded));
            ExitCode::SUCCESS
        }
        Err(problems) => {
            print::problems(&problems);
            ExitCode::from(1)
        }
    }
}

struct Report<'a>(&'a Loaded);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table(f, &self.0.effective)?;
        for warning in &self.0.warnings {
            write!(f, "\nWarning: {warning}")?;
        }
        f.write_char('\n')?;
        arithmetic(f, &self.0.config)?;
        shared_requests(f, &self.0.config.policy)?;
        f.write_str("\nThe configuration is valid.")
    }
}

fn table(f: &mut fmt::Formatter<'_>, effective: &[Effective]) -> fmt::Result {
    let widest = |text: fn(&Effective) -> &str, most: usize| {
        let widths = effective.iter().map(|one| text(one).chars().count());
        widths.filter(|width| *width <= most).max().unwrap_or(0)
    };
    let keys = widest(|one| &one.key, usize::MAX);
    let values = widest(|one| &one.value, WIDEST_VALUE);
    for Effective { key, value, source } in effective {
        writeln!(f, "{key:keys$}  {value:values$}  {source}")?;
    }
    Ok(())
}

fn arithmetic(f: &mut fmt::Formatter<'_>, config: &config::Config) -> fmt::Result {
    listener(f, config)?;
    let budget = &config.budget;
    if let config::TargetSource::File {
        fraction,
        baseline,
        content,
        ..
    } = &config.target
    {
        writeln!(
            f,
            "target memory: {content} × {fraction} − {baseline} = {} bytes",
            budget.target_memory()
        )?;
    }
    writeln!(
        f,
        "permits: {} × {} ÷ {} = {}, so {} requests run at once",
        budget.target_memory(),
        budget.safety_factor(),
        budget.memory_per_task(),
        show_quotient(budget),
        budget.permit_limit()
    )?;
    if config.rules.mode == Mode::Shadow {
        return writeln!(
            f,
            "mode: shadow; nothing waits and nothing is refused for want of room: every request \
             goes to the backend at once, and what would have been refused is counted"
        );
    }
    if config.rules.strategy == Strategy::Immediate {
        return writeln!(f, "queue: none; what gets no permit is rejected at once");
    }
    let session = config.proxy.tls.as_ref().map_or(0, |_| QUEUED_BYTES_TLS);
    let http1 = QUEUED_BYTES_HTTP1 + session;
    let holds = |each: u64| {
        let by_bytes = config.rules.max_bytes / each;
        match config.rules.max_depth {
            0 => by_bytes,
            depth => by_bytes.min(u64::from(depth)),
        }
    };
    writeln!(
        f,
        "queue: {} bytes ({}) hold up to {} requests on HTTP/1.1 ({} KiB each) or {} on HTTP/2 \
         ({} KiB each){}",
        config.rules.max_bytes,
        show_quantity(config.rules.max_bytes),
        holds(http1),
        http1 >> 10,
        holds(QUEUED_BYTES_HTTP2),
        QUEUED_BYTES_HTTP2 >> 10,
        match config.rules.max_depth {
            0 => String::new(),
            depth => format!(", queue.max_depth = {depth} included"),
        }
    )
}

/// Routes that both take some requests: often meant, but one should know who gets them.
fn shared_requests(f: &mut fmt::Formatter<'_>, policy: &config::Policy) -> fmt::Result {
    let pairs = policy.classifier.routes().overlaps();
    for pair in pairs.iter().take(OVERLAPS_TOLD) {
        let (earlier, later) = (pair.earlier + 1, pair.later + 1);
        writeln!(
            f,
            "routes: some requests fit both route[{earlier}] and route[{later}]; route[{earlier}] \
             gets them"
        )?;
    }
    match pairs.len().saturating_sub(OVERLAPS_TOLD) {
        0 => Ok(()),
        more => writeln!(f, "routes: … and {more} more pairs that share requests"),
    }
}

/// Who may connect, and how.
fn listener(f: &mut fmt::Formatter<'_>, config: &config::Config) -> fmt::Result {
    let Some(tls) = &config.proxy.tls else {
        return writeln!(f, "clients: HTTP/1.1 and HTTP/2 without TLS");
    };
    let versions = match tls.min_version {
        MinVersion::Tls12 => "1.2 and 1.3",
        MinVersion::Tls13 => "1.3",
    };
    let certificates = match tls.client_auth {
        ClientAuth::None => "clients are not asked for a certificate",
        ClientAuth::Optional => "a certificate of the client is verified if there is one",
        ClientAuth::Required => "no client is let in without a verified certificate",
    };
    writeln!(
        f,
        "clients: TLS {versions}, h2 and http/1.1 by ALPN; {certificates}"
    )
}
