"""Clients that are slow, greedy or gone, and bodies that are large: limits hold, memory does not grow, nothing is left over."""
import concurrent.futures
import contextlib
import hashlib
import socket
import threading
import time

import pytest

import node

CONFIG = """
listeners:
  web: {{ bind: "127.0.0.1:0", head_timeout: 500ms, body_timeout: 500ms, idle_timeout: 1s, send_timeout: 1s }}
  patient: {{ bind: "127.0.0.1:0" }}
  small: {{ bind: "127.0.0.1:0", max_connections: 4 }}
upstreams:
  up: {{ hosts: ["{host}"] }}
routes:
  - {{ match: {{ path: /fixed }}, to: {{ fixed: {{ status: 200, body: "ok" }} }} }}
  - match: {{ path: /limited }}
    filters: [ {{ body_limit: {{ max: 1KiB }} }} ]
    to: upstream.up
  - {{ match: {{ path: /** }}, to: upstream.up }}
"""
MIB = 1 << 20


class Upstream(node.RawServer):
    """/large/N sends N MiB and notes how far it came; /echo sends the body back as it comes; /sum its SHA-256; /never nothing."""

    def __init__(self):
        super().__init__(self._talk)
        self.sent = 0
        self.asked = threading.Event()
        self.gone = threading.Event()
        self.bodies = 0

    def _talk(self, connection, number):
        reader = node.Reader(connection)
        while True:
            while b"\r\n\r\n" not in reader.rest:
                if not reader.more():
                    return
            head, _, reader.rest = reader.rest.partition(b"\r\n\r\n")
            seen = node.Seen(head, b"", False, False)
            path = seen.target.split(b"/")[1]
            self.asked.set()
            if path == b"large":
                size = int(seen.target.split(b"/")[2]) * MIB
                try:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                    self.sent = 0
                    while self.sent < size:
                        self.sent += connection.send(PATTERN[:min(len(PATTERN), size - self.sent)])
                except OSError:
                    self.gone.set()
                    return
            elif path == b"never":
                with contextlib.suppress(OSError):
                    while reader.more():
                        pass
                self.gone.set()
                return
            elif path == b"sum":
                digest, count = hashlib.sha256(), 0
                for piece in self._body(reader, seen):
                    digest.update(piece)
                    count += len(piece)
                text = b"%b %d" % (digest.hexdigest().encode(), count)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))
            elif path == b"echo":
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for piece in self._body(reader, seen):
                    connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
                connection.sendall(b"0\r\n\r\n")
            else:
                for _ in self._body(reader, seen):
                    pass
                self.bodies += 1
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")

    @staticmethod
    def _body(reader, seen):
        if seen.get(b"transfer-encoding"):
            while size := int(reader.take_until(b"\r\n"), 16):
                yield reader.take(size)
                assert reader.take(2) == b"\r\n"
            while reader.take_until(b"\r\n"):
                pass
            return
        left = int(seen.get(b"content-length") or 0)
        while left > 0:
            if not reader.rest and not reader.more():
                raise EOFError("the body broke off")
            piece, reader.rest = reader.rest[:left], reader.rest[left:]
            left -= len(piece)
            yield piece


PATTERN = bytes(range(256)) * 1024


@pytest.fixture
def system(io):
    with Upstream() as upstream, node.Node(CONFIG.format(host=upstream.host), io=io) as proxy:
        yield proxy, upstream


def get(path, more=b""):
    return b"GET " + path + b" HTTP/1.1\r\nHost: h\r\n" + more + b"\r\n"


@pytest.mark.parametrize("part", [b"G", b"GET /fixed HTTP/1.1\r\n", b"GET /fixed HTTP/1.1\r\nHost: h\r\n", b"GET /fixed HTTP/1.1\r\nHost: h\r\n\r", b"\r\n"])
def test_a_head_that_does_not_come_is_answered_408(system, part):
    proxy, _ = system
    with node.Client(proxy.address()) as client:
        client.send(part)
        answer = client.answer()
        assert answer.status == 408 and answer.get(b"connection") == b"close"
        assert client.at_end()


