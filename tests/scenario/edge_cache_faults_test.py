"""The edge cache when something fails: an origin that is dead, slow, flapping, or lies; a disk that is full or was left in the
midst of a write; a clock that jumps; a program that is replaced. What is given is right or an error, never something else."""
import concurrent.futures
import contextlib
import email.utils
import os
import pathlib
import random
import shlex
import shutil
import subprocess
import threading
import time

import pytest

import node
from cache_origin import CLOSE, RESET, Origin, ask, chunk, chunked, get, held, outcome, reply
from edge_cache_test import FRESH, KIB, MIB, Reading, body_of, edge, urls_and_bodies
from upgrade_test import Upgradable

STALE_OK = b"Cache-Control: max-age=0, stale-if-error=3600"

CONFIG = """
listeners:
  web: {{ bind: "127.0.0.1:0" }}
caches:
  edge: {{ memory: 64MiB{disk} }}
upstreams:
  app:
    hosts: ["{host}"]
    timeouts: {{ connect: 5s, first_byte: {patience}, idle: {patience} }}
routes:
  - name: app
    match: {{ path: /** }}
    filters:
      - cache: {{ in: edge }}
    to: upstream.app
"""
DISK = ", disk: { path: ./cache, size: 256MiB }"


def config(origin, disk="", patience="10s"):
    return CONFIG.format(host=getattr(origin, "host", origin), disk=disk, patience=patience)


def answer_or_none(client, method=b"GET"):
    """None where the connection ends before the answer does."""
    try:
        return client.answer(method)
    except EOFError:
        return None


# --- the origin ---

def test_what_is_stored_is_given_when_the_origin_is_dead(io):
    with Origin() as origin, edge(origin, io) as n, node.Client(n.address()) as client:
        origin.at[b"/stale"] = reply(b"stale", STALE_OK)
        origin.at[b"/strict"] = reply(b"strict", b"Cache-Control: max-age=0, must-revalidate, stale-if-error=3600")
        origin.at[b"/plain"] = reply(b"plain", b'Cache-Control: max-age=0', b'ETag: "a"')
        for path in (b"/fresh", b"/stale", b"/strict", b"/plain"):
            assert ask(client, path).status == 200
        origin.__exit__()
        for _ in range(3):
            assert outcome(ask(client, b"/fresh")) == "HIT"
            stale = ask(client, b"/stale")
            assert (stale.status, stale.body, outcome(stale)) == (200, b"stale", "STALE")
            assert b"stale-if-error" in stale.get(b"cache-status")
            # Must be validated, or has no leave to be given stale: an error.
            assert ask(client, b"/strict").status == 502 and ask(client, b"/plain").status == 502
            assert ask(client, b"/missing").status == 502
        assert n.alive()


def test_two_hundred_waiting_clients_learn_of_a_dead_origin_at_once(io):
    """One attempt for all of them, and each gets the error."""
    go_on = threading.Event()
    with Origin() as origin, edge(origin, io) as n, contextlib.ExitStack() as stack:
        origin.at[b"/"] = lambda *_: held(go_on, None, RESET)
        clients = [stack.enter_context(node.Client(n.address())) for _ in range(200)]
        for client in clients:
            client.send(get())
        node.until(lambda: n.metric("trellis_requests_in_flight", route="app") == 200, "all to wait")
        go_on.set()
        answers = [client.answer() for client in clients]
        assert {answer.status for answer in answers} == {502}
        # A connection of its own for another try is the upstream's affair; the waiting ones make none.
        assert origin.count() <= 4
        node.until(lambda: n.metric("trellis_requests_in_flight", route="app") == 0, "the requests to end")


@pytest.mark.parametrize("slice", ["", ", slice: 64KiB"])
def test_all_who_wait_are_told_that_it_is_stale(slice):
    """One attempt for all of them, and nobody is told that what is stale was a hit."""
    go_on = threading.Event()
    with Origin() as origin, node.Node(config(origin).replace("in: edge", "in: edge" + slice)) as n, contextlib.ExitStack() as stack:
        origin.at[b"/"] = reply(b"good", STALE_OK, b'ETag: "a"')
        assert ask(n).status == 200
        origin.at[b"/"] = lambda *_: held(go_on, None, reply(b"bad", status=b"503 Busy"))
        clients = [stack.enter_context(node.Client(n.address())) for _ in range(10)]
        for client in clients:
            client.send(get())
        node.until(lambda: n.metric("trellis_requests_in_flight", route="app") == 10, "all to wait")
        go_on.set()
        answers = [client.answer() for client in clients]
        assert {(one.status, one.body, outcome(one)) for one in answers} == {(200, b"good", "STALE")}
        assert all(b"stale-if-error" in one.get(b"cache-status") for one in answers)
        assert sum(b"collapsed" in one.get(b"cache-status") for one in answers) == 9
        assert origin.count() == 2
        n.comes_to(10, "trellis_cache_requests_total", outcome="stale")


