"""The edge cache with real processes: what is given from it, who asks the origin, and that those who wait for the same answer
get it while it comes."""
import concurrent.futures
import contextlib
import random
import threading

import pytest

import node
from cache_origin import CLOSE, Origin, ask, chunk, chunked, get, held, outcome, reply
from load import Load

KIB, MIB = 1 << 10, 1 << 20
FRESH = b"Cache-Control: max-age=3600"

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


def edge(origin, io="epoll", **named):
    return node.Node(CONFIG.format(host=origin.host), io=io, **named)


def body_of(size, seed=1):
    return random.Random(seed).randbytes(size)


# --- what is stored is given ---

def test_the_second_answer_comes_from_memory(io):
    with Origin() as origin, edge(origin, io) as n, node.Client(n.address()) as client:
        body = bytes(range(256)) * 40
        origin.at[b"/a"] = reply(body, FRESH, b"X-Mine: 1", b"Content-Type: text/css")
        first, second = ask(client, b"/a"), ask(client, b"/a")
        assert (outcome(first), outcome(second)) == ("MISS", "HIT")
        assert first.body == second.body == body
        assert second.get(b"x-mine") == b"1" and second.get(b"content-type") == b"text/css"
        assert first.get(b"age") is None and int(second.get(b"age")) >= 0
        assert b"hit" in second.get(b"cache-status") and b"fwd=uri-miss" in first.get(b"cache-status")
        # Another query, another host: another answer.
        assert outcome(ask(client, b"/a?b")) == "MISS" and outcome(ask(client, b"/a", host=b"other")) == "MISS"
        assert origin.count(b"/a") == 2
        n.comes_to(1, "trellis_cache_requests_total", outcome="hit")


def test_what_the_origin_keeps_back_is_not_stored():
    with Origin() as origin, edge(origin) as n, node.Client(n.address()) as client:
        for number, fields in enumerate([(b"Cache-Control: no-store",), (b"Cache-Control: private, max-age=60",), (b"X-None: 1",),
                                         (FRESH, b"Vary: *")]):
            path = b"/%d" % number
            origin.at[path] = lambda seen, count, fields=fields: reply(b"%d" % count, *fields)
            assert [ask(client, path).body for _ in range(3)] == [b"0", b"1", b"2"], fields
        origin.at[b"/cookie"] = lambda seen, count: reply(b"%d" % count, FRESH, b"Set-Cookie: id=%d" % count)
        first, second = ask(client, b"/cookie"), ask(client, b"/cookie")
        assert first.get(b"set-cookie") == b"id=0", "the one who asked gets it"
        assert second.get(b"set-cookie") in (None, b"id=1"), "nobody gets another's"
        # Authorization: only with leave.
        for _ in range(2):
            ask(client, b"/secret", b"Authorization: Basic eDp5")
        assert origin.count(b"/secret") == 2


def test_conditional_requests_are_answered_from_memory(io):
    with Origin() as origin, edge(origin, io) as n, node.Client(n.address()) as client:
        origin.at[b"/"] = reply(b"body", FRESH, b'ETag: "v1"', b"Last-Modified: Sun, 22 Nov 2026 10:00:00 GMT")
        assert ask(client).status == 200
        for condition in (b'If-None-Match: "v0", "v1"', b'If-None-Match: W/"v1"', b"If-None-Match: *",
                          b"If-Modified-Since: Sun, 22 Nov 2026 10:00:00 GMT"):
            answer = ask(client, b"/", condition)
            assert (answer.status, outcome(answer), answer.get(b"etag")) == (304, "HIT", b'"v1"'), condition
        for condition in (b'If-None-Match: "v2"', b"If-Modified-Since: Sun, 22 Nov 2026 09:59:59 GMT",
                          b'If-None-Match: "v2"\r\nIf-Modified-Since: Sun, 22 Nov 2026 10:00:00 GMT'):
            answer = ask(client, b"/", condition)
            assert (answer.status, answer.body) == (200, b"body"), condition
        assert origin.count() == 1


