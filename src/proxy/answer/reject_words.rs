//! What a reject says: the constant texts of each reason.

use http::HeaderValue;

use crate::admission::RejectReason;

/// The constant texts of one reject reason. A value made of a text is a look at each of its bytes:
/// the compiler does that here.
pub(in crate::proxy) struct RejectWords {
    pub(in crate::proxy) label: HeaderValue,
    pub(in crate::proxy) detail: HeaderValue,
    pub(in crate::proxy) text: &'static str,
    pub(in crate::proxy) json: &'static str,
    pub(in crate::proxy) proxy_status: HeaderValue,
}

/// One row for each reason: its label, the error of `Proxy-Status` (RFC 9209, section 2.3), and what
/// it says in words.
macro_rules! reject_words {
    ($($reason:ident $label:literal $error:literal $detail:literal;)*) => {
        impl RejectWords {
            /// The words of a reason.
            pub(in crate::proxy) fn of(reason: RejectReason) -> &'static Self {
                match reason {
                    $(RejectReason::$reason => {
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
                    })*
                }
            }
        }
    };
}

reject_words! {
    NoPermit "no_permit" "connection_limit_reached"
        "the backend has no room for another request";
    QueueDepth "queue_depth" "connection_limit_reached"
        "too many requests are waiting";
    QueueBytes "queue_bytes" "connection_limit_reached"
        "the waiting requests take too much memory";
    QueueWait "queue_wait" "connection_limit_reached"
        "no room came free in time";
    Expired "expired" "connection_limit_reached"
        "the deadline passed before there was room";
    Doomed "doomed" "connection_limit_reached"
        "the deadline would pass before an answer";
    Codel "codel" "connection_limit_reached"
        "the queue does not empty, and it waited longer than others had to";
    ClassShare "class_share" "connection_limit_reached"
        "more important requests need the room";
    TenantShare "tenant_share" "connection_limit_reached"
        "this tenant has its share of the queue";
    TenantRate "tenant_rate" "http_request_denied"
        "this tenant sends more per second than it may";
    RetryBudget "retry_budget" "connection_limit_reached"
        "there have been enough retries";
    Oversize "oversize" "http_request_denied"
        "the request costs more than the whole budget";
    Draining "draining" "destination_unavailable"
        "this instance is shutting down";
    Internal "internal" "proxy_internal_error"
        "admission is broken by a bug";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_label() {
        for reason in RejectReason::ALL {
            assert_eq!(RejectWords::of(reason).label, reason.label());
        }
    }
}