@pytest.mark.parametrize("status", [b"500 Oops", b"502 Bad", b"503 Busy", b"504 Late"])
def test_a_flapping_origin_is_not_seen_behind_stale_answers(status):
    def answer(seen, count):
        return reply(b"good", STALE_OK, b'ETag: "a"') if count % 2 == 0 else reply(b"bad", status=status)

    with Origin(answer) as origin, edge(origin) as n, node.Client(n.address()) as client:
        answers = [ask(client) for _ in range(20)]
        assert [(one.status, one.body) for one in answers] == [(200, b"good")] * 20
        assert {outcome(one) for one in answers[1::2]} == {"STALE"}


def test_a_flapping_origin_without_leave_is_seen_as_it_is():
    def answer(seen, count):
        return reply(b"good", b"Cache-Control: max-age=0") if count % 2 == 0 else reply(b"bad", status=b"503 Busy")

    with Origin(answer) as origin, edge(origin) as n, node.Client(n.address()) as client:
        assert [ask(client).status for _ in range(10)] == [200, 503] * 5


@pytest.mark.parametrize("slice", ["", ", slice: 64KiB"])
def test_which_statuses_are_failures_is_for_the_site_to_say(slice):
    choice = CONFIG.replace("cache: {{ in: edge }}", "cache: {{ in: edge, error_statuses: [404, 429, 503]%s }}" % slice)
    with Origin() as origin, node.Node(choice.format(host=origin.host, disk="", patience="10s")) as n, node.Client(n.address()) as client:
        origin.at[b"/stale"] = reply(b"stale", STALE_OK)
        assert ask(client, b"/stale").status == 200
        for status in (b"404 Not Found", b"429 Too Many Requests", b"503 Busy"):
            origin.at[b"/stale"] = reply(b"no", status=status)
            for method in (b"GET", b"HEAD"):
                assert outcome(ask(client, b"/stale", method=method)) == "STALE"
        origin.at[b"/stale"] = reply(b"no", status=b"502 Bad Gateway")
        assert ask(client, b"/stale").status == 502


def test_who_is_told_to_ask_less_often_has_what_was_stored_later_on():
    with Origin() as origin, edge(origin) as n, node.Client(n.address()) as client:
        origin.at[b"/stale"] = reply(b"stale", STALE_OK)
        assert ask(client, b"/stale").status == 200
        origin.at[b"/stale"] = reply(b"no", b"Retry-After: 9", status=b"429 Too Many Requests")
        assert ask(client, b"/stale").status == 429
        origin.at[b"/stale"] = reply(b"no", status=b"503 Busy")
        assert outcome(ask(client, b"/stale")) == "STALE"


def test_lifetimes_are_jittered_and_never_longer():
    jittered = CONFIG.replace("cache: {{ in: edge }}", "cache: {{ in: edge, jitter: 20%, ttl: {{ 200: 1000s }} }}")
    with Origin() as origin, node.Node(jittered.format(host=origin.host, disk="", patience="10s")) as n, node.Client(n.address()) as client:
        for fields in ((b"Cache-Control: max-age=1000",), ()):
            origin.default = lambda *_, fields=fields: reply(b"x", *fields)
            left = [ask(client, b"/%d%d" % (i, len(fields))).get(b"cache-status") for i in range(30)]
            seconds = [int(status.split(b"ttl=")[1].split(b";")[0]) for status in left]
            assert all(800 <= one <= 1000 for one in seconds) and len(set(seconds)) > 10, seconds
            # What clients are told is the origin's word.
            assert ask(client, b"/0%d" % len(fields)).get(b"cache-control") == (fields and b"max-age=1000" or None)
        origin.default = lambda *_: reply(b"x", b"Cache-Control: max-age=1000, immutable")
        assert b"ttl=1000;" in ask(client, b"/immutable").get(b"cache-status")


