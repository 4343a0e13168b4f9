"""A node that is changed while it works: nobody's request fails, and what is wrong is said and changes nothing."""
import concurrent.futures
import contextlib
import json
import re
import signal
import socket
import threading
import time

import pytest

import node

BASE = """
listeners:
  web: {{ bind: "127.0.0.1:0" }}
{listeners}upstreams:
  up: {{ hosts: ["{host}"]{upstream} }}
routes:
  - {{ match: {{ path: /fixed }}, to: {{ fixed: {{ status: 200, body: "{body}" }} }} }}
{routes}  - {{ match: {{ path: /** }}, to: upstream.up }}
"""


READY = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def config(host, body="one", listeners="", routes="", upstream=""):
    return BASE.format(host=host, body=body, listeners=listeners, routes=routes, upstream=upstream)


def get(path, more=b""):
    return b"GET " + path + b" HTTP/1.1\r\nHost: h\r\n" + more + b"\r\n"


class Load:
    """Keep-alive connections that ask all the time. A connection that ends where the node said it would is made anew."""

    def __init__(self, address, count=32, paths=(b"/fixed", b"/up")):
        self.address, self.paths = address, paths
        self.stopping = threading.Event()
        self.failures = []
        self.answered = [0] * count
        self.threads = [threading.Thread(target=self._run, args=(index,), daemon=True) for index in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(node.PATIENCE)

    def _run(self, index):
        client = None
        while not self.stopping.is_set():
            try:
                client = client or node.Client(self.address)
                path = self.paths[self.answered[index] % len(self.paths)]
                client.send(get(path))
                answer = client.answer()
                if answer.status != 200:
                    self.failures.append(answer)
                self.answered[index] += 1
                if answer.get(b"connection") == b"close":
                    client.close()
                    client = None
                time.sleep(0.002)  # an even load, so that others get the processors too
            except (OSError, EOFError, AssertionError) as error:
                self.failures.append(error)
                return
        if client:
            client.close()

    def moves_on(self):
        before = list(self.answered)
        node.until(lambda: self.failures or all(now > then for now, then in zip(self.answered, before)), "every connection to be answered")


@pytest.mark.parametrize("way", ["SIGHUP", "ctl"])
def test_twenty_reloads_fail_no_request(io, way):
    with node.Recorder() as upstream, node.Recorder() as other, node.Node(config(upstream.host), io=io) as running:
        with Load(running.address()) as load:
            load.moves_on()
            for number in range(20):
                host = (upstream, other)[number % 2].host
                running.write_config(config(
                    host, body=f"body {number}", upstream=f", limits: {{ idle_connections: {number + 1} }}",
                    listeners=f'  more{number}: {{ bind: "127.0.0.1:0" }}\n' if number % 3 else "",
                    routes=f'  - {{ match: {{ path: /only/{number} }}, to: {{ fixed: {{ status: 200, body: "x" }} }} }}\n'))
                if way == "ctl":
                    result = running.ctl("reload")
                    assert result.returncode == 0, result
                    assert "reloaded" in result.stdout
                else:
                    running.reload()
                assert running.ask(get(b"/fixed"), "web").body == b"body %d" % number
                assert running.ask(get(b"/only/%d" % number), "web").body == b"x"
                load.moves_on()
        assert load.failures == []
        assert other.requests and upstream.requests
        assert "stays" not in running.errors()


def test_a_broken_configuration_changes_nothing_and_says_where(io):
    with node.Recorder() as upstream, node.Node(config(upstream.host), io=io) as running:
        with Load(running.address(), 8) as load:
            broken = config(upstream.host, body="two").replace("to: upstream.up", "to: upstream.upp")
            for text, place in ((broken, r"node\.yaml:\d+:\d+: "), (config(upstream.host) + "nonsense: 1\n", r"node\.yaml:\d+:1: "), ("listeners: [", r"node\.yaml:\d+:\d+: "), ("\x00", r"node\.yaml"),
                                (config(upstream.host).replace("127.0.0.1:0", "192.0.2.1:1"), "listeners.web")):
                running.write_config(text)
                result = running.ctl("reload")
                assert result.returncode == 1, result
                assert re.search(place, result.stdout + result.stderr), result
                assert running.ask(get(b"/fixed"), "web").body == b"one"
                running.reload()
                assert running.ask(get(b"/fixed"), "web").body == b"one"
            load.moves_on()
            running.config_path.unlink()
            assert running.ctl("reload").returncode == 1
            assert running.ask(READY).status == 200
            running.write_config(config(upstream.host, body="three"))
            assert running.ctl("reload").returncode == 0
            assert running.ask(get(b"/fixed"), "web").body == b"three"
            load.moves_on()
        assert load.failures == []


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def refuses(address):
    try:
        node.Client(address).close()
        return False
    except ConnectionRefusedError:
        return True


def test_listeners_come_and_go(io):
    port = free_port()
    begun, go_on = threading.Event(), threading.Event()

    def talk(connection, _):
        reader = node.Reader(connection)
        while request := node.read_request(reader):
            if request.target == b"/slow":
                begun.set()
                go_on.wait(10)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")

    with node.RawServer(talk) as upstream, node.Node(config(upstream.host), io=io) as running:
        assert refuses(("127.0.0.1", port))
        running.write_config(config(upstream.host, listeners=f'  more: {{ bind: "127.0.0.1:{port}" }}\n'))
        assert running.ctl("reload").returncode == 0
        idle, slow = node.Client(("127.0.0.1", port)), node.Client(("127.0.0.1", port))
        with idle, slow:
            idle.send(get(b"/fixed"))
            assert idle.answer().status == 200
            slow.send(get(b"/slow"))
            assert begun.wait(10)
            running.write_config(config(upstream.host))
            assert running.ctl("reload").returncode == 0
            node.until(lambda: refuses(("127.0.0.1", port)), "the listener to close")
            assert idle.at_end()
            go_on.set()
            answer = slow.answer()
            assert answer.body == b"good" and answer.get(b"connection") == b"close"
            assert slow.at_end()
        assert running.ask(get(b"/fixed"), "web").status == 200
        running.write_config(config(upstream.host, listeners=f'  again: {{ bind: "127.0.0.1:{port}" }}\n'))
        assert running.ctl("reload").returncode == 0
        with node.Client(("127.0.0.1", port)) as client:
            client.send(get(b"/fixed"))
            assert client.answer().status == 200


def test_a_request_begun_before_a_reload_ends_as_it_began(io):
    begun, go_on = threading.Event(), threading.Event()

    def talk(connection, _):
        if node.read_request(node.Reader(connection)):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
            begun.set()
            go_on.wait(10)
            connection.sendall(b"half")

    with node.RawServer(talk) as upstream, node.Recorder() as other, node.Node(config(upstream.host), io=io) as running:
        with node.Client(running.address()) as client:
            client.send(get(b"/up"))
            assert begun.wait(10)
            running.write_config(config(other.host, routes='  - { match: { path: /up }, to: { fixed: { status: 410, body: "gone" } } }\n'))
            assert running.ctl("reload").returncode == 0
            go_on.set()
            assert client.answer().body == b"halfhalf"
            client.send(get(b"/up"))
            assert client.answer().status == 410


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_answers_what_is_in_flight(io, number):
    got, answered = [], threading.Event()
    lock = threading.Lock()

    def talk(connection, _):
        reader = node.Reader(connection)
        while request := node.read_request(reader):
            with lock:
                got.append(request.target)
            answered.wait(10)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(request.target), request.target))

    with node.RawServer(talk) as upstream, node.Node(config(upstream.host), io=io) as running:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(node.Client(running.address())) for _ in range(64)]
            idle = [stack.enter_context(node.Client(running.address())) for _ in range(16)]
            for index, client in enumerate(clients):
                client.send(get(b"/%d" % index))
            node.until(lambda: len(got) == 64, "all requests at the upstream")
            running.signal(number)
            for client in idle:
                assert client.at_end()
            assert running.ask(READY).status == 503
            answered.set()
            for index, client in enumerate(clients):
                answer = client.answer()
                assert answer.body == b"/%d" % index and answer.get(b"connection") == b"close"
                assert client.at_end()
            assert running.process.wait(10) == 0


