"""Raw requests against a fixed answer and against an upstream: see smuggling_cases.py for what is sent and expected.

All cases of a backend run at once from a few threads; each is a test of its own that looks at what came of it.
"""
import concurrent.futures
import contextlib
import fcntl
import socket
import struct
import termios
import threading
import time

import pytest

import node
from smuggling_cases import cases, mark_of

CONFIG = """
listeners:
  fixed: {{ bind: "127.0.0.1:0" }}
  proxied: {{ bind: "127.0.0.1:0" }}
upstreams:
  up: {{ hosts: ["{host}"] }}
routes:
  - {{ match: {{ headers: {{ x-fixed: "1" }} }}, to: {{ fixed: {{ status: 200, body: "ok" }} }} }}
  - {{ match: {{ path: /** }}, to: upstream.up }}
"""
FIXED_CONFIG = """
listeners:
  fixed: { bind: "127.0.0.1:0" }
routes:
  - { match: { path: /** }, to: { fixed: { status: 200, body: "ok" } } }
"""
REFUSALS = {400, 405, 408, 413, 414, 417, 421, 426, 431, 501, 505}
SENTINEL = b"GET /{k}/end HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


class Outcome:
    """What came back: the answers, and how the stream went on."""

    def __init__(self):
        self.answers = []
        self.trouble = None   # a malformed answer or one that was cut
        self.ended = False    # the node closed without being asked to
        self.left = b""


def run(case, number, address):
    mark = mark_of(number)
    methods = list(case.methods) + [b"GET"] * 200
    outcome = Outcome()
    wanted = case.answers if case.expect == "accept" else 1
    with node.Client(address, timeout=15) as client:
        try:
            client.send(case.bytes_for(mark))
        except ConnectionError:
            pass
        try:
            while len(outcome.answers) < wanted:
                outcome.answers.append(client.answer(methods[len(outcome.answers)]))
            if case.expect in ("accept", "either") and not case.closes and outcome.answers[-1].get(b"connection") != b"close":
                try:
                    client.send(SENTINEL.replace(b"{k}", mark))
                except ConnectionError:
                    pass
            while client.rest or client.more():
                outcome.answers.append(client.answer())
            outcome.ended = True
        except EOFError as error:
            outcome.ended = client.ended
            if client.rest or not outcome.answers:
                outcome.trouble = error
        except socket.timeout:
            outcome.trouble = "neither answered nor closed"
        except (node.Malformed, ValueError) as error:
            outcome.trouble = error
        outcome.left = client.rest
    return outcome


class Field:
    """All cases, run."""

    def __init__(self, io):
        self.io = io
        begin = time.monotonic()
        with node.Recorder() as upstream, \
                node.Node(CONFIG.format(host=upstream.host), io=io) as proxy, \
                node.Node(FIXED_CONFIG, io=io) as fixed:
            with concurrent.futures.ThreadPoolExecutor(24) as threads:
                forwarded = [threads.submit(run, case, number, proxy.address("proxied")) for number, case in enumerate(cases)]
                answered = [threads.submit(run, case, number, fixed.address("fixed")) for number, case in enumerate(cases)]
                self.forwarded = [one.result() for one in forwarded]
                self.answered = [one.result() for one in answered]
            self.alive = proxy.alive() and fixed.alive()
            self.refused = proxy.metric("trellis_refused_total")
        # Everything is closed: what the upstream saw is final.
        node.until(lambda: upstream.open == 0, "the upstream's connections to end")
        self.raw = [bytes(log) for log in upstream.raw]
        self.seen = {}
        for request in upstream.requests:
            for number in range(len(cases)):
                if mark_of(number) in request.head or mark_of(number) in request.body:
                    self.seen.setdefault(number, []).append(request)
        self.whole = b"\n".join(self.raw)
        self.seconds = time.monotonic() - begin


fields = {}


@pytest.fixture
def field(io):
    if io not in fields:
        fields[io] = Field(io)
    return fields[io]


def is_refused(case, outcome):
    assert outcome.trouble is None, (outcome.trouble, outcome.answers, outcome.left)
    assert len(outcome.answers) == 1, outcome.answers
    assert outcome.answers[0].status in (case.statuses or REFUSALS), outcome.answers
    assert outcome.answers[0].get(b"connection") == b"close", outcome.answers
    assert outcome.ended and not outcome.left


def upstream_requests(field, number, complete=True):
    end = b"/" + mark_of(number) + b"/end"
    return [one for one in field.seen.get(number, []) if one.target != end and (one.complete or not complete)]


def numbered(expect):
    return [pytest.param(number, id=case.name) for number, case in enumerate(cases) if case.expect == expect]


def is_unambiguous(requests):
    for one in requests:
        assert node.request_faults(one.head) == [], one
        assert b"/hidden" not in one.target and b"/inner" not in one.target, one


