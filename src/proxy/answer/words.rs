//! What a client is told whose request is refused: constant texts, one set for each rule.

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
