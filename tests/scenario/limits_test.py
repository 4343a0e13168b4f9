"""What protects upstreams and the node: limits hold, a refusal says which limit it was and when to come again, and what was shut opens again."""
import collections
import contextlib
import json
import signal
import threading
import time

import pytest

import node

CONFIG = """
listeners:
  web: {{ bind: "127.0.0.1:0" }}
upstreams:
  up:
    hosts: [{hosts}]
    {more}
routes:
  - {{ match: {{ path: /** }}, to: upstream.up }}
"""


class Workers(node.RawServer):
    """`number` requests are worked on at once for `seconds`, or until `go` is set; the others wait inside, as in a server with threads."""

    def __init__(self, number=1000, seconds=0.0, status=200):
        super().__init__(self._talk)
        self.places = threading.Semaphore(number)
        self.seconds = seconds
        self.status = status
        self.go = threading.Event()
        self.go.set()
        self.asked = 0
        self.inside = 0
        self.most_inside = 0
        self.most_open = 0

    def _talk(self, connection, number):
        reader = node.Reader(connection)
        while node.read_request(reader):
            with self.lock:
                self.asked += 1
                self.inside += 1
                self.most_inside = max(self.most_inside, self.inside)
                self.most_open = max(self.most_open, self.open)
            self.go.wait(60)
            with self.places:
                time.sleep(self.seconds)
            with self.lock:
                self.inside -= 1
            connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok" % self.status)


def running(upstreams, more, io, cores=1, **options):
    hosts = ", ".join(f'"{one.host}"' for one in upstreams)
    return node.Node(CONFIG.format(hosts=hosts, more=more), io=io, cores=cores, **options)


def get(proxy, path=b"/"):
    with node.Client(proxy.address(), timeout=60) as client:
        client.send(b"GET " + path + b" HTTP/1.1\r\nHost: h\r\n\r\n")
        return client.answer()


def check_refusal(answer, code):
    assert answer.status == 503, answer
    assert answer.get(b"content-type") == b"application/problem+json"
    problem = json.loads(answer.body)
    assert (problem["code"], problem["temporary"]) == (code, True), problem
    assert int(answer.get(b"retry-after")) >= 1


class Later(threading.Thread):
    """A request in a thread of its own; `answer` once it has come."""

    def __init__(self, proxy):
        super().__init__(daemon=True)
        self.proxy = proxy
        self.answer = None
        self.start()

    def run(self):
        self.answer = get(self.proxy)