def test_what_is_stale_is_confirmed_by_the_origin():
    def answer(seen, count):
        if seen.get(b"if-none-match") == b'"v1"':
            return reply(b"", b"Cache-Control: max-age=0", b'ETag: "v1"', b"X-Turn: %d" % count, status=b"304 Not Modified")
        return reply(b"body", b"Cache-Control: max-age=0", b'ETag: "v1"', b"X-Turn: %d" % count)

    with Origin(answer) as origin, edge(origin) as n, node.Client(n.address()) as client:
        assert outcome(ask(client)) == "MISS"
        for turn in range(1, 4):
            again = ask(client)
            assert (again.status, again.body, outcome(again)) == (200, b"body", "REVALIDATED")
            assert again.get(b"x-turn") == b"%d" % turn, "the 304's fields take the place of the old ones"
        assert ask(client, b"/", b'If-None-Match: "v1"').status == 304
        # The client's own condition does not decide what the cache asks.
        other = ask(client, b"/", b'If-None-Match: "other"')
        assert (other.status, other.body) == (200, b"body")
        assert [seen.get(b"if-none-match") for seen in origin.requests[1:]] == [b'"v1"'] * 5


def test_ranges_come_from_the_whole(io):
    body = body_of(300 * KIB)
    with Origin() as origin, edge(origin, io) as n, node.Client(n.address()) as client:
        origin.at[b"/"] = reply(body, FRESH, b'ETag: "v1"')
        assert ask(client).body == body
        for ask_for, first, last in ((b"0-0", 0, 0), (b"100-299999", 100, 299999), (b"-5", len(body) - 5, len(body) - 1),
                                     (b"307000-", 307000, len(body) - 1), (b"5-99999999", 5, len(body) - 1)):
            part = ask(client, b"/", b"Range: bytes=" + ask_for)
            assert part.status == 206 and part.body == body[first:last + 1], ask_for
            assert part.get(b"content-range") == b"bytes %d-%d/%d" % (first, last, len(body))
        assert ask(client, b"/", b"Range: bytes=400000-").status == 416
        assert ask(client, b"/", b"Range: bytes=0-9", b'If-Range: "v1"').status == 206
        assert ask(client, b"/", b"Range: bytes=0-9", b'If-Range: "v0"').body == body
        several = ask(client, b"/", b"Range: bytes=0-9,100000-100009")
        assert several.status == 206 and several.get(b"content-type").startswith(b"multipart/byteranges; boundary=")
        assert body[:10] in several.body and body[100000:100010] in several.body
        assert origin.count() == 1


def test_parts_are_kept_and_put_together():
    body = body_of(100 * KIB)

    def answer(seen, count):
        wanted = seen.get(b"range")
        if not wanted:
            return reply(body, FRESH, b'ETag: "v1"')
        first, _, last = wanted.removeprefix(b"bytes=").partition(b"-")
        first, last = int(first), min(int(last or len(body)), len(body) - 1)
        return reply(body[first:last + 1], FRESH, b'ETag: "v1"', b"Content-Range: bytes %d-%d/%d" % (first, last, len(body)),
                     status=b"206 Partial Content")

    with Origin(answer) as origin, edge(origin) as n, node.Client(n.address()) as client:
        assert ask(client, b"/", b"Range: bytes=0-49999").body == body[:50000]
        again = ask(client, b"/", b"Range: bytes=1000-1999")
        assert (again.body, outcome(again)) == (body[1000:2000], "HIT")
        # The whole: what is missing is fetched, no more.
        assert ask(client).body == body
        assert origin.requests[-1].get(b"range") == b"bytes=50000-%d" % (len(body) - 1)
        whole = ask(client)
        assert (whole.status, whole.body, outcome(whole)) == (200, body, "HIT")
        assert origin.count() == 2


def test_head_is_answered_from_what_get_stored():
    with Origin() as origin, edge(origin) as n, node.Client(n.address()) as client:
        origin.at[b"/"] = reply(b"12345", FRESH)
        ask(client)
        answer = ask(client, method=b"HEAD")
        assert (answer.status, answer.get(b"content-length"), outcome(answer)) == (200, b"5", "HIT")
        assert ask(client).body == b"12345"
        assert origin.count() == 1


def test_answers_that_vary_are_kept_apart():
    def answer(seen, count):
        language = seen.get(b"accept-language") or b"none"
        return reply(b"in " + language, FRESH, b"Vary: Accept-Language")

    with Origin(answer) as origin, edge(origin) as n, node.Client(n.address()) as client:
        for turn in range(3):
            for language in (b"de", b"en", b"fr"):
                answer = ask(client, b"/", b"Accept-Language: " + language)
                assert (answer.body, outcome(answer)) == (b"in " + language, "HIT" if turn else "MISS")
            answer = ask(client)
            assert (answer.body, outcome(answer)) == (b"in none", "HIT" if turn else "MISS")
        assert origin.count() == 4


def test_an_unsafe_request_makes_what_is_stored_invalid():
    with Origin() as origin, edge(origin) as n, node.Client(n.address()) as client:
        assert ask(client, b"/a").body == b"/a 0"
        assert ask(client, b"/a").body == b"/a 0"
        ask(client, b"/a", b"Content-Length: 0", method=b"POST")
        assert ask(client, b"/a").body == b"/a 2"


