"""Upstreams that answer badly: what their clients see. The table is in upstream_fault_cases.py.

All cases of a backend run at once from a few threads, each on a client connection of its own that goes on to a good
request afterwards, as a keep-alive client would; each case is a test of its own that looks at what came of it.
"""
import concurrent.futures
import contextlib
import re
import socket
import threading
import time

import pytest

import node
from upstream_fault_cases import cases

CONFIG = """
listeners:
  web: {{ bind: "127.0.0.1:0" }}
upstreams:
  patient:
    hosts: ["{host}"]
    timeouts: {{ first_byte: 12s, idle: 12s }}
    limits: {{ idle_time: 500ms }}
  hasty:
    hosts: ["{host}"]
    timeouts: {{ first_byte: 700ms, idle: 700ms }}
    limits: {{ idle_time: 500ms }}
routes:
  - {{ match: {{ path: /patient/** }}, to: upstream.patient }}
  - {{ match: {{ path: /hasty/** }}, to: upstream.hasty }}
"""
LIMIT = 15.0  # seconds that a client waits at most; the upstreams' limits are below


def upstream_of(case):
    """Hasty where the end of the node's patience is what the case is about; a machine that stands still for a moment must not
    end it for the others."""
    waits = case.expect.startswith("late") or case.expect == "cut" and case.then in ("keep", "drip") or case.unread
    return b"hasty" if waits else b"patient"


# A good request to the hasty upstream may meet such a moment.
TRIES = 10


class Faulty(node.RawServer):
    """Answers /.../case/N as case N says and /.../good/N with "good N"."""

    def __init__(self):
        super().__init__(self._talk)
        self.over = threading.Event()

    def __exit__(self, *_):
        self.over.set()
        super().__exit__(*_)

    def _talk(self, connection, number):
        reader = node.Reader(connection)
        while True:
            while b"\r\n\r\n" not in reader.rest:
                if not reader.more():
                    return
            path = reader.rest.split(b" ", 2)[1]
            _, kind, index = path.strip(b"/").split(b"/")
            case = cases[int(index)]
            if kind != b"case" or not case.unread:
                node.read_request(reader)
            if kind == b"good":
                body = b"good %d" % int(index)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                continue
            connection.sendall(case.answer)
            if case.then == "close":
                return
            if case.then == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                return
            if case.then == "drip":
                piece = case.answer if case.answer.startswith(b"HTTP/1.1 100") else b"d"
                for _ in range(10 if case.expect == "good" else 1000):
                    if self.over.wait(0.03):
                        return
                    connection.sendall(piece)
                continue
            if case.unread:
                # Reads nothing, longer than the node has patience. (That it has gone would stand behind what is unread.)
                self.over.wait(3)
                return
            # A well-behaved answer leaves room for the next request; after others the node must not send one.


class Outcome:
    def __init__(self):
        self.answer = None
        self.cut = False         # the answer was not complete
        self.hung = False
        self.trouble = None
        self.raw = b""
        self.seconds = 0.0
        self.next = None         # the answer to the good request
        self.reused = False      # on the same connection


def run(case, index, address):
    outcome = Outcome()
    begin = time.monotonic()
    client = node.Client(address, timeout=LIMIT)
    received = bytearray()
    watch(client, received)
    try:
        upstream = upstream_of(case)
        request = b"%b /%b/case/%d HTTP/1.1\r\nHost: h\r\n" % (case.method, upstream, index)
        if case.unread:
            body = b"x" * 4_000_000
            sender = threading.Thread(target=send_quietly, args=(client, request + b"Content-Length: %d\r\n\r\n" % len(body) + body))
            sender.start()
        else:
            client.send(request + b"\r\n")
        try:
            outcome.answer = client.answer(case.method)
        except EOFError:
            outcome.cut = True
        except socket.timeout:
            outcome.hung = True
        except node.Malformed as error:
            outcome.trouble = error
        if case.unread:
            client.socket.settimeout(LIMIT)
            if outcome.answer is None or outcome.answer.get(b"connection") == b"close":
                with contextlib.suppress(OSError):
                    client.socket.shutdown(socket.SHUT_RDWR)
            sender.join(LIMIT)
            outcome.hung = outcome.hung or sender.is_alive()
        outcome.seconds = time.monotonic() - begin
        outcome.raw = bytes(received)
        good = b"GET /%b/good/%d HTTP/1.1\r\nHost: h\r\n\r\n" % (upstream, index)
        if outcome.answer is not None and outcome.answer.get(b"connection") != b"close" and not client.ended:
            try:
                client.send(good)
                outcome.next = client.answer()
                outcome.reused = True
            except (EOFError, ConnectionError):
                pass
        if not outcome.reused:
            client.close()
            client = node.Client(address, timeout=LIMIT)
            client.send(good)
            outcome.next = client.answer()
        outcome.raw += client.rest
        for _ in range(TRIES if upstream == b"hasty" else 0):
            if outcome.next.status != 504:
                break
            client.send(good)
            outcome.next = client.answer()
    except (OSError, EOFError, node.Malformed) as error:
        outcome.trouble = error
    finally:
        client.close()
    return outcome


