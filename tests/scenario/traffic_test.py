"""Where requests go besides their target, and what is done to them on the way: splits, mirrors, faults and buffers, with real
clients, upstreams that count what they get, and upstreams that misbehave."""
import contextlib
import json
import pathlib
import threading
import time

import pytest

import node

KIB = 1 << 10


def get(path=b"/", more=b""):
    return b"GET " + path + b" HTTP/1.1\r\nHost: h\r\n" + more + b"\r\n"


def post(body, path=b"/", more=b""):
    return b"POST %b HTTP/1.1\r\nHost: h\r\n%bContent-Length: %d\r\n\r\n%b" % (path, more, len(body), body)


class Named(node.RawServer):
    """Answers every request with its own name, and keeps the requests."""

    def __init__(self, name, body=None, waits=None):
        super().__init__(self._talk)
        self.body = body or name
        self.waits = waits  # answers once this event is set
        self.requests = []
        self.most_open = 0

    def _talk(self, connection, number):
        reader = node.Reader(connection)
        while True:
            seen = node.read_request(reader)
            if seen is None or not seen.complete:
                return
            with self.lock:
                self.requests.append(seen)
                self.most_open = max(self.most_open, self.open)
            if self.waits:
                self.waits.wait(60)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(self.body), self.body))


def ask(client, request):
    client.send(request)
    return client.answer()


def log_lines(n, count):
    path = n.folder / "access.log"

    def enough():
        lines = path.read_text().splitlines() if path.exists() else []
        return lines if len(lines) >= count else None

    return [json.loads(line) for line in node.until(enough, f"{count} lines of the access log")]


# --- splits ---

SPLIT = """
listeners:
  web: {{ bind: "127.0.0.1:0" }}
upstreams:
  stable: {{ hosts: ["{stable}"] }}
  canary: {{ hosts: ["{canary}"] }}
routes:
  - name: app
    match: {{ path: /** }}
    filters:
      - split:
          key: {key}
          ways:
            - {{ share: {share}, to: upstream.canary, when: {{ header: "x-canary: 1", cookie: canary=1 }} }}
    to: upstream.stable
  - name: sticky
    match: {{ path: /sticky }}
    filters:
      - split:
          key: random
          sticky: {{ cookie: way, for: 1h }}
          ways:
            - {{ share: 50%, to: upstream.stable }}
            - {{ share: 50%, to: upstream.canary, name: new }}
    to: upstream.stable
observe:
  access_log: {{ path: ./access.log }}
"""
USERS = 300


def ways_of_users(n):
    """Each user asks twice, on connections that the kernel spreads over the cores."""
    ways = []
    for user in range(USERS):
        answers = set()
        for _ in range(2):
            with node.Client(n.address()) as client:
                answers.add(ask(client, get(more=b"X-User: user-%d\r\n" % user)).body)
        assert len(answers) == 1, f"user {user} was on two ways"
        ways.append(answers.pop())
    return ways


def test_a_key_stays_on_its_way_and_a_larger_share_moves_only_the_difference(io):
    with Named(b"stable") as stable, Named(b"canary") as canary:
        def config(share):
            return SPLIT.format(stable=stable.host, canary=canary.host, key="header.x-user", share=share)

        with node.Node(config("20%"), io=io) as n:
            before = ways_of_users(n)
            on_canary = before.count(b"canary")
            # Six standard deviations of a draw of 300 users.
            assert 60 - 42 <= on_canary <= 60 + 42
            n.comes_to(2 * on_canary, "trellis_split_requests_total", route="app", way="canary")
            n.comes_to(2 * (USERS - on_canary), "trellis_split_requests_total", route="app", way="rest")
            lines = [line for line in log_lines(n, 2 * USERS) if line["route"] == "app"]
            assert sum(line["way"] == "canary" for line in lines) == 2 * on_canary
            assert all((line["upstream"] == "canary") == (line["way"] == "canary") for line in lines)

            n.write_config(config("40%"))
            n.reload()
            after = ways_of_users(n)
            assert all(now == b"canary" for then, now in zip(before, after) if then == b"canary"), "nobody goes back"
            assert after.count(b"canary") > on_canary
            n.write_config(config("0%"))
            n.reload()
            assert ways_of_users(n).count(b"canary") == 0, "taken back at once"