def test_all_bytes_and_odd_framing_come_out_as_they_went_in(io):
    body = bytes(range(256)) * 1024
    pieces = [body[at:at + 777] for at in range(0, len(body), 777)]
    with Origin() as origin, edge(origin, io) as n, node.Client(n.address()) as client:
        origin.at[b"/chunks"] = lambda *_: [chunked(FRESH), *map(chunk, pieces), b"0\r\n\r\n"]
        origin.at[b"/to-the-end"] = lambda *_: [b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + FRESH + b"\r\n\r\n", body, CLOSE]
        origin.at[b"/empty"] = reply(b"", FRESH)
        origin.at[b"/204"] = b"HTTP/1.1 204 No Content\r\n" + FRESH + b"\r\n\r\n"
        for path, expected in ((b"/chunks", body), (b"/empty", b""), (b"/204", b"")):
            assert [(a.body, outcome(a)) for a in (ask(client, path), ask(client, path))] == [(expected, "MISS"), (expected, "HIT")]
        # Without a length or an end of its own, a cut is no different from the end: given, whether it is kept or not.
        assert [ask(client, b"/to-the-end").body for _ in range(2)] == [body, body]


# --- many at once ---

def test_two_hundred_clients_wait_for_one_fetch_and_read_it_while_it_comes(io):
    """The first client reads nothing, another ones leave; nobody else notices. The first bytes are there before the origin
    has sent the last."""
    first, rest = body_of(64 * KIB, 1), body_of(960 * KIB, 2)
    go_on, end = threading.Event(), threading.Event()
    with Origin() as origin, edge(origin, io) as n, contextlib.ExitStack() as stack:
        origin.at[b"/"] = lambda *_: _coalesced(go_on, end, first, rest)
        stack.callback(end.set)
        stack.callback(go_on.set)
        slow = stack.enter_context(node.Client(n.address(), receive_buffer=4096))
        slow.send(get())
        node.until(lambda: origin.count() == 1, "the fetch")
        leaving = [stack.enter_context(node.Client(n.address())) for _ in range(20)]
        clients = [stack.enter_context(node.Client(n.address())) for _ in range(200)]
        for client in [*leaving, *clients]:
            client.send(get())
        node.until(lambda: n.metric("trellis_requests_in_flight", route="app") == 221, "all to wait")
        for client in leaving[:10]:
            client.reset()
        go_on.set()
        for client in clients:
            head = client.take_until(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert client.take(len(first)) == first
        assert not end.is_set()
        for client in leaving[10:]:
            client.take_until(b"\r\n\r\n")
            client.reset()
        end.set()
        for client in clients:
            assert client.take(len(rest)) == rest
        assert slow.answer().body == first + rest
        assert origin.count() == 1
        assert n.metric("trellis_cache_requests_total", outcome="coalesced") >= 200
        assert ask(n).body == first + rest


def _coalesced(go_on, end, first, rest):
    go_on.wait(3 * node.PATIENCE)
    yield b"HTTP/1.1 200 OK\r\n" + FRESH + b"\r\nContent-Length: %d\r\n\r\n" % (len(first) + len(rest)) + first
    end.wait(3 * node.PATIENCE)
    yield rest


def test_the_fetch_goes_on_when_the_one_who_asked_first_leaves(io):
    go_on = threading.Event()
    with Origin() as origin, edge(origin, io) as n:
        origin.at[b"/"] = lambda *_: held(go_on, None, reply(b"here", FRESH))
        first = node.Client(n.address())
        first.send(get())
        node.until(lambda: origin.count() == 1, "the fetch")
        with node.Client(n.address()) as second:
            second.send(get())
            node.until(lambda: n.metric("trellis_requests_in_flight", route="app") == 2, "both to wait")
            first.reset()
            node.until(lambda: n.metric("trellis_requests_in_flight", route="app") == 1, "the first to be gone")
            go_on.set()
            assert second.answer().body == b"here"
        assert origin.count() == 1


def test_answers_that_are_not_stored_do_not_queue(io):
    """All of the waiting ones ask at the same time: the origin answers them only when it has them all."""
    waiting = 20
    everybody = threading.Barrier(waiting, timeout=node.PATIENCE)

    def answer(seen, count):
        if count > 0:
            everybody.wait()
        return reply(b"%d" % count, b"Cache-Control: no-store")

    begun = threading.Event()
    with Origin() as origin, edge(origin, io) as n, contextlib.ExitStack() as stack:
        origin.at[b"/"] = lambda seen, count: held(begun, *([None] if count == 0 else []), answer(seen, count))
        clients = [stack.enter_context(node.Client(n.address())) for _ in range(waiting + 1)]
        for client in clients:
            client.send(get())
        node.until(lambda: n.metric("trellis_requests_in_flight", route="app") == waiting + 1, "all to wait")
        begun.set()
        assert sorted(int(client.answer().body) for client in clients) == list(range(waiting + 1))
        # And those who come later do not wait for each other at all.
        everybody.reset()
        for client in clients[:waiting]:
            client.send(get())
        for client in clients[:waiting]:
            assert client.answer().status == 200


def test_a_cold_cache_asks_for_each_url_once(io):
    """64 clients on two cores ask for 200 URLs, each in an order of its own."""
    urls = [b"/%d" % number for number in range(200)]
    bodies = {url: body_of(1 + number * 50, number) for number, url in enumerate(urls)}
    with Origin(lambda seen, _: reply(bodies[seen.target], FRESH)) as origin, edge(origin, io) as n:
        def client(number):
            order = random.Random(number).sample(urls, len(urls))
            with node.Client(n.address()) as connection:
                return all(ask(connection, url).body == bodies[url] for url in order)

        with concurrent.futures.ThreadPoolExecutor(64) as threads:
            assert all(threads.map(client, range(64)))
        assert {url: origin.count(url) for url in urls} == dict.fromkeys(urls, 1)
        requests = n.metric("trellis_cache_requests_total")
        assert requests == 64 * len(urls)
        n.comes_to(len(urls), "trellis_cache_requests_total", outcome="miss")


# --- stale on purpose ---

def test_stale_while_revalidate_gives_the_old_answer_and_fetches_behind(io):
    fetched = threading.Event()
    with Origin() as origin, edge(origin, io) as n, node.Client(n.address()) as client:
        def answer(seen, count):
            return held(fetched, *([None] if count == 1 else []),
                        reply(b"%d" % count, b"Cache-Control: max-age=%d, stale-while-revalidate=3600" % (3600 * (count > 0))))

        origin.at[b"/"] = answer
        assert ask(client).body == b"0"
        for _ in range(20):
            stale = ask(client)
            assert (stale.body, outcome(stale)) == (b"0", "STALE")
        node.until(lambda: origin.count() == 2, "the refresh")
        fetched.set()
        node.until(lambda: ask(client).body == b"1", "the new answer")
        assert outcome(ask(client)) == "HIT"
        assert origin.count() == 2


# --- memory ---

def test_memory_stays_within_its_limit_under_many_large_objects():
    body = body_of(4 * MIB)
    with Origin(lambda seen, _: reply(body, FRESH)) as origin, edge(origin) as n:
        def client(first):
            with node.Client(n.address()) as connection:
                for number in range(first, 120, 4):
                    assert ask(connection, b"/%d" % number).body == body

        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            list(threads.map(client, range(4)))
        assert origin.count() == 120
        held_bytes = n.metric("trellis_cache_bytes", cache="edge", tier="memory") or n.metric("trellis_cache_bytes", cache="edge")
        assert 16 * MIB <= held_bytes <= 64 * MIB
        # What is in the cache, four answers on their way, and what a process needs.
        assert n.resident() < 64 * MIB + 4 * 4 * MIB + 100 * MIB


@pytest.mark.parametrize("known", [True, False], ids=["length known", "length unknown"])
def test_memory_stays_within_its_limit_when_clients_do_not_read(known):
    """60 clients ask for an object each of 8 MiB and read nothing: those that are evicted meanwhile are still on their way."""
    body = body_of(8 * MIB)

    def answer(seen, _):
        return reply(body, FRESH) if known else [chunked(FRESH), chunk(body), b"0\r\n\r\n"]

    with Origin(answer) as origin, edge(origin) as n, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(node.Client(n.address(), receive_buffer=64 * KIB)) for _ in range(60)]
        for number, client in enumerate(clients):
            client.send(get(b"/%d" % number))
            client.take_until(b"HTTP/1.1 ")
        stood, steady = -1, 0
        while steady < 10:
            threading.Event().wait(0.02)
            resident = n.resident()
            steady = steady + 1 if abs(resident - stood) < MIB else 0
            stood = resident
        assert stood < (64 + 32 + 100) * MIB, f"{stood / MIB:.0f} MiB"
        for client in clients[::10]:
            client.rest = b"HTTP/1.1 " + client.rest
            assert client.answer().body == body
        for client in clients:
            client.reset()
        # There is room again.
        node.until(lambda: n.metric("trellis_requests_in_flight", route="app") == 0, "all to end")
        assert [outcome(ask(n, b"/after")) for _ in range(2)] == ["MISS", "HIT"]


