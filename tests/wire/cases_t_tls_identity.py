"""Who a client is by its certificate, and certificates that change while weir runs."""

import os
import pathlib
import signal
import ssl
import subprocess

import grpc

import cases_g_grpc
from certs import Authority, TlsRaw, openssl, settings
from harness import Failure, check, equal, eventually
from raw import H2, Raw, get, post
from tools import run

CLAIMS = [
    "x-forwarded-client-cert: Hash=forged",
    "X-Forwarded-Client-Cert: Hash=forged again",
    "X_Forwarded_Client_Cert: Hash=forged by an underscore",
    "Connection: x-forwarded-client-cert",
]
SPIFFE = "URI:spiffe://acme/ns/a/sa/b,DNS:client.acme,DNS:b.acme"


def claimed(request):
    """Whatever the backend could take for the field."""
    return [v for n, v in request.fields if n.lower().replace("_", "-") == "x-forwarded-client-cert"]


def digest(file, directory):
    said = openssl("x509", "-in", file, "-noout", "-fingerprint", "-sha256", directory=directory)
    return said.decode().strip().split("=")[1].replace(":", "").lower()


def mutual(t, backend, **more):
    """A weir that asks for certificates, the authority of all, and a client's certificate."""
    authority = Authority(t.directory)
    client = authority.issue("client", "/C=DE/O=Acme, Inc./CN=client one", SPIFFE)
    asks = {"tls__client_ca": str(authority.file), "tls__client_auth": "required"} | more
    weir = t.weir(backend, **settings(*authority.issue("server"), **asks))
    return weir, authority, client


def refused(t, weir, context, words):
    """A client whose handshake fails, at the latest when it asks; what it is told has these words."""
    try:
        t.keep(TlsRaw(weir.port, context)).ask(get("/"))
    except (ssl.SSLError, Failure) as error:
        check(words in str(error), f"told {error}, want {words}")
        return
    raise Failure("it was let in")


def test_the_verified_certificate_is_told_and_no_claim_is(t):
    plain = t.plain()
    weir, authority, client = mutual(t, plain)
    want = (
        f"Hash={digest(client[0], t.directory)};"
        'Subject="CN=client one,O=Acme\\, Inc.,C=DE";'
        "URI=spiffe://acme/ns/a/sa/b;DNS=client.acme;DNS=b.acme"
    )
    raw = t.keep(TlsRaw(weir.port, authority.context(client)))
    for _ in range(2):
        equal(raw.ask(get("/", *CLAIMS)).status, 200, "status")
    command = ["curl", "-q", "-sS", "--noproxy", "*", "--http2", "--cacert", authority.file]
    fields = [word for claim in CLAIMS[:3] for word in ("-H", claim)]
    done = run([*command, "--cert", client[0], "--key", client[1], *fields,
                f"https://127.0.0.1:{weir.port}/"], 15)
    equal(done.returncode, 0, f"curl {done.stderr.decode()}")
    equal([claimed(request) for request in plain.requests], [[want]] * 3, "at the backend")
    # OpenSSL writes the subject in the same way.
    name = openssl("x509", "-in", client[0], "-noout", "-subject", "-nameopt", "RFC2253",
                   directory=t.directory).decode().strip().removeprefix("subject=")
    check(f'Subject="{name}"' in want, f"openssl says {name}")


def test_grpc_goes_over_mutual_tls(t):
    server = t.keep(cases_g_grpc.Server())
    weir, authority, client = mutual(t, server)
    certificate, key = (pathlib.Path(file).read_bytes() for file in client)
    trust = grpc.ssl_channel_credentials(authority.file.read_bytes(), key, certificate)
    options = [("grpc.ssl_target_name_override", "weir.test")]
    with grpc.secure_channel(f"127.0.0.1:{weir.port}", trust, options) as channel:
        call = channel.unary_unary("/t.Echo/Unary")
        equal(call(b"hello", timeout=5), b"echo:hello", "unary")
        down = channel.unary_stream("/t.Echo/Down")(b"100", timeout=5)
        equal([int(part) for part in down], list(range(100)), "stream")
    equal(weir.outcome("served"), 2, "served")


def test_nobody_is_let_in_without_a_good_certificate(t):
    plain = t.plain()
    weir, authority, client = mutual(t, plain)
    stranger = Authority(t.directory, "stranger").issue("strangers-client", "/CN=client one", SPIFFE)
    refused(t, weir, authority.context(), "CERTIFICATE_REQUIRED")
    refused(t, weir, authority.context(stranger), "UNKNOWN_CA")
    eventually("counted", lambda: weir.total("weir_tls_handshake_errors_total", kind="client_certificate") == 2)
    check('"kind":"client_certificate"' in weir.log(), "no line in the log")
    # The client's own doubts are told apart.
    try:
        TlsRaw(weir.port, ssl.create_default_context())
        check(False, "a client trusted a test certificate")
    except ssl.SSLError:
        eventually("counted", lambda: weir.total("weir_tls_handshake_errors_total", kind="alert") == 1)
    equal(t.keep(TlsRaw(weir.port, authority.context(client))).ask(get("/")).status, 200, "a good one")
    equal(len(plain.requests), 1, "at the backend")