@contextlib.contextmanager
def clients(proxy, number, on_answer, paths=(b"/",)):
    """So many clients that ask again and again, each on its connection."""
    ends = threading.Event()

    def ask(path):
        while not ends.is_set():
            try:
                with node.Client(proxy.address(), timeout=60) as client:
                    while not ends.is_set():
                        client.send(b"GET " + path + b" HTTP/1.1\r\nHost: h\r\n\r\n")
                        on_answer(path, client.answer())
            except (OSError, EOFError):
                pass

    threads = [threading.Thread(target=ask, args=(paths[i % len(paths)],), daemon=True) for i in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ends.set()
        for thread in threads:
            thread.join(60)


@pytest.mark.parametrize("cores", [1, 2])
def test_never_more_connections_than_allowed(io, cores):
    answers = collections.Counter()
    more = "limits: { connections: 4, waiting: 1000, wait: 1m }"
    with Workers(number=100, seconds=0.005) as upstream, running([upstream], more, io, cores) as proxy:
        with clients(proxy, 64, lambda _, answer: answers.update([answer.status])):
            node.until(lambda: answers[200] > 500, "500 answers", seconds=60)
        assert set(answers) == {200}
        assert upstream.most_open <= 4 * cores
        assert upstream.most_inside == upstream.most_open


def test_who_finds_no_connection_waits_its_turn(io):
    with Workers() as upstream, running([upstream], "limits: { connections: 1, wait: 1m }", io) as proxy:
        upstream.go.clear()
        waiting = [Later(proxy) for _ in range(5)]
        node.until(lambda: proxy.metric("trellis_requests_in_flight") == 5, "all five to be there")
        node.until(lambda: upstream.asked > 0, "one of them to arrive")
        assert upstream.asked == 1
        upstream.go.set()
        node.until(lambda: all(one.answer for one in waiting), "their answers")
        assert [one.answer.status for one in waiting] == [200] * 5
        assert upstream.accepted == 1


def test_a_wait_ends(io):
    with Workers() as upstream, running([upstream], "limits: { connections: 1, wait: 200ms }", io) as proxy:
        upstream.go.clear()
        first = Later(proxy)
        node.until(lambda: upstream.asked == 1, "the first request to arrive")
        began = time.monotonic()
        check_refusal(get(proxy), "upstream_busy")
        assert time.monotonic() - began >= 0.2
        proxy.comes_to(1, "trellis_shed_total", reason="upstream_busy")
        upstream.go.set()
        node.until(lambda: first.answer, "the first answer")
        assert first.answer.status == get(proxy).status == 200


def test_a_full_queue_refuses_at_once(io):
    more = "limits: { connections: 1, waiting: 2, wait: 5m }"
    with Workers() as upstream, running([upstream], more, io) as proxy:
        upstream.go.clear()
        early = [Later(proxy) for _ in range(3)]
        node.until(lambda: proxy.metric("trellis_requests_in_flight") == 3, "one at the host and two that wait")
        check_refusal(get(proxy), "upstream_busy")
        assert not any(one.answer for one in early)
        upstream.go.set()
        node.until(lambda: all(one.answer for one in early), "their answers")
        assert [one.answer.status for one in early] == [200] * 3


def test_a_client_that_leaves_the_queue_takes_nobodys_turn(io):
    more = "limits: { connections: 1, wait: 5m }"
    with Workers() as upstream, running([upstream], more, io) as proxy:
        upstream.go.clear()
        first = Later(proxy)
        node.until(lambda: upstream.asked == 1, "the first request to arrive")
        leaving = node.Client(proxy.address())
        leaving.send(b"GET /leaves HTTP/1.1\r\nHost: h\r\n\r\n")
        node.until(lambda: proxy.metric("trellis_requests_in_flight") == 2, "the second one to wait")
        last = Later(proxy)
        node.until(lambda: proxy.metric("trellis_requests_in_flight") == 3, "the third one to wait")
        leaving.reset()
        node.until(lambda: proxy.metric("trellis_requests_in_flight") == 2, "the second one to be gone")
        upstream.go.set()
        node.until(lambda: first.answer and last.answer, "both answers")
        assert first.answer.status == last.answer.status == 200
        assert upstream.asked == 2


def test_a_breaker_opens_and_closes_again(io):
    more = "breaker: { min_requests: 10, open_for: 300ms, probes: 2 }"
    with Workers(status=500) as upstream, running([upstream], more, io, cores=2) as proxy:
        def opened():
            answer = get(proxy)
            return answer if answer.status == 503 else None

        check_refusal(node.until(opened, "the breaker to open", every=0), "upstream_open")
        assert upstream.asked == 10
        proxy.comes_to(2, "trellis_breaker_state", upstream="up")
        assert proxy.metric("trellis_shed_total", reason="upstream_open") >= 1
        node.until(lambda: get(proxy) and upstream.asked > 10, "a probe that fails")
        upstream.status = 200
        node.until(lambda: get(proxy).status == 200 and proxy.metric("trellis_breaker_state", upstream="up") == 0,
                   "the breaker to close")
        assert [get(proxy).status for _ in range(20)] == [200] * 20
        assert "breaker opened" in proxy.errors() and "breaker closed" in proxy.errors()


def upload(proxy):
    with node.Client(proxy.address()) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        return client.answer()


def test_a_breaker_of_nothing_but_uploads_opens_and_closes_again(io):
    more = "breaker: { min_requests: 10, open_for: 300ms, probes: 2 }"
    with Workers(status=500) as upstream, running([upstream], more, io) as proxy:
        def is_open():
            return proxy.metric("trellis_breaker_state", upstream="up") == 2

        node.until(lambda: upload(proxy).status == 503, "the breaker to open", every=0)
        node.until(lambda: upload(proxy).status == 500, "an upload as a probe")
        assert is_open()
        upstream.status = 200
        node.until(lambda: upload(proxy).status == 200 and upload(proxy).status == 200, "uploads that are good")
        assert proxy.metric("trellis_breaker_state", upstream="up") == 0


def test_uploads_that_stand_still_keep_nobody_out_of_a_half_open_breaker(io):
    more = "breaker: { min_requests: 10, open_for: 300ms, probes: 2 }"
    with Workers(status=500) as upstream, running([upstream], more, io) as proxy, contextlib.ExitStack() as stack:
        node.until(lambda: get(proxy).status == 503, "the breaker to open", every=0)
        upstream.status = 200

        def half_an_upload():
            client = stack.enter_context(node.Client(proxy.address()))
            client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhalf of it")

        def is_half_open():
            half_an_upload()
            return proxy.metric("trellis_breaker_state", upstream="up") == 1

        node.until(is_half_open, "the first probe")
        half_an_upload()
        node.until(lambda: get(proxy).status == 200 and get(proxy).status == 200, "the others", 5)
        assert proxy.metric("trellis_breaker_state", upstream="up") == 0


@pytest.mark.parametrize("status", (404, 501, 505))
def test_what_any_client_can_ask_for_opens_no_breaker(status):
    with Workers(status=status) as upstream, running([upstream], "breaker: { min_requests: 5 }", "epoll") as proxy:
        assert [get(proxy).status for _ in range(20)] == [status] * 20
        assert proxy.metric("trellis_breaker_state", upstream="up") == 0


def test_a_host_that_is_gone_opens_the_breaker_too(io):
    with Workers() as upstream:
        pass
    with running([upstream], "breaker: { min_requests: 5 }", io) as proxy:
        codes = [json.loads(get(proxy).body)["code"] for _ in range(8)]
        assert codes == ["upstream_unavailable"] * 5 + ["upstream_open"] * 3


def test_retries_keep_to_their_budget(io):
    more = "retry: { attempts: 3, on: [503], backoff: 1ms..1ms }"
    number = 600
    with Workers(status=503) as one, Workers(status=503) as other, running([one, other], more, io) as proxy:
        began = time.monotonic()
        with node.Client(proxy.address()) as client:
            for _ in range(number):
                client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                assert client.answer().status == 503
        retries = one.asked + other.asked - number
        # Ten a second of a window of ten seconds may all come at once.
        assert 0.2 * number < retries <= 0.2 * number + 100 + 10 * (time.monotonic() - began) + 1
        assert proxy.metric("trellis_retries_total", outcome="over_budget") > 0


def test_the_adaptive_limit_finds_what_the_upstream_can_do(io):
    answers = collections.Counter()
    more = "limits: { wait: 1m, adaptive: { initial: 64 } }"
    with Workers(number=4, seconds=0.02) as upstream, running([upstream], more, io) as proxy:
        with clients(proxy, 64, lambda _, answer: answers.update([answer.status])):
            node.until(lambda: 0 < proxy.metric("trellis_upstream_limit", upstream="up") <= 24, "the limit to come down", seconds=90)
            node.until(lambda: upstream.inside <= 24, "fewer to wait inside the upstream")
        assert set(answers) == {200}, "the others wait here"


SHEDDING = """
listeners:
  web: { bind: "127.0.0.1:0" }
routes:
  - { match: { path: /low },    priority: low,  to: { fixed: { status: 200, body: "ok" } } }
  - { match: { path: /high },   priority: high, to: { fixed: { status: 200, body: "ok" } } }
  - { match: { path: /** },     to: { fixed: { status: 200, body: "ok" } } }
runtime:
  shed: { lag: 110ms }
"""
LAG = 0.11


def held_back(proxy, times, stop=0.3, run=0.002):
    """Gives the node a fraction of its time, as a machine does that has too much to do. The longest pause it had."""
    longest = 0
    for _ in range(times):
        began = time.monotonic()
        proxy.signal(signal.SIGSTOP)
        time.sleep(stop)
        proxy.signal(signal.SIGCONT)
        longest = max(longest, time.monotonic() - began)
        time.sleep(run)
    return longest


def test_shedding_keeps_what_is_important_alive(io):
    paths = (b"/low", b"/normal", b"/high", b"/healthz")
    with node.Node(SHEDDING, io=io, cores=1) as proxy:
        assert all(get(proxy, path).status == 200 for path in paths)
        for _ in range(5):  # on a machine that is busy itself a pause may become longer than the test means
            held_back(proxy, 1)
            answers, refusals = collections.Counter(), []

            def note(path, answer):
                answers[path, answer.status] += 1
                if answer.status != 200:
                    refusals.append(answer)

            with clients(proxy, 8, note, paths):
                held_back(proxy, 16)
                answers.clear()
                longest = held_back(proxy, 16)
                seen = dict(answers)
            if longest < 3.5 * LAG:
                break
        else:
            pytest.fail(f"this machine stops for {longest} s at a time")
        share = {path: seen.get((path, 503), 0) / max(seen.get((path, 503), 0) + seen.get((path, 200), 0), 1) for path in paths}
        assert share[b"/low"] > 0.4, share  # more where the machine has nothing else to do
        assert share[b"/high"] == share[b"/healthz"] == 0, share
        assert share[b"/normal"] <= share[b"/low"], share
        assert (b"/high", 200) in seen
        for answer in refusals[:3]:
            check_refusal(answer, "overloaded")
        assert proxy.metric("trellis_shed_total", reason="overloaded") > 0
        node.until(lambda: get(proxy, b"/low").status == 200, "it to catch up")