def test_a_body_that_is_too_large_passes_at_the_pace_of_its_reader(io):
    """Without a length: it is known to be too large only when it has come. The node holds back the origin then."""
    config = CONFIG.replace("memory: 64MiB", "memory: 64MiB, max_object: 4MiB")
    piece = body_of(MIB)
    sent = []

    def answer(*_):
        yield chunked(FRESH)
        for number in range(200):
            sent.append(number)
            yield chunk(piece)
        yield b"0\r\n\r\n"

    with Origin() as origin, node.Node(config.format(host=origin.host), io=io) as n:
        origin.at[b"/"] = answer
        with node.Client(n.address(), receive_buffer=64 * KIB) as client:
            client.send(get())
            client.take_until(b"\r\n\r\n")
            # The origin stands still: at most what the cache keeps, its window, and the sockets between.
            stood, steady = -1, 0
            while steady < 10:
                threading.Event().wait(0.02)
                steady = steady + 1 if len(sent) == stood else 0
                stood = len(sent)
            assert stood < 40
            assert n.resident() < 150 * MIB
            client.reset()
        node.until(lambda: origin.open == 0 or len(sent) < 200, "the fetch to end")
        # Who reads it gets all of it, and it is not kept.
        for _ in range(2):
            answer_now = ask(n)
            assert len(answer_now.body) == 200 * MIB and answer_now.body[-MIB:] == piece
        assert origin.count() == 3