def test_who_sends_at_once_learns_why_it_is_refused(t):
    """To a TLS 1.3 client the handshake is over before the server has seen its certificate."""
    weir, authority, _ = mutual(t, t.plain())
    for size in (100, 1_000_000):
        raw = t.keep(TlsRaw(weir.port, authority.context()))
        raw.push(post("/up", b"x" * size))
        try:
            raw.response()
            check(False, "it was let in")
        except ssl.SSLError as error:
            check("CERTIFICATE_REQUIRED" in str(error), f"{size} bytes: {error}")


def test_an_expired_certificate_is_refused(t):
    weir, authority, _ = mutual(t, t.plain())
    client = authority.issue("old", "/CN=old", SPIFFE)
    authority.run("x509", "-req", "-in", "old.csr", "-CA", authority.file, "-CAkey", "ca.key",
                  "-CAcreateserial", "-days", "-1", "-extfile", "old.ext", "-out", "old.crt")
    refused(t, weir, authority.context(client), "EXPIRED")


def test_optional_lets_in_without_and_says_nothing(t):
    plain = t.plain()
    weir, authority, client = mutual(t, plain, tls__client_auth="optional")
    stranger = Authority(t.directory, "stranger").issue("strangers-client", "/CN=x", SPIFFE)
    refused(t, weir, authority.context(stranger), "UNKNOWN_CA")
    for own in None, client:
        equal(t.keep(TlsRaw(weir.port, authority.context(own))).ask(get("/", *CLAIMS)).status, 200, "status")
    without, with_one = map(claimed, plain.requests)
    equal(without, [], "who has none")
    check(len(with_one) == 1 and with_one[0].startswith("Hash="), f"who has one: {with_one}")


def test_without_tls_no_claim_passes_either(t):
    plain = t.plain()
    weir = t.weir(plain)
    equal(t.keep(Raw(weir.port)).ask(get("/", *CLAIMS)).status, 200, "HTTP/1.1")
    h2 = t.keep(H2(weir.port))
    fields = [tuple(claim.lower().split(": ")) for claim in CLAIMS[:3]]
    equal(h2.response(h2.request(fields)).status, 200, "HTTP/2")
    equal([claimed(request) for request in plain.requests], [[], []], "at the backend")


def test_a_resumed_session_is_the_same_client(t):
    plain = t.plain()
    weir, authority, client = mutual(t, plain)
    for newest in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
        plain.requests.clear()
        context = authority.context(client, newest=newest)
        first = t.keep(TlsRaw(weir.port, context))
        first.ask(get("/"))
        again = t.keep(TlsRaw(weir.port, context, session=first.sock.session))
        again.ask(get("/"))
        check(again.sock.session_reused, f"{newest}: not resumed")
        one, other = map(claimed, plain.requests)
        check(one == other and len(one) == 1, f"{newest}: {one} and {other}")
    equal(weir.total("weir_tls_handshakes_total", kind="resumed"), 2, "counted")


class Secret:
    """A mounted Secret as the kubelet keeps it: the files are links through `..data`, which is
    swapped."""

    def __init__(self, directory):
        self.root = pathlib.Path(directory) / "secret"
        self.root.mkdir()
        self.version = 0
        for name in ("tls.crt", "tls.key"):
            (self.root / name).symlink_to(f"..data/{name}")

    def swap(self, certificate, key):
        self.version += 1
        dated = self.root / f"..{self.version}"
        dated.mkdir()
        (dated / "tls.crt").write_bytes(pathlib.Path(certificate).read_bytes())
        (dated / "tls.key").write_bytes(pathlib.Path(key).read_bytes())
        (self.root / "..tmp").symlink_to(dated.name)
        os.rename(self.root / "..tmp", self.root / "..data")

    def settings(self):
        return settings(self.root / "tls.crt", self.root / "tls.key")


def serial(weir, authority):
    """Of the certificate that a new connection gets."""
    raw = TlsRaw(weir.port, authority.context())
    try:
        return raw.peer()
    finally:
        raw.close()


def expiry(file, directory):
    end = openssl("x509", "-in", file, "-noout", "-enddate", directory=directory).decode()
    return ssl.cert_time_to_seconds(end.strip().removeprefix("notAfter="))


