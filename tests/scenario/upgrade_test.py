"""`trellis ctl upgrade`: a new process takes over the listening sockets; nobody's request is lost on the way."""
import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time

import pytest
import websockets.exceptions

import node
from dns_server import DnsServer
from load import Load
from websocket_server import WebSockets, connect, echoes

EDGE = """
listeners:
  web: {{ bind: "127.0.0.1:0" }}
  more: {{ bind: "127.0.0.1:0" }}
upstreams:
  app: {{ hosts: ["{host}"] }}
routes:
  - {{ match: {{ path: /fixed }}, to: {{ fixed: {{ status: 200, body: "{text}" }} }} }}
  - {{ match: {{ path: /** }}, to: upstream.app }}
"""


class Upgradable(node.Node):
    """A node whose process changes. The one that runs at the end is ended, too."""

    def __init__(self, *words, **named):
        super().__init__(*words, **named)
        self.successors = []
        self.program = self.folder / "trellis"
        self.program.symlink_to(node.BINARY)
        self.command[0] = str(self.program)

    def install(self, script):
        """Another program in the place of the one that runs."""
        fresh = self.program.with_suffix(".new")
        fresh.write_text(script)
        fresh.chmod(0o755)
        fresh.replace(self.program)

    def upgrade(self):
        done = self.ctl("upgrade", "--json")
        if done.returncode == 0:
            self.successors.append(json.loads(done.stdout)["pid"])
        return done

    def __exit__(self, *words):
        for pid in self.successors:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for pid in self.successors:
            node.until(lambda pid=pid: not is_running(pid), f"process {pid} is gone", seconds=3 * node.PATIENCE)
        if self.successors:
            self.process.wait(timeout=3 * node.PATIENCE)
        super().__exit__(*words)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def config(host, text="one"):
    return EDGE.format(host=host, text=text)


def fixed(running):
    return running.ask(b"GET /fixed HTTP/1.1\r\nHost: h\r\n\r\n", "web").body


class HelloLoad(Load):
    """Half of the clients ask on connections that stay, half on one a request."""

    def __init__(self, address):
        super().__init__(address, 8)
        self.good = 0

    def answered(self):
        return self.good

    def ask(self, number):
        stays = number % 2 == 0
        connection = None
        while not self.over.is_set():
            fresh = connection is None
            try:
                connection = connection or http.client.HTTPConnection(*self.address, timeout=3 * node.PATIENCE)
                connection.request("GET", "/hello", headers={} if stays else {"Connection": "close"})
                answer = connection.getresponse()
                body = answer.read()
                with self.lock:
                    if (answer.status, body) == (200, b"hello"):
                        self.good += 1
                    else:
                        self.faults.append((answer.status, body))
                if answer.getheader("Connection") == "close":
                    connection.close()
                    connection = None
            except (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected) as fault:
                connection = None
                # A connection that stayed may end between two requests, as ever in HTTP; a fresh one may not.
                if fresh:
                    with self.lock:
                        self.faults.append(repr(fault))
            except OSError as fault:
                connection = None
                with self.lock:
                    self.faults.append(repr(fault))
        if connection:
            connection.close()


class Hello(node.RawServer):
    def __init__(self):
        super().__init__(self._talk)

    def _talk(self, connection, _):
        reader = node.Reader(connection)
        while node.read_request(reader):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


def test_a_new_process_takes_over_under_load_and_nobody_notices(io):
    with Hello() as app, Upgradable(config(app.host), io=io) as running, HelloLoad(running.address()) as load:
        load.further(200)
        for _ in range(3):
            done = running.upgrade()
            assert done.returncode == 0, done.stderr
            load.further(200)
        assert load.faults == []
        assert len(set(running.successors)) == 3
        node.until(lambda: not is_running(running.process.pid) or running.process.poll() is not None,
                   "the first process has gone")
        node.until(lambda: not any(is_running(pid) for pid in running.successors[:-1]), "so have those in between")
        status = json.loads(running.ctl("status", "--json").stdout)
        assert status["uptime_seconds"] < 3 * node.PATIENCE