@pytest.mark.parametrize("number", numbered("refuse"))
def test_refused(field, number):
    case = cases[number]
    is_refused(case, field.answered[number])
    is_refused(case, field.forwarded[number])
    assert mark_of(number) not in field.whole


@pytest.mark.parametrize("number", numbered("body"))
def test_body_refused(field, number):
    case = cases[number]
    is_refused(case, field.forwarded[number])
    is_refused(case, field.answered[number])
    assert upstream_requests(field, number) == []
    assert b"/" + mark_of(number) + b"/hidden" not in field.whole


@pytest.mark.parametrize("number", numbered("accept"))
def test_accepted(field, number):
    case = cases[number]
    for outcome in (field.answered[number], field.forwarded[number]):
        assert outcome.trouble is None, (outcome.trouble, outcome.answers, outcome.left)
        expected = case.answers if case.closes else case.answers + 1  # and the sentinel's
        assert [one.status for one in outcome.answers] == [200] * expected, outcome.answers
        assert outcome.ended and not outcome.left
    seen = upstream_requests(field, number)
    mark = mark_of(number)
    assert [(one.method, one.body) for one in seen] == [(method, body.replace(b"{k}", mark)) for method, body in case.requests]
    for one in seen:
        assert node.request_faults(one.head) == [], one
        assert one.get(b"x-own") is None or b"x-own" not in case.raw
        switch = b"websocket" if b"Upgrade: websocket\r\nConnection: Upgrade\r\n" in case.raw else None
        assert one.get(b"upgrade") == switch and one.get(b"http2-settings") is None, one


@pytest.mark.parametrize("number", numbered("either"))
def test_refused_or_answered_once(field, number):
    case = cases[number]
    for outcome in (field.answered[number], field.forwarded[number]):
        assert outcome.trouble is None, (outcome.trouble, outcome.answers, outcome.left)
        assert outcome.ended and not outcome.left
        assert outcome.answers
        bad = [index for index, one in enumerate(outcome.answers) if one.status >= 400]
        # Nothing is answered behind a refusal that is about bytes.
        if bad and outcome.answers[bad[0]].status in (400, 414, 417, 431, 501, 505):
            assert bad[0] == len(outcome.answers) - 1, outcome.answers
    is_unambiguous([one for one in upstream_requests(field, number) if b"{hidden}" not in case.raw])
    for one in upstream_requests(field, number):
        assert node.request_faults(one.head) == [], one


@pytest.mark.parametrize("number", numbered("pipeline-refuse"))
def test_refused_behind_a_good_one(field, number):
    case = cases[number]
    for outcome in (field.answered[number], field.forwarded[number]):
        assert outcome.trouble is None, (outcome.trouble, outcome.answers, outcome.left)
        assert [one.status for one in outcome.answers] == [200, 400], outcome.answers
        assert outcome.ended and not outcome.left
    assert [(one.method, one.body) for one in upstream_requests(field, number)] == list(case.requests)
    assert b"/" + mark_of(number) + b"/hidden" not in field.whole


def test_the_nodes_lived_through_all(field):
    assert field.alive
    assert field.refused > 300


# --- how bytes come, not what they are ---


@pytest.fixture
def backend(io):
    """A proxy before a recorder."""
    with node.Recorder() as upstream, node.Node(CONFIG.format(host=upstream.host), io=io) as proxy:
        yield proxy, upstream


WHOLE = (b"POST /split HTTP/1.1\r\nHost: h\r\n%bTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n"
         b"POST /split HTTP/1.1\r\nHost: h\r\n%bContent-Length: 5\r\n\r\nagain")


def test_a_request_split_anywhere_is_the_same_request(backend):
    proxy, upstream = backend
    wanted = []
    for extra in (b"", b"X-Fixed: 1\r\n"):
        whole = WHOLE % (extra, extra)

        def one(at, whole=whole, extra=extra):
            with node.Client(proxy.address("proxied")) as client:
                client.send(whole[:at])
                # In a segment of its own, with time for the node to wake up for it.
                node.until(lambda: queued(client.socket) == 0, "the first part to arrive", every=0.001)
                time.sleep(0.001)
                client.send(whole[at:])
                answers = [client.answer(), client.answer()]
                assert [answer.status for answer in answers] == [200, 200], (at, answers)

        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            for done in [threads.submit(one, at) for at in range(1, len(whole))]:
                done.result()
        if not extra:
            wanted = [b"hello world", b"again"] * (len(whole) - 1)
    assert sorted(seen.body for seen in upstream.requests) == sorted(wanted)


def queued(connection):
    """Bytes that the kernel still holds for the other side to acknowledge."""
    return struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0\0\0\0"))[0]