def test_a_stop_under_load_loses_no_request_that_was_taken(io):
    taken = set()

    def talk(connection, _):
        reader = node.Reader(connection)
        while request := node.read_request(reader):
            taken.add(request.target)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")

    answered, lock = set(), threading.Lock()
    with node.RawServer(talk) as upstream, node.Node(config(upstream.host), io=io) as running:
        address = running.address()

        def ask(worker):
            with contextlib.suppress(OSError, EOFError), node.Client(address) as client:
                for number in range(100_000):
                    target = b"/%d/%d" % (worker, number)
                    client.send(get(target))
                    answer = client.answer()
                    assert answer.status == 200
                    with lock:
                        answered.add(target)

        with concurrent.futures.ThreadPoolExecutor(16) as threads:
            running_asks = [threads.submit(ask, worker) for worker in range(16)]
            node.until(lambda: len(answered) > 500, "a load")
            running.signal(signal.SIGTERM)
            assert running.process.wait(15) == 0
            for one in running_asks:
                one.result()
    assert taken - answered == set()


@contextlib.contextmanager
def waiting_in_the_backlog(running, address, count):
    """Connections with a request each that the kernel took while the node stood still. It goes on when the block ends."""
    with contextlib.ExitStack() as stack:
        running.signal(signal.SIGSTOP)
        stack.callback(running.signal, signal.SIGCONT)
        clients = [stack.enter_context(node.Client(address)) for _ in range(count)]
        for client in clients:
            client.send(get(b"/fixed"))
        kept = stack.pop_all()
        yield clients
        running.signal(signal.SIGCONT)
    with kept:
        for client in clients:
            answer = client.answer()
            assert answer.status == 200
            client.close()