def test_a_head_byte_by_byte_does_not_stretch_its_time(system):
    proxy, _ = system
    begin = time.monotonic()
    with node.Client(proxy.address()) as client:
        with contextlib.suppress(OSError):
            for byte in get(b"/fixed", b"X: " + b"y" * 1000 + b"\r\n"):
                client.send(bytes([byte]))
                client.socket.settimeout(0.02)
                with contextlib.suppress(socket.timeout):
                    if not client.more() or client.rest:
                        break
        client.socket.settimeout(5)
        assert client.answer().status == 408
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("framing", [b"Content-Length: 100\r\n", b"Transfer-Encoding: chunked\r\n"])
@pytest.mark.parametrize("path", [b"/up", b"/fixed"])
def test_a_body_that_does_not_come_ends_the_connection(system, framing, path):
    proxy, upstream = system
    with node.Client(proxy.address()) as client:
        client.send(b"POST " + path + b" HTTP/1.1\r\nHost: h\r\n" + framing + b"\r\n")
        answer = client.answer()
        assert answer.status == (408 if path == b"/up" else 200)
        assert client.at_end()
    assert upstream.bodies == 0


def test_an_idle_connection_is_closed_without_a_word(system):
    proxy, _ = system
    with node.Client(proxy.address()) as fresh, node.Client(proxy.address()) as used:
        used.send(get(b"/fixed"))
        assert used.answer().status == 200
        assert fresh.to_the_end() == b"" and used.to_the_end() == b""


def test_two_thousand_idle_connections_cost_little_and_hinder_nobody(system):
    proxy, _ = system
    before, sockets = proxy.resident(), proxy.sockets()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(node.Client(proxy.address("patient"))) for _ in range(2000)]
        for client in clients:
            client.send(get(b"/fixed"))
        for client in clients:
            assert client.answer().status == 200
        assert proxy.sockets() >= sockets + 2000
        # Their own memory is 2 KiB each; the rest is what serving them at once took.
        assert proxy.resident() - before < 24 * MIB
        with node.Client(proxy.address("patient")) as one:
            one.send(get(b"/up"))
            assert one.answer().status == 200
    node.until(lambda: proxy.sockets() <= sockets + 4, "the connections to be closed")


def test_connections_beyond_the_limit_are_closed_at_once(io):
    config = CONFIG.format(host="127.0.0.1:1")
    with node.Node(config, io=io, cores=1) as proxy:
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(node.Client(proxy.address("small"))) for _ in range(4)]
            for client in held:
                client.send(get(b"/fixed"))
                assert client.answer().status == 200
            with node.Client(proxy.address("small")) as beyond:
                assert beyond.at_end()
            with node.Client(proxy.address("patient")) as other:
                other.send(get(b"/fixed"))
                assert other.answer().status == 200

        def served():
            with node.Client(proxy.address("small")) as client:
                with contextlib.suppress(OSError, EOFError):
                    client.send(get(b"/fixed"))
                    return client.answer().status == 200

        node.until(served, "room for another")


@pytest.mark.parametrize("framing", ["length", "chunks", "many chunks"])
def test_a_body_beyond_the_limit_is_413(system, framing):
    proxy, upstream = system
    for size, status in ((1024, 200), (1025, 413), (200_000, 413)):
        head = b"POST /limited HTTP/1.1\r\nHost: h\r\n"
        if framing == "length":
            raw = head + b"Content-Length: %d\r\n\r\n" % size + b"x" * size
        elif framing == "chunks":
            raw = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size + b"x" * size + b"\r\n0\r\n\r\n"
        else:
            raw = head + b"Transfer-Encoding: chunked\r\n\r\n" + (b"1;a=b\r\nx\r\n" * min(size, 3000)) + b"0\r\n\r\n"
        with node.Client(proxy.address("patient")) as client:
            with contextlib.suppress(ConnectionError):
                client.send(raw)
            assert client.answer().status == status, size
    assert upstream.bodies == 1


