//! Reads one value from its text. Each refusal says what is wrong and what to write instead.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::duration;
use super::problem::quoted;
use super::quantity::{self, Quantity};
use super::reader::Complaint;
use super::value::distance;
use crate::admission::Decimal;
use crate::proxy::{Network, NetworkError, UpstreamAddress};
use crate::telemetry::{LOG_LEVEL_REMEDY, log_filter};

type Parsed<T> = Result<T, Complaint>;

/// Which way a quantity that is not a whole number of bytes goes.
#[derive(Clone, Copy)]
pub(super) enum Round {
    Down,
    Up,
}

const SECOND: Duration = Duration::from_secs(1);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Fields that frame the message, or that weir writes itself.
const NOT_FOR_REJECTS: [&str; 22] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "grpc-message",
    "grpc-retry-pushback-ms",
    "grpc-status",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "proxy-status",
    "retry-after",
    "http2-settings",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "weir-reject-reason",
];

pub(super) fn address(text: &str) -> Parsed<SocketAddr> {
    text.parse().map_err(|_| {
        Complaint::new(
            "it is not an IP address and a port",
            "write both, such as 0.0.0.0:8000, 127.0.0.1:8000 or [::]:8000; names are not looked up \
             here",
        )
    })
}

pub(super) fn upstream(text: &str) -> Parsed<UpstreamAddress> {
    const FORMS: &str = "write \"http://127.0.0.1:8080\" or \"unix:/run/app.sock\"";
    if let Some(path) = text.strip_prefix("unix:") {
        // The kernel keeps 108 bytes for it, the last one a zero.
        if !path.starts_with('/') || path.len() > 107 {
            return Err(Complaint::new(
                "the path of the Unix socket is not absolute, or longer than 107 bytes",
                "write unix: and the whole path, such as unix:/run/app.sock",
            ));
        }
        return Ok(UpstreamAddress::Unix(PathBuf::from(path)));
    }
    let Some(authority) = text.strip_prefix("http://") else {
        let problem = match text.split_once("://") {
            Some(("https", _)) => "TLS towards the backend is not spoken",
            Some((_, _)) => "its scheme is unknown",
            None => "it has no scheme",
        };
        return Err(Complaint::new(problem, FORMS));
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains(['/', '?', '#', '@']) {
        return Err(Complaint::new(
            "it has more than a host and a port; requests keep the path that the client sent",
            FORMS,
        ));
    }
    if let Ok(address) = authority.parse::<SocketAddr>() {
        return match address.port() {
            0 => Err(Complaint::new("port 0 cannot be connected to", FORMS)),
            _ => Ok(UpstreamAddress::Socket(address)),
        };
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
    let port = port.parse().ok().filter(|port| *port > 0);
    let name_chars = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_name = !host.is_empty() && host.len() <= 253 && host.bytes().all(name_chars);
    match port {
        None => Err(Complaint::new(
            "its port is not a number from 1 to 65535",
            FORMS,
        )),
        Some(_) if !is_name => Err(Complaint::new(
            "its host is not a name or an address",
            FORMS,
        )),
        Some(port) => Ok(match host.parse() {
            Ok(ip) => UpstreamAddress::Socket(SocketAddr::new(ip, port)),
            Err(_) => UpstreamAddress::Name(host.to_owned(), port),
        }),
    }
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(text: &str, choices: &[(&str, T)]) -> Parsed<T> {
    if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*choice);
    }
    let lower = text.to_lowercase();
    let near = choices
        .iter()
        .map(|(name, _)| (distance(name, &lower), *name))
        .min()
        .filter(|(distance, _)| *distance <= 2);
    let names: Vec<String> = choices
        .iter()
        .map(|(name, _)| format!("\"{name}\""))
        .collect();
    let mut remedy = format!("write {}", names.join(" or "));
    if let Some((_, near)) = near {
        remedy = format!("{remedy}; did you mean \"{near}\"?");
    }
    Err(Complaint::new(
        "it is none of the words that mean something here",
        remedy,
    ))
}

pub(super) fn flag(text: &str) -> Parsed<bool> {
    text.parse()
        .map_err(|_| Complaint::new("it is neither true nor false", "write true or false"))
}

/// A whole number in a range.
pub(super) fn whole<T>(text: &str, range: &RangeInclusive<T>) -> Parsed<T>
where
    T: FromStr + PartialOrd + Display,
{
    let remedy = format!(
        "write a whole number from {} to {}",
        range.start(),
        range.end()
    );
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Complaint::new("it is not a whole number", remedy));
    }
    match text.parse::<T>() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(Complaint::new("it is out of range", remedy)),
    }
}

