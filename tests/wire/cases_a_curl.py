"""curl through weir sees what curl sees directly, over HTTP/1.1 and HTTP/2."""

import hashlib
import json

from backends import Nginx, pattern
from harness import check, equal
from tools import curl, run, same

BOTH = (False, True)


def test_files_of_nginx(t):
    nginx = t.nginx()
    weir = t.weir(nginx)
    for h2 in BOTH:
        for name, size in Nginx.SIZES.items():
            answer = same(f"{weir.url}/{name}", f"{nginx.url}/{name}", h2=h2)
            equal((answer.status, answer.body), (200, pattern(size)), name)
        equal(same(f"{weir.url}/absent", f"{nginx.url}/absent", h2=h2).status, 404, "no such file")
    equal(weir.outcome("served"), 2 * (len(Nginx.SIZES) + 1), "served")


def test_head_has_the_length_and_no_body(t):
    nginx = t.nginx()
    weir = t.weir(nginx)
    for h2 in BOTH:
        answer = same(f"{weir.url}/large", f"{nginx.url}/large", "--head", h2=h2)
        equal(answer.field("content-length"), [str(Nginx.SIZES["large"])], "content-length")


def test_ranges_and_validators(t):
    nginx = t.nginx()
    weir = t.weir(nginx)
    etag = curl(f"{nginx.url}/middle").field("etag")[0]
    for h2 in BOTH:
        ours, theirs = f"{weir.url}/middle", f"{nginx.url}/middle"
        equal(same(ours, theirs, "-r", "100-299", h2=h2).status, 206, "range")
        equal(same(ours, theirs, "-r", "99999999-", h2=h2).status, 416, "range out of bounds")
        equal(same(ours, theirs, "-H", f"If-None-Match: {etag}", h2=h2).status, 304, "same etag")
        equal(same(ours, theirs, "-H", 'If-Match: "x"', h2=h2).status, 412, "other etag")


def test_no_content(t):
    nginx = t.nginx()
    weir = t.weir(nginx)
    for h2 in BOTH:
        equal(same(f"{weir.url}/none", f"{nginx.url}/none", h2=h2).status, 204, "status")


def test_uploads_to_nginx(t):
    nginx = t.nginx()
    weir = t.weir(nginx)
    for h2 in BOTH:
        for size in (0, 1, 64 * 1024, 5 * 1024 * 1024):
            send = ["--data-binary", "@-"]
            same(f"{weir.url}/took?a=b", f"{nginx.url}/took?a=b", *send, h2=h2, stdin=pattern(size))


def test_uploads_arrive_byte_for_byte(t):
    plain = t.plain()
    weir = t.weir(plain)
    ways = {
        "length": ["--data-binary", "@-"],
        "chunked": ["-T", "-", "-X", "POST"],
        "expect": ["--data-binary", "@-", "-H", "Expect: 100-continue"],
    }
    for h2 in BOTH:
        for size in (1, 64 * 1024, 5 * 1024 * 1024):
            for way, arguments in ways.items():
                data = pattern(size)
                answer = same(f"{weir.url}/up", f"{plain.url}/up", *arguments, h2=h2, stdin=data)
                said = json.loads(answer.body)
                got = (said["method"], said["length"], said["sha256"])
                equal(got, ("POST", size, hashlib.sha256(data).hexdigest()), f"{way} {size}")


def test_methods_statuses_and_odd_bodies(t):
    plain = t.plain()
    weir = t.weir(plain)
    for h2 in BOTH:
        for method in ("DELETE", "OPTIONS", "PATCH", "PUT", "PROPFIND"):
            same(f"{weir.url}/m", f"{plain.url}/m", "-X", method, h2=h2)
        for status in (200, 201, 204, 205, 301, 304, 400, 404, 429, 500, 503):
            answer = same(f"{weir.url}/status/{status}", f"{plain.url}/status/{status}", h2=h2)
            equal(answer.status, status, "status")
        with_body = ["-X", "GET", "--data-binary", "a body on GET"]
        same(f"{weir.url}/get", f"{plain.url}/get", *with_body, h2=h2)


def test_chunked_responses(t):
    plain = t.plain()
    weir = t.weir(plain)
    for h2 in BOTH:
        for size in (0, 1, 100_000, 5_000_000):
            answer = same(f"{weir.url}/chunked/{size}", f"{plain.url}/chunked/{size}", h2=h2)
            check(answer.body == pattern(size), f"{size} bytes came changed")


def test_trailers_of_the_response(t):
    plain = t.plain()
    weir = t.weir(plain)
    asked = ["-H", "TE: trailers", "-H", "Connection: TE"]
    answer = same(f"{weir.url}/trailers", f"{plain.url}/trailers", *asked)
    equal(answer.field("x-sum"), ["42"], "trailer over HTTP/1.1")
    answer = curl(f"{weir.url}/trailers", "-H", "TE: trailers", h2=True)
    equal((answer.code, answer.body, answer.field("x-sum")), (0, b"data", ["42"]), "over HTTP/2")


def test_connections_are_reused(t):
    plain = t.plain()
    weir = t.weir(plain)
    for h2 in BOTH:
        url = f"{weir.url}/bytes/10"
        more = []
        for _ in range(2):
            more += ["-o", "/dev/null", "-w", " %{num_connects}", url, "--next", "-q", "-sS"]
            more += ["--noproxy", "*"] + (["--http2-prior-knowledge"] if h2 else [])
        answer = raw_curl([*(["--http2-prior-knowledge"] if h2 else []), *more], url)
        equal(answer, "1 0 0", f"new connections of three requests, h2={h2}")


def raw_curl(arguments, last):
    command = ["curl", "-q", "-sS", "--noproxy", "*", "--max-time", "10", *arguments]
    done = run([*command, "-o", "/dev/null", "-w", " %{num_connects}", last], 15)
    return done.stdout.decode().strip()


def test_upstream_over_a_unix_socket(t):
    nginx = t.nginx()
    weir = t.weir(nginx.unix_url)
    for h2 in BOTH:
        answer = same(f"{weir.url}/large", f"{nginx.url}/large", h2=h2)
        equal(len(answer.body), Nginx.SIZES["large"], "bytes")


def test_upstream_over_http2(t):
    nginx = t.nginx()
    weir = t.weir(nginx.h2_url, upstream_protocol="http2")
    for h2 in BOTH:
        ours, theirs = weir.url, nginx.h2_url
        for name, size in Nginx.SIZES.items():
            answer = same(f"{ours}/{name}", f"{theirs}/{name}", h2=h2, direct_h2=True)
            equal(len(answer.body), size, name)
        same(f"{ours}/large", f"{theirs}/large", "--head", h2=h2, direct_h2=True)
        same(f"{ours}/none", f"{theirs}/none", h2=h2, direct_h2=True)
        send = ["--data-binary", "@-"]
        data = pattern(1_000_000)
        same(f"{ours}/took", f"{theirs}/took", *send, h2=h2, direct_h2=True, stdin=data)
