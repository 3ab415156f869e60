"""A backend with so much capacity and no more, as a program: `slots.py SLOTS MILLISECONDS`.

It takes every connection and every request, works on as many at once as it has slots, and on the
others in the order they came, whether the client is still there or not: as a server does that has a
pool of workers. It prints its port, and runs until it is ended.
"""

import collections
import select
import socket
import sys
import time

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok"


class Connection:
    """A client's connection; it may be gone long before its request is worked on."""

    __slots__ = ("socket", "data")

    def __init__(self, connection):
        self.socket, self.data = connection, b""


class Slots:
    """The slots, what is in them, and what waits for one."""

    def __init__(self, slots, seconds):
        self.free, self.seconds = slots, seconds
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=65535)
        self.listener.setblocking(False)
        self.epoll = select.epoll()
        self.epoll.register(self.listener, select.EPOLLIN)
        self.connections = {}
        self.waiting = collections.deque()
        # All take equally long, so what began first ends first.
        self.working = collections.deque()

    def accept(self):
        """All that are there."""
        while True:
            try:
                connection, _ = self.listener.accept()
            except BlockingIOError:
                return
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections[connection.fileno()] = Connection(connection)
            self.epoll.register(connection, select.EPOLLIN)

    def read(self, number):
        """What a client sent: each head is a request, there are no bodies."""
        connection = self.connections[number]
        try:
            data = connection.socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            del self.connections[number]
            connection.socket.close()
            return
        connection.data += data
        while b"\r\n\r\n" in connection.data:
            connection.data = connection.data.partition(b"\r\n\r\n")[2]
            self.waiting.append(connection)

    def answer(self, now):
        """What is done by now; nobody may be there to take it."""
        while self.working and self.working[0][0] <= now:
            _, connection = self.working.popleft()
            self.free += 1
            try:
                connection.socket.send(ANSWER)
            except OSError:
                pass

    def run(self):
        """For ever."""
        listening = self.listener.fileno()
        while True:
            within = self.working[0][0] - time.monotonic() if self.working else -1
            for number, _ in self.epoll.poll(max(0, within) if self.working else -1):
                if number == listening:
                    self.accept()
                else:
                    self.read(number)
            now = time.monotonic()
            self.answer(now)
            while self.free and self.waiting:
                self.free -= 1
                self.working.append((now + self.seconds, self.waiting.popleft()))


def main():
    slots = Slots(int(sys.argv[1]), float(sys.argv[2]) / 1000)
    print(slots.listener.getsockname()[1], flush=True)
    slots.run()


if __name__ == "__main__":
    main()