def watch(client, received):
    more = client.more

    def noted():
        before = len(client.rest)
        result = more()
        received.extend(client.rest[before:])
        return result

    client.more = noted


def send_quietly(client, data):
    with contextlib.suppress(OSError):
        client.send(data)


class Field:
    def __init__(self, io):
        with Faulty() as upstream, node.Node(CONFIG.format(host=upstream.host), io=io) as proxy:
            # One good request, so that what a node opens once is open.
            assert proxy.ask(b"GET /patient/good/0 HTTP/1.1\r\nHost: h\r\n\r\n", "web").status == 200
            node.until(lambda: upstream.open == 0, "the first connection to be closed when idle")
            self.sockets_before = proxy.sockets()
            address = proxy.address()
            with concurrent.futures.ThreadPoolExecutor(24) as threads:
                running = [threads.submit(run, case, index, address) for index, case in enumerate(cases)]
                self.outcomes = [one.result() for one in running]
            self.alive = proxy.alive()
            node.until(lambda: upstream.open == 0 or not proxy.alive(), "the upstream's connections to be closed")
            node.until(lambda: proxy.sockets() <= self.sockets_before, f"{proxy.sockets()} sockets to become {self.sockets_before}")
            self.in_flight = proxy.metric("trellis_requests_in_flight")
            self.errors = proxy.errors()
        self.seen = upstream.accepted


fields = {}


@pytest.fixture
def field(io):
    if io not in fields:
        fields[io] = Field(io)
    return fields[io]


@pytest.mark.parametrize("index", [pytest.param(index, id=case.name) for index, case in enumerate(cases)])
def test_answer(field, index):
    case, outcome = cases[index], field.outcomes[index]
    answer = outcome.answer
    assert outcome.trouble is None, (outcome.trouble, outcome.raw)
    assert not outcome.hung, "the client was left waiting"
    assert outcome.seconds < 10
    assert b"evil" not in outcome.raw.lower() or b"x-evil" in case.answer.lower() and case.expect == "cut", outcome.raw[:500]
    if answer is not None and answer.status >= 500:
        assert answer.get(b"content-type") == b"application/problem+json", answer
    if case.expect == "bad":
        assert answer is not None and answer.status == 502, (answer, outcome.raw)
    elif case.expect == "late":
        assert answer is not None and answer.status == 504, (answer, outcome.raw)
        assert outcome.seconds > 0.5
    elif case.expect == "late-or-bad":
        assert answer is not None and answer.status in (502, 504), (answer, outcome.raw)
    elif case.expect == "cut":
        assert outcome.cut or answer.status in (502, 504), answer
    elif case.expect == "good":
        assert answer is not None and (answer.status, answer.body) == (case.status, case.body), (answer, outcome.raw)
    elif case.expect == "any":
        assert answer is not None and ((answer.status, answer.body) == (case.status, case.body) or answer.status == 502), (answer, outcome.raw)


@pytest.mark.parametrize("index", [pytest.param(index, id=case.name) for index, case in enumerate(cases)])
def test_the_next_request_gets_its_own_answer(field, index):
    outcome = field.outcomes[index]
    assert outcome.next is not None and outcome.next.status == 200, outcome.next
    assert outcome.next.body == b"good %d" % index


def test_the_node_lived_and_lost_nothing(field):
    assert field.alive
    assert field.in_flight == 0
    assert not re.search(r"assert|sanitizer|panic", field.errors, re.I), field.errors


# --- connections that are used again ---

ONE_CORE = """
listeners:
  web: {{ bind: "127.0.0.1:0" }}
upstreams:
  up:
    hosts: ["{host}"]
    timeouts: {{ first_byte: 5s, idle: 5s }}
routes:
  - {{ match: {{ path: /** }}, to: upstream.up }}
"""