def test_the_new_process_has_the_new_configuration(io):
    with Hello() as app, Upgradable(config(app.host), io=io) as running:
        assert fixed(running) == b"one"
        running.write_config(config(app.host, "two"))
        assert running.upgrade().returncode == 0
        node.until(lambda: fixed(running) == b"two", "the new text")
        assert running.ask(b"GET /fixed HTTP/1.1\r\nHost: h\r\n\r\n", "more").body == b"two"


def test_a_start_that_fails_leaves_the_old_process(io):
    with Hello() as app, Upgradable(config(app.host), io=io) as running, HelloLoad(running.address()) as load:
        load.further(50)
        running.write_config("listeners: nonsense\n")
        done = running.upgrade()
        assert done.returncode == 1
        assert b"ended before it was ready" in done.stderr if isinstance(done.stderr, bytes) else \
            "ended before it was ready" in done.stderr
        load.further(200)
        assert load.faults == [] and running.alive()
        running.write_config(config(app.host))
        assert running.upgrade().returncode == 0
        load.further(200)
        assert load.faults == []


def test_a_start_that_fails_late_leaves_the_listeners_open(io):
    with Hello() as app, socket.create_server(("127.0.0.1", 0)) as taken, Upgradable(config(app.host), io=io) as running:
        # The new process has taken the listening sockets before it finds that it cannot have its control port.
        running.install(f'#!/bin/sh\nexec {node.BINARY} "$@" --set control=127.0.0.1:{taken.getsockname()[1]}\n')
        assert running.upgrade().returncode == 1
        with HelloLoad(running.address()) as load:
            load.further(200)
            assert load.faults == [] and running.alive()


HANGS = "#!/bin/sh\ntouch begun\nexec sleep 60\n"


def test_who_is_told_to_stop_during_an_upgrade_stops():
    with Hello() as app, Upgradable(config(app.host)) as running:
        running.install(HANGS)
        told = []
        asking = threading.Thread(target=lambda: told.append(running.upgrade()))
        asking.start()
        node.until((running.folder / "begun").exists, "the new process")
        running.signal(signal.SIGTERM)
        assert running.process.wait(10) == 0  # the new one would have had 25 seconds
        asking.join()
        assert told[0].returncode == 1
        assert command_pids(["sleep", "60"], running.folder) == []


def command_pids(command, folder):
    pids = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and command_of(pid) == command]
    return [pid for pid in pids if os.readlink(f"/proc/{pid}/cwd") == str(folder)]


