"""What rows are made of: bytes sent on one connection, what came back, what reached the backend."""

import time

from board import GOOD, HARM, OTHER, Row, Seen
from harness import Failure
from raw import Raw


class Talk:
    """The answers that a client read, how its connection ended, and what the backend got."""

    def __init__(self, statuses, end, requests, responses):
        self.statuses, self.end, self.requests, self.responses = statuses, end, requests, responses

    @property
    def done(self):
        return [got for got in self.requests if got.whole]

    @property
    def refused(self):
        """Answered with an error or cut, and nothing whole of it reached the backend."""
        return not self.done and all(400 <= status < 600 for status in self.statuses) and self.end != "open"

    @property
    def harm(self):
        """The backend read another number of requests than were answered from it, or one that two
        readers would read in two ways."""
        answered = sum(bool(r.field("x-saw")) for r in self.responses)
        odd = any(got.framing == "ambiguous" or got.odd for got in self.requests)
        return odd or len(self.done) > max(answered, 1 if self.statuses else 0)

    def __str__(self):
        said = "+".join(map(str, self.statuses)) or "no answer"
        said += f", {self.end}"
        # A proxy that streams may have begun to pass on what it then refuses: that is no request.
        if self.requests and not self.refused:
            said += "; backend: " + ", ".join(map(str, self.requests))
        return said


def talk(peer, data, replies=1, method="GET", within=5.0, shut=False):
    """Sends the bytes on a new connection; reads `replies` answers, and what comes beyond."""
    mark = peer.recorder.mark()
    raw = Raw(peer.port, within=within)
    statuses, responses, end = [], [], "open"
    try:
        raw.push(data)
        if shut:
            raw.sock.shutdown(1)
        while True:
            patience = within if len(statuses) < replies else 0.12
            try:
                if len(statuses) < replies or raw.buffer or raw.fill(time.monotonic() + patience):
                    response = raw.response(method if len(statuses) == 0 else "GET", patience)
                    statuses.append(response.status)
                    responses.append(response)
                    if "close" in response.field("connection"):
                        replies = len(statuses) + 1  # then wait for the end itself
                else:
                    end = "closed"
                    break
            except Failure as error:
                end = "closed" if raw.ended else "open"
                break
            except (ValueError, IndexError):
                end = "answered with nonsense"
                break
    finally:
        raw.close()
    peer.recorder.quiet(1.5)
    return Talk(statuses, end, peer.recorder.since(mark), responses)


def refused(name, data, status=(400,), **options):
    """A row whose bytes must be refused, with one of these statuses, and closed."""

    def act(peer):
        seen = talk(peer, data, **options)
        fits = seen.refused and seen.statuses and seen.statuses[0] in status
        return Seen(GOOD if fits else HARM if seen.harm else OTHER, str(seen))

    promise = "refused: " + " or ".join(map(str, status)) + ", closed"
    return Row(name, promise, act)


def passed(name, data, want, promise="passed on", replies=1, **options):
    """A row that is served; `want` is the backend's view as text, or a predicate on the Talk."""

    def act(peer):
        seen = talk(peer, data, replies, **options)
        if callable(want):
            fits = want(seen)
        else:
            # An upload that has come whole may be framed anew.
            got = ", ".join(map(str, seen.requests))
            fits = seen.statuses == [200] * replies and got.replace("length", "chunked") == want.replace("length", "chunked")
        return Seen(GOOD if fits else HARM if seen.harm else OTHER, str(seen))

    return Row(name, promise, act)


def showing(name, data, view, want, promise, bad=(), **options):
    """A row that is about fields at the backend: `view` makes one line of what came."""

    def act(peer):
        seen = talk(peer, data, **options)
        if len(seen.requests) != 1:
            return Seen(OTHER, str(seen))
        said = view(seen.requests[0])
        return Seen(GOOD if said == want else HARM if said in bad else OTHER, said)

    return Row(name, promise, act)
