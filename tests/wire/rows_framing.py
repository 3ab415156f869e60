"""Rows about where a request ends: lengths, codings, chunks, line ends, and what is behind them."""

from raw import get
from talk import passed, refused

TWIN = b"GET /twin HTTP/1.1\r\nHost: twin.test\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked"


def head(*fields, method="POST", version="HTTP/1.1", target="/f"):
    lines = [f"{method} {target} {version}", "Host: weir.test", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def lengths():
    yield refused("Content-Length before chunked (CL.TE)", head("Content-Length: 4", CHUNKED) + b"0\r\n\r\n" + TWIN)
    yield refused("chunked before Content-Length (TE.CL)", head(CHUNKED, "Content-Length: 5") + b"0\r\n\r\n" + TWIN)
    yield refused("Content-Length: 0 beside chunked (0.TE)", head("Content-Length: 0", CHUNKED) + b"0\r\n\r\n" + TWIN)
    yield refused("a large Content-Length beside chunked", head("Content-Length: 45", CHUNKED) + b"0\r\n\r\n" + TWIN)
    equal = ("Content-Length: 3", "Content-Length: 3")
    yield refused("two equal Content-Length lines", head(*equal) + b"abc")
    yield refused("two different Content-Length lines", head("Content-Length: 3", "Content-Length: 4") + b"abcd")
    for value in ("3, 3", "3, 4", "+3", "-3", "0x3", "3 4", "3;a", "1e1", "", "٣".encode().decode("latin-1"),
                  "18446744073709551619", "99999999999999999999999"):
        shown = value.encode("latin-1").decode("utf-8") if value else "nothing"
        yield refused(f"Content-Length of `{shown}`", head(f"Content-Length: {value}") + b"abc" + TWIN, within=3)
    yield refused("Content-Length and a vertical tab", head("Content-Length: 3\x0b") + b"abc")
    yield passed("Content-Length with leading zeros", head("Content-Length: 0003") + b"abc",
                 "POST /f (length 3)", "read as 3, or refused")
    yield passed("GET with a body of 3", head("Content-Length: 3", method="GET") + b"abc", "GET /f (length 3)")
    yield passed("a request hidden in the body of a GET", head(f"Content-Length: {len(TWIN)}", method="GET") + TWIN,
                 f"GET /f (length {len(TWIN)})", "passed on as a body")
    yield passed("DELETE with a body of 3", head("Content-Length: 3", method="DELETE") + b"abc", "DELETE /f (length 3)")
    yield passed("POST with neither length nor coding, a twin behind it", head() + TWIN,
                 lambda seen: seen.statuses == [200, 200] and [r.framing for r in seen.requests] in (["none", "none"], ["length", "none"])
                 and not seen.requests[0].body, "two requests, the first without a body", replies=2)
    yield passed("a body that breaks off (FIN)", head("Content-Length: 10") + b"abc", lambda seen: seen.refused,
                 "nothing whole reaches the backend", shut=True)


def codings():
    for value in ("gzip, chunked", "identity, chunked", "chunked, chunked", "chunked, identity", "chunked, gzip",
                  "gzip", "identity", "xchunked", "chunked;q=1", '"chunked"', "chunked,", ", chunked", ""):
        shown = value or "nothing"
        # An empty list is no coding; the length beside it rules out that it hides one.
        extra = ("Content-Length: 5",) if value in ("", "identity") else ()
        yield refused(f"Transfer-Encoding of `{shown}`", head(f"Transfer-Encoding: {value}", *extra) + b"0\r\n\r\n",
                      status=(400, 501))
    yield refused("two Transfer-Encoding lines, chunked twice", head(CHUNKED, CHUNKED) + b"0\r\n\r\n", status=(400, 501))
    yield refused("two lines, identity and chunked", head("Transfer-Encoding: identity", CHUNKED) + b"0\r\n\r\n",
                  status=(400, 501))
    yield refused("two lines, chunked and identity", head(CHUNKED, "Transfer-Encoding: identity") + b"0\r\n\r\n",
                  status=(400, 501))
    yield refused("chunked and a vertical tab", head("Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n", status=(400, 501))
    yield refused("a space before the colon of Transfer-Encoding", head("Transfer-Encoding : chunked", "Content-Length: 5") + b"0\r\n\r\n")
    yield refused("a folded Transfer-Encoding", head("Transfer-Encoding:", " chunked") + b"0\r\n\r\n")
    yield refused("Transfer-Encoding as a continuation", head("X-A: 1", " Transfer-Encoding: chunked") + b"0\r\n\r\n")
    yield refused("chunked on HTTP/1.0", head(CHUNKED, version="HTTP/1.0") + b"0\r\n\r\n")
    yield passed("Transfer_Encoding beside a length", head("Transfer_Encoding: chunked", "Content-Length: 5") + b"0\r\n\r\n",
                 lambda seen: [r.framing for r in seen.requests] == ["length"], "a field like another: the length counts")
    yield passed("CHUNKED in capitals", head("TRANSFER-ENCODING: CHUNKED") + b"3\r\nabc\r\n0\r\n\r\n", "POST /f (chunked 3)")
    yield passed("chunked behind a tab", head("Transfer-Encoding:\tchunked") + b"3\r\nabc\r\n0\r\n\r\n", "POST /f (chunked 3)")
    yield passed("GET with a chunked body", head(CHUNKED, method="GET") + b"3\r\nabc\r\n0\r\n\r\n", "GET /f (chunked 3)")


def chunks():
    bad = {
        "a chunk size of `zz`": b"zz\r\nabc\r\n0\r\n\r\n",
        "a chunk size of `-3`": b"-3\r\nabc\r\n0\r\n\r\n",
        "a chunk size of `+3`": b"+3\r\nabc\r\n0\r\n\r\n",
        "a chunk size of `0x3`": b"0x3\r\nabc\r\n0\r\n\r\n",
        "a space before the chunk size": b" 3\r\nabc\r\n0\r\n\r\n",
        "an empty chunk size": b"\r\nabc\r\n0\r\n\r\n",
        "a chunk size over 64 bits": b"10000000000000003\r\nabc\r\n0\r\n\r\n",
        "a chunk size that wraps to 3": b"FFFFFFFFFFFFFFFFFFFF3\r\nabc\r\n0\r\n\r\n",
        "a chunk longer than its size": b"3\r\nabcd\r\n0\r\n\r\n",
        "a chunk size ended by a bare LF": b"3\nabc\r\n0\r\n\r\n",
        "chunk data ended by a bare LF": b"3\r\nabc\n0\r\n\r\n",
        "chunk data ended by two other bytes": b"3\r\nabcXX0\r\n\r\n",
        "a bare CR behind a chunk size": b"3\rabc\r\n0\r\n\r\n",
        "a bare LF in a chunk extension": b"3;a\nb\r\nabc\r\n0\r\n\r\n",
        "a bare CR in a chunk extension": b"3;a\rb\r\nabc\r\n0\r\n\r\n",
        "a NUL in a chunk extension": b"3;a\0b\r\nabc\r\n0\r\n\r\n",
        "a chunk extension of 20 KB": b"3;" + b"a" * 20_000 + b"\r\nabc\r\n0\r\n\r\n",
        "the last chunk ended by a bare LF": b"3\r\nabc\r\n0\n\r\n",
        "a broken trailer": b"3\r\nabc\r\n0\r\nno colon\r\n\r\n",
    }
    for name, body in bad.items():
        yield refused(name, head(CHUNKED) + body + TWIN, status=(400, 413, 431))
    yield passed("a chunk extension", head(CHUNKED) + b"3;a=b\r\nabc\r\n0\r\n\r\n",
                 "POST /f (chunked 3)", "served, the extension dropped")
    yield passed("a chunk size with leading zeros", head(CHUNKED) + b"0003\r\nabc\r\n0\r\n\r\n", "POST /f (chunked 3)")
    yield passed("a trailer called Content-Length", head(CHUNKED) + b"3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n",
                 lambda seen: seen.statuses == [200] and len(seen.requests) == 1 and "9" not in seen.requests[0].field("content-length"),
                 "never becomes a header field")
    yield refused("a chunked body that stops", head(CHUNKED) + b"3\r\nabc\r\n", status=(400, 408), shut=False)


def lines():
    bad = {
        "a folded field": get("/f", "X-A: 1", " folded"),
        "a fold before the first field": "GET /f HTTP/1.1\r\n Host: weir.test\r\n\r\n",
        "a bare CR in a value": get("/f", "X-A: a\rb"),
        "a bare CR that ends a field": "GET /f HTTP/1.1\r\nHost: weir.test\rX-A: b\r\n\r\n",
        "a NUL in a value": get("/f", "X-A: a\0b"),
        "a NUL in a name": get("/f", "X\0A: a"),
        "a space in a name": get("/f", "X A: a"),
        "a space before a colon": get("/f", "X-A : a"),
        "an empty name": get("/f", ": a"),
        "a line without a colon": get("/f", "nothing"),
        "parentheses in a name": get("/f", "X(A): a"),
        "a name in UTF-8": get("/f", "XÄ: a"),
        "a request line with a tab": "GET\t/f\tHTTP/1.1\r\nHost: weir.test\r\n\r\n",
        "two spaces before the target": "GET  /f HTTP/1.1\r\nHost: weir.test\r\n\r\n",
        "a space in the target": "GET /f g HTTP/1.1\r\nHost: weir.test\r\n\r\n",
        "a bare CR in the request line": "GET /f\r HTTP/1.1\r\nHost: weir.test\r\n\r\n",
        "a method with a NUL": "G\0T /f HTTP/1.1\r\nHost: weir.test\r\n\r\n",
        "a method in brackets": "[GET] /f HTTP/1.1\r\nHost: weir.test\r\n\r\n",
        "no version (HTTP/0.9)": "GET /f\r\n\r\n",
        "HTTP/1.1x": "GET /f HTTP/1.1x\r\nHost: weir.test\r\n\r\n",
        "HTTP/11": "GET /f HTTP/11\r\nHost: weir.test\r\n\r\n",
    }
    for name, data in bad.items():
        yield refused(name, data)
    yield refused("HTTP/3.0 in text", "GET /f HTTP/3.0\r\nHost: weir.test\r\n\r\n", status=(400, 505))
    yield refused("nonsense", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"\0" * 30 + b"\r\n\r\n")
    yield passed("lines ended by a bare LF", b"GET /f HTTP/1.1\nHost: weir.test\n\n",
                 lambda seen: seen.refused or [str(r) for r in seen.requests] == ["GET /f (no body)"],
                 "refused, or passed on with CRLF")
    yield passed("an empty line before the request", b"\r\n" + get("/f").encode(), "GET /f (no body)")
    yield passed("a method that nobody knows", get("/f", method="BREW"), "BREW /f (no body)")
    yield passed("a value in UTF-8 (obs-text)", get("/f", "X-A: ä"), "GET /f (no body)")


def twins():
    two = get("/one").encode() + get("/two").encode()
    yield passed("two requests in one go", two, "GET /one (no body), GET /two (no body)", "both, in order", replies=2)
    upload = head("Content-Length: 3") + b"abc" + TWIN
    yield passed("an upload and a request behind it", upload, "POST /f (length 3), GET /twin (no body)", "both, in order", replies=2)
    chunk = head(CHUNKED) + b"3\r\nabc\r\n0\r\n\r\n" + TWIN
    yield passed("a chunked upload and a request behind it", chunk, "POST /f (chunked 3), GET /twin (no body)", "both, in order", replies=2)
    yield passed("a good request and a bad one behind it", get("/one").encode() + b"GET /two HTTP/1.1\r\nBad Name: 1\r\n\r\n",
                 lambda seen: seen.statuses == [200, 400] and seen.end == "closed" and len(seen.requests) == 1,
                 "the first served, the second refused", replies=2)
    yield passed("Connection: close, and a request behind it", get("/one", "Connection: close").encode() + TWIN,
                 lambda seen: seen.statuses == [200] and seen.end == "closed" and len(seen.requests) == 1,
                 "the second is not served", replies=1)


ROWS = [*lengths(), *codings(), *chunks(), *lines(), *twins()]