def test_a_stop_answers_who_waits_in_the_backlog(io):
    with node.RawServer(lambda *_: None) as upstream, node.Node(config(upstream.host), io=io) as running:
        with waiting_in_the_backlog(running, running.address(), 600):
            running.signal(signal.SIGTERM)
        assert running.process.wait(10) == 0


def test_a_listener_that_goes_answers_who_waits_in_its_backlog(io):
    with node.RawServer(lambda *_: None) as upstream, \
            node.Node(config(upstream.host, listeners='  more: { bind: "127.0.0.1:0" }\n'), io=io) as running:
        running.write_config(config(upstream.host))
        with waiting_in_the_backlog(running, running.address("more"), 600):
            running.signal(signal.SIGHUP)
        node.until(lambda: refuses(running.address("more")), "the listener to close")


def test_a_stopping_node_takes_no_new_connections(io):
    go_on = threading.Event()

    def talk(connection, _):
        if node.read_request(node.Reader(connection)):
            go_on.wait(10)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")

    with node.RawServer(talk) as upstream, node.Node(config(upstream.host), io=io) as running:
        with node.Client(running.address()) as client:
            client.send(get(b"/slow"))
            node.until(lambda: upstream.accepted, "the request at the upstream")
            running.signal(signal.SIGTERM)
            node.until(lambda: refuses(running.address()), "the listener to close", 5)
            go_on.set()
            assert client.answer().body == b"good"
        assert running.process.wait(10) == 0


def test_a_stop_does_not_wait_for_ever(io):
    def talk(connection, _):
        with contextlib.suppress(OSError):
            while connection.recv(65536):
                pass

    with node.RawServer(talk) as upstream, node.Node(config(upstream.host), io=io, sets=["runtime.drain=500ms"]) as running:
        with node.Client(running.address()) as client:
            client.send(get(b"/never"))
            node.until(lambda: upstream.accepted, "the request at the upstream")
            begin = time.monotonic()
            running.signal(signal.SIGTERM)
            assert running.process.wait(10) == 0
            assert time.monotonic() - begin < 5
            client.to_the_end()