def test_a_header_or_a_cookie_forces_a_way():
    with Named(b"stable") as stable, Named(b"canary") as canary:
        config = SPLIT.format(stable=stable.host, canary=canary.host, key="client_address", share="0%")
        with node.Node(config) as n, node.Client(n.address()) as client:
            assert ask(client, get()).body == b"stable"
            assert ask(client, get(more=b"X-Canary: 1\r\n")).body == b"canary"
            assert ask(client, get(more=b"X-Canary: 0\r\n")).body == b"stable"
            assert ask(client, get(more=b"Cookie: a=b; canary=1\r\n")).body == b"canary"


CACHED = """
listeners:
  web: {{ bind: "127.0.0.1:0" }}
  inside: {{ bind: "127.0.0.1:0" }}
caches:
  edge: {{ memory: 16MiB }}
upstreams:
  old: {{ hosts: ["{old}"] }}
  new: {{ hosts: ["{new}"] }}
routes:
{routes}"""
CACHED_BY_ROUTE = """
  - {{ name: old, match: {{ path: /**{rest} }}, filters: [cache: {{ in: edge, ttl: {{ 200: 1h }} }}], to: upstream.old }}
  - {{ name: new, match: {{ path: /**, {condition} }}, filters: [cache: {{ in: edge, ttl: {{ 200: 1h }} }}], to: upstream.new }}
"""
CACHED_SPLIT = """
  - name: both
    match: {{ path: /** }}
    filters:
      - cache: {{ in: edge, ttl: {{ 200: 1h }}, key: {{ cookies: [{cookies}] }} }}
      - split: {{ ways: [{{ name: new, share: {share}, to: upstream.new, when: {{ cookie: "canary=1" }} }}] }}
    to: upstream.old
"""


def cached(box, field=b"", listener="web", method=b"GET"):
    answer = box.ask(method + b" / HTTP/1.1\r\nHost: h\r\n" + field + b"\r\n", listener)
    return answer.body, answer.get(b"x-cache-status")


@pytest.mark.parametrize("condition, rest, field, listener", [
    ('headers: { x-canary: "1" }', "", b"X-Canary: 1\r\n", "web"),
    ('cookies: { canary: "1" }', "", b"Cookie: canary=1\r\n", "web"),
    ("listeners: [inside]", ", listeners: [web]", b"", "inside"),
])
def test_a_cache_gives_nobody_what_another_route_got(condition, rest, field, listener):
    with Named(b"old") as old, Named(b"new") as new:
        routes = CACHED_BY_ROUTE.format(condition=condition, rest=rest)
        with node.Node(CACHED.format(old=old.host, new=new.host, routes=routes)) as box:
            for status in (b"MISS", b"HIT"):
                assert cached(box, field, listener) == (b"new", status)
                assert cached(box) == (b"old", status)
            cached(box, method=b"DELETE")  # of one route, and what the other has of this address goes with it
            assert cached(box, field, listener) == (b"new", b"MISS")
            assert cached(box) == (b"old", b"MISS")


def test_a_cache_keeps_a_canary_that_its_key_tells_and_goes_with_no_other():
    with Named(b"old") as old, Named(b"new") as new:
        def config(cookies, share):
            return CACHED.format(old=old.host, new=new.host, routes=CACHED_SPLIT.format(cookies=cookies, share=share))
        with node.Node(config("canary", "0%")) as box:
            for status in (b"MISS", b"HIT"):
                assert cached(box, b"Cookie: canary=1\r\n") == (b"new", status)
                assert cached(box) == (b"old", status)
        for wrong in (config("", "0%"), config("canary", "5%")):
            with pytest.raises(AssertionError, match="would give the answer of one client's way to all"):
                node.Node(wrong).__enter__()


def test_a_cookie_keeps_the_choice_that_chance_made():
    with Named(b"stable") as stable, Named(b"canary") as canary:
        config = SPLIT.format(stable=stable.host, canary=canary.host, key="random", share="10%")
        with node.Node(config) as n:
            seen = set()
            for _ in range(60):
                with node.Client(n.address()) as client:
                    first = ask(client, get(b"/sticky"))
                    cookie = first.get(b"set-cookie")
                    assert cookie.endswith(b"; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax")
                    seen.add(first.body)
                with node.Client(n.address()) as client:
                    for _ in range(3):
                        again = ask(client, get(b"/sticky", b"Cookie: " + cookie.split(b";")[0] + b"\r\n"))
                        assert again.body == first.body
                        assert again.get(b"set-cookie") is None
            assert seen == {b"stable", b"canary"}
            assert n.metric("trellis_split_requests_total", route="sticky", way="new") > 0
            assert n.metric("trellis_split_requests_total", route="sticky", way="rest") == 0


# --- mirrors ---

