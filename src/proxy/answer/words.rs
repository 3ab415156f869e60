//! What a client is told whose request is refused: constant texts, one set for each rule that it
//! broke, and for each reason for which there is no room for it.

use http::HeaderValue;

use crate::admission::RejectReason;
use crate::telemetry::Rule;

/// The constant texts of one rule that a request broke.
pub(in crate::proxy) struct RefusalWords {
    pub(in crate::proxy) text: &'static str,
    pub(in crate::proxy) json: &'static str,
    pub(in crate::proxy) proxy_status: &'static str,
}

macro_rules! refusal_words {
    ($label:literal, $detail:literal) => {
        RefusalWords {
            text: concat!("weir: ", $detail, " (", $label, ")\n"),
            json: concat!(
                r#"{"type":"about:blank","title":"request refused","detail":""#,
                $detail,
                r#"","reason":""#,
                $label,
                r#""}"#
            ),
            proxy_status: concat!("weir; error=http_request_error; details=\"", $label, "\""),
        }
    };
}

impl RefusalWords {
    pub(in crate::proxy) fn of(rule: Rule) -> Self {
        match rule {
            Rule::Connect => refusal_words!("connect", "CONNECT is not served"),
            Rule::HeaderFields => refusal_words!("header_fields", "too many fields"),
            Rule::TargetLength => refusal_words!("target_length", "the target is too long"),
            Rule::TargetForm => refusal_words!("target_form", "the target has no form of a target"),
            Rule::TargetFragment => {
                refusal_words!("target_fragment", "the target has a fragment")
            }
            Rule::Scheme => refusal_words!("scheme", "the scheme is not http or https"),
            Rule::HostMissing => refusal_words!("host_missing", "no host is named"),
            Rule::HostRepeated => refusal_words!("host_repeated", "more than one Host"),
            Rule::HostInvalid => refusal_words!("host_invalid", "the host is not a host"),
            Rule::TransferCoding => refusal_words!(
                "transfer_coding",
                "a transfer coding other than one chunked"
            ),
            Rule::LengthBesideCoding => refusal_words!(
                "length_beside_coding",
                "Content-Length beside Transfer-Encoding"
            ),
            Rule::LengthRepeated => {
                refusal_words!("length_repeated", "more than one Content-Length")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_its_rule_in_every_text() {
        for rule in Rule::ALL {
            let words = RefusalWords::of(rule);
            let label = rule.label();
            assert!(words.text.ends_with(&format!(" ({label})\n")), "{label}");
            assert!(
                words.json.ends_with(&format!(r#""reason":"{label}"}}"#)),
                "{label}"
            );
            assert!(
                words.proxy_status.ends_with(&format!("=\"{label}\"")),
                "{label}"
            );
        }
    }
}

/// The constant texts of one reject reason. A value made of a text is a look at each of its bytes:
/// the compiler does that here.
pub(in crate::proxy) struct RejectWords {
    pub(in crate::proxy) label: HeaderValue,
    pub(in crate::proxy) detail: HeaderValue,
    pub(in crate::proxy) text: &'static str,
    pub(in crate::proxy) json: &'static str,
    pub(in crate::proxy) proxy_status: HeaderValue,
}

macro_rules! reject_words {
    ($label:literal, $detail:literal) => {
        reject_words!($label, $detail, "connection_limit_reached")
    };
    ($label:literal, $detail:literal, $error:literal) => {{
        static WORDS: RejectWords = RejectWords {
            label: HeaderValue::from_static($label),
            detail: HeaderValue::from_static(concat!("weir: ", $detail)),
            text: concat!("weir: ", $detail, " (", $label, ")\n"),
            json: concat!(
                r#"{"type":"about:blank","title":"request rejected","detail":""#,
                $detail,
                r#"","reason":""#,
                $label,
                r#""}"#
            ),
            proxy_status: HeaderValue::from_static(concat!(
                "weir; error=",
                $error,
                "; details=\"",
                $label,
                "\""
            )),
        };
        &WORDS
    }};
}

impl RejectWords {
    pub(in crate::proxy) fn of(reason: RejectReason) -> &'static Self {
        match reason {
            RejectReason::NoPermit => {
                reject_words!("no_permit", "the backend has no room for another request")
            }
            RejectReason::QueueDepth => {
                reject_words!("queue_depth", "too many requests are waiting")
            }
            RejectReason::QueueBytes => {
                reject_words!("queue_bytes", "the waiting requests take too much memory")
            }
            RejectReason::QueueWait => reject_words!("queue_wait", "no room came free in time"),
            RejectReason::Expired => {
                reject_words!("expired", "the deadline passed before there was room")
            }
            RejectReason::Doomed => {
                reject_words!("doomed", "the deadline would pass before an answer")
            }
            RejectReason::Codel => reject_words!(
                "codel",
                "the queue does not empty, and it waited longer than others had to"
            ),
            RejectReason::ClassShare => {
                reject_words!("class_share", "more important requests need the room")
            }
            RejectReason::TenantShare => {
                reject_words!("tenant_share", "this tenant has its share of the queue")
            }
            RejectReason::TenantRate => reject_words!(
                "tenant_rate",
                "this tenant sends more per second than it may",
                "http_request_denied"
            ),
            RejectReason::RetryBudget => {
                reject_words!("retry_budget", "there have been enough retries")
            }
            RejectReason::Oversize => reject_words!(
                "oversize",
                "the request costs more than the whole budget",
                "http_request_denied"
            ),
            RejectReason::Draining => reject_words!(
                "draining",
                "this instance is shutting down",
                "destination_unavailable"
            ),
            RejectReason::Internal => reject_words!(
                "internal",
                "admission is broken by a bug",
                "proxy_internal_error"
            ),
        }
    }
}
