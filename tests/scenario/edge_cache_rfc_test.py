"""The edge cache by the letter of RFC 9110 and RFC 9111: answers byte by byte, from origins that are not always right."""
import email.utils
import threading
import time

import pytest

import node
from cache_origin import CLOSE, Origin, ask, get, held, reply

FRESH = b"Cache-Control: max-age=3600"
BODY = b"0123456789" * 10

CONFIG = """
listeners:
  web: {{ bind: "127.0.0.1:0" }}
caches:
  edge: {{ memory: 64MiB }}
upstreams:
  app: {{ hosts: ["{host}"] }}
routes:
  - name: app
    match: {{ path: /** }}
    filters:
      - cache: {{ in: edge }}
    to: upstream.app
"""


@pytest.fixture
def origin():
    with Origin() as one:
        yield one


@pytest.fixture
def client(origin):
    with node.Node(CONFIG.format(host=origin.host)) as n, node.Client(n.address()) as one:
        yield one


def ago(seconds):
    return email.utils.formatdate(time.time() - seconds, usegmt=True).encode()


def stale(*fields):
    """An answer that is to be validated at its next use."""
    return reply(BODY, b"Cache-Control: max-age=1", b"Date: " + ago(100), *fields)


def part(first, last, *fields, bytes=None):
    return reply(bytes or BODY[first:last + 1], FRESH, b"Content-Range: bytes %d-%d/100" % (first, last), *fields, status=b"206 Partial")


# §3.4, §4.3.4: the cache asks for the missing rest by itself, so whatever comes of that is its own matter.
@pytest.mark.parametrize("answer", [
    reply(b"", b"Content-Range: bytes */20", status=b"416 Range Not Satisfiable"),
    part(50, 99, b'ETag: "b"', bytes=b"N" * 50),
    part(60, 69, b'ETag: "a"'),
    part(50, 99, b'ETag: "a"', b"Cache-Control: no-store"),
    reply(b"--x--", b"Content-Type: multipart/byteranges; boundary=x", status=b"206 Partial"),
])
def test_who_asks_for_all_never_gets_a_range(origin, client, answer):
    origin.at[b"/"] = part(0, 49, b'ETag: "a"')
    assert ask(client, b"/", b"Range: bytes=0-49").status == 206
    origin.at[b"/"] = lambda seen, _: answer if seen.get(b"range") else reply(b"all", FRESH, b'ETag: "b"')
    got = ask(client)
    assert (got.status, got.body) == (200, b"all")
    assert [seen.get(b"range") for seen in origin.of(b"/")] == [b"bytes=0-49", b"bytes=50-99", None]
    assert ask(client).body == b"all" and origin.count(b"/") == 3


# §3.4: what comes at once is put together, and a part never takes the place of the whole.
@pytest.mark.parametrize("other", [None, b"bytes=50-99"])
def test_parts_that_come_at_once_are_all_kept(origin, client, other):
    held_back, asked = threading.Event(), threading.Event()

    def answer(seen, _):
        if seen.get(b"range") == b"bytes=0-49":
            asked.set()
            whole = part(0, 49, b'ETag: "a"')
            return held(held_back, whole[:-10], None, whole[-10:])
        return part(50, 99, b'ETag: "a"') if seen.get(b"range") else reply(BODY, FRESH, b'ETag: "a"')

    origin.at[b"/"] = answer
    with node.Client(client.socket.getpeername()) as first:
        first.send(get(b"/", b"Range: bytes=0-49"))
        assert asked.wait(node.PATIENCE)
        ask(client, b"/", *([b"Range: " + other] if other else []))
        held_back.set()
        assert first.answer().body == BODY[:50]
    # The part is stored a moment after its last byte was given away.
    node.until(lambda: ask(client, b"/", b"Cache-Control: only-if-cached").body == BODY, "all of it")
    assert ask(client).body == BODY and origin.count() == 2