def test_a_slow_origin_is_cut_and_stale_answers_stand_in(io):
    never = threading.Event()
    with Origin() as origin, node.Node(config(origin, patience="500ms"), io=io) as n, node.Client(n.address()) as client:
        origin.at[b"/cold"] = lambda *_: held(never, None)
        origin.at[b"/stale"] = lambda seen, count: held(never, *([None] if count else []), reply(b"old", STALE_OK))
        # Sends its head and a piece, then nothing: too late for anything but an end.
        origin.at[b"/stops"] = lambda *_: held(never, b"HTTP/1.1 200 OK\r\n" + FRESH + b"\r\nContent-Length: 100\r\n\r\nbegin", None)
        try:
            assert ask(client, b"/stale").body == b"old"
            assert ask(client, b"/stale").body == b"old"
            assert ask(client, b"/cold").status == 504
            for turn in range(2):
                with node.Client(n.address()) as other:
                    other.send(get(b"/stops"))
                    assert answer_or_none(other) is None
                    assert origin.count(b"/stops") == turn + 1, "what broke off is not kept"
        finally:
            never.set()


LIES = {
    "too short": lambda: [reply(b"x" * 500, FRESH, length=1000), CLOSE],
    "too short, reset": lambda: [reply(b"x" * 500, FRESH, length=1000), RESET],
    "nothing of it": lambda: [reply(b"", FRESH, length=1000), CLOSE],
    "chunk cut": lambda: [chunked(FRESH), chunk(b"y" * 100), b"64\r\nhalf", CLOSE],
    "no last chunk": lambda: [chunked(FRESH), chunk(b"y" * 100), CLOSE],
    "bad chunk size": lambda: [chunked(FRESH), chunk(b"y" * 100), b"zz\r\nevil\r\n0\r\n\r\n"],
    "chunk longer than said": lambda: [chunked(FRESH), chunk(b"y" * 100), b"4\r\nlonger than four\r\n0\r\n\r\n"],
    "huge chunk size": lambda: [chunked(FRESH), chunk(b"y" * 100), b"ffffffffffffffffffff\r\nx"],
    "binary chunk": lambda: [chunked(FRESH), chunk(b"y" * 100), bytes(range(256)), CLOSE],
}


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_that_breaks_off_breaks_off_for_all_and_is_not_kept(io, lie):
    """The lie comes when all read already; the next request gets the whole truth."""
    go_on = threading.Event()
    large = body_of(64 * KIB)

    def answer(seen, count):
        if count:
            return reply(b"truth", FRESH)
        pieces = LIES[lie]()
        return held(go_on, None, *pieces)

    with Origin() as origin, edge(origin, io) as n, contextlib.ExitStack() as stack:
        origin.at[b"/"] = answer
        origin.at[b"/other"] = reply(large, FRESH)
        clients = [stack.enter_context(node.Client(n.address())) for _ in range(10)]
        for client in clients:
            client.send(get())
        node.until(lambda: n.metric("trellis_requests_in_flight", route="app") == 10, "all to wait")
        go_on.set()
        for client in clients:
            answer_now = answer_or_none(client)
            # Told of it by an error where nothing had been sent yet, by the connection's end otherwise.
            assert answer_now is None or answer_now.status == 502, answer_now
            assert b"evil" not in client.rest
        after = ask(n)
        assert (after.status, after.body) == (200, b"truth")
        assert ask(n, b"/other").body == large, "the next answer is its own"
        assert outcome(ask(n)) == "HIT"
        node.until(lambda: n.metric("trellis_requests_in_flight", route="app") == 0, "the requests to end")


@pytest.mark.parametrize("fields", [(), (b"X-More: 1",)])
def test_more_bytes_than_announced_are_nobodys(io, fields):
    with Origin() as origin, edge(origin, io, cores=1) as n, node.Client(n.address()) as client:
        evil = reply(b"evil", FRESH, b"X-Evil: 1")
        origin.at[b"/"] = reply(b"x" * 500 + evil, FRESH, *fields, length=500)
        for path in (b"/", b"/other", b"/", b"/third"):
            answer = ask(client, path)
            assert answer.status == 200 and b"evil" not in answer.body and answer.get(b"x-evil") is None
        assert ask(client).body == b"x" * 500