def test_a_rotated_certificate_is_taken_and_nobody_is_cut_off(t):
    plain = t.plain()
    authority, secret = Authority(t.directory), Secret(t.directory)
    old, new = authority.issue("old", days=1), authority.issue("new", days=2)
    secret.swap(*old)
    weir = t.weir(plain, **secret.settings())
    equal(weir.total("weir_tls_certificate_expiry_seconds"), expiry(old[0], t.directory), "expiry")
    context = authority.context()
    long, idle = (t.keep(TlsRaw(weir.port, context, within=15)) for _ in range(2))
    was = idle.peer()
    equal(idle.ask(get("/")).status, 200, "before")
    long.send(get("/hold"))
    eventually("a long request is under way", lambda: plain.held == 1)

    secret.swap(*new)
    eventually("new connections get the new one", lambda: serial(weir, authority) != was, within=4)
    equal(weir.total("weir_tls_certificate_expiry_seconds"), expiry(new[0], t.directory), "expiry")
    equal(idle.ask(get("/")).status, 200, "an open connection goes on")
    late = t.keep(TlsRaw(weir.port, context, session=idle.sock.session))
    check(not late.sock.session_reused, "a session of the old certificate was taken up")
    plain.release.set()
    equal(long.response().body, b"held", "the long request")
    check("tls.certificate" in weir.log(), "the log does not say what changed")
    equal(weir.total("weir_config_reloads_total", result="ok"), 1, "reloads")


def test_sessions_outlive_a_reload_of_something_else(t):
    authority = Authority(t.directory)
    weir = t.weir(t.plain(), **settings(*authority.issue("server")))
    context = authority.context()
    first = t.keep(TlsRaw(weir.port, context))
    first.ask(get("/"))
    weir.file.write_text(weir.file.read_text() + "reject.status = 429\n")
    weir.signal(signal.SIGHUP)
    eventually("reloaded", lambda: weir.total("weir_config_reloads_total", result="ok") == 1)
    again = t.keep(TlsRaw(weir.port, context, session=first.sock.session))
    check(again.sock.session_reused, "not resumed")


def test_what_cannot_be_used_leaves_the_old_one(t):
    authority, secret = Authority(t.directory), Secret(t.directory)
    good, other = authority.issue("good"), authority.issue("other")
    secret.swap(*good)
    weir = t.weir(t.plain(), **secret.settings())
    was = serial(weir, authority)
    empty = t.directory / "empty"
    empty.write_text("")
    wrong = [
        ((good[0], other[1]), "not the key of the certificate"),
        ((good[0], empty), "the file is empty"),
        ((good[1], good[1]), "a private key in the file, and no certificate"),
        ((good[0], good[0]), "certificates in the file, and no private key"),
    ]
    for failed, (files, words) in enumerate(wrong, 1):
        secret.swap(*files)
        ends = lambda n=failed: weir.total("weir_config_reloads_total", result="failed") >= n  # noqa: E731
        eventually(f"refused: {words}", ends, within=4)
        equal(weir.total("weir_config_reload_success"), 0, "success")
        eventually(f"the log says: {words}", lambda w=words: w in weir.log())
        equal(serial(weir, authority), was, "the certificate in use")
    secret.swap(*other)
    eventually("a good one is taken", lambda: serial(weir, authority) != was, within=4)
    equal(weir.total("weir_config_reload_success"), 1, "success")


def test_no_start_with_what_cannot_be_used(t):
    authority = Authority(t.directory)
    good, other = authority.issue("good"), authority.issue("other")
    base = ["--set", "memory.target_memory=1Gi", "--set", "memory.memory_per_task=1Mi"]
    pair = lambda c, k: ["--set", f"tls.certificate={c.name}", "--set", f"tls.key={k.name}"]  # noqa: E731
    for command in "check", "run":
        done = t.run_weir(command, *base, *pair(good[0], other[1]))
        equal(done.returncode, 1, f"exit code of {command}")
        for words in "tls.key", '"other.key"', "--set", "not the key of the certificate", "Remedy":
            check(words in done.stderr + done.stdout, f"{command} does not say {words}: {done.stderr}")
    done = t.run_weir("check", *base, *pair(*good))
    equal(done.returncode, 0, "exit code")
    for words in "CN=weir.test", "expires ", "SHA-256 ", "clients: TLS 1.2 and 1.3":
        check(words in done.stdout, f"check does not say {words}: {done.stdout}")
    secret = subprocess.run(["sed", "-n", "2p", good[1]], capture_output=True, text=True, check=True)
    check(secret.stdout.strip() not in done.stdout, "the key is printed")
