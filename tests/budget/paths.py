"""The three ways of a request that have a budget: admitted at once, queued first, and rejected."""

import contextlib

from sut import RESPONSE, check, receive, whole

# As browsers send it: what every request costs includes the rewriting of its fields.
REQUEST = (
    b"GET /api/v1/items?page=3&sort=name HTTP/1.1\r\n"
    b"host: shop.example.com\r\n"
    b"user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    b"accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"accept-language: en-GB,en;q=0.5\r\n"
    b"accept-encoding: gzip, deflate, br\r\n"
    b"cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n"
    b"x-request-id: 4bf92f35-77b3-4da6-a3ce-929d0e0e4736\r\n"
    b"\r\n"
)

def answered(client, status):
    answer = receive(client, whole)
    check(answer.startswith(b"HTTP/1.1 %d " % status), f"answered {answer[:200]!r}, not {status}")


def equal(got, want, what):
    check(got == want, f"{what}: {got}, not {want}")


class Admitted:
    """One connection, one request at a time, and a permit is always free."""

    settings = {"memory.target_memory": "8Mi"}
    request = REQUEST

    @classmethod
    def drive(cls, weir, backend, requests):
        with contextlib.closing(weir.connect()) as client:
            for _ in range(requests):
                client.sendall(cls.request)
                backend.request(weir).sendall(RESPONSE)
                weir.settle()
                answered(client, 200)

    @staticmethod
    def verify(status, requests):
        equal(status["requests"]["served"], requests, "served")


class Queued:
    """One permit and two connections: the one is answered when the other's request waits."""

    settings = {"memory.target_memory": "1Mi"}

    @staticmethod
    def drive(weir, backend, requests):
        with contextlib.closing(weir.connect()) as one, contextlib.closing(weir.connect()) as other:
            one.sendall(REQUEST)
            for _ in range(requests):
                held = backend.request(weir)
                other.sendall(REQUEST)
                # weir has read it, and neither forwarded nor answered it: it waits.
                equal(len(backend.waiting(weir)), 0, "requests that passed the one in flight")
                held.sendall(RESPONSE)
                weir.settle()
                answered(one, 200)
                one, other = other, one
            backend.request(weir).sendall(RESPONSE)
            answered(one, 200)

    @staticmethod
    def verify(status, requests):
        # The first found the permit free.
        equal(status["requests"]["served"], requests + 1, "served")


class Rejected:
    """Strategy `immediate`, and the only permit is held all the while."""

    settings = {"memory.target_memory": "1Mi", "queue.strategy": "immediate"}

    @staticmethod
    def drive(weir, backend, requests):
        with (
            contextlib.closing(weir.connect()) as holder,
            contextlib.closing(weir.connect()) as client,
        ):
            holder.sendall(REQUEST)
            held = backend.request(weir)
            for _ in range(requests):
                client.sendall(REQUEST)
                weir.settle()
                answered(client, 503)
            held.sendall(RESPONSE)
            weir.settle()
            answered(holder, 200)

    @staticmethod
    def verify(status, requests):
        equal(status["rejected"]["no_permit"], requests, "rejected")
        equal(status["requests"]["served"], 1, "served")


PATHS = {"admitted": Admitted, "queued": Queued, "rejected": Rejected}
