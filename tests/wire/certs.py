"""Certificates made by openssl for one case, and TLS clients that trust them."""

import pathlib
import socket
import ssl
import subprocess

from raw import Raw


def openssl(*arguments, directory, stdin=None):
    done = subprocess.run(
        ["openssl", *map(str, arguments)], cwd=directory, input=stdin, capture_output=True, check=False
    )
    if done.returncode:
        raise AssertionError(f"openssl {arguments[0]}: {done.stderr.decode()[-300:]}")
    return done.stdout


class Authority:
    """One that signs: the file `NAME.crt`, and what it has issued beside it."""

    EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")

    def __init__(self, directory, name="ca"):
        self.directory, self.name = pathlib.Path(directory), name
        self.file = self.directory / f"{name}.crt"
        self.run("req", "-x509", *self.EC, "-keyout", f"{name}.key", "-out", self.file, "-days", 3,
                 "-subj", f"/CN=Test {name}")

    def run(self, *arguments):
        return openssl(*arguments, directory=self.directory)

    def issue(self, name, subject="/CN=weir.test", names="DNS:weir.test,IP:127.0.0.1", days=2):
        """`NAME.crt` and `NAME.key`, signed by this one."""
        self.run("req", *self.EC, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
        (self.directory / f"{name}.ext").write_text(f"subjectAltName={names}\n" if names else "")
        self.run("x509", "-req", "-in", f"{name}.csr", "-CA", self.file, "-CAkey", f"{self.name}.key",
                 "-CAcreateserial", "-days", days, "-extfile", f"{name}.ext", "-out", f"{name}.crt")
        return self.directory / f"{name}.crt", self.directory / f"{name}.key"

    def context(self, client=None, alpn=None, newest=None):
        """A client that trusts this authority; `client` is its own certificate and key."""
        context = ssl.create_default_context(cafile=self.file)
        context.check_hostname = False
        if client:
            context.load_cert_chain(*client)
        if alpn:
            context.set_alpn_protocols(alpn)
        if newest:
            context.maximum_version = newest
        return context


def settings(certificate, key, **more):
    """What a weir with this certificate is set to."""
    return {"tls__certificate": str(certificate), "tls__key": str(key)} | more


class TlsRaw(Raw):
    """`Raw` over TLS. An end without close_notify raises, in place of the quiet end it seems to be."""

    def __init__(self, port, context, session=None, within=5.0, receive_buffer=None):
        super().__init__(port, receive_buffer, within)
        self.plain_close = self.sock.close
        self.sock = context.wrap_socket(
            self.sock, server_hostname="weir.test", session=session, suppress_ragged_eofs=False
        )

    def peer(self):
        """The serial number of the server's certificate."""
        return self.sock.getpeercert()["serialNumber"]

    def goodbye(self):
        """Sends close_notify, and neither waits for the other one's nor closes the socket."""
        self.sock.setblocking(False)
        try:
            self.sock.unwrap()
        except (ssl.SSLWantReadError, OSError):
            pass

    def finish(self):
        """Sends close_notify and the end of the stream, as an orderly client that leaves does."""
        self.goodbye()
        # Past the session, which Python takes apart on shutdown.
        socket.socket.shutdown(self.sock, socket.SHUT_WR)


def ends_cleanly(raw, within=5.0):
    """Whether the connection is ended with close_notify, and not by its socket alone."""
    try:
        raw.closed(within)
    except ssl.SSLEOFError:
        return False
    return True
