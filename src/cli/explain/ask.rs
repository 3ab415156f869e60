//! The request that `--explain` names, written as curl has it.

use std::net::{IpAddr, Ipv4Addr};

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Method, Request, request};

use crate::admission::classify::{BodyLength, number};
use crate::proxy::is_grpc;

/// A request that nobody sends.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(super) head: request::Parts,
    pub(super) body: BodyLength,
    pub(super) peer: IpAddr,
}

/// What stands on the line, as far as it is read.
#[derive(Default)]
struct Typed {
    method: Option<String>,
    target: Option<String>,
    fields: Vec<(HeaderName, HeaderValue)>,
    data: Option<BodyLength>,
    peer: Option<IpAddr>,
}

const FORM: &str = "write METHOD PATH [-H 'NAME: VALUE']… [-d DATA | --data-length BYTES] [--peer \
                    ADDRESS], or grpc SERVICE/METHOD …, such as 'POST /upload -H x-tier:gold \
                    --data-length 5000000'";

/// Reads the line; the error says what is wrong, and what to write.
pub(crate) fn parse(line: &str) -> Result<Ask, String> {
    let mut typed = Typed::default();
    let mut words = words(line)?.into_iter();
    while let Some(word) = words.next() {
        let mut value = |of: &str| {
            let value = words.next();
            value.ok_or_else(|| format!("{of} has no value after it; {FORM}"))
        };
        match word.as_str() {
            "-H" | "--header" => typed.fields.push(field(&value(&word)?)?),
            "-X" | "--request" => typed.set_method(value(&word)?)?,
            "-d" | "--data" => typed.set_data(BodyLength::Known(value(&word)?.len() as u64))?,
            "--data-length" => typed.set_data(length(&value(&word)?)?)?,
            "--peer" => {
                let text = value(&word)?;
                let wrong =
                    || format!("--peer {text:?} is no IP address; write one, such as 10.1.2.3");
                typed.peer = Some(text.parse().map_err(|_| wrong())?);
            }
            _ => match word.strip_prefix("-H") {
                Some(text) => typed.fields.push(field(text)?),
                None if word.starts_with('-') => {
                    return Err(format!("{word:?} is no option here; {FORM}"));
                }
                None => typed.positional(word)?,
            },
        }
    }
    typed.finish()
}

impl Typed {
    /// The method, then the target; the target alone means GET, or POST with data.
    fn positional(&mut self, word: String) -> Result<(), String> {
        let is_target = word.contains('/') || word == "*" || self.method.is_some();
        match (is_target, &self.target) {
            (false, None) => self.set_method(word),
            (true, None) => {
                self.target = Some(word);
                Ok(())
            }
            (_, Some(target)) => Err(format!(
                "{word:?} stands behind the path {target:?}, where only options can; {FORM}"
            )),
        }
    }

    fn set_method(&mut self, method: String) -> Result<(), String> {
        match self.method.replace(method) {
            None => Ok(()),
            Some(before) => Err(format!("there are two methods, {before:?} is one; {FORM}")),
        }
    }

    fn set_data(&mut self, data: BodyLength) -> Result<(), String> {
        match self.data.replace(data) {
            None => Ok(()),
            Some(_) => Err("the body is given twice; write one of -d and --data-length".to_owned()),
        }
    }

    fn finish(mut self) -> Result<Ask, String> {
        let target = self
            .target
            .take()
            .ok_or(format!("it names no path; {FORM}"))?;
        let method = self.method.take();
        let is_call = method
            .as_deref()
            .is_some_and(|method| method.eq_ignore_ascii_case("grpc"));
        let target = if is_call {
            call(&target)?
        } else {
            origin(&target)?
        };
        let method = match method {
            Some(_) if is_call => Method::POST,
            Some(method) => method
                .parse()
                .map_err(|_| format!("{method:?} is not a method; {FORM}"))?,
            None if self.data.is_some() => Method::POST,
            None => Method::GET,
        };
        let request = Request::builder().method(method).uri(&target).body(());
        let wrong =
            |_| format!("{target:?} is not a path; write it as clients send it, such as /upload");
        let (mut head, ()) = request.map_err(wrong)?.into_parts();
        if is_call {
            let kind = HeaderValue::from_static("application/grpc");
            head.headers.insert(CONTENT_TYPE, kind);
        }
        for (name, value) in std::mem::take(&mut self.fields) {
            if name == CONTENT_TYPE {
                head.headers.insert(name, value);
            } else {
                head.headers.append(name, value);
            }
        }
        Ok(Ask {
            body: self.body(&head)?,
            peer: self.peer.unwrap_or(Ipv4Addr::LOCALHOST.into()),
            head,
        })
    }

    /// By the options, else by the fields, else none; calls are streams.
    fn body(&self, head: &request::Parts) -> Result<BodyLength, String> {
        let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
        let said = lengths.next().map(|value| {
            let known = number(value.as_bytes()).map(BodyLength::Known);
            known.ok_or_else(|| format!("the content-length {value:?} is not a number of bytes"))
        });
        let said = said.transpose()?;
        let is_chunked = head.headers.contains_key(TRANSFER_ENCODING);
        if lengths.next().is_some() || (said.is_some() && (is_chunked || self.data.is_some())) {
            return Err(
                "the length of the body is given twice; weir refuses such a request with 400, \
                        before it looks at routes"
                    .to_owned(),
            );
        }
        let unsaid = match () {
            () if is_chunked || is_grpc(&head.headers) => BodyLength::Unknown,
            () => BodyLength::Known(0),
        };
        Ok(said.or(self.data).unwrap_or(unsaid))
    }
}

fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| format!("the header {text:?} has no colon; write -H 'x-tier: gold'"))?;
    let parsed = name
        .trim()
        .parse()
        .map_err(|_| format!("{name:?} is not the name of a header; write -H 'x-tier: gold'"))?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| {
        format!("the value of the header {name:?} has characters that none can have")
    })?;
    Ok((parsed, value))
}

fn length(text: &str) -> Result<BodyLength, String> {
    match (text, number(text.as_bytes())) {
        ("unknown", _) => Ok(BodyLength::Unknown),
        (_, Some(bytes)) => Ok(BodyLength::Known(bytes)),
        (_, None) => Err(format!(
            "--data-length {text:?} is not a number of bytes; write one, or \"unknown\" for a \
             chunked body"
        )),
    }
}

/// A path, or the path of a whole URL.
fn origin(target: &str) -> Result<String, String> {
    if target.starts_with('/') || target == "*" || target.contains("://") {
        Ok(target.to_owned())
    } else {
        Err(format!(
            "the path {target:?} does not begin with a slash; {FORM}"
        ))
    }
}

/// The path of a gRPC call.
fn call(target: &str) -> Result<String, String> {
    let name = target.trim_start_matches('/');
    let parts = name.split('/').filter(|part| !part.is_empty()).count();
    if parts == 2 && name.matches('/').count() == 1 {
        Ok(format!("/{name}"))
    } else {
        Err(format!(
            "{target:?} is no gRPC method; write grpc and the service with its package and the \
             method, such as 'grpc shop.v1.Orders/List'"
        ))
    }
}

/// Words as a shell has them: spaces part them, quotes keep them together.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' => words.extend(word.take()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some(end) if end == c => break,
                        Some(inner) => word.push(inner),
                        None => return Err(format!("a quote ({c}) is opened and not closed")),
                    }
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask(line: &str) -> Ask {
        parse(line).unwrap_or_else(|wrong| panic!("{line}: {wrong}"))
    }

    #[test]
    fn a_line_is_read_as_curl_reads_it() {
        let known = BodyLength::Known;
        for (line, method, path, body) in [
            ("GET /x", "GET", "/x", known(0)),
            ("/x?a=b", "GET", "/x", known(0)),
            ("DELETE http://app.example/x", "DELETE", "/x", known(0)),
            ("OPTIONS *", "OPTIONS", "*", known(0)),
            ("/x -d 'a b'", "POST", "/x", known(3)),
            ("-X PUT /x --data-length 5000", "PUT", "/x", known(5000)),
            (
                "POST /x --data-length unknown",
                "POST",
                "/x",
                BodyLength::Unknown,
            ),
            ("POST /x -H 'Content-Length: 7'", "POST", "/x", known(7)),
            (
                "POST /x -Htransfer-encoding:chunked",
                "POST",
                "/x",
                BodyLength::Unknown,
            ),
            ("grpc a.B/C", "POST", "/a.B/C", BodyLength::Unknown),
            ("gRPC /a.B/C --data-length 9", "POST", "/a.B/C", known(9)),
        ] {
            let ask = ask(line);
            assert_eq!(ask.head.method, method, "{line}");
            assert_eq!(ask.head.uri.path(), path, "{line}");
            assert_eq!(ask.body, body, "{line}");
            assert_eq!(is_grpc(&ask.head.headers), line.starts_with('g'), "{line}");
            assert!(ask.peer.is_loopback());
        }
        let ask = ask("GET /x -H \"X-A:  b c \" -H x-a:d --peer 203.0.113.7");
        let values: Vec<_> = ask.head.headers.get_all("x-a").iter().collect();
        assert_eq!(values, ["b c", "d"]);
        assert_eq!(ask.peer.to_string(), "203.0.113.7");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, part) in [
            ("", "no path"),
            ("GET", "no path"),
            ("GET x", "does not begin with a slash"),
            ("GET /x /y", "behind the path"),
            ("GET POST /x", "behind the path \"POST\""),
            ("GET /x -X POST", "two methods"),
            ("GET /x -H", "-H has no value"),
            ("GET /x -H x-a", "no colon"),
            ("GET /x -H 'a b: c'", "\"a b\" is not the name"),
            ("GET /x -k", "\"-k\" is no option"),
            ("G(T /x", "\"G(T\" is not a method"),
            ("GET /x --data-length 5k", "\"5k\" is not a number"),
            ("GET /x -d a --data-length 1", "given twice"),
            ("GET /x -d a -H content-length:1", "given twice"),
            ("GET /x -H content-length:a", "not a number of bytes"),
            ("GET /x --peer home", "no IP address"),
            ("grpc a.B", "no gRPC method"),
            ("GET '/x", "not closed"),
        ] {
            let wrong = parse(line).expect_err(line);
            assert!(wrong.contains(part), "{line}: {wrong}");
        }
    }
    proptest! {
        #[test]
        fn no_line_makes_it_panic(
            text in "\\PC{0,40}",
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "GET", "grpc", "/x", "a.B/C", "-H", "x:y", "-d", "--data-length", "7", "--peer",
                    "::1", "'", "-X", "*", "http://a", "http://a/%zz", "-Hcontent-length:1", "/\u{e9}",
                ]),
                0..8,
            ),
        ) {
            let _ = parse(&text);
            let _ = parse(&words.join(" "));
        }
    }
}
