//! From the typed keys to the settings of each room, table by table.
//!
//! Every key of a table is read before any of them is missed, so that all problems are found.

use std::time::Duration;

use super::Machine;
use super::parse::{self, HOUR, Round};
use super::problem::Problem;
use super::reader::{Complaint, Reader};
use crate::admin;
use crate::admission::{Decimal, RetryLimits};
use crate::gate::Mode;
use crate::lifecycle::DrainSettings;
use crate::proxy::{
    CancelGrace, EnvoyField, Limits, Reject, RetryAfter, Timeouts, Trust, TunnelPermit, Upstream,
    UpstreamProtocol,
};
use crate::telemetry::{LogFormat, LogSettings};

pub(super) const MI: u64 = 1 << 20;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Descriptors for weir itself.
const RESERVED: usize = 64;

/// The HTTP library's own bound is just above.
const MAX_TARGET: u64 = 63 << 10;

pub(super) fn upstream(reader: &mut Reader) -> Option<Upstream> {
    let address = reader.read("upstream", parse::upstream);
    let protocol = reader.read("upstream_protocol", |text| {
        parse::one_of(
            text,
            &[
                ("auto", UpstreamProtocol::Auto),
                ("http1", UpstreamProtocol::Http1),
                ("http2", UpstreamProtocol::Http2),
            ],
        )
    });
    Some(Upstream {
        address: address?,
        protocol: protocol?,
    })
}

pub(super) fn workers(reader: &mut Reader, machine: &Machine) -> Option<usize> {
    let auto = machine.parallelism.clamp(1, 2);
    auto_or(reader, "workers", auto, ToString::to_string, |text| {
        parse::whole(text, &(1..=256))
    })
}

/// Whether what the gate says counts.
pub(super) fn mode(reader: &mut Reader, warnings: &mut Vec<Problem>) -> Option<Mode> {
    let choices = [("enforce", Mode::Enforce), ("shadow", Mode::Shadow)];
    let mode = reader.read("mode", |text| parse::one_of(text, &choices));
    if mode == Some(Mode::Shadow) {
        let complaint = Complaint::new(
            "nothing is refused and nothing waits: every request goes to the backend at once, which \
             is not protected; what would have been refused is only counted",
            "write \"enforce\" when the counts are what you expect",
        );
        warnings.push(reader.warning("mode", complaint));
    }
    mode
}

pub(super) fn admin(reader: &mut Reader) -> Option<admin::Settings> {
    let listen = reader.read("admin.listen", parse::address);
    let remote_control = reader.read("admin.remote_control", parse::flag);
    Some(admin::Settings {
        listen: listen?,
        remote_control: remote_control?,
    })
}

/// What one request is charged, in bytes.
pub(super) fn per_task(reader: &mut Reader, warnings: &mut Vec<Problem>) -> Option<u64> {
    let key = "memory.memory_per_task";
    if !reader.has(key) {
        reader.problem(
            key,
            Complaint::new(
                "it is not set, and it has no default",
                "measure it: the backend's RSS when idle, then its RSS under N concurrent \
                 requests; the difference divided by N, rounded up, such as \"16Mi\"",
            ),
        );
        return None;
    }
    let bytes = reader.read(key, |text| parse::bytes(text, Round::Up, &(1..=u64::MAX)))?;
    if bytes < 1024 {
        warnings.push(reader.warning(
            key,
            Complaint::new(
                format!("{bytes} bytes is less than any real request takes"),
                "check the suffix: Mi is mebibytes, m is thousandths",
            ),
        ));
    }
    Some(bytes)
}

/// The share of the target that permits are cut from.
pub(super) fn safety_factor(reader: &mut Reader) -> Option<Decimal> {
    reader.read("memory.safety_factor", parse::fraction)
}

