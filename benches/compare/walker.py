"""A client with very many kept connections that uses them in turn.

Owns the load of the measurement over connections: h2load would have all of them busy at once, and
would have the requests wait for permits, which is another question.
"""

import collections
import select
import socket

import lab


class Walker:
    """So many connections to one port; requests go round over them, a few at a time."""

    def __init__(self, port, count, path, length):
        self.request = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n".encode()
        self.length = length
        self.connections = {}
        # Those without a request in flight, the one that has waited longest first.
        self.idle = collections.deque()
        self.poll = select.epoll()
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", port), 10)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            self.poll.register(connection, select.EPOLLIN)
            self.connections[connection.fileno()] = connection
            self.idle.append(connection)

    def send(self):
        """One more request, on the connection whose turn it is."""
        self.idle.popleft().send(self.request)

    def walk(self, requests, at_once):
        """So many requests, so many of them in flight; every answer is a whole 200."""
        at_once = min(at_once, len(self.idle), requests)
        sent = done = 0
        pieces = {}
        while sent < at_once:
            self.send()
            sent += 1
        while done < requests:
            events = self.poll.poll(10)
            if not events:
                raise lab.Untrusted(f"no answer for 10 s after {done} of {requests}")
            for number, _ in events:
                data = self.connections[number].recv(65536)
                if not data:
                    raise lab.Untrusted("a connection that should be kept was closed")
                if number in pieces:
                    data = pieces.pop(number) + data
                if not self.whole(data):
                    pieces[number] = data
                    continue
                done += 1
                self.idle.append(self.connections[number])
                if sent < requests:
                    self.send()
                    sent += 1

    def whole(self, data):
        """Whether this is all of the answer."""
        end = data.find(b"\r\n\r\n")
        if end >= 0 and not data.startswith(b"HTTP/1.1 200 "):
            raise lab.Untrusted(f"answered with {data[:60]}")
        return end >= 0 and len(data) == end + 4 + self.length

    def close(self):
        self.poll.close()
        for connection in self.connections.values():
            connection.close()