GARBAGE = {
    "random": lambda: random.Random(7).randbytes(5000),
    "tls": lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "zeros in the head": lambda: b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nX-\0: \0\r\nContent-Length: 2\r\n\r\nhi",
    "two lengths": lambda: b"HTTP/1.1 200 OK\r\n" + FRESH + b"\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
    "length and chunks": lambda: b"HTTP/1.1 200 OK\r\n" + FRESH + b"\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "endless head": lambda: b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000,
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_is_answered_with_an_error_and_not_kept(io, kind):
    with Origin() as origin, edge(origin, io) as n, node.Client(n.address()) as client:
        origin.at[b"/"] = lambda seen, count: [reply(b"good", FRESH)] if count else [GARBAGE[kind](), CLOSE]
        assert ask(client).status == 502
        assert ask(client).body == b"good"
        assert outcome(ask(client)) == "HIT"
        assert n.alive()


def test_odd_fields_of_origins_and_clients_do_no_harm():
    rng = random.Random(11)
    odd = [b"max-age=99999999999999999999999", b"max-age=-5", b"max-age=", b"=,,,=;;", b"max-age=\"60", b"s-maxage=60, " * 200,
           b"no-cache=\"" + b"a," * 500 + b"\"", bytes(rng.choice(range(0x80, 0x100)) for _ in range(200))]
    with Origin() as origin, edge(origin) as n, node.Client(n.address()) as client:
        for number, value in enumerate(odd):
            path = b"/%d" % number
            origin.at[path] = reply(b"body", b"Cache-Control: " + value, b"Age: " + value[:50], b"Expires: " + value[:60], b"Vary: X-V",
                                    b"Date: " + value[:60], b"ETag: " + value[:40])
            for vary in (b"a", bytes(rng.choice(range(0x80, 0x100)) for _ in range(900)), b""):
                answer = ask(client, path, b"X-V: " + vary, b"Cache-Control: " + value[:300], b"If-None-Match: " + value[:50])
                assert answer.status in (200, 304), (value, answer)
        many = b"\r\n".join(b"Vary: X-%d" % number for number in range(100))
        origin.at[b"/many"] = reply(b"many", FRESH, many)
        for _ in range(2):
            assert ask(client, b"/many").body == b"many"
        assert n.alive()


# --- the disk ---

def disk_objects(n):
    return n.metric("trellis_cache_objects", cache="edge", tier="disk")


def test_what_is_on_disk_is_there_after_a_restart(tmp_path):
    bodies = urls_and_bodies(200, 30 * KIB)
    bodies[b"/large"] = body_of(3 * MIB)
    disk = f", disk: {{ path: {tmp_path}/cache, size: 256MiB }}"
    with Origin(lambda seen, _: reply(bodies[seen.target], FRESH, b"Vary: X-V" if seen.target == b"/7" else b"X-No: 1")) as origin:
        with node.Node(config(origin, disk)) as n, node.Client(n.address()) as client:
            for url, body in bodies.items():
                assert ask(client, url).body == body
            node.until(lambda: disk_objects(n) >= len(bodies), "all to be on disk")
        before = origin.count()
        with node.Node(config(origin, disk)) as n, node.Client(n.address()) as client:
            for url, body in bodies.items():
                answer = ask(client, url)
                assert (answer.body, outcome(answer)) == (body, "HIT")
            part = ask(client, b"/large", b"Range: bytes=1000000-1999999")
            assert part.body == bodies[b"/large"][1000000:2000000]
        assert origin.count() == before


# More than this memory keeps, and so much that an origin answers before the disk has given it all.
LARGE = bytes(range(250)) * 80000


def large_on_disk(origin, slice, *fields):
    """A node that has LARGE on disk alone, stale, by an origin that knows ranges and confirms `"a"`."""
    def answer(seen, count):
        date = b"Date: " + email.utils.formatdate(time.time() - (100 if count == 0 else 0), usegmt=True).encode()
        head = (*fields, date, b'ETag: "a"')
        if seen.get(b"if-none-match"):
            return b"\r\n".join((b"HTTP/1.1 304 Not Modified", *head)) + b"\r\n\r\n"
        if seen.get(b"range"):
            return reply(LARGE, b"Content-Range: bytes 0-%d/%d" % (len(LARGE) - 1, len(LARGE)), *head, status=b"206 Partial")
        return reply(LARGE, *head)

    origin.at[b"/"] = answer
    text = config(origin, DISK.replace("256MiB", "2GiB")).replace("in: edge", "in: edge" + slice)
    return node.Node(text.replace("memory: 64MiB", "memory: 1MiB"))


@pytest.mark.parametrize("slice", ["", ", slice: 32MiB"])
def test_what_is_confirmed_while_it_comes_from_disk_is_fresh_afterwards(slice):
    with Origin() as origin, large_on_disk(origin, slice, b"Cache-Control: max-age=60") as n:
        assert ask(n).body == LARGE
        n.comes_to(1, "trellis_cache_objects", tier="disk")
        answer = ask(n)
        assert (answer.body == LARGE, outcome(answer), origin.count()) == (True, "REVALIDATED", 2)
        node.until(lambda: outcome(ask(n)) == "HIT", "it to be fresh")
        asked = origin.count()
        assert ask(n).body == LARGE and origin.count() == asked
        assert [seen.get(b"if-none-match") for seen in origin.of(b"/")[1:]] == [b'"a"'] * (asked - 1)


@pytest.mark.parametrize("slice", ["", ", slice: 32MiB"])
def test_what_is_large_and_on_disk_stands_in_for_a_dead_origin(slice):
    with Origin() as origin, large_on_disk(origin, slice, b"Cache-Control: max-age=60, stale-if-error=3600") as n:
        assert ask(n).body == LARGE
        n.comes_to(1, "trellis_cache_objects", tier="disk")
        origin.at[b"/"] = [CLOSE]
        for _ in range(2):
            answer = ask(n)
            assert (answer.status, answer.body == LARGE, outcome(answer)) == (200, True, "STALE")


@pytest.mark.parametrize("slice", ["", ", slice: 1MiB"])
@pytest.mark.parametrize("disk, restarts", [(False, False), (True, False), (True, True)])
def test_stale_answers_are_fetched_anew_behind_wherever_they_come_from(tmp_path, slice, disk, restarts):
    with Origin() as origin, contextlib.ExitStack() as stack:
        text = config(origin, f", disk: {{ path: {tmp_path}/cache, size: 256MiB }}" if disk else "")
        first = stack.enter_context(node.Node(text.replace("in: edge", "in: edge" + slice)))
        origin.at[b"/"] = lambda seen, count: reply(
            b"%d" % count, b"Cache-Control: max-age=60, stale-while-revalidate=3600", b'ETag: "%d"' % count,
            b"Date: " + email.utils.formatdate(time.time() - (100 if count == 0 else 0), usegmt=True).encode())
        assert ask(first).body == b"0"
        if disk:
            first.comes_to(1, "trellis_cache_objects", tier="disk")
        if restarts:
            stack.close()
            first = stack.enter_context(node.Node(text.replace("in: edge", "in: edge" + slice)))
        answer = ask(first)
        assert (answer.body, outcome(answer)) == (b"0", "STALE")
        assert b"hit" in answer.get(b"cache-status")
        node.until(lambda: ask(first).body == b"1", "the new one")


def test_what_was_whole_when_the_node_was_killed_is_given_afterwards(tmp_path):
    """kill -9 while objects are being written, ten times: what comes from the cache is right, and what was there before the
    load began is there again."""
    disk = f", disk: {{ path: {tmp_path}/cache, size: 256MiB }}"
    rng = random.Random(3)

    def body(target):
        number = int(target[1:])
        return body_of(1000 + number * 997 % 200_000, number)

    with Origin(lambda seen, _: reply(body(seen.target), FRESH)) as origin:
        with node.Node(config(origin, disk)) as n, node.Client(n.address()) as client:
            for number in range(100):
                ask(client, b"/%d" % number)
            node.until(lambda: disk_objects(n) >= 100, "the first to be on disk")
        next_url = 100
        for kill in range(10):
            with node.Node(config(origin, disk)) as n:
                before = origin.count()
                with node.Client(n.address()) as client:
                    for number in rng.sample(range(100), 20):
                        assert ask(client, b"/%d" % number).body == body(b"/%d" % number)
                assert origin.count() == before
                done = threading.Event()

                def load(first):
                    with contextlib.suppress(OSError, EOFError), node.Client(n.address()) as client:
                        number = first
                        while not done.is_set():
                            assert ask(client, b"/%d" % number).body == body(b"/%d" % number)
                            number += 4

                with concurrent.futures.ThreadPoolExecutor(4) as threads:
                    running = [threads.submit(load, next_url + first) for first in range(4)]
                    node.until(lambda: origin.count() >= before + rng.randrange(20, 150), "some to be written")
                    n.process.kill()
                    done.set()
                    for one in running:
                        one.result()
                n.process.wait()
                asked = {int(seen.target[1:]) for seen in origin.requests}
                next_url = max(asked) + 1
            with node.Node(config(origin, disk)) as n, node.Client(n.address()) as client:
                for number in sorted(asked)[-40:]:
                    assert ask(client, b"/%d" % number).body == body(b"/%d" % number)
                next_url = max(next_url, max(asked) + 1)
            asked_before = origin.count()
        assert asked_before > 200


def mounts():
    """May this test mount something?"""
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True)
    return done.returncode == 0


