"""Why the columns of the scoreboard differ: in words for weir, by rule and in words for the peers."""

# What weir does other than promised, and why.
WEIR = {
    ("framing", "a NUL in a chunk extension"): "the HTTP library does not look into extensions; they end at weir",
    ("h2", "a pseudo-field in trailers"): "the HTTP library drops such trailers; the request was whole",
    ("tiny", "the same over 60 streams"): (
        "the HTTP/2 library counts 251 bytes for each empty message that waits, and takes more than 32 MiB of them "
        "on one connection for an attack (h2#944); ten such readers are borne, and to bear more would take as much of weir's memory"
    ),
    ("h2backend", "a 101"): "the HTTP library takes it for an interim response; the answer that never comes is a 504",
}

# What a rule below does not tell.
PEERS = {
    ("framing", "Content-Length of `18446744073709551619`"): "HAProxy wraps it to 3 and passes the field on; a backend that does not wrap waits for 18 exabytes.",
    ("framing", "Transfer-Encoding of `chunked,`"): "HAProxy passes it on with an empty list element, as not chunked; a lenient backend reads chunks.",
    ("framing", "chunked on HTTP/1.0"): "HAProxy passes chunks on under HTTP/1.0, where they mean nothing.",
    ("framing", "no version (HTTP/0.9)"): "nginx serves HTTP/0.9, whose answer has no head.",
    ("hosts", "absolute form, another host"): "HAProxy refuses a contradiction; nginx, told to pass `$http_host`, passes the one that lost.",
    ("framing", "a chunk longer than its size"): "Envoy skips what is beyond the size.",
    ("framing", "a bare CR in a value"): "Envoy leaves it out.",
    ("fields", "a field that Connection names"): "neither HAProxy nor nginx looks at what Connection names.",
    ("fields", "a field that a second Connection line names"): "neither HAProxy nor nginx looks at what Connection names.",
    ("framing", "a bare CR in the request line"): "Envoy leaves it out.",
    ("hosts", "two Host lines"): "Envoy makes one of them, a list.",
    ("upgrades", "websocket and h2c"): "HAProxy and nginx pass the upgrade on; Envoy answers 403.",
    ("upgrades", "Upgrade on HTTP/1.0"): "HAProxy and nginx pass the upgrade on; Envoy answers 426, as to all of HTTP/1.0 unless told otherwise.",
    ("backends", "a bare CR in a value"): "Envoy leaves it out.",
    ("fields", "Connection names Authorization and Cookie"): "Envoy removes them, as RFC 9110 (7.6.1) says of every field that is named.",
    ("fields", "Connection names Content-Length"): "Envoy removes it, and sends the body in chunks.",
    ("backends", "a chunk longer than its size"): "Envoy skips what is beyond the size, and ends the body as if it were whole.",
    ("backends", "an unasked 101"): "nginx passes it on; Envoy, too, and goes on with the next request behind it.",
    ("leave", "a body of 100 KB, unread, RST"): "HAProxy does not look for the end while a body is unread; Envoy sees a FIN there, but no reset.",
    ("leave", "a request pipelined behind it, RST"): "Envoy sees a FIN behind unread bytes, but no reset.",
}

# The words of a cell and what they mean, first match first.
RULES = (
    ("turned away", "closes kept connections under requests that are on their way"),
    ("spins", "takes a whole core while it waits for a descriptor"),
    ("leaves who is connected", "closes a connection that it cannot serve"),
    ("gone late", "notices it late"),
    ("AMBIGUOUS", "passes on what a backend may read in two ways"),
    ("honest client got", "leaves the next client with a wrong answer"),
    ("honest client suffers", "lets the honest client suffer"),
    ("borne to its end", "bears it"),
    ("connection reused", "believes the backend, and uses its connection again"),
    ("nonsense", "passes on what is no response"),
    ("asked for", "passes the upgrade on"),
    ("backend:", "passes it on"),
    ("keeps its place", "does not look for the end while a body is unread"),
    ("reads it", "closes with unread bytes, which destroys the answer"),
    ("read it", "closes with unread bytes, which destroys some answers"),
    ("before the timer", "needs no timer to tell"),
    ("ENHANCE_YOUR_CALM", "takes it for an attack"),
    ("grpc-status", "answers for the backend"),
    ("HTTP 502", "answers in HTTP, not in gRPC"),
    ("a clean end", "ends the stream as if the response were whole"),
    ("clean", "takes it"),
    ("reset", "resets the stream"),
    ("whole", "passes it on"),
    ("some fail", "does not retry"),
    ("cut off", "cuts it off"),
    ("taken", "takes it"),
)


def phrase(seen):
    """A peer's difference in a few words."""
    first = seen.text.split(",")[0].split("+")[0].split(";")[0]
    if first.isdigit() and 400 <= int(first) < 600 and "backend:" not in seen.text and "asked" not in seen.text:
        return f"answers {first}"
    for words, meaning in RULES:
        if words in seen.text:
            return meaning
    return f"shows `{seen.text}`"


def explain(key, row, cells):
    """One line on what differs from weir, or on where weir falls short; empty if nothing does."""
    said = []
    if (key, row) in WEIR:
        said.append(f"weir: {WEIR[key, row]}")
    weir = cells["weir"]
    if (key, row) in PEERS:
        said.append(PEERS[key, row].rstrip("."))
    else:
        for name in ("HAProxy", "nginx", "Envoy"):
            seen = cells[name]
            if seen.mark != weir.mark and seen.mark not in ("✓", "–"):
                said.append(f"{name} {phrase(seen)}")
    return "; ".join(part for part in said if part) + "." if any(said) else ""
