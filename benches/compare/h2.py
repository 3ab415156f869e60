"""As much of HTTP/2 as is needed to hold streams open, and to see whether trailers arrive.

Owns frames. Fields are sent as plain literals; of what is received only the status is understood.
"""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
# `:status: 200` in the table that both sides know from the start.
STATUS_200 = 0x88


def frame(kind, flags, stream, payload=b""):
    """One frame as bytes."""
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def text(value):
    """A string literal without Huffman coding."""
    data = value.encode()
    if len(data) < 127:
        return bytes((len(data),)) + data
    rest, length = len(data) - 127, bytearray((127,))
    while rest >= 128:
        length.append(rest % 128 + 128)
        rest //= 128
    length.append(rest)
    return bytes(length) + data


def request(stream, method, authority, path, fields=(), body=None):
    """The frames of one request."""
    pseudo = ((":method", method), (":scheme", "http"), (":authority", authority), (":path", path))
    block = b"".join(b"\0" + text(name) + text(value) for name, value in (*pseudo, *fields))
    if body is None:
        return frame(HEADERS, END_HEADERS | END_STREAM, stream, block)
    return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, body)


def says_200(block):
    """Whether a header block begins with status 200; changes of the table's size may come before it."""
    at = 0
    while at < len(block) and block[at] & 0xE0 == 0x20:
        more = block[at] & 0x1F == 0x1F
        at += 1
        while more and at < len(block):
            more = block[at] >= 128
            at += 1
    return at < len(block) and block[at] == STATUS_200


class Frames:
    """Takes frames out of a stream of bytes."""

    def __init__(self):
        self.rest = bytearray()

    def feed(self, data):
        """The (kind, flags, stream, payload) of each frame that is now whole."""
        self.rest += data
        at, whole = 0, []
        while len(self.rest) >= at + 9:
            length = int.from_bytes(self.rest[at : at + 3])
            if len(self.rest) < at + 9 + length:
                break
            kind, flags = self.rest[at + 3], self.rest[at + 4]
            stream = int.from_bytes(self.rest[at + 5 : at + 9]) & 0x7FFFFFFF
            whole.append((kind, flags, stream, bytes(self.rest[at + 9 : at + 9 + length])))
            at += 9 + length
        del self.rest[:at]
        return whole
