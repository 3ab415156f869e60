"""A backend to try weir with: every request occupies 16 MiB for half a second.

Run it with `python3 examples/backend.py 8080`.
"""

import http.server
import sys
import time

MEMORY = 16 << 20
SECONDS = 0.5


class Backend(http.server.ThreadingHTTPServer):
    """A thread per connection, and room for bursts of them."""

    request_queue_size = 128


class Handler(http.server.BaseHTTPRequestHandler):
    """Keeps its connections, as most servers do."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        work = b"\1" * MEMORY  # written to, so that the kernel counts it
        time.sleep(SECONDS)
        body = f"{len(work) >> 20} MiB\n".encode()
        del work
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing per request."""


if __name__ == "__main__":
    Backend(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