def test_a_client_that_does_not_read_pauses_the_upstream(system):
    proxy, upstream = system
    warm = proxy.ask(get(b"/large/1"), "patient")
    assert len(warm.body) == MIB
    before = proxy.resident()
    upstream.asked.clear()
    with node.Client(proxy.address("patient"), receive_buffer=16384) as client:
        client.send(get(b"/large/50"))
        assert upstream.asked.wait(10)
        # Paused when it has not moved for half a second.
        last, since = -1, time.monotonic()
        while time.monotonic() - since < 0.5:
            if upstream.sent != last:
                last, since = upstream.sent, time.monotonic()
            time.sleep(0.02)
        assert last < 30 * MIB, "only what the kernel's buffers hold may be under way"
        assert proxy.resident() - before < 4 * MIB
        answer = client.answer()
        assert answer.body == PATTERN * (50 * MIB // len(PATTERN))
    assert proxy.resident() - before < 8 * MIB


def test_a_client_that_never_reads_is_closed(system):
    proxy, upstream = system
    with node.Client(proxy.address(), receive_buffer=4096) as client:
        client.send(get(b"/large/50"))
        assert upstream.gone.wait(15), "the upstream's connection to be closed"
        with contextlib.suppress(EOFError):
            client.answer()
            raise AssertionError("the answer came whole")


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_a_client_that_leaves_ends_the_upstreams_work(system, leave):
    proxy, upstream = system
    for path, begun in ((b"/large/50", True), (b"/never", False)):
        upstream.gone.clear()
        upstream.asked.clear()
        client = node.Client(proxy.address("patient"), receive_buffer=16384)
        client.send(get(path))
        assert upstream.asked.wait(10)
        if begun:
            client.take(1000)
        client.reset() if leave == "reset" else client.close()
        assert upstream.gone.wait(8), f"the upstream to hear that the client of {path} left"
    node.until(lambda: proxy.metric("trellis_requests_in_flight") == 0, "no request in flight")


def sum_of(data, times):
    digest = hashlib.sha256()
    for _ in range(times):
        digest.update(data)
    return b"%b %d" % (digest.hexdigest().encode(), len(data) * times)


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_hundred_megabytes_arrive_as_they_were_sent(system, framing):
    proxy, _ = system
    piece, times = PATTERN[:200_003], 500
    before = proxy.resident()
    most = 0
    with node.Client(proxy.address("patient"), timeout=60) as client:
        head = b"PUT /sum HTTP/1.1\r\nHost: h\r\n"
        if framing == "length":
            client.send(head + b"Content-Length: %d\r\n\r\n" % (len(piece) * times))
            for _ in range(times):
                client.send(piece)
                most = max(most, proxy.resident())
        else:
            client.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
            for _ in range(times):
                client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
                most = max(most, proxy.resident())
            client.send(b"0\r\n\r\n")
        assert client.answer().body == sum_of(piece, times)
        client.send(get(b"/fixed"))
        assert client.answer().body == b"ok"
    assert most - before < 16 * MIB


def test_both_directions_at_once(system):
    proxy, _ = system
    piece, times = PATTERN[:65_537], 300

    def one(framing):
        with node.Client(proxy.address("patient"), timeout=60) as client:
            head = b"POST /echo HTTP/1.1\r\nHost: h\r\n"

            def send():
                if framing == "length":
                    client.send(head + b"Content-Length: %d\r\n\r\n" % (len(piece) * times))
                    for _ in range(times):
                        client.send(piece)
                else:
                    client.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
                    for _ in range(times):
                        client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
                    client.send(b"0\r\n\r\n")

            sender = threading.Thread(target=send)
            sender.start()
            answer = client.answer()
            sender.join()
            assert hashlib.sha256(answer.body).digest() == hashlib.sha256(piece * times).digest()

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(one, framing) for framing in ("length", "chunks") * 2]:
            done.result()