def test_the_access_log_goes_on_in_a_new_file(io):
    with node.Recorder() as upstream:
        with node.Node(config(upstream.host) + "observe: { access_log: { path: ./access.log } }\n", io=io) as running:
            log, old = running.folder / "access.log", running.folder / "access.log.1"

            def lines(path, what):
                return path.exists() and [json.loads(line) for line in path.read_text().splitlines() if what in line]

            assert running.ask(get(b"/before"), "web").status == 200
            node.until(lambda: lines(log, "/before"), "the line")
            log.rename(old)
            running.signal(signal.SIGUSR1)
            node.until(log.exists, "the new file")
            assert running.ask(get(b"/behind"), "web").status == 200
            node.until(lambda: lines(log, "/behind"), "the line in the new file")
            assert not lines(old, "/behind") and not lines(log, "/before")
            running.signal(signal.SIGTERM)
            assert running.process.wait(10) == 0
            assert lines(log, "/behind")


def test_systemd_is_told(io, tmp_path):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.settimeout(node.PATIENCE)

        def told(word):
            while word not in (text := listening.recv(4096).decode()):
                pass
            return text

        with node.Node(config("127.0.0.1:1"), io=io, environment={"NOTIFY_SOCKET": str(path)}) as running:
            told("READY=1")
            running.signal(signal.SIGHUP)
            assert re.search(r"MONOTONIC_USEC=\d+", told("RELOADING=1"))
            told("READY=1")
            running.signal(signal.SIGTERM)
            told("STOPPING=1")
            assert running.process.wait(10) == 0


def test_health_and_readiness(io):
    with node.Node(config("127.0.0.1:1"), io=io) as running:
        assert running.ask(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").status == 200
        assert running.ask(READY).status == 200
        assert running.ask(b"GET /readyz HTTP/1.0\r\n\r\n").status == 200
        assert running.ask(b"GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1:9900\r\n\r\n").status == 200


@pytest.mark.parametrize("host", [b"evil", b"evil:9900", b"localhost.evil", b"127.0.0.1.evil", b"127.0.0.2", b"10.0.0.1", b"localhostx", b"[::2]", b"[::1].evil", b"0.0.0.0", b"xlocalhost"])
@pytest.mark.parametrize("path", [b"GET /v1/status", b"GET /metrics", b"POST /v1/reload", b"PUT /v1/loglevel?level=debug"])
def test_the_control_listener_refuses_foreign_names(io, control, host, path):
    answer = control.ask(path + b" HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: 0\r\n\r\n")
    assert answer.status in (400, 403), answer
    assert b"trellis_" not in answer.body and b'"uptime_seconds"' not in answer.body


@pytest.mark.parametrize("origin", [b"http://evil", b"null", b"http://localhost:8080", b"https://127.0.0.1"])
@pytest.mark.parametrize("path", [b"POST /v1/reload", b"PUT /v1/loglevel?level=debug"])
def test_the_control_listener_takes_no_orders_of_web_pages(io, control, origin, path):
    answer = control.ask(path + b" HTTP/1.1\r\nHost: localhost\r\nOrigin: " + origin + b"\r\nContent-Length: 0\r\n\r\n")
    assert answer.status == 403, answer


def test_the_control_listener_lets_no_page_read(io, control):
    for path in (b"/v1/status", b"/metrics", b"/readyz"):
        answer = control.ask(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil\r\n\r\n")
        assert answer.get(b"access-control-allow-origin") is None


_nodes = contextlib.ExitStack()
_controls = {}


@pytest.fixture
def control(io):
    """A node for questions that change nothing, one a backend."""
    if io not in _controls:
        _controls[io] = _nodes.enter_context(node.Node(config("127.0.0.1:1"), io=io))
    return _controls[io]


def teardown_module():
    _nodes.close()