def test_each_who_asks_for_an_upgrade_is_answered():
    with Hello() as app, Upgradable(config(app.host)) as running, contextlib.ExitStack() as stack:
        running.install(f'#!/bin/sh\ntouch begun\nwhile [ ! -e go ]; do sleep 0.02; done\nexec {node.BINARY} "$@"\n')
        clients = [stack.enter_context(node.Client(running.control)) for _ in range(4)]

        def lives(client):
            client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.answer().status == 200

        for client in clients:
            lives(client)  # the old process has it, and will not lose it to the new one
        for client in clients[:3]:
            client.send(b"POST /v1/upgrade HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        node.until((running.folder / "begun").exists, "the new process")
        lives(clients[3])
        (running.folder / "go").touch()
        answers = [client.answer() for client in clients[:3]]
        running.successors += [json.loads(answer.body)["pid"] for answer in answers if answer.status == 200]
        assert sorted(answer.status for answer in answers) == [200, 422, 422], answers
        assert all(b"stopping" in answer.body for answer in answers if answer.status == 422), answers


def test_a_websocket_stays_with_the_old_process_and_new_ones_come_to_the_new(io):
    async def over_an_upgrade(running, server):
        passed = 0
        over = False

        async def talk(connection):
            nonlocal passed
            while not over:
                await echoes(connection, f"message {passed}")
                passed += 1

        async def further(count):
            goal = passed + count
            while passed < goal and not talking.done():
                await echoes(other, "and who says little")

        async with connect(running.address()) as early, connect(running.address()) as other:
            talking = asyncio.create_task(talk(early))
            await further(50)
            running.write_config(config(server.host, "two"))
            done = await asyncio.to_thread(running.upgrade)
            assert done.returncode == 0, done.stderr
            await asyncio.to_thread(node.until, lambda: fixed(running) == b"two", "the new process' answer")
            await further(50)
            async with connect(running.address()) as late:
                await echoes(late, "hello")
                # The control port is the new process' own, and so is what it counts.
                assert await asyncio.to_thread(running.metric, "trellis_upgraded_connections") == 1
                assert server.open == 3
            assert running.process.poll() is None
            await further(50)
            over = True
            await talking  # nothing was lost, nothing came twice
        await asyncio.to_thread(running.process.wait, 3 * node.PATIENCE)  # its last connection has ended

    with WebSockets() as server, Upgradable(config(server.host), io=io) as running:
        asyncio.run(over_an_upgrade(running, server))


def test_the_old_process_cuts_a_websocket_when_its_time_is_over(io):
    async def until_the_end(running):
        async with connect(running.address()) as early:
            await echoes(early, "before")
            assert (await asyncio.to_thread(running.upgrade)).returncode == 0
            await echoes(early, "behind")
            with pytest.raises(websockets.exceptions.ConnectionClosed):
                await asyncio.wait_for(early.recv(), 3 * node.PATIENCE)
        await asyncio.to_thread(running.process.wait, 3 * node.PATIENCE)
        async with connect(running.address()) as late:
            await echoes(late, "hello")

    with WebSockets() as server, Upgradable(config(server.host), io=io, sets=["runtime.handover=2s"]) as running:
        asyncio.run(until_the_end(running))


def test_a_signal_does_the_same():
    with Hello() as app, Upgradable(config(app.host)) as running:
        before = running.process.pid
        running.signal(signal.SIGUSR2)
        node.until(lambda: running.process.poll() is not None, "the old process goes", seconds=3 * node.PATIENCE)
        assert running.ask(b"GET /hello HTTP/1.1\r\nHost: h\r\n\r\n", "web").body == b"hello"
        started = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and command_of(pid) == running.command]
        assert started and before not in started
        running.successors += started


def command_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return [word.decode() for word in file.read().split(b"\0")[:-1]]
    except (FileNotFoundError, ProcessLookupError):
        return []


DATA = """
listeners:
  web: { bind: "127.0.0.1:0" }
stores: { main: "sqlite:./data/main.db" }
caches: { hot: { memory: 8MiB } }
logs: { events: "dir:./data/events" }
services: { links: { store: main, cache: hot, log: events, base_url: "http://localhost" } }
routes:
  - { match: { path: /** }, to: service.links }
"""


def test_data_goes_from_one_process_to_the_other_and_who_comes_meanwhile_waits():
    with Upgradable(DATA) as running:
        made = running.ask(b"POST /v1/links HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 34\r\n\r\n"
                           b'{"url":"https://example.com/made"}', "web")
        assert made.status == 201, made
        code = json.loads(made.body)["code"].encode()
        assert running.upgrade().returncode == 0
        # Asked at once: the new process may not have opened the data yet.
        found = running.ask(b"GET /" + code + b" HTTP/1.1\r\nHost: h\r\n\r\n", "web")
        assert found.get(b"Location") == b"https://example.com/made", found


