"""Rows about hosts and targets, and about fields that end at a proxy."""

import socket

from raw import get, post
from talk import passed, refused, showing


def line(target, *fields, method="GET", version="HTTP/1.1", host="weir.test"):
    return "\r\n".join([f"{method} {target} {version}", *([f"Host: {host}"] if host is not None else []), *fields, "", ""])


def host_and_target(got):
    return f"{got.method} {got.target[:60]}, Host {' + '.join(got.field('host')) or 'none'}"


def host(name, value, want, promise, **more):
    return showing(name, line("/h", host=value), host_and_target, want, promise, **more)


def target(name, sent, want, promise="passed on byte for byte", **more):
    return showing(name, line(sent, **more.pop("line", {})), host_and_target, want, promise, **more)


def hosts():
    yield refused("no Host on HTTP/1.1", line("/h", host=None))
    yield refused("two Host lines", line("/h", "Host: other.test"))
    yield refused("two equal Host lines", line("/h", "Host: weir.test"))
    for value in ("a@b.test", "a.test/b", "a.test?b", "a.test#b", "a b.test", "a.test, b.test", "a.test:x", "a.test:99999",
                  "a.test\\b", "[::1", "a%00b"):
        yield refused(f"a Host of `{value}`", line("/h", host=value))
    yield host("a Host with a port", "a.test:81", "GET /h, Host a.test:81", "passed on")
    yield host("a Host of `[::1]:80`", "[::1]:80", "GET /h, Host [::1]:80", "passed on")
    yield passed("an empty Host", line("/h", host=""),
                 lambda seen: seen.refused or (seen.requests and seen.requests[0].field("host") == [""]), "passed on empty, or refused")
    yield passed("HTTP/1.0 without Host", "GET /h HTTP/1.0\r\n\r\n",
                 lambda seen: seen.statuses == [200] and len(seen.requests[0].field("host")) <= 1, "served")


def targets():
    yield target("absolute form, the same host", "http://weir.test/p?q", "GET /p?q, Host weir.test", "origin form")
    yield target("absolute form, another host", "http://a.test:81/p?q", "GET /p?q, Host a.test:81",
                 "the target's authority wins (RFC 9112, 3.2.2), or refused",
                 bad=("GET /p?q, Host weir.test",))
    yield refused("absolute form with user information", line("http://u:p@a.test/"))
    yield refused("absolute form without a host", line("http:///p"))
    yield refused("absolute form with another scheme", line("ftp://a.test/p"))
    yield refused("CONNECT", line("a.test:443", method="CONNECT"), status=(400, 405))
    yield refused("CONNECT with a path", line("/p", method="CONNECT"), status=(400, 405))
    yield target("OPTIONS *", "*", "OPTIONS *, Host weir.test", "passed on", line={"method": "OPTIONS"})
    yield refused("GET *", line("*"))
    yield refused("a target without a slash", line("p"))
    yield refused("a target that begins with `@`", line("@a.test/p"))
    yield target("a doubled slash, dots and escapes", "//a/../%2e//;b?c=//%2F", "GET //a/../%2e//;b?c=//%2F, Host weir.test")
    yield target("a host in the path", "/http://a.test/", "GET /http://a.test/, Host weir.test")
    yield target("a `%` at the end", "/a%", "GET /a%, Host weir.test")
    yield refused("a fragment", line("/a#b"))
    yield refused("a backslash", line("\\a"))
    yield passed("UTF-8 in the path", line("/ä".encode().decode("latin-1")),
                 lambda seen: seen.refused or (seen.requests and seen.requests[0].target == "/ä".encode().decode("latin-1")),
                 "byte for byte, or refused")
    yield refused("a target of 100 KB", line("/" + "x" * 100_000), status=(414, 431, 400))
    yield refused("a field of 100 KB", line("/", "X-A: " + "x" * 100_000), status=(431, 400))
    yield refused("150 fields", line("/", *(f"X-{n}: {n}" for n in range(150))), status=(431, 400))


HOST_ROWS = [*hosts(), *targets()]


def said(*names):
    """A view of these fields at the backend."""

    def view(got):
        shown = []
        for name in names:
            values = got.field(name)
            shown.append(f"{name}: {' + '.join(values)}" if values else f"no {name}")
        return "; ".join(shown)

    return view


def is_own(address):
    """Whether it is this machine's, which is where the clients are: Envoy says that of a client on
    loopback."""
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
            return True
        except OSError:
            return False


def forwarded(got):
    """For whom it is asked; a list is a list on one line or on several."""
    said = [address.strip() for value in got.field("x-forwarded-for") for address in value.split(",")]
    if said and is_own(said[-1]):
        said[-1] = "the client"
    return f"for {', '.join(said)}" if said else "for nobody"


def fields():
    yield showing("a field that Connection names", get("/", "Connection: X-Foo, keep-alive", "X-Foo: 1", "X-Bar: 2"),
                  said("X-Foo", "X-Bar"), "no X-Foo; X-Bar: 2", "goes, others stay", bad=("X-Foo: 1; X-Bar: 2",))
    yield showing("a field that a second Connection line names", get("/", "Connection: keep-alive", "Connection: X-Foo", "X-Foo: 1"),
                  said("X-Foo"), "no X-Foo", "goes", bad=("X-Foo: 1",))
    yield showing("Connection names X-Forwarded-For", get("/", "Connection: X-Forwarded-For", "X-Forwarded-For: 198.51.100.1"),
                  forwarded, "for 198.51.100.1, the client", "stays: who asks cannot be hidden",
                  bad=("for nobody", "for the client"))
    yield showing("Connection names Authorization and Cookie", get("/", "Connection: Authorization, Cookie", "Authorization: a", "Cookie: b=c"),
                  said("Authorization", "Cookie"), "Authorization: a; Cookie: b=c", "both stay")
    yield showing("Connection names Content-Length", post("/", b"abc", "Connection: Content-Length"),
                  str, "POST / (length 3)", "stays")
    yield showing("Connection names Host", get("/", "Connection: Host"), said("Host"), "Host: weir.test", "stays", bad=("no Host",))
    yield showing("Keep-Alive and Proxy-Connection", get("/", "Keep-Alive: timeout=9", "Proxy-Connection: keep-alive"),
                  said("Keep-Alive", "Proxy-Connection"), "no Keep-Alive; no Proxy-Connection", "both go")
    yield showing("TE: gzip", get("/", "Connection: TE", "TE: gzip"), said("TE"), "no TE", "goes")
    yield showing("TE: trailers", get("/", "Connection: TE", "TE: trailers"), said("TE"), "TE: trailers", "stays: gRPC needs it")
    yield showing("X-Forwarded-For on two lines", get("/", "X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: 198.51.100.2"),
                  forwarded, "for 198.51.100.1, 198.51.100.2, the client", "kept in order, the client's address last",
                  bad=("for 198.51.100.1, the client", "for 198.51.100.2, the client"))
    yield passed("Expect: 100-continue and its body", post("/", b"abc", "Expect: 100-continue"),
                 lambda seen: seen.statuses == [200] and not seen.requests[0].field("expect"), "ends at the proxy; 100, then served")
    yield passed("HEAD", get("/", method="HEAD"), "HEAD / (no body)", "no body comes", method="HEAD")
    yield passed("Upgrade: h2c", get("/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
                 lambda seen: seen.statuses == [200] and not seen.requests[0].field("upgrade") and not seen.requests[0].field("http2-settings"),
                 "stripped, served as HTTP/1.1")


FIELD_ROWS = list(fields())