def test_all_who_wait_get_a_body_that_is_too_large_from_its_first_byte(io):
    """It comes at once, and is found to be too large before those who waited have been told that it is there."""
    config = CONFIG.replace("memory: 64MiB", "memory: 64MiB, max_object: 16KiB")
    body = body_of(2 * MIB)
    pieces = b"".join(chunk(body[at:at + 64 * KIB]) for at in range(0, len(body), 64 * KIB))
    with Origin() as origin, node.Node(config.format(host=origin.host), io=io) as n, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(node.Client(n.address())) for _ in range(32)]
        for turn in range(10):
            go_on = threading.Event()
            origin.at[b"/%d" % turn] = lambda *_, go_on=go_on: held(go_on, None, chunked(FRESH) + pieces + b"0\r\n\r\n")
            for client in clients:
                client.send(get(b"/%d" % turn))
            node.until(lambda: n.metric("trellis_requests_in_flight", route="app") == len(clients), "all to wait")
            go_on.set()
            with concurrent.futures.ThreadPoolExecutor(len(clients)) as threads:
                answers = list(threads.map(node.Client.answer, clients))
            assert [answer.status for answer in answers] == [200] * len(clients)
            assert all(answer.body == body for answer in answers)


# --- the program changes ---

class Reading(Load):
    """Clients that ask for what is stored, on connections that stay and on new ones."""

    def __init__(self, address, bodies):
        super().__init__(address, 8)
        self.bodies = bodies
        self.good = 0

    def answered(self):
        return self.good

    def ask(self, number):
        urls = list(self.bodies)
        rng = random.Random(number)
        connection = None
        while not self.over.is_set():
            fresh = connection is None
            try:
                connection = connection or node.Client(self.address)
                url = rng.choice(urls)
                answer = ask(connection, url)
                with self.lock:
                    if answer.status != 200 or answer.body != self.bodies[url]:
                        self.faults.append(repr(answer)[:300])
                    self.good += 1
                if number % 2 or answer.get(b"connection") == b"close":
                    connection.close()
                    connection = None
            except (OSError, EOFError) as fault:
                # A connection that stayed may end between two requests; a new one may not.
                if connection:
                    connection.close()
                connection = None
                if fresh and not self.over.is_set():
                    self.faults.append(repr(fault))


def urls_and_bodies(count, size):
    return {b"/%d" % number: body_of(size + number, number) for number in range(count)}


def test_a_reload_keeps_the_cache_warm():
    bodies = urls_and_bodies(50, 20 * KIB)
    with Origin(lambda seen, _: reply(bodies[seen.target], FRESH)) as origin, edge(origin) as n:
        for url in bodies:
            ask(n, url)
        assert origin.count() == len(bodies)
        with Reading(n.address(), bodies) as load:
            for number in range(5):
                n.write_config(CONFIG.format(host=origin.host) + f"# {number}\n")
                n.reload()
                load.further(100)
        assert not load.faults
        assert origin.count() == len(bodies)
