"""Everything at once at the edge cache: clients that ask for wholes, ranges and heads, read, dawdle or leave, while the origin
changes what it has, breaks off, lies and fails, and answers are made invalid. Whatever a client gets is right: the bytes of
one version, the one that its ETag names, and a range's bytes are those it says."""
import hashlib
import random
import threading

import pytest

import node
from cache_origin import CLOSE, RESET, Origin, chunk, chunked, get, reply
from load import Load
from upgrade_test import Upgradable

KIB = 1 << 10
URLS = 60
ENOUGH = 3000  # answers

CONFIG = """
listeners:
  web: {{ bind: "127.0.0.1:0" }}
caches:
  edge: {{ memory: 8MiB, max_object: 600KiB{disk} }}
upstreams:
  app:
    hosts: ["{host}"]
    timeouts: {{ first_byte: 5s, idle: 5s }}
routes:
  - name: app
    match: {{ path: /** }}
    filters:
      - cache: {{ in: edge, ttl: {{ 404: 1s }} }}
    to: upstream.app
"""


def content(url, version):
    """What this version of the URL is. Some are larger than an object may be."""
    seed = hashlib.sha256(b"%b %b" % (url, version)).digest()
    size = int.from_bytes(seed[:3]) % (800 * KIB if seed[3] < 40 else 60 * KIB)
    return (seed * (size // len(seed) + 1))[:size]


class Moody(Origin):
    """Has a version of each URL, which POST changes. `faults`: the share of answers that go wrong."""

    def __init__(self, seed, faults):
        super().__init__(self.moody)
        self.rng = random.Random(seed)
        self.faults = faults
        self.versions = {}

    def moody(self, seen, count):
        url = seen.target
        with self.lock:
            if seen.method == b"POST":
                self.versions[url] = self.versions.get(url, 0) + 1
            version = b"%d" % self.versions.get(url, 0)
            dice, cut = self.rng.random(), self.rng.random()
            kind = self.rng.randrange(6)
        body = content(url, version)
        number = int(url[1:])
        lifetime = (b"max-age=3600", b"max-age=0", b"max-age=0, stale-while-revalidate=60, stale-if-error=60", b"no-store")[number % 4]
        fields = [b"Cache-Control: " + lifetime, b'ETag: "%b"' % version, b"X-Url: " + url]
        if number % 5 == 0:
            fields.append(b"Vary: X-Side")
        if seen.method == b"POST":
            return reply(b"changed")
        if dice < self.faults:
            if seen.method == b"HEAD":
                return [RESET]
            at = int(cut * len(body))
            return ([CLOSE], [RESET], [reply(b"no", status=b"503 Busy")], [reply(body[:at], *fields, length=len(body)), CLOSE],
                    [chunked(*fields), chunk(body[:at] or b"x"), CLOSE], [b"HTTP/1.1 200 \xff\0\r\n\r\n", CLOSE])[kind]
        if seen.get(b"if-none-match") == b'"%b"' % version:
            return b"HTTP/1.1 304 Not Modified\r\n" + b"\r\n".join(fields) + b"\r\n\r\n"
        if seen.method == b"HEAD":
            return reply(b"", *fields, length=len(body))
        wanted = seen.get(b"range")
        if wanted and seen.get(b"if-range") in (None, b'"%b"' % version) and kind and b"," not in wanted:
            first, _, last = wanted.removeprefix(b"bytes=").partition(b"-")
            if first and int(first) < len(body):
                first, last = int(first), min(int(last or len(body)), len(body) - 1)
                return reply(body[first:last + 1], *fields, b"Content-Range: bytes %d-%d/%d" % (first, last, len(body)),
                             status=b"206 Partial Content")
        if kind < 2:
            pieces = [body[at:at + 10_000] for at in range(0, len(body), 10_000)]
            return [chunked(*fields), *map(chunk, pieces), b"0\r\n\r\n"]
        return reply(body, *fields)


class Mixed(Load):
    def __init__(self, address, clients, origin):
        super().__init__(address, clients)
        self.origin = origin
        self.answers = 0
        self.broken = 0

    def answered(self):
        return self.answers + self.broken

    def ask(self, number):
        rng = random.Random(number)
        client = None
        while not self.over.is_set():
            client = client or node.Client(self.address, receive_buffer=rng.choice([None, 8192]))
            url = b"/%d" % min(int(rng.expovariate(0.1)), URLS - 1)
            dice = rng.random()
            method, fields = b"GET", [b"X-Side: %d" % rng.randrange(3)]
            if dice < 0.04:
                method = b"POST"
                fields.append(b"Content-Length: 0")
            elif dice < 0.12:
                method = b"HEAD"
            elif dice < 0.35:
                first = rng.randrange(30_000)
                fields.append(b"Range: bytes=%d-%d" % (first, first + rng.randrange(30_000)))
            elif dice < 0.4:
                fields.append(b'If-None-Match: "%d"' % rng.randrange(3))
            elif dice < 0.45:
                fields.append(rng.choice([b"Cache-Control: no-cache", b"Cache-Control: max-stale", b"Cache-Control: max-age=0"]))
            try:
                client.send(get(url, *fields, method=method))
                if rng.random() < 0.05:
                    client.take(rng.randrange(1, 100))  # reads a little and goes
                    client.reset()
                    client = None
                    continue
                answer = client.answer(method)
            except (OSError, EOFError):
                client.close()
                client = None
                with self.lock:
                    self.broken += 1
                continue
            except node.Malformed as error:
                with self.lock:
                    self.faults.append(f"{url} {fields}: {error}")
                return
            fault = self.fault_of(url, method, answer)
            with self.lock:
                self.answers += 1
                if fault:
                    self.faults.append(f"{method} {url} {fields}: {fault}: {answer.head!r} {len(answer.body)}")
            if answer.get(b"connection") == b"close":
                client.close()
                client = None

    @staticmethod
    def fault_of(url, method, answer):
        """What is wrong with an answer; None: nothing is."""
        if answer.status in (502, 503, 504, 416) or method == b"POST" and answer.status == 200:
            return None
        if answer.status not in (200, 206, 304):
            return "status"
        if answer.get(b"x-url") not in (url, None if answer.status == 304 else url):
            return "of another URL"
        if answer.status == 304:
            return None
        version = answer.get(b"etag").strip(b'"')
        body = content(url, version)
        if method == b"HEAD":
            said = answer.get(b"content-length")
            return None if said is None or int(said) == len(body) else "length"
        if answer.status == 200:
            return None if answer.body == body else "body"
        span, _, total = answer.get(b"content-range").removeprefix(b"bytes ").partition(b"/")
        first, _, last = span.partition(b"-")
        good = int(total) == len(body) and answer.body == body[int(first):int(last) + 1]
        return None if good else f"part, {len(body)}"


@pytest.mark.parametrize("disk", ["", ", disk: { path: ./cache, size: 64MiB }"], ids=["memory", "disk"])
@pytest.mark.parametrize("faults", [0, 0.2])
def test_whatever_happens_an_answer_is_of_one_version_and_its_own(io, disk, faults):
    with Moody(1, faults) as origin, node.Node(CONFIG.format(host=origin.host, disk=disk), io=io) as n:
        with Mixed(n.address(), 12, origin) as load:
            load.further(ENOUGH, "the answers")
        assert not load.faults, load.faults[:3]
        if not faults:
            assert load.broken == 0
        node.until(lambda: n.metric("trellis_requests_in_flight", route="app") == 0, "the requests to end")
        assert n.alive()
        assert n.metric("trellis_cache_requests_total", outcome="hit") > ENOUGH / 20
        origin.faults = 0
        # And all is well again.
        for number in range(URLS):
            url = b"/%d" % number
            answer = n.ask(get(url), "web")
            assert Mixed.fault_of(url, b"GET", answer) is None and answer.status == 200, (url, answer)


def test_reloads_and_upgrades_in_the_midst_change_no_answer(tmp_path):
    disk = f", disk: {{ path: {tmp_path}/cache, size: 64MiB }}"
    with Moody(2, 0.05) as origin, Upgradable(CONFIG.format(host=origin.host, disk=disk)) as n:
        with Mixed(n.address(), 8, origin) as load:
            for turn in range(3):
                load.further(300, "answers before the reload")
                n.write_config(CONFIG.format(host=origin.host, disk=disk) + f"# {turn}\n")
                if turn == 0:
                    n.reload()
                    continue
                done = n.upgrade()
                assert done.returncode == 0, done.stderr
                load.further(300, "answers of the new process")
        assert not load.faults, load.faults[:3]
        node.until(lambda: n.process.poll() is not None, "the old process goes", seconds=3 * node.PATIENCE)
        assert n.process.returncode == 0
        origin.faults = 0
        for number in range(URLS):
            url = b"/%d" % number
            answer = n.ask(get(url), "web")
            assert Mixed.fault_of(url, b"GET", answer) is None and answer.status == 200, (url, answer)