def test_a_node_with_fewer_cores_answers_who_waits_at_the_sockets_of_the_others(io):
    with Upgradable(DATA, io=io, cores=4) as running, contextlib.ExitStack() as stack:
        running.install(f'#!/bin/sh\nexec {node.BINARY} "$@" --set runtime.cores=1\n')
        assert running.upgrade().returncode == 0
        clients = [stack.enter_context(node.Client(running.address())) for _ in range(64)]
        for client in clients:
            client.send(b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n")
        for client in clients:
            assert client.answer().status == 404
        node.until(lambda: running.process.poll() is not None, "the old process goes")
        # And on, to more than there are sockets.
        running.install(f'#!/bin/sh\nexec {node.BINARY} "$@" --set runtime.cores=6\n')
        assert running.upgrade().returncode == 0
        assert running.ask(b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n", "web").status == 404


# --- Changes of hosts ---

HOSTS = """
dns: {{ servers: ["127.0.0.1:{port}"] }}
listeners:
  web: {{ bind: "127.0.0.1:0" }}
upstreams:
  app: {{ hosts: ["{host}", {{ dns: "nobody.test:80" }}], balance: weighted }}
routes:
  - {{ match: {{ path: /** }}, to: upstream.app }}
"""


class Changes(Load):
    """Weighs the only host anew without pause, on a connection that stays."""

    def __init__(self, running, host):
        super().__init__(running.control, 1)
        self.host = host
        self.acknowledged = None  # the last weight
        self.refused = []

    def ask(self, _):
        weight, client = 0, None
        while not self.over.is_set():
            weight = weight % 1000 + 1
            try:
                client = client or node.Client(self.address)
                client.send(b"PATCH /v1/upstreams/app/hosts?host=%b&weight=%d HTTP/1.1\r\nHost: localhost\r\n"
                            b"Content-Length: 0\r\n\r\n" % (self.host.encode(), weight))
                answer = client.answer()
            except (OSError, EOFError) as fault:
                if not self.over.is_set():
                    self.faults.append(repr(fault))
                return
            if answer.status == 200:
                self.acknowledged = weight
            else:
                self.refused.append(answer)


def weight_of(running, host):
    told = json.loads(running.ctl("hosts", "app", "--json").stdout)
    return next(one["weight"] for one in told["hosts"] if one["host"] == host)


def test_no_change_of_hosts_is_lost_to_the_new_process():
    with DnsServer() as dns, Hello() as app, Upgradable(HOSTS.format(port=dns.port, host=app.host)) as running:
        dns.silent = True  # the new process waits a second for the name before it is ready
        with Changes(running, app.host) as changes:
            node.until(lambda: changes.acknowledged, "a change")
            done = running.upgrade()
            assert done.returncode == 0, done.stderr
            changes.over.set()
        node.until(lambda: running.process.poll() is not None, "the old process goes", seconds=3 * node.PATIENCE)
        assert weight_of(running, app.host) == changes.acknowledged
        assert changes.refused, "none came in the seconds of the upgrade"
        for answer in changes.refused:
            assert answer.status == 503 and answer.get(b"retry-after"), answer
        assert b"new process" in changes.refused[0].body, changes.refused[0]
        assert running.ctl("hosts", "weight", "app", app.host, "7").returncode == 0
        assert weight_of(running, app.host) == 7


def test_hosts_can_be_changed_again_after_an_upgrade_that_failed():
    with DnsServer() as dns, Hello() as app, Upgradable(HOSTS.format(port=dns.port, host=app.host)) as running:
        good = running.config_path.read_text()
        running.write_config("listeners: nonsense\n")
        assert running.upgrade().returncode == 1
        changed = running.ctl("hosts", "weight", "app", app.host, "9")
        assert changed.returncode == 0, changed.stderr
        assert weight_of(running, app.host) == 9
        running.write_config(good)
        assert running.upgrade().returncode == 0
        node.until(lambda: running.process.poll() is not None, "the old process goes", seconds=3 * node.PATIENCE)
        assert weight_of(running, app.host) == 9


# --- Datagrams ---

RELAYS = """
listeners:
  dns: {{ bind: "127.0.0.1:0", udp: {{ to: upstream.dns }} }}
  raw: {{ bind: "127.0.0.1:0", tcp: {{ to: upstream.raw }} }}
upstreams:
  dns: {{ hosts: ["127.0.0.1:{port}"] }}
  raw: {{ hosts: ["{host}"] }}
"""


class UdpEcho:
    def __enter__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"stop", ("127.0.0.1", self.port))
        self.thread.join()
        self.socket.close()

    def _run(self):
        while True:
            data, client = self.socket.recvfrom(65536)
            if data == b"stop":
                return
            self.socket.sendto(data, client)


def udp_inodes(port):
    """Of the sockets that are bound to this port of 127.0.0.1."""
    with open("/proc/net/udp") as table:
        rows = [line.split() for line in table][1:]
    return {int(row[9]) for row in rows if row[1] == "0100007F:%04X" % port}


def watched_inodes(pid):
    """Of all that the process waits for by epoll."""
    found = set()
    for name in os.listdir(f"/proc/{pid}/fdinfo"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/fdinfo/{name}") as info:
            found |= {int(line.split("ino:")[1].split()[0], 16) for line in info if line.startswith("tfd:")}
    return found


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        words = stat.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def test_the_old_process_waits_for_no_datagrams_any_more():
    with UdpEcho() as dns, node.RawServer(lambda connection, _: connection.sendall(connection.recv(10))) as raw, \
            Upgradable(RELAYS.format(port=dns.port, host=raw.host), io="epoll") as running, \
            node.Client(running.address("raw")) as stays, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        old = running.process.pid
        client.settimeout(node.PATIENCE)
        client.connect(running.address("dns"))

        def ask(data):
            client.send(data)
            return client.recv(100)

        assert ask(b"before") == b"before"
        sockets = udp_inodes(running.address("dns")[1])
        assert len(sockets) == 2 and sockets <= watched_inodes(old)
        node.until(lambda: running.metric("trellis_connections", listener="raw") == 1, "the connection that stays")
        assert running.upgrade().returncode == 0
        # The descriptors are the new process's, too: closing them alone would leave them in the old one's epoll.
        node.until(lambda: not sockets & watched_inodes(old), "the old process to let go")
        assert sockets <= watched_inodes(running.successors[0])
        before, began = cpu_seconds(old), time.monotonic()
        answered = 0
        while answered < 500 or time.monotonic() - began < 0.5:
            assert ask(b"%d" % answered) == b"%d" % answered
            answered += 1
        assert cpu_seconds(old) - before < 0.25 * (time.monotonic() - began)
        assert running.process.poll() is None  # because of the connection
        stays.send(b"still here")
        assert stays.take(10) == b"still here"


# --- The first store ---

def test_the_new_configuration_may_add_the_first_store():
    over = threading.Event()
    without = """
listeners:
  web: {{ bind: "127.0.0.1:0" }}
upstreams:
  slow: {{ hosts: ["{host}"], timeouts: {{ first_byte: 10m }} }}
runtime: {{ drain: 1s }}
routes:
  - {{ match: {{ path: /slow }}, to: upstream.slow }}
  - {{ match: {{ path: /** }}, to: {{ fixed: {{ status: 200, body: one }} }} }}
"""
    with node.RawServer(lambda *_: over.wait(5 * node.PATIENCE)) as slow, \
            Upgradable(without.format(host=slow.host)) as running, \
            node.Client(running.address("web")) as kept, node.Client(running.address("web")) as hangs:
        kept.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert kept.answer().body == b"one"
        hangs.send(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
        node.until(lambda: slow.accepted == 1, "a request that has no end")
        running.write_config(DATA)
        assert running.upgrade().returncode == 0
        # The new process waits for the end of the old one, which has no data itself and drains as if it had: within a
        # second, and not for the hour that it may take beside a new one that serves.
        body = b'{"url":"https://example.com/made"}'
        made = running.ask(b"POST /v1/links HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                           % (len(body), body), "web")
        assert made.status == 201, made
        node.until(lambda: running.process.poll() is not None, "the old process goes")
        assert running.process.returncode == 0
        # And on: from one process with data to the next.
        assert running.upgrade().returncode == 0
        code = json.loads(made.body)["code"].encode()
        found = running.ask(b"GET /" + code + b" HTTP/1.1\r\nHost: h\r\n\r\n", "web")
        assert found.get(b"Location") == b"https://example.com/made", found
        over.set()
