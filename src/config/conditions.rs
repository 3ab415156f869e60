//! Reads the conditions of a route: paths, methods, fields, gRPC names.

use super::problem::quoted;
use super::reader::Complaint;
use crate::admission::route::{FieldTest, Glob, GlobError, PathRule};

type Parsed<T> = Result<T, Complaint>;

/// Longer than any path that an application has.
const PATH_MAX: usize = 1024;

/// A path, as `path` has it.
pub(super) fn exact(text: &str) -> Parsed<PathRule> {
    // `OPTIONS *` asks about the server as a whole.
    if text != "*" {
        plain_path(text, "path")?;
    }
    Ok(PathRule::Exact(text.into()))
}

/// A path and what is below it, as `path_prefix` has it.
pub(super) fn prefix(text: &str) -> Parsed<PathRule> {
    plain_path(text, "path_prefix")?;
    Ok(PathRule::Prefix(text.into()))
}

/// A pattern, as `path_glob` has it.
pub(super) fn glob(text: &str) -> Parsed<PathRule> {
    if !text.starts_with(['/', '*']) {
        return Err(no_slash(text));
    }
    path_chars(text)?;
    Glob::new(text)
        .map(PathRule::Glob)
        .map_err(|wrong| match wrong {
            GlobError::NoWildcard => Complaint::new(
                format!("{} has no wildcard", quoted(text)),
                "write it as path or path_prefix; in a pattern, * is any run of characters but /, \
                 and ** is any run at all",
            ),
            GlobError::TooLong => Complaint::new(
                format!("{} is too long", quoted(text)),
                format!(
                    "write at most {} characters from the first * to the last",
                    Glob::LONGEST
                ),
            ),
        })
}

fn plain_path(text: &str, key: &str) -> Parsed<()> {
    if !text.starts_with('/') {
        return Err(no_slash(text));
    }
    if text.contains('*') {
        return Err(Complaint::new(
            format!("{} has a *, which means nothing in {key}", quoted(text)),
            "write it as path_glob, where * is any run of characters but /, and ** is any run at \
             all; or use path_prefix, without the *",
        ));
    }
    path_chars(text)
}

fn no_slash(text: &str) -> Complaint {
    Complaint::new(
        format!("{} does not begin with a slash", quoted(text)),
        "write the path as it is in the request line, without scheme and host, such as \"/upload\"",
    )
}

fn path_chars(text: &str) -> Parsed<()> {
    let remedy = "write the path as clients send it: without ? and what follows, and with every \
                  other character than those of ASCII as %XX";
    if text.len() > PATH_MAX {
        return Err(Complaint::new(
            format!("{} has more than {PATH_MAX} characters", quoted(text)),
            "write a shorter path_prefix",
        ));
    }
    match text
        .chars()
        .find(|c| !c.is_ascii_graphic() || "?#".contains(*c))
    {
        Some('?') => Err(Complaint::new(
            format!("{} has a query, which routes do not look at", quoted(text)),
            remedy,
        )),
        Some(_) => Err(Complaint::new(
            format!("{} has a character that no path has", quoted(text)),
            remedy,
        )),
        None => Ok(()),
    }
}

/// A service, or a method of one, as the path that a call of it has.
pub(super) fn grpc(text: &str) -> Parsed<PathRule> {
    let is_name = |name: &str| {
        let mut parts = name.split('.');
        parts.all(|part| {
            let starts = part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            starts && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    };
    let (service, method) = match text.split_once('/') {
        Some((service, method)) => (service, Some(method)),
        None => (text, None),
    };
    if text.len() > PATH_MAX || !is_name(service) || method.is_some_and(|name| !is_name(name)) {
        return Err(Complaint::new(
            format!(
                "{} is neither a gRPC service nor a method of one",
                quoted(text)
            ),
            "write the service with its package, such as \"shop.v1.Orders\", or with a method, \
             such as \"shop.v1.Orders/List\"",
        ));
    }
    Ok(match method {
        Some(_) => PathRule::Exact(format!("/{text}").into()),
        None => PathRule::Prefix(format!("/{text}/").into()),
    })
}

/// A method. Case matters in HTTP.
pub(super) fn method(text: &str) -> Parsed<String> {
    const KNOWN: [&str; 8] = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH",
    ];
    let upper = text.to_ascii_uppercase();
    if upper != text && KNOWN.contains(&upper.as_str()) {
        return Err(Complaint::new(
            format!("{} is not how this method is written", quoted(text)),
            format!("write \"{upper}\": in HTTP, case matters"),
        ));
    }
    if upper == "CONNECT" {
        return Err(Complaint::new(
            "CONNECT is not served",
            "remove it: weir answers it with 405 before it looks at routes",
        ));
    }
    let is_token = text.len() <= 32 && is_token(text);
    if is_token {
        Ok(text.to_owned())
    } else {
        Err(Complaint::new(
            format!("{} is not a method", quoted(text)),
            "write methods such as [\"GET\", \"HEAD\"], or leave the key away for all of them",
        ))
    }
}

/// A test of a field: its name in lower case, and what its value must be.
pub(super) fn field(name: &str, text: &str) -> Parsed<(String, FieldTest)> {
    let name = field_name(name)?;
    let is_text = |c: char| c.is_ascii_graphic() || c == ' ' || c == '\t';
    if !text.chars().all(is_text) || text.trim() != text {
        return Err(Complaint::new(
            "no value of a field is like this",
            "use visible ASCII, and spaces only inside",
        ));
    }
    let condition = match text.strip_suffix('*') {
        Some("") => FieldTest::Present,
        Some(begin) => FieldTest::Begins(begin.into()),
        None => FieldTest::Is(text.into()),
    };
    Ok((name, condition))
}

/// The name of a field, in lower case.
pub(super) fn field_name(text: &str) -> Parsed<String> {
    if text.starts_with(':') {
        return Err(Complaint::new(
            format!(
                "{} is no field, but HTTP/2's form of another condition",
                quoted(text)
            ),
            "use path, methods, or the field host",
        ));
    }
    if text.is_empty() || text.len() > 128 || !is_token(text) {
        return Err(Complaint::new(
            format!("{} is not the name of a field", quoted(text)),
            "use letters, digits and hyphens, such as x-tenant-id",
        ));
    }
    Ok(text.to_ascii_lowercase())
}

fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_tchar)
}