pub(super) fn reject(reader: &mut Reader) -> Option<Reject> {
    let status = reader.read("reject.status", |text| parse::whole(text, &(400..=599_u16)));
    let grpc_status = reader.read("reject.grpc_status", |text| parse::whole(text, &(1..=16)));
    let retry_after = reader.read("reject.retry_after", |text| match text {
        "auto" => Ok(RetryAfter::Auto),
        _ => parse::seconds(text).map(RetryAfter::Fixed),
    });
    let envoy = reader.read("reject.envoy", |text| {
        let choices = [
            ("none", EnvoyField::None),
            ("overloaded", EnvoyField::Overloaded),
            ("ratelimited", EnvoyField::RateLimited),
        ];
        parse::one_of(text, &choices)
    });
    let headers = reader.entries("reject.headers", parse::reject_header);
    Some(Reject {
        status: http::StatusCode::from_u16(status?).expect("400 to 599 are status codes"),
        grpc_status: grpc_status?,
        retry_after: retry_after?,
        envoy: envoy?,
        headers: headers?,
    })
}

pub(super) fn timeouts(reader: &mut Reader) -> Option<Timeouts> {
    let mut timer = |name: &str| reader.read(&format!("timeouts.{name}"), parse::timeout);
    let tls_handshake = timer("tls_handshake");
    let sniff = timer("sniff");
    let head = timer("head");
    let body_idle = timer("body_idle");
    let connect = timer("connect");
    let response_head = timer("response_head");
    let response_idle = timer("response_idle");
    let tunnel_idle = timer("tunnel_idle");
    let write_stall = timer("write_stall");
    let keep_alive_idle = timer("keep_alive_idle");
    let h2_idle = timer("h2_idle");
    let h2_ping = reader.read("timeouts.h2_ping", |text| {
        parse::duration(text, &(Duration::from_secs(1)..=7 * DAY))
    });
    let connection_age = reader.read("timeouts.connection_age", parse::age);
    let upstream_idle = reader.read("timeouts.upstream_idle", parse::timeout);
    Some(Timeouts {
        tls_handshake: tls_handshake?,
        sniff: sniff?,
        head: head?,
        body_idle: body_idle?,
        connect: connect?,
        response_head: response_head?,
        response_idle: response_idle?,
        tunnel_idle: tunnel_idle?,
        write_stall: write_stall?,
        keep_alive_idle: keep_alive_idle?,
        h2_idle: h2_idle?,
        h2_ping: h2_ping?,
        connection_age: connection_age?,
        upstream_idle: upstream_idle?,
    })
}

pub(super) fn limits(
    reader: &mut Reader,
    machine: &Machine,
    permits: Option<u32>,
    warnings: &mut Vec<Problem>,
) -> Option<Limits> {
    let max_connections = max_connections(reader, machine, permits, warnings);
    let h2_streams = reader.read("limits.h2_streams", |text| {
        parse::whole(text, &(1..=10_000))
    });
    let header_bytes = reader.read("limits.header_bytes", |text| {
        let bytes = parse::bytes(text, Round::Down, &(8 << 10..=MI))?;
        Ok(u32::try_from(bytes).expect("at most 1Mi"))
    });
    let target_bytes = reader.read("limits.target_bytes", |text| {
        let bytes = parse::bytes(text, Round::Down, &(1 << 10..=MAX_TARGET))?;
        Ok(usize::try_from(bytes).expect("at most 63Ki"))
    });
    let header_fields = reader.read("limits.header_fields", |text| {
        parse::whole(text, &(10..=1000))
    });
    Some(Limits {
        max_connections: max_connections?,
        h2_streams: h2_streams?,
        header_bytes: header_bytes?,
        target_bytes: target_bytes?,
        header_fields: header_fields?,
    })
}

/// Never more than descriptors allow: the one that is missing would be missing on the admin port
/// as well, and a weir that is only busy would be killed for its silent liveness.
fn max_connections(
    reader: &mut Reader,
    machine: &Machine,
    permits: Option<u32>,
    warnings: &mut Vec<Problem>,
) -> Option<usize> {
    let key = "limits.max_connections";
    // As many go upstream as there are permits, and never more than come from clients.
    let upstream = permits.map_or(usize::MAX, |permits| permits as usize);
    let most = auto_connections(machine.descriptor_limit, upstream);
    let wanted = auto_or(reader, key, most, ToString::to_string, |text| {
        parse::whole(text, &(1..=1_000_000_usize))
    })?;
    let enough = |connections: usize| (connections + connections.min(upstream) + RESERVED) as u64;
    let too_low = |limit: &u64| wanted > most || *limit < enough(most);
    let Some(limit) = machine.descriptor_limit.filter(too_low) else {
        return Some(wanted);
    };
    let mut remedy = format!("raise the limit to at least {} (ulimit -n)", enough(wanted));
    if wanted > most {
        remedy = format!("{remedy}, or lower the value to {most}");
    }
    let problem = format!(
        "this process may open {limit} descriptors: no more than {most} connections are taken at \
         once, as each permit may need one towards the upstream and {RESERVED} are for weir itself"
    );
    warnings.push(reader.warning(key, Complaint::new(problem, remedy)));
    if wanted > most {
        reader.came_to(key, &format!("{most} by the descriptor limit of {limit}"));
    }
    Some(most)
}