class OnceEach(node.RawServer):
    """Answers one request a connection; when the next comes, ends the connection as `ending` says, but not the first time."""

    def __init__(self, ending):
        super().__init__(self._talk)
        self.ending = ending
        self.requests = []

    def _talk(self, connection, number):
        reader = node.Reader(connection)
        while request := node.read_request(reader):
            self.requests.append((number, request.line))
            if number == 0 and len(self.requests) > 1:
                if self.ending == "reset":
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                elif self.ending == "half":
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
                return
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n" + (b"" if request.method == b"HEAD" else b"good"))


@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"PUT"])
def test_a_stale_connection_is_replaced_unseen(io, ending, method):
    with OnceEach(ending) as upstream, node.Node(ONE_CORE.format(host=upstream.host), io=io, cores=1) as proxy:
        with node.Client(proxy.address()) as client:
            for _ in range(2):
                client.send(method + b" / HTTP/1.1\r\nHost: h\r\n\r\n")
                assert client.answer(method).status == 200
        assert [number for number, _ in upstream.requests] == [0, 0, 1]


@pytest.mark.parametrize("ending", ["close", "reset", "half"])
def test_what_may_have_been_done_is_not_done_twice(io, ending):
    with OnceEach(ending) as upstream, node.Node(ONE_CORE.format(host=upstream.host), io=io, cores=1) as proxy:
        with node.Client(proxy.address()) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            assert client.answer().status == 200
            client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
            assert client.answer().status == 502
            client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            assert client.answer().status == 200
        assert [line.split()[0] for _, line in upstream.requests] == [b"GET", b"POST", b"GET"]


def test_a_broken_head_on_a_used_connection_is_no_reason_to_repeat(io):
    with OnceEach("half") as upstream, node.Node(ONE_CORE.format(host=upstream.host), io=io, cores=1) as proxy:
        with node.Client(proxy.address()) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            assert client.answer().status == 200
            client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            assert client.answer().status == 502
        assert len(upstream.requests) == 2


@pytest.mark.parametrize("extra", [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b"x", b"\r\n"])
def test_an_unasked_answer_is_nobodys(io, extra):
    """What comes on an idle connection must not become the answer to the next request."""
    idle, sent = threading.Event(), threading.Event()

    def talk(connection, _):
        reader = node.Reader(connection)
        while request := node.read_request(reader):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
            if request.target == b"/and-more":
                idle.wait(10)  # until the client has the answer, so that this comes to an idle connection
                connection.sendall(extra)
                sent.set()

    with node.RawServer(talk) as upstream, node.Node(ONE_CORE.format(host=upstream.host), io=io, cores=1) as proxy:
        with node.Client(proxy.address()) as client:
            client.send(b"GET /and-more HTTP/1.1\r\nHost: h\r\n\r\n")
            assert client.answer().body == b"good"
            idle.set()
            assert sent.wait(10)
            for _ in range(3):
                client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                answer = client.answer()
                assert (answer.status, answer.body) == (200, b"good")


def test_an_upstream_that_is_not_there(io):
    with socket.create_server(("127.0.0.1", 0)) as free:
        host = "127.0.0.1:%d" % free.getsockname()[1]
    with node.Node(ONE_CORE.format(host=host), io=io, cores=1) as proxy, node.Client(proxy.address()) as client:
        for _ in range(3):
            client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            answer = client.answer()
            assert answer.status == 502 and host.encode() not in answer.body + answer.head, answer


def test_another_host_takes_over_from_one_that_is_not_there(io):
    with socket.create_server(("127.0.0.1", 0)) as free:
        dead = "127.0.0.1:%d" % free.getsockname()[1]
    with node.Recorder() as upstream, node.Node(ONE_CORE.format(host=f'{dead}", "{upstream.host}'), io=io, cores=1) as proxy:
        with node.Client(proxy.address()) as client:
            for _ in range(10):
                client.send(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
                assert client.answer().status == 200
        assert [one.body for one in upstream.requests] == [b"hello"] * 10


@pytest.mark.parametrize("how", ["length", "chunks"])
def test_a_client_of_http_1_0_can_tell_a_cut_answer(io, how):
    """It has no chunks, so that only a reset can say that the answer is not whole."""
    head = b"Content-Length: 100\r\n\r\n" if how == "length" else b"Transfer-Encoding: chunked\r\n\r\n5\r\n"

    def talk(connection, _):
        if node.read_request(node.Reader(connection)):
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"hello")

    with node.RawServer(talk) as upstream, node.Node(ONE_CORE.format(host=upstream.host), io=io, cores=1) as proxy:
        with node.Client(proxy.address()) as client:
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            received, reset = b"", False
            try:
                while data := client.socket.recv(65536):
                    received += data
            except ConnectionResetError:
                reset = True
            assert reset or b"Content-Length: 100" in received or b" 502 " in received, received