/// A duration in a range.
pub(super) fn duration(text: &str, range: &RangeInclusive<Duration>) -> Parsed<Duration> {
    let remedy = || {
        format!(
            "write a number with a unit, from {} to {}, such as 250ms, 1s, 1m30s or 2h",
            duration::show(*range.start()),
            duration::show(*range.end())
        )
    };
    let duration = duration::parse(text).map_err(|wrong| match wrong.as_str() {
        "it has no unit" => {
            Complaint::new(wrong, format!("add a unit, such as {text}s or {text}ms"))
        }
        _ => Complaint::new(format!("it is not a duration: {wrong}"), remedy()),
    })?;
    if range.contains(&duration) {
        Ok(duration)
    } else {
        Err(Complaint::new("it is out of range", remedy()))
    }
}

/// A timer that must be set.
pub(super) fn timeout(text: &str) -> Parsed<Duration> {
    duration(text, &(Duration::from_millis(1)..=WEEK))
}

/// A timer of at least a second, or zero for none.
pub(super) fn age(text: &str) -> Parsed<Duration> {
    let age = duration(text, &(Duration::ZERO..=WEEK))?;
    if age.is_zero() || age >= SECOND {
        Ok(age)
    } else {
        Err(Complaint::new(
            "it is out of range",
            "write 0s for no bound, or a duration from 1s to 7d",
        ))
    }
}

/// What `Retry-After` can say: whole seconds.
pub(super) fn seconds(text: &str) -> Parsed<Duration> {
    let remedy = "write \"auto\", or whole seconds from 1s to 1h";
    let seconds = duration(text, &(SECOND..=HOUR))
        .map_err(|complaint| Complaint::new(complaint.problem, remedy))?;
    match seconds.subsec_nanos() {
        0 => Ok(seconds),
        _ => Err(Complaint::new(
            "it is not a whole number of seconds",
            remedy,
        )),
    }
}

/// The same complaint where `auto` would do, too.
pub(super) fn or_auto(mut complaint: Complaint) -> Complaint {
    complaint.remedy = format!("{}; or \"auto\"", complaint.remedy);
    complaint
}

/// A quantity of bytes in a range.
pub(super) fn bytes(text: &str, round: Round, range: &RangeInclusive<u64>) -> Parsed<u64> {
    let remedy = || {
        let ends = match (*range.start(), *range.end()) {
            (0, u64::MAX) => String::new(),
            (start, u64::MAX) => format!(", at least {}", quantity::show(start)),
            (start, end) => format!(
                ", from {} to {}",
                quantity::show(start),
                quantity::show(end)
            ),
        };
        format!("write a quantity{ends}, such as 512Mi, 1.5Gi, 64M or plain bytes")
    };
    let quantity = Quantity::parse(text)
        .map_err(|wrong| Complaint::new(format!("it is not a quantity: {wrong}"), remedy()))?;
    let bytes = match round {
        Round::Down => quantity.floor(),
        Round::Up => quantity.ceil(),
    };
    match bytes {
        Some(bytes) if range.contains(&bytes) => Ok(bytes),
        Some(0) if text.ends_with('m') => Err(Complaint::new(
            "it is less than a byte: the suffix m means thousandths",
            format!("write {}Mi for mebibytes", text.trim_end_matches('m')),
        )),
        Some(0) => Err(Complaint::new("it is less than one byte", remedy())),
        Some(_) => Err(Complaint::new("it is out of range", remedy())),
        None => Err(Complaint::new("it is too large", remedy())),
    }
}