def test_a_request_byte_by_byte(backend):
    proxy, upstream = backend
    for extra in (b"", b"X-Fixed: 1\r\n"):
        whole = WHOLE % (extra, extra)
        with node.Client(proxy.address("proxied")) as client:
            for index in range(len(whole)):
                client.send(whole[index:index + 1])
            assert [client.answer().status, client.answer().status] == [200, 200]
    assert [seen.body for seen in upstream.requests] == [b"hello world", b"again"]


@pytest.mark.parametrize("delay", [0, 0.5])
def test_a_client_that_ended_its_stream_is_answered(io, delay):
    def talk(connection, _):
        reader = node.Reader(connection)
        while request := node.read_request(reader):
            threading.Event().wait(delay)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(request.body), request.body))

    with node.RawServer(talk) as upstream, node.Node(CONFIG.format(host=upstream.host), io=io) as proxy:
        for raw, bodies in ((b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", [b""]), (b"GET / HTTP/1.1\r\nHost: h\r\nX-Fixed: 1\r\n\r\n", [b"ok"]),
                            (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", [b"hello"]),
                            (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", [b"hello"]),
                            (b"GET / HTTP/1.0\r\n\r\n", [b""]),
                            (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 3, [b""] * 3)):
            with node.Client(proxy.address("proxied")) as client:
                client.send(raw)
                client.half_close()
                assert [client.answer().body for _ in bodies] == bodies, raw
                assert client.at_end(), raw


@pytest.mark.parametrize("raw", [
    b"GET / HTTP/1.1\r\nHost: h\r\n", b"GET /", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", b"\r\n", b"GET / HTTP/1.1\r\nHost: h\r\n\r"])
def test_a_request_that_ends_too_early_is_never_complete(backend, raw):
    proxy, upstream = backend
    for extra in (b"", b"X-Fixed: 1\r\n"):
        with node.Client(proxy.address("proxied"), timeout=5) as client:
            client.send(raw.replace(b"Host: h\r\n", b"Host: h\r\n" + extra))
            client.half_close()
            with contextlib.suppress(EOFError):
                answer = client.answer()
                assert answer.status >= 400 or extra, answer
                assert answer.status != 499, "a client that left is told nothing"
            assert client.at_end()
    node.until(lambda: upstream.open == 0, "the upstream's connections to end")
    assert [seen for seen in upstream.requests if seen.complete] == []


def test_expect_100_continue(backend):
    proxy, upstream = backend
    for framing, body in ((b"Content-Length: 5\r\n", b"hello"), (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n")):
        with node.Client(proxy.address("proxied")) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n" + framing + b"\r\n")
            assert client.take_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
            client.send(body)
            assert client.answer().status == 200
            client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            assert client.answer().status == 200
    assert [seen.body for seen in upstream.requests] == [b"hello", b"", b"hello", b""]


def test_a_final_answer_instead_of_100_ends_the_connection(backend):
    # Whether the body follows nobody can know, so nothing behind it can be read.
    proxy, upstream = backend
    with node.Client(proxy.address("proxied")) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nX-Fixed: 1\r\nExpect: 100-continue\r\nContent-Length: 37\r\n\r\n")
        answer = client.answer()
        assert answer.status == 200 and answer.get(b"connection") == b"close"
        client.send(b"GET /inner HTTP/1.1\r\nHost: h\r\n\r\n..")
        assert client.at_end()
    assert upstream.requests == []


def test_an_early_answer_leaves_the_connection_in_step(io):
    """The upstream answers before the body was sent: what follows on the client's connection is read at the right byte."""
    def talk(connection, _):
        reader = node.Reader(connection)
        while b"\r\n\r\n" not in reader.rest:
            if not reader.more():
                return
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")
        while reader.more():
            pass

    inner = b"GET /inner HTTP/1.1\r\nHost: h\r\nX-Fixed: 1\r\n\r\n"
    with node.RawServer(talk) as upstream, node.Node(CONFIG.format(host=upstream.host), io=io) as proxy:
        for framing, wrap in ((b"Content-Length: %d\r\n" % (len(inner) * 40), lambda data: data), (b"Transfer-Encoding: chunked\r\n", lambda data: b"%x\r\n%b\r\n" % (len(data), data))):
            for pieces in (0, 1, 5, 39):
                with node.Client(proxy.address("proxied")) as client:
                    client.send(b"POST / HTTP/1.1\r\nHost: h\r\n" + framing + b"\r\n" + wrap(inner) * pieces)
                    answer = client.answer()
                    assert (answer.status, answer.body) == (200, b"early")
                    if answer.get(b"connection") != b"close":
                        with contextlib.suppress(ConnectionError):
                            client.send(wrap(inner) * (40 - pieces) + (b"0\r\n\r\n" if b"chunked" in framing else b""))
                            client.send(b"GET /next HTTP/1.1\r\nHost: h\r\nX-Fixed: 1\r\nConnection: close\r\n\r\n")
                    rest = client.to_the_end()
                    assert rest.count(b"HTTP/1.1 ") <= 1 and b" 400 " not in rest, rest
