"""Clients that send when it is time, wait so long for an answer and no longer, and may try again.

Owns the open-loop generator whose clients give up, which h2load's cannot: HTTP/1.1, each request on a
connection that is idle, or a new one; who gives up closes it. It runs in this program, in one thread.
"""

import collections
import contextlib
import gc
import heapq
import random
import select
import socket
import time

import lab
import load

# How late sending may be before the load was not the load that was meant.
LATE_P99_MS = 20
GAVE_UP, BROKEN = 0, -1


def plan(rate, seconds, seed, keys=((1, 0),)):
    """When to send what, decided beforehand: Poisson arrivals, each with one of the keys by its weight."""
    chance = random.Random(seed)
    weights, names = zip(*keys)
    times, now = [], chance.expovariate(rate)
    while now < seconds:
        times.append((now, chance.choices(names, weights)[0]))
        now += chance.expovariate(rate)
    return times


class Request:
    """What one client wants; times are seconds since the load began."""

    __slots__ = ("at", "key", "began", "tries", "status", "done", "on")

    def __init__(self, at, key):
        self.at, self.key = at, key
        self.began, self.tries, self.on = at, 0, None
        # None: it is not known yet; GAVE_UP and BROKEN, or HTTP's.
        self.status = self.done = None

    @property
    def millis(self):
        """How long the last try took, from when it should have been sent."""
        return 1000 * (self.done - self.began)


class Connection:
    """One connection, and the request that is on it."""

    __slots__ = ("socket", "number", "request", "data", "unsent")

    def __init__(self, port):
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect_ex(("127.0.0.1", port))
        self.number = self.socket.fileno()
        self.request, self.data, self.unsent = None, b"", b""

    def answer(self):
        """Status and whether the connection is kept, once the answer is whole."""
        head, end, body = self.data.partition(b"\r\n\r\n")
        if not end:
            return None
        head = head.lower()
        length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        if len(body) < int(length or 0):
            return None
        # Without a length it ends with the connection; the status is all that is wanted of it.
        kept = bool(length) and b"\r\nconnection: close" not in head
        return int(head[9:12]), kept


class OpenLoop:
    """One load: `heads` are the bytes to send by key, one for each try, or the same for all."""

    def __init__(self, port, times, heads, patience, tries=1, pause=0.1):
        self.port, self.heads, self.patience = port, heads, patience
        self.tries, self.pause = tries, pause
        self.requests = [Request(at, key) for at, key in times]
        self.epoll = select.epoll()
        self.connections, self.idle = {}, []
        self.leaving, self.again = collections.deque(), []
        self.late = []
        self.chance = random.Random(len(times))

    def run(self, seconds, events=()):
        """Sends, for so many seconds; `events` are (second, function), in order. Returns the requests."""
        events = collections.deque(events)
        gc.collect()
        gc.disable()
        try:
            self.begun = time.monotonic()
            upcoming = 0
            while (now := self.now()) < seconds:
                while upcoming < len(self.requests) and self.requests[upcoming].at <= now:
                    self.send(self.requests[upcoming], self.requests[upcoming].at, now)
                    upcoming += 1
                while self.again and self.again[0][0] <= now:
                    due, _, request = heapq.heappop(self.again)
                    self.send(request, due, now)
                while self.leaving and self.leaving[0][0] <= now:
                    self.give_up(*self.leaving.popleft()[1:], now)
                while events and events[0][0] <= now:
                    events.popleft()[1]()
                dues = [queue[0][0] for queue in (self.again, self.leaving, events) if queue]
                if upcoming < len(self.requests):
                    dues.append(self.requests[upcoming].at)
                wait = min([seconds, *dues]) - self.now()
                for number, _ in self.epoll.poll(max(0, wait), 256):
                    self.ready(number)
        finally:
            gc.enable()
            self.close()
        self.check()
        return self.requests

    def now(self):
        return time.monotonic() - self.begun

    def send(self, request, due, now):
        """One try, on time or a little later, on a connection that is idle or new."""
        self.late.append(now - due)
        heads = self.heads[request.key]
        head = heads[min(request.tries, len(heads) - 1)]
        request.tries += 1
        request.began = due
        connection = self.connection()
        connection.request, request.on = request, connection
        self.leaving.append((due + self.patience, request, connection, request.tries))
        try:
            connection.socket.send(head)
        except BlockingIOError:
            # Not connected yet.
            connection.unsent = head
            self.epoll.modify(connection.number, select.EPOLLIN | select.EPOLLOUT)
        except OSError:
            self.drop(connection)
            self.failed(request, BROKEN, now)

    def connection(self):
        """The connection that was used last, which is the least likely to be closed; or a new one."""
        while self.idle:
            connection = self.idle.pop()
            if connection.number in self.connections:
                return connection
        connection = Connection(self.port)
        self.connections[connection.number] = connection
        self.epoll.register(connection.number, select.EPOLLIN)
        return connection

    def ready(self, number):
        """A connection can be written, was closed, or brings an answer."""
        connection = self.connections.get(number)
        if not connection:
            return
        request = connection.request
        try:
            if connection.unsent:
                connection.socket.send(connection.unsent)
                connection.unsent = b""
                self.epoll.modify(number, select.EPOLLIN)
                return
            data = connection.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        now = self.now()
        if not (data and request):
            # Closed, be it with a word that nobody asked for.
            self.drop(connection)
            if request:
                self.failed(request, BROKEN, now)
            return
        connection.data += data
        answer = connection.answer()
        if not answer:
            return
        status, kept = answer
        connection.data, connection.request, request.on = b"", None, None
        if kept:
            self.idle.append(connection)
        else:
            self.drop(connection)
        if status == 200:
            request.status, request.done = status, now
        else:
            self.failed(request, status, now)

    def give_up(self, request, connection, attempt, now):
        """Closes the connection of a try that has had its time, and says nothing else."""
        if request.on is connection and request.tries == attempt:
            self.drop(connection)
            self.failed(request, GAVE_UP, now)

    def failed(self, request, status, now):
        """Tries again after a pause, longer each time and never the same, or leaves it at that."""
        request.on = None
        if request.tries < self.tries:
            pause = self.pause * 2 ** (request.tries - 1) * self.chance.uniform(0.5, 1.5)
            heapq.heappush(self.again, (now + pause, id(request), request))
        else:
            request.status, request.done = status, now

    def drop(self, connection):
        # A number comes again with the next socket, and an idle connection is known by it.
        del self.connections[connection.number]
        connection.number = -1
        connection.socket.close()

    def close(self):
        for connection in self.connections.values():
            with contextlib.suppress(OSError):
                connection.socket.close()
        self.connections = {}
        self.epoll.close()

    def check(self):
        """The schedule must have been kept."""
        self.late.sort()
        self.late_p99_ms = 1000 * load.percentile(self.late, 99)
        if self.late_p99_ms > LATE_P99_MS:
            raise lab.Untrusted(
                f"the clients sent late: p99 {self.late_p99_ms:.1f} ms, most {1000 * self.late[-1]:.1f} ms"
            )
