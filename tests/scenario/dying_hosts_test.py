"""Real back ends that die, hang and come back under load: clients see only what the policy allows.

Each back end is nginx in a process of its own: it can be killed and stopped by signals like anybody's. Clients ask over
keep-alive connections for as long as the trouble lasts; a test ends by counts of requests, never by time.
"""
import collections
import contextlib
import http.client
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile

import pytest

import node
from load import Load

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
pytestmark = pytest.mark.skipif(not os.access(NGINX, os.X_OK), reason="nginx is not installed")

CONFIG = """
listeners:
  web: {{ bind: "127.0.0.1:0" }}
upstreams:
  app:
    balance: {balance}
    hosts: [{hosts}]
    timeouts: {{ connect: 1s, first_byte: {first_byte}, total: 10s }}
    retry: {{ attempts: 3, on: [connect, reset, timeout] }}
    eject: {{ base_time: 2s }}
routes:
  - {{ match: {{ path: /** }}, to: upstream.app }}
"""
CLIENTS = 8
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Backend:
    """An nginx that answers every path with its name."""

    def __init__(self, name):
        self.name = name
        self.port = free_port()
        self.folder_guard = tempfile.TemporaryDirectory(prefix="trellis-nginx-")
        self.folder = pathlib.Path(self.folder_guard.name)
        (self.folder / "nginx.conf").write_text(f"""
daemon off; master_process off; pid {self.folder}/pid; error_log {self.folder}/error.log;
events {{ worker_connections 1024; }}
http {{ access_log off; client_body_temp_path {self.folder}/body; proxy_temp_path {self.folder}/proxy;
  fastcgi_temp_path {self.folder}/fastcgi; uwsgi_temp_path {self.folder}/uwsgi; scgi_temp_path {self.folder}/scgi;
  keepalive_requests 100000;
  server {{ listen 127.0.0.1:{self.port} reuseport; location / {{ return 200 "{name}"; }} }} }}
""")
        self.process = None

    def start(self):
        self.process = subprocess.Popen([NGINX, "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")],
                                        stderr=subprocess.DEVNULL)

        def answers():
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=node.PATIENCE).close()
                return True

        node.until(answers, f"{self.name} listens")

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()
        self.folder_guard.cleanup()


class CountingLoad(Load):
    """Clients that ask one request after the other; every answer is counted by status and text."""

    def __init__(self, address):
        super().__init__(address, CLIENTS)
        self.counts = collections.Counter()

    def ask(self, _):
        connection = http.client.HTTPConnection(*self.address, timeout=3 * node.PATIENCE)
        while not self.over.is_set():
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                seen = (answer.status, answer.read().decode())
            except (OSError, http.client.HTTPException) as fault:
                with self.lock:
                    self.faults.append(repr(fault))
                connection.close()
                continue
            with self.lock:
                self.counts[seen] += 1
        connection.close()

    def answered(self):
        with self.lock:
            return sum(self.counts.values())

    def of(self, name):
        with self.lock:
            return self.counts[(200, name)]

    def bad(self):
        with self.lock:
            return {seen: count for seen, count in self.counts.items() if seen[0] != 200}, self.faults[:5]


@contextlib.contextmanager
def three(io, balance="round_robin", first_byte="5s"):
    with contextlib.ExitStack() as stack:
        backends = [stack.enter_context(Backend(name)) for name in ("one", "two", "three")]
        hosts = ", ".join(f'"127.0.0.1:{each.port}"' for each in backends)
        config = CONFIG.format(balance=balance, hosts=hosts, first_byte=first_byte)
        running = stack.enter_context(node.Node(config, io=io))
        load = stack.enter_context(CountingLoad(running.address()))
        load.further(300, "a beginning")
        yield running, backends, load


@pytest.mark.parametrize("balance", ["round_robin", "weighted", "least_connections", "two_choices", "least_time", "hash",
                                     "ip_hash", "maglev"])
def test_nobody_sees_that_one_of_three_was_killed(io, balance):
    with three(io, balance) as (running, backends, load):
        victim = max(backends, key=lambda each: load.of(each.name))  # by key they all go to one
        victim.kill()
        load.further(1000, "answers by the others")
        assert load.bad() == ({}, [])
        before = load.of(victim.name)
        load.further(500, "further answers by the others")
        assert load.of(victim.name) == before
        victim.start()
        node.until(lambda: load.of(victim.name) > before, "it is asked again once it is back", seconds=4 * node.PATIENCE)
        assert load.bad() == ({}, [])


def test_a_backup_takes_over_from_the_first_request_on():
    with Backend("first") as first, Backend("spare") as spare:
        hosts = f'"127.0.0.1:{first.port}", {{ address: "127.0.0.1:{spare.port}", backup: true }}'
        with node.Node(CONFIG.format(hosts=hosts, balance="round_robin", first_byte="10s")) as box:
            assert [box.ask(GET, "web").body for _ in range(3)] == [b"first"] * 3
            first.kill()
            answers = [box.ask(GET, "web") for _ in range(10)]
            assert [one.body for one in answers] == [b"spare"] * 10, answers


def test_nobody_waits_for_one_that_hangs_longer_than_its_time_limit(io):
    with three(io, first_byte="300ms") as (running, backends, load):
        backends[1].signal(signal.SIGSTOP)
        load.further(300, "answers by the others")
        assert load.bad() == ({}, []), "what did not answer in time was asked of another host"
        backends[1].signal(signal.SIGCONT)
        before = load.of("two")
        node.until(lambda: load.of("two") > before, "it is asked again once it goes on", seconds=4 * node.PATIENCE)
        assert load.bad() == ({}, [])


def test_all_of_them_killed_is_told_and_their_return_is_noticed(io):
    with three(io) as (running, backends, load):
        for each in backends:
            each.kill()
        load.further(20, "answers that there is nobody")
        bad, faults = load.bad()
        assert not faults
        assert {status for status, _ in bad} <= {502, 503, 504}
        for each in backends:
            each.start()
        good = load.of("one") + load.of("two") + load.of("three")
        node.until(lambda: load.of("one") + load.of("two") + load.of("three") > good + 300, "good answers again",
                   seconds=4 * node.PATIENCE)


def test_a_host_that_is_stopped_orderly_under_load_costs_nobody_an_answer(io):
    with three(io) as (running, backends, load):
        for each in backends:
            each.signal(signal.SIGQUIT)  # nginx ends its requests and goes
            each.process.wait()
            load.further(200, "answers by the others")
            each.start()
            load.further(200, "answers by all")
        assert load.bad() == ({}, [])