# §4.1: a stored answer whose Vary came with a 304 is one for the fields that Vary names.
def test_a_304_may_bring_a_vary(origin, client):
    origin.at[b"/"] = stale(b'ETag: "a"')
    ask(client)
    origin.at[b"/"] = lambda seen, _: (b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nCache-Control: max-age=600\r\nVary: Foo\r\n\r\n'
                                       if seen.get(b"if-none-match") else reply(b"two", FRESH, b"Vary: Foo"))
    assert ask(client, b"/", b"Foo: 1").body == BODY
    assert ask(client, b"/", b"Foo: 2").body == b"two"
    assert ask(client, b"/", b"Foo: 1").body == BODY and origin.count() == 3


@pytest.mark.parametrize("vary", [b"Foo", b"*"])
def test_a_head_may_bring_a_vary(origin, client, vary):
    origin.at[b"/"] = stale(b'ETag: "a"')
    ask(client)
    origin.at[b"/"] = lambda seen, _: reply(BODY if seen.method == b"GET" else b"", FRESH, b'ETag: "a"', b"Vary: " + vary, length=100)
    ask(client, method=b"HEAD")
    assert ask(client, b"/", b"Foo: 2").status == 200
    assert origin.count() == 3


# §4.3.5, §4.2.3: what HEAD says counts with the age it has.
def test_a_head_that_freshens_has_an_age(origin, client):
    origin.at[b"/"] = stale(b'ETag: "a"')
    ask(client)
    origin.at[b"/"] = lambda seen, _: reply(b"", FRESH, b'ETag: "a"', b"Age: 3000", length=100)
    ask(client, method=b"HEAD")
    got = ask(client)
    assert got.body == BODY and int(got.get(b"age")) >= 3000


# RFC 9213 §3.1: a CDN in front goes by it too, unless the route takes it off.
def test_what_is_for_cdns_is_passed_on(origin):
    bare = CONFIG.replace("path: /**", "path: /bare/**").replace("name: app", "name: bare").replace(
        "      - cache", "      - headers: {{ response: {{ remove: [CDN-Cache-Control] }} }}\n      - cache")
    config = CONFIG + bare[bare.index("  - name"):]
    answer = reply(BODY, b"CDN-Cache-Control: max-age=600", b"Cache-Control: no-store", b'ETag: "a"', b"Surrogate-Key: a")
    with node.Node(config.format(host=origin.host)) as n, node.Client(n.address()) as client:
        for path, passed in [(b"/", b"max-age=600"), (b"/bare/", None)]:
            origin.at[path] = answer
            for status, asking in [(200, []), (200, []), (304, [b'If-None-Match: "a"']), (206, [b"Range: bytes=1-2"])]:
                got = ask(client, path, *asking)
                assert (got.status, got.get(b"cdn-cache-control")) == (status, passed)
                assert got.get(b"surrogate-key") is None
            assert origin.count(path) == 1


# RFC 9110 §15.2: interim answers are the client's, and not stored.
@pytest.mark.parametrize("options", ["", ", slice: 64KiB"])
def test_early_hints_go_to_the_one_who_asked(origin, options):
    origin.at[b"/"] = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + reply(BODY, FRESH)
    config = CONFIG.replace("in: edge", "in: edge" + options).format(host=origin.host)
    with node.Node(config) as n, node.Client(n.address()) as client:
        for expected in [[(103, b"</a.css>")], []]:
            hints = []
            client.send(get())
            answer = client.answer(interim=hints)
            assert answer.body == BODY and answer.get(b"link") is None
            assert [(hint.status, hint.get(b"link")) for hint in hints] == expected


# RFC 5861 §4.
@pytest.mark.parametrize("failing", [reply(b"", status=b"503 Service Unavailable"), CLOSE])
def test_a_head_is_answered_while_the_origin_fails(origin, client, failing):
    origin.at[b"/"] = reply(BODY, b"Cache-Control: max-age=1, stale-if-error=600", b"Date: " + ago(100), b'ETag: "a"')
    ask(client)
    origin.at[b"/"] = lambda *_: [failing]
    got = ask(client, method=b"HEAD")
    assert (got.status, got.get(b"content-length"), got.get(b"x-cache-status")) == (200, b"100", b"STALE")
    assert ask(client, b"/none", method=b"HEAD").status == 200 and ask(client).status == 200