/// A decimal in (0, 1].
pub(super) fn fraction(text: &str) -> Parsed<Decimal> {
    let remedy = "write a decimal above 0 and at most 1, such as 0.8";
    let decimal: Decimal = text
        .parse()
        .map_err(|wrong| Complaint::new(format!("it is {wrong}"), remedy))?;
    if decimal.is_fraction() {
        Ok(decimal)
    } else {
        Err(Complaint::new("it is out of range", remedy))
    }
}

/// A decimal in [0, 1].
pub(super) fn share(text: &str) -> Parsed<Decimal> {
    let remedy = "write a decimal from 0 to 1, such as 0.2";
    let decimal: Decimal = text
        .parse()
        .map_err(|wrong| Complaint::new(format!("it is {wrong}"), remedy))?;
    if decimal.is_zero() || decimal.is_fraction() {
        Ok(decimal)
    } else {
        Err(Complaint::new("it is out of range", remedy))
    }
}

/// A field that every reject carries.
pub(super) fn reject_header(name: &str, value: &str) -> Parsed<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_str(name).map_err(|_| {
        Complaint::new(
            "its name is not a field name",
            "use letters, digits and hyphens, such as x-shed-by",
        )
    })?;
    if name == "retry-after" {
        return Err(Complaint::new(
            "weir writes this field itself",
            "set reject.retry_after instead",
        ));
    }
    if NOT_FOR_REJECTS.contains(&name.as_str()) {
        return Err(Complaint::new(
            "this field frames the message, or weir writes it itself",
            "remove it, or use a name of your own, such as x-shed-by",
        ));
    }
    let value = HeaderValue::from_str(value).map_err(|_| {
        Complaint::new(
            "its value has characters that a field cannot carry",
            "use visible ASCII and spaces, without line breaks",
        )
    })?;
    Ok((name, value))
}

/// Addresses, a block of them, or a name of many blocks.
pub(super) fn networks(text: &str) -> Parsed<Vec<Network>> {
    let remedy = "write addresses or blocks, such as \"10.1.2.3\", \"10.0.0.0/8\" or \"fd00::/8\", or \
                  \"private\", \"any\"; [] for none";
    match text {
        "private" => return Ok(Network::PRIVATE.to_vec()),
        "any" => return Ok(Network::ANY.to_vec()),
        _ => {}
    }
    match text.parse::<Network>() {
        Ok(network) => Ok(vec![network]),
        Err(NetworkError::Form) => Err(Complaint::new(
            format!("{} is not a block of addresses", quoted(text)),
            remedy,
        )),
        Err(NetworkError::Prefix) => Err(Complaint::new(
            format!("the prefix of {} is longer than the address", quoted(text)),
            remedy,
        )),
        Err(NetworkError::HostBits(network)) => Err(Complaint::new(
            format!("{} has bits set behind its prefix", quoted(text)),
            format!("write \"{network}\" for the whole block, or the address without a prefix"),
        )),
    }
}

/// A field that only peers which are believed may send.
pub(super) fn trusted_header(text: &str) -> Parsed<Vec<HeaderName>> {
    let name = HeaderName::from_str(text).map_err(|_| {
        Complaint::new(
            format!("{} is not a field name", quoted(text)),
            "use letters, digits and hyphens, such as x-real-ip; [] for none",
        )
    })?;
    match name.as_str() {
        "forwarded" | "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto" => {
            Err(Complaint::new(
                format!("{name} is written anew for peers that are not in trust.proxies"),
                "remove it from the list",
            ))
        }
        "host" | "content-length" | "transfer-encoding" | "connection" => Err(Complaint::new(
            format!("{name} frames or addresses the message: without it there is none"),
            "remove it from the list",
        )),
        _ => Ok(vec![name]),
    }
}

/// A level, or levels by module.
pub(super) fn log_level(text: &str) -> Parsed<String> {
    log_filter(text)
        .map(|_| text.to_owned())
        .map_err(|part| Complaint::new(format!("{part:?} is not a log level"), LOG_LEVEL_REMEDY))
}