/// The descriptors that are left after 64 for weir itself and one for each upstream connection,
/// of which there are `upstream` at most.
fn auto_connections(descriptor_limit: Option<u64>, upstream: usize) -> usize {
    let Some(limit) = descriptor_limit else {
        return 10_000;
    };
    let left = usize::try_from(limit)
        .unwrap_or(usize::MAX)
        .saturating_sub(RESERVED);
    left.saturating_sub(upstream)
        .max(left / 2)
        .clamp(1, 1_000_000)
}

pub(super) fn trust(reader: &mut Reader) -> Option<Trust> {
    let proxies = reader.list("trust.proxies", parse::networks);
    let headers = reader.list("trust.headers", parse::trusted_header);
    Some(Trust {
        proxies: proxies?,
        headers: headers?.into(),
    })
}

/// What becomes of the permit of a tunnel.
pub(super) fn tunnel_permit(reader: &mut Reader) -> Option<TunnelPermit> {
    let choices = [
        ("hold", TunnelPermit::Hold),
        ("release", TunnelPermit::Release),
    ];
    reader.read("tunnel.permit", |text| parse::one_of(text, &choices))
}

/// How many requests may be sent to the backend again.
pub(super) fn retries(reader: &mut Reader) -> Option<RetryLimits> {
    let share = reader.read("retry.budget", parse::share);
    let per_second = reader.read("retry.per_second", |text| parse::whole(text, &(0..=10_000)));
    Some(RetryLimits {
        share: share?,
        per_second: per_second?,
    })
}

/// The phases of going, and how long a permit outlives its client.
pub(super) fn drain(reader: &mut Reader) -> Option<(DrainSettings, CancelGrace)> {
    let mut timer = |name: &str, least: Duration, most: Duration| {
        reader.read(&format!("drain.{name}"), |text| {
            parse::duration(text, &(least..=most))
        })
    };
    let lame_duck = timer("lame_duck", Duration::ZERO, HOUR);
    let timeout = timer("timeout", Duration::ZERO, DAY);
    let grace = timer("grace", Duration::from_secs(1), 2 * DAY);
    let cancel_grace = auto_or(
        reader,
        "drain.cancel_grace",
        CancelGrace::Auto,
        |_| "the service time's 90th percentile less what has passed, from 0s to 30s".to_owned(),
        |text| parse::duration(text, &(Duration::ZERO..=HOUR)).map(CancelGrace::Fixed),
    );
    let drain = DrainSettings {
        lame_duck: lame_duck?,
        timeout: timeout?,
        grace: grace?,
    };
    Some((drain, cancel_grace?))
}

pub(super) fn log(reader: &mut Reader) -> Option<LogSettings> {
    let level = reader.read("log.level", parse::log_level);
    let format = reader.read("log.format", |text| {
        parse::one_of(
            text,
            &[
                ("auto", LogFormat::Auto),
                ("json", LogFormat::Json),
                ("text", LogFormat::Text),
            ],
        )
    });
    let access = reader.read("log.access", parse::flag);
    Some(LogSettings {
        level: level?,
        format: format?,
        access: access?,
    })
}

/// `auto`, whose meaning is then shown, or what `parse` reads.
pub(super) fn auto_or<T>(
    reader: &mut Reader,
    key: &str,
    auto: T,
    show: impl FnOnce(&T) -> String,
    parse_one: impl FnOnce(&str) -> Result<T, Complaint>,
) -> Option<T> {
    let read = reader.read(key, |text| match text {
        "auto" => Ok(None),
        _ => parse_one(text).map(Some).map_err(parse::or_auto),
    })?;
    if read.is_none() {
        reader.came_to(key, &show(&auto));
    }
    Some(read.unwrap_or(auto))
}