MIRROR = """
listeners:
  web: {{ bind: "127.0.0.1:0" }}
upstreams:
  app: {{ hosts: ["{app}"] }}
  shadow: {{ hosts: ["{shadow}"], timeouts: {{ connect: 200ms, first_byte: 1h, total: 1h }} }}
routes:
  - name: app
    match: {{ path: /** }}
    filters:
      - rewrite: {{ add_prefix: /v1 }}
      - mirror: {{ to: upstream.shadow, max_in_flight: 4, body: 64KiB, timeout: {timeout} }}
    to: upstream.app
"""


def mirrored(n, outcome):
    return n.metric("trellis_mirror_total", route="app", outcome=outcome)


def test_a_copy_goes_to_the_shadow_with_its_body(io):
    with Named(b"app") as app, Named(b"shadow" * 1000) as shadow:
        with node.Node(MIRROR.format(app=app.host, shadow=shadow.host, timeout="5s"), io=io) as n:
            with node.Client(n.address()) as client:
                assert ask(client, get(b"/a?b=c", b"X-Tag: 7\r\n")).body == b"app"
                node.until(lambda: len(shadow.requests) == 1, "the first copy")
                body = bytes(range(256)) * 200
                assert ask(client, post(body)).body == b"app"
                node.until(lambda: len(shadow.requests) == 2, "the second copy")
                chunked = b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
                assert ask(client, chunked).body == b"app"
                node.until(lambda: mirrored(n, "answered") == 3, "three answers that are thrown away")
                assert ask(client, post(b"x" * (65 * KIB))).body == b"app"
                node.until(lambda: mirrored(n, "too_large") == 1, "the large one to be counted")
            first, second, third = shadow.requests
            assert first.target == b"/v1/a?b=c" and first.get(b"x-tag") == b"7"
            assert first.get(b"x-trellis-mirror") == b"1" and first.get(b"host") == b"h"
            assert second.body == body and third.body == b"abcde"
            assert [one.get(b"x-trellis-mirror") for one in app.requests] == [None] * 4
            assert [node.request_faults(one.head) for one in shadow.requests] == [[]] * 3


def test_a_shadow_that_hangs_or_is_gone_costs_the_original_nothing(io):
    never = threading.Event()
    try:
        with Named(b"app") as app, Named(b"shadow", waits=never) as shadow:
            with node.Node(MIRROR.format(app=app.host, shadow=shadow.host, timeout="1h"), io=io, cores=1) as n:
                with node.Client(n.address()) as client:
                    for _ in range(50):
                        assert ask(client, get()).status == 200
                    node.until(lambda: mirrored(n, "dropped") == 46, "all but four to be dropped")
                    assert ask(client, post(b"body")).status == 200
                # A reload and the stop end in good order with copies under way.
                n.write_config(MIRROR.format(app=app.host, shadow=shadow.host, timeout="200ms"))
                n.reload()
                with node.Client(n.address()) as client:
                    assert ask(client, get()).status == 200
                    node.until(lambda: mirrored(n, "late") >= 1, "the copy of the new configuration to be cut")
                n.process.terminate()
                assert n.process.wait(node.PATIENCE) == 0
    finally:
        never.set()
    with Named(b"app") as app, Named(b"gone") as shadow:
        gone = shadow.host
        shadow.__exit__()
        with node.Node(MIRROR.format(app=app.host, shadow=gone, timeout="5s"), io=io) as n, node.Client(n.address()) as client:
            for _ in range(20):
                assert ask(client, get()).status == 200
            node.until(lambda: mirrored(n, "failed") + mirrored(n, "dropped") == 20, "every copy to fail")


# --- faults ---

FAULT = """
listeners:
  web: {{ bind: "127.0.0.1:0" }}
upstreams:
  app: {{ hosts: ["{app}"] }}
routes:
  - {{ name: abort, match: {{ path: /abort }}, filters: [{{ fault: {{ abort: {{ status: 507 }}, when: {{ header: "x-fault: 1" }} }} }}], to: upstream.app }}
  - {{ name: some, match: {{ path: /some }}, filters: [{{ fault: {{ abort: {{ share: 30% }} }} }}], to: upstream.app }}
  - {{ name: reset, match: {{ path: /reset }}, filters: [{{ fault: {{ reset: {{}} }} }}], to: upstream.app }}
  - {{ name: delay, match: {{ path: /delay }}, filters: [{{ fault: {{ delay: {{ time: 200ms..300ms }} }} }}], to: upstream.app }}
  - {{ name: slow, match: {{ path: /slow }}, filters: [{{ fault: {{ bandwidth: 20KiB }} }}], to: upstream.app }}
observe:
  access_log: {{ path: ./access.log }}
"""