class OnSmallDisk(node.Node):
    """Its cache lies on a file system of 24 MiB, of its own mount namespace."""

    def __init__(self, *words, **named):
        super().__init__(*words, **named)
        where = self.folder / "cache"
        where.mkdir()
        inner = f"mount -t tmpfs -o size=24m none {shlex.quote(str(where))} && exec {shlex.join(self.command)}"
        self.command = ["unshare", "-m", "sh", "-c", inner]


@pytest.mark.skipif(not shutil.which("unshare") or not mounts(), reason="no mount namespaces here")
def test_a_full_disk_costs_hits_and_nothing_else():
    """The configuration allows more than the file system has."""
    body = body_of(200 * KIB)
    with Origin(lambda seen, _: reply(body + seen.target, FRESH)) as origin, OnSmallDisk(config(origin, DISK)) as n, \
            node.Client(n.address()) as client:
        for number in range(600):
            url = b"/%d" % number
            assert ask(client, url).body == body + url
        node.until(lambda: n.metric("trellis_cache_disk_state", cache="edge") == 1, "the disk to be called full")
        for number in range(599, 400, -1):
            url = b"/%d" % number
            assert ask(client, url).body == body + url
        assert n.alive()
        assert origin.count() < 600 + 200, "the newest are still there"
        # Nothing but a warning is said about it.
        assert "damaged" not in n.errors()


