"""An origin for tests of the edge cache: it answers each path as it is told, piece by piece where a test holds it back, and
counts what it is asked for."""
import collections
import socket
import threading

import node

CLOSE, RESET = object(), object()  # as a piece: the connection ends here


def reply(body=b"", *fields, status=b"200 OK", length=None):
    """A whole answer; `length`: what it says about the body's size."""
    head = [b"HTTP/1.1 " + status, *fields, b"Content-Length: %d" % (len(body) if length is None else length)]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def chunked(*fields, status=b"200 OK"):
    """The head of an answer in chunks."""
    return b"\r\n".join([b"HTTP/1.1 " + status, *fields, b"Transfer-Encoding: chunked"]) + b"\r\n\r\n"


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


class Origin(node.RawServer):
    """`at[path]` is bytes, or a function of the request (and of how many came before it for the path, from 0) that gives bytes
    or an iterable of pieces. What is not named is answered by `default`."""

    def __init__(self, default=None, **at):
        super().__init__(self._talk)
        self.at = {}
        self.default = default or (lambda seen, count: reply(b"%b %d" % (seen.target, count), b"Cache-Control: max-age=3600"))
        self.requests = []
        self.asked = collections.Counter()
        self.over = threading.Event()

    def __exit__(self, *words):
        self.over.set()
        super().__exit__(*words)

    def count(self, path=None):
        with self.lock:
            return len(self.requests) if path is None else self.asked[path]

    def of(self, path):
        with self.lock:
            return [seen for seen in self.requests if seen.target == path]

    def _talk(self, connection, _):
        reader = node.Reader(connection)
        while True:
            seen = node.read_request(reader)
            if seen is None or not seen.complete:
                return
            path = seen.target
            with self.lock:
                self.requests.append(seen)
                before = self.asked[path]
                self.asked[path] += 1
            answer = self.at.get(path, self.default)
            if callable(answer):
                answer = answer(seen, before)
            for piece in [answer] if isinstance(answer, bytes) else answer:
                if piece is RESET:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                if piece is CLOSE or piece is RESET:
                    return
                connection.sendall(piece)


def held(event, *pieces):
    """Pieces; None among them waits for the event. The wait ends with the test, at the latest."""
    for piece in pieces:
        if piece is None:
            event.wait(3 * node.PATIENCE)
        else:
            yield piece


def get(path=b"/", *fields, method=b"GET", host=b"h"):
    return b"\r\n".join([method + b" " + path + b" HTTP/1.1", b"Host: " + host, *fields]) + b"\r\n\r\n"


def ask(where, path=b"/", *fields, method=b"GET", host=b"h"):
    """One request; `where`: a node, which gets a connection of its own for it, or a client."""
    if isinstance(where, node.Client):
        where.send(get(path, *fields, method=method, host=host))
        return where.answer(method)
    with node.Client(where.address()) as client:
        return ask(client, path, *fields, method=method, host=host)


def outcome(answer):
    return (answer.get(b"x-cache-status") or b"").decode()