def test_faults_are_injected_as_configured(io):
    body = b"0123456789abcdef" * 640
    with Named(b"app", body) as app, node.Node(FAULT.format(app=app.host), io=io) as n:
        with node.Client(n.address()) as client:
            assert ask(client, get(b"/abort")).status == 200
            answer = ask(client, get(b"/abort", b"X-Fault: 1\r\n"))
            assert answer.status == 507 and json.loads(answer.body)["code"] == "fault_abort"

            statuses = [ask(client, get(b"/some")).status for _ in range(400)]
            # Six standard deviations around 120.
            assert 120 - 55 <= statuses.count(503) <= 120 + 55 and set(statuses) == {200, 503}

            # Lower bounds only: a busy machine may take longer.
            began = time.monotonic()
            assert ask(client, get(b"/delay")).body == body
            assert time.monotonic() - began >= 0.2
            began = time.monotonic()
            assert ask(client, get(b"/slow")).body == body
            assert time.monotonic() - began >= 0.4, "10 KiB at 20 KiB a second"

        with node.Client(n.address()) as client:
            client.send(get(b"/reset"))
            with pytest.raises(ConnectionResetError):
                client.socket.recv(1)
        before = len(app.requests)
        with node.Client(n.address()) as client:
            client.send(post(b"with a body", b"/reset"))
            with pytest.raises(ConnectionResetError):
                client.socket.recv(1)
        assert len(app.requests) == before, "nobody was asked"
        lines = log_lines(n, 1 + 1 + 400 + 2 + 2)
        resets = [line for line in lines if line["route"] == "reset"]
        assert [(line["status"], line["outcome"], line["side"]) for line in resets] == [(444, "fault_reset", "self")] * 2
        n.comes_to(2, "trellis_faults_total", route="reset", fault="reset")
        n.comes_to(statuses.count(503), "trellis_faults_total", route="some", fault="abort")


def test_a_client_that_leaves_during_a_delay_leaves_nothing_behind():
    with Named(b"app") as app:
        config = FAULT.format(app=app.host).replace("200ms..300ms", "1h")
        with node.Node(config) as n:
            clients = [node.Client(n.address()) for _ in range(20)]
            for client in clients:
                client.send(get(b"/delay"))
            node.until(lambda: n.metric("trellis_faults_total", route="delay", fault="delay") == 20, "the delays to begin")
            for client in clients:
                client.reset()
            node.until(lambda: n.metric("trellis_requests_in_flight", route="delay") == 0, "the requests to end")
            assert len(app.requests) == 0


# --- buffers ---

BUFFER = """
listeners:
  web: {{ bind: "127.0.0.1:0" }}
upstreams:
  app: {{ hosts: ["{app}"], limits: {{ connections: 1 }} }}
routes:
  - name: kept
    match: {{ path: /kept }}
    filters: [{{ buffer: {{ request: 1MiB, response: 1MiB }} }}]
    to: upstream.app
  - name: small
    match: {{ path: /small }}
    filters: [{{ buffer: {{ request: 16KiB, memory: 64KiB }} }}]
    to: upstream.app
  - {{ name: plain, match: {{ path: /plain }}, to: upstream.app }}
"""