def test_damaged_records_are_dropped_and_never_given(tmp_path):
    bodies = urls_and_bodies(100, 50 * KIB)
    disk = f", disk: {{ path: {tmp_path}/cache, size: 256MiB }}"
    with Origin(lambda seen, _: reply(bodies[seen.target], FRESH)) as origin:
        with node.Node(config(origin, disk)) as n, node.Client(n.address()) as client:
            for url in bodies:
                ask(client, url)
            node.until(lambda: disk_objects(n) >= len(bodies), "all to be on disk")
        rng = random.Random(5)
        for segment in pathlib.Path(tmp_path / "cache").glob("*.segment"):
            with segment.open("r+b") as file:
                size = file.seek(0, os.SEEK_END)
                for _ in range(size // (200 * KIB)):
                    file.seek(rng.randrange(8 * KIB, size))
                    file.write(bytes([rng.randrange(256)]) * 3)
        before = origin.count()
        with node.Node(config(origin, disk)) as n, node.Client(n.address()) as client:
            for url, body in bodies.items():
                answer = ask(client, url)
                assert (answer.status, answer.body) == (200, body)
            assert n.metric("trellis_cache_disk_damaged_total") > 0
        assert before < origin.count() < before + len(bodies), "some were dropped, the others are whole"


# --- the clock ---

FAKETIME = next(iter(pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)


class Jumping(node.Node):
    """Its wall clock is off by what `jump` was given, and goes on from there; the monotonic one is the kernel's."""

    def __init__(self, *words, **named):
        self.offset = None
        super().__init__(*words, **named)
        self.offset = self.folder / "offset"
        self.offset.write_text("+0\n")
        self.environment |= {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(self.offset), "FAKETIME_NO_CACHE": "1",
                             "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}

    def jump(self, seconds):
        fresh = self.folder / "offset.new"
        fresh.write_text(f"{seconds:+d}\n")
        fresh.replace(self.offset)


@pytest.mark.skipif(not FAKETIME, reason="libfaketime is not here")
@pytest.mark.parametrize("jump", [3600, -3600])
def test_a_clock_that_jumps_neither_ends_nor_prolongs_what_is_fresh(jump):
    """Ages are counted by a clock that does not jump."""
    with Origin() as origin, Jumping(config(origin)) as n, node.Client(n.address()) as client:
        origin.at[b"/short"] = reply(b"short", b"Cache-Control: max-age=600")
        origin.at[b"/stale"] = lambda seen, count: reply(b"%d" % count, b"Cache-Control: max-age=0")
        assert ask(client, b"/short").body == b"short"
        assert ask(client, b"/stale").body == b"0"
        n.jump(jump)
        # The jump is there when answers of the node's own are dated by it.
        node.until(lambda: abs(date_of(ask(n, b"/x%d" % random.getrandbits(32))) - time.time() - jump) < 600, "the jump")
        for _ in range(3):
            again = ask(client, b"/short")
            assert (again.body, outcome(again)) == (b"short", "HIT")
            assert 0 <= int(again.get(b"age")) < 600
        assert ask(client, b"/stale").body == b"1", "stale stays stale"
        # What is fetched now lives as long as it says, by whichever clock.
        origin.at[b"/new"] = reply(b"new", b"Cache-Control: max-age=600")
        assert [outcome(ask(client, b"/new")) for _ in range(3)] == ["MISS", "HIT", "HIT"]
        n.jump(0)
        assert outcome(ask(client, b"/new")) == "HIT" and outcome(ask(client, b"/short")) == "HIT"
        assert n.alive()


@pytest.mark.skipif(not FAKETIME, reason="libfaketime is not here")
def test_a_clock_that_jumps_while_the_node_is_down_ages_what_is_on_disk(tmp_path):
    """What the wall clock says has passed counts; a clock that was set back makes nothing younger than it was when it came."""
    disk = f", disk: {{ path: {tmp_path}/cache, size: 256MiB }}"
    with Origin() as origin:
        for path, age in ((b"/short", 600), (b"/long", 36000)):
            origin.at[path] = lambda seen, count, age=age: reply(b"%d" % count, b"Cache-Control: max-age=%d" % age, b"Age: 100")

        def start(jump):
            n = Jumping(config(origin, disk))
            n.jump(jump)
            return n

        with start(0) as n, node.Client(n.address()) as client:
            assert [ask(client, path).body for path in (b"/short", b"/long")] == [b"0", b"0"]
            node.until(lambda: disk_objects(n) >= 2, "both to be on disk")
        with start(-3600) as n, node.Client(n.address()) as client:
            for path in (b"/short", b"/long"):
                answer = ask(client, path)
                assert answer.body == b"0" and int(answer.get(b"age")) >= 100, answer
        with start(3600) as n, node.Client(n.address()) as client:
            short, long = ask(client, b"/short"), ask(client, b"/long")
            assert (short.body, outcome(short)) == (b"1", "MISS"), "it has ended"
            assert (long.body, outcome(long)) == (b"0", "HIT") and int(long.get(b"age")) >= 3600
            node.until(lambda: n.metric("trellis_cache_disk_written_total") > 0, "the new one to be on disk")
        # What came in the future is not younger than new.
        with start(0) as n, node.Client(n.address()) as client:
            answer = ask(client, b"/short")
            assert answer.body == b"1" and int(answer.get(b"age")) >= 100, answer
        assert (origin.count(b"/short"), origin.count(b"/long")) == (2, 1)


def date_of(answer):
    return email.utils.parsedate_to_datetime(answer.get(b"date").decode()).timestamp()


# --- the program is replaced ---

def test_an_upgrade_keeps_what_is_on_disk_and_loses_no_request(tmp_path):
    bodies = urls_and_bodies(50, 20 * KIB)
    disk = f", disk: {{ path: {tmp_path}/cache, size: 256MiB }}"
    with Origin(lambda seen, _: reply(bodies[seen.target], FRESH)) as origin, Upgradable(config(origin, disk)) as n:
        for url in bodies:
            ask(n, url)
        node.until(lambda: disk_objects(n) >= len(bodies), "all to be on disk")
        with Reading(n.address(), bodies) as load:
            load.further(200)
            done = n.upgrade()
            assert done.returncode == 0, done.stderr
            node.until(lambda: n.process.poll() is not None, "the old process goes", seconds=3 * node.PATIENCE)
            load.further(500)
        assert not load.faults
        # While both run, the new one may ask for what the old one still holds; afterwards nobody asks.
        asked = origin.count()
        assert asked <= 2 * len(bodies)
        for url, body in bodies.items():
            answer = ask(n, url)
            assert (answer.body, outcome(answer)) == (body, "HIT")
        assert origin.count() == asked