def test_slow_bodies_of_200_clients_hold_at_most_two_upstream_connections(io):
    body = b"slow" * (4 * KIB)
    with Named(b"app") as app, node.Node(BUFFER.format(app=app.host), io=io) as n, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(node.Client(n.address())) for _ in range(200)]
        for client in clients:
            client.send(b"POST /kept HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body))
        # Each gives a piece in its turn, the last byte is held back.
        for at in range(0, len(body) - 1, 2 * KIB):
            for client in clients:
                client.send(body[at:min(at + 2 * KIB, len(body) - 1)])
            assert n.metric("trellis_upstream_connections", upstream="app", state="open") == 0
        assert n.metric("trellis_memory_bytes", kind="bodies") > 0
        with node.Client(n.address()) as other:
            assert ask(other, get(b"/plain")).status == 200, "the upstream is free for others"
        for client in clients:
            client.send(body[-1:])
            assert client.answer().body == b"app"
        assert app.most_open <= 2, "one a core"
        assert all(one.body == body for one in app.requests if one.method == b"POST")
        assert sum(one.method == b"POST" for one in app.requests) == 200
        node.until(lambda: n.metric("trellis_memory_bytes", kind="bodies") == 0, "the memory to come back")
        n.comes_to(200, "trellis_buffered_bodies_total", route="kept", body="request", outcome="whole")


def test_a_slow_reader_holds_no_upstream_connection(io):
    body = bytes(range(256)) * (3 * KIB)
    with Named(b"app", body) as app, node.Node(BUFFER.format(app=app.host), io=io, cores=1) as n:
        with node.Client(n.address(), receive_buffer=4 * KIB) as slow, node.Client(n.address()) as other:
            slow.send(get(b"/kept"))
            node.until(lambda: n.metric("trellis_buffered_bodies_total", body="response", outcome="whole") == 1, "the answer to be kept")
            # The upstream takes one connection, and it is free although nothing was read here.
            assert ask(other, get(b"/plain")).body == body
            assert slow.answer().body == body
        node.until(lambda: n.metric("trellis_memory_bytes", kind="bodies") == 0, "the memory to come back")


def test_a_kept_body_is_sent_to_the_next_host_and_no_other():
    body = bytes(range(256)) * 200

    def breaks(connection, number):
        """Reads a request, and closes without an answer."""
        node.read_request(node.Reader(connection))

    config = """
listeners:
  web: {{ bind: "127.0.0.1:0" }}
upstreams:
  app: {{ hosts: ["{bad}", "{good}"], balance: round_robin, retry: {{ attempts: 2, on: [connect, reset] }}, eject: off }}
routes:
  - {{ match: {{ path: /kept }}, filters: [{{ buffer: {{ request: 64KiB }} }}], to: upstream.app }}
  - {{ match: {{ path: /large }}, filters: [{{ buffer: {{ request: 16KiB }} }}], to: upstream.app }}
  - {{ match: {{ path: /plain }}, to: upstream.app }}
"""
    with node.RawServer(breaks) as bad, Named(b"good") as good:
        with node.Node(config.format(bad=bad.host, good=good.host), cores=1) as n:
            def put(path, method=b"PUT"):
                with node.Client(n.address()) as client:
                    return ask(client, post(body, path).replace(b"POST", method)).status

            # Every second request begins with the bad host.
            assert [put(b"/kept") for _ in range(6)] == [200] * 6
            assert bad.accepted >= 2
            assert all(one.body == body for one in good.requests)
            assert sorted({put(b"/plain") for _ in range(6)}) == [200, 502], "what was streamed is gone"
            assert sorted({put(b"/large") for _ in range(6)}) == [200, 502], "what streamed on is gone"
            assert sorted({put(b"/kept", b"POST") for _ in range(6)}) == [200, 502], "a POST may have been done"
            assert all(one.body == body for one in good.requests)


def test_what_is_too_large_or_finds_no_memory_streams(io):
    with Named(b"app") as app, node.Node(BUFFER.format(app=app.host), io=io, cores=1) as n, contextlib.ExitStack() as stack:
        large = bytes(range(256)) * KIB
        with node.Client(n.address()) as client:
            assert ask(client, post(large, b"/small")).status == 200
        assert app.requests[-1].body == large
        n.comes_to(1, "trellis_buffered_bodies_total", route="small", outcome="in_part")
        # Four bodies of 16 KiB fill the memory of the route; the fifth streams, and takes the connection.
        waiting = [stack.enter_context(node.Client(n.address())) for _ in range(4)]
        for client in waiting:
            client.send(post(b"x" * (16 * KIB), b"/small")[:-1])
        node.until(lambda: n.metric("trellis_memory_bytes", kind="bodies") == 64 * KIB, "the memory to be full")
        with node.Client(n.address()) as fifth:
            assert ask(fifth, post(b"y" * (16 * KIB), b"/small")).status == 200
        n.comes_to(1, "trellis_buffered_bodies_total", route="small", outcome="no_memory")
        for client in waiting:
            client.send(b"x")
            assert client.answer().status == 200


def test_a_configuration_with_wrong_targets_is_refused():
    with Named(b"app") as app:
        config = SPLIT.format(stable=app.host, canary=app.host, key="random", share="10%")
        for wrong, place in ((config.replace("to: upstream.canary,", "to: upstream.canari,", 1), "routes[0].filters[0].split.ways[0].to"),
                             (MIRROR.format(app=app.host, shadow=app.host, timeout="1s").replace("upstream.shadow", "upstream.shadw"),
                              "routes[0].filters[1].mirror.to")):
            with pytest.raises(AssertionError, match="did not start") as error:
                with node.Node(wrong):
                    pass
            assert place in str(error.value) and "did you mean" in str(error.value)
