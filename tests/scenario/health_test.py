"""Hosts that fail: found by active checks and by their own answers, and what clients see of it. The hosts are real
programs (Python, nginx, a gRPC server), stopped, killed and told to say that they are ill.
"""
import contextlib
import json
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

import pytest

import node

FIXTURES = pathlib.Path(__file__).resolve().parent / "fixtures"
SYSTEM_PYTHON = "/usr/bin/python3"  # where Debian's python3-grpcio is


class Host:
    """A process that listens; its port stays the same over a restart."""

    def __init__(self, folder, name):
        self.folder, self.name, self.port, self.process = folder, name, 0, None
        self.state = folder / f"{name}.state"

    def say(self, text):
        fresh = self.state.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.state)
        return self

    def begin(self):
        self.process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        killer = threading.Timer(node.PATIENCE, self.process.kill)
        killer.start()
        words = self.process.stdout.readline().decode().split()
        killer.cancel()
        assert words[:1] == ["listening"], words
        self.port = int(words[1])
        return self

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.send_signal(signal.SIGCONT)
        if self.process:
            self.process.wait()
            self.process.stdout.close()
            self.process = None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"


class PythonHost(Host):
    def command(self):
        return [sys.executable, str(FIXTURES / "health_host.py"), self.name, str(self.port), str(self.state)]


class GrpcHost(Host):
    def command(self):
        return [SYSTEM_PYTHON, str(FIXTURES / "grpc_health_host.py"), str(self.state)]


class NginxHost(Host):
    """Answers everything with its name, until it is told to be ill by a file that is there."""

    def begin(self):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = self.port or probe.getsockname()[1]
        config = self.folder / f"{self.name}.conf"
        config.write_text(f"""
daemon off; master_process off; pid {self.folder}/{self.name}.pid; error_log stderr emerg;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {self.folder}/t1; proxy_temp_path {self.folder}/t2;
  fastcgi_temp_path {self.folder}/t3; uwsgi_temp_path {self.folder}/t4; scgi_temp_path {self.folder}/t5;
  server {{
    listen 127.0.0.1:{self.port};
    location = /healthz {{ if (-f {self.folder}/{self.name}.ill) {{ return 503; }} return 200 "ready"; }}
    location / {{ return 200 "{self.name}"; }}
  }}
}}
""")
        self.process = subprocess.Popen(["/usr/sbin/nginx", "-c", str(config), "-p", str(self.folder)],
                                        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        node.until(self._listens, "nginx listens")
        return self

    def _listens(self):
        assert self.process.poll() is None
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="trellis-health-") as name:
        yield pathlib.Path(name)


@contextlib.contextmanager
def running(*hosts):
    try:
        for host in hosts:
            host.begin()
        yield hosts
    finally:
        for host in hosts:
            host.end()


def config(hosts, upstream, more=""):
    addresses = ", ".join(f'"{host.address}"' for host in hosts)
    return f"""
listeners:
  web: {{ bind: "127.0.0.1:0" }}
upstreams:
  app:
    hosts: [{addresses}]
    timeouts: {{ connect: 500ms, first_byte: 1s }}
{upstream}
routes:
  - {{ match: {{ path: /** }}, to: upstream.app }}
{more}
"""


def ask(edge):
    answer = edge.ask(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "web")
    return answer.status, answer.body.decode()


def healthy(edge, host):
    return edge.metric("trellis_upstream_healthy", upstream="app", host=host.address) == 1


def ejections(edge, host, reason):
    return edge.metric("trellis_upstream_ejections_total", upstream="app", host=host.address, reason=reason)


FAST = "{ path: /healthz, interval: 200ms, timeout: 1s, unhealthy_after: 2, healthy_after: 2, body: ready }"


@pytest.mark.parametrize("io", node.BACKENDS)
@pytest.mark.skipif(not shutil.which("nginx", path="/usr/sbin:/usr/bin"), reason="no nginx here")
def test_ill_stopped_and_killed_hosts_get_no_requests_and_come_back(folder, io):
    python = PythonHost(folder, "python").say("200 ready")
    other = PythonHost(folder, "other").say("200 ready")
    nginx = NginxHost(folder, "nginx")
    with running(python, other, nginx) as hosts:
        with node.Node(config(hosts, f"    health: {FAST}\n    eject: off"), io=io) as edge:
            node.until(lambda: {ask(edge)[1] for _ in range(12)} == {"python", "other", "nginx"}, "all three answer")

            # nginx says that it is ill, though it would go on answering.
            (folder / "nginx.ill").touch()
            node.until(lambda: not healthy(edge, nginx), "nginx is ill")
            assert {ask(edge) for _ in range(20)} == {(200, "python"), (200, "other")}
            node.until(lambda: "answered 503, expected 200-399" in edge.errors(), "the reason in the log")

            # Python says 200 with a body that is not the right one.
            python.say("200 starting")
            node.until(lambda: not healthy(edge, python), "the body is seen")
            assert {ask(edge) for _ in range(20)} == {(200, "other")}
            node.until(lambda: 'the body does not say \\"ready\\"' in edge.errors(), "the reason in the log")
            python.say("200 ready")
            (folder / "nginx.ill").unlink()
            node.until(lambda: healthy(edge, python) and healthy(edge, nginx), "both are back")

            # One hangs: it takes connections, and answers nothing.
            other.process.send_signal(signal.SIGSTOP)
            node.until(lambda: not healthy(edge, other), "the hanging one is seen")
            assert {ask(edge) for _ in range(20)} == {(200, "python"), (200, "nginx")}
            node.until(lambda: "no answer in 1s" in edge.errors(), "the reason in the log")

            # And one is killed.
            python.end()
            node.until(lambda: not healthy(edge, python), "the dead one is seen")
            assert {ask(edge) for _ in range(20)} == {(200, "nginx")}
            node.until(lambda: "no connection: Connection refused" in edge.errors(), "the reason in the log")

            other.process.send_signal(signal.SIGCONT)
            python.begin()
            node.until(lambda: healthy(edge, python) and healthy(edge, other), "both are back")
            node.until(lambda: {ask(edge)[1] for _ in range(12)} == {"python", "other", "nginx"}, "all three answer")
            assert "a host passes its checks again" in edge.errors()


def test_answers_alone_put_a_host_out_and_time_brings_it_back(folder):
    good = PythonHost(folder, "good").say("200 ready")
    bad = PythonHost(folder, "bad").say("200 ready 500")
    with running(good, bad) as hosts:
        eject = "    eject: { consecutive_errors: 3, base_time: 2s, max_time: 1h }\n    retry: { attempts: 1 }"
        with node.Node(config(hosts, eject), cores=2) as edge:
            node.until(lambda: ask(edge)[0] == 500 or ejections(edge, bad, "consecutive_errors") > 0, "it is asked")
            # Three errors in a row, whoever sees them; then nobody sees any for two seconds.
            node.until(lambda: ask(edge) and ejections(edge, bad, "consecutive_errors") >= 1, "it is put out")
            assert "3 errors in a row, the last: 5xx" in edge.errors()
            assert ejections(edge, good, "consecutive_errors") == 0
            # Put out again as soon as it is back, for longer each time, until it works.
            node.until(lambda: ask(edge) and ejections(edge, bad, "consecutive_errors") >= 3, "three times", seconds=60)
            bad.say("200 ready")
            node.until(lambda: healthy(edge, bad), "its time is over", seconds=60)
            node.until(lambda: {ask(edge) for _ in range(8)} == {(200, "good"), (200, "bad")}, "both answer")


def test_a_dead_host_is_put_out_by_its_refused_connections(folder):
    good = PythonHost(folder, "good").say("200 ready")
    dead = PythonHost(folder, "dead").say("200 ready")
    with running(good, dead) as hosts:
        with node.Node(config(hosts, "    eject: { base_time: 10m, max_time: 10m }")) as edge:
            node.until(lambda: {ask(edge)[1] for _ in range(8)} == {"good", "dead"}, "both answer")
            dead.end()
            for _ in range(40):
                assert ask(edge) == (200, "good")  # the connect is tried again elsewhere
            assert ejections(edge, dead, "consecutive_errors") == 1
            assert not healthy(edge, dead)
            assert "the last: no connection" in edge.errors()


def test_errors_that_any_client_can_ask_for_put_nobody_out(folder):
    hosts = [PythonHost(folder, name).say("200 ready 501") for name in ("a", "b")]
    with running(*hosts):
        with node.Node(config(hosts, "    eject: { consecutive_errors: 2 }")) as edge:
            assert all(ask(edge)[0] == 501 for _ in range(30))
            assert all(healthy(edge, host) for host in hosts)


def test_a_tcp_check_sees_who_listens_and_what_it_says(folder):
    def redis_like(connection, _):
        while data := connection.recv(100):
            connection.sendall(b"+PONG\r\n" if data == b"PING\r\n" else b"-ERR\r\n")

    def mute(connection, _):
        while connection.recv(100):
            pass

    with node.RawServer(redis_like) as speaks, node.RawServer(mute) as is_mute:
        text = f"""
listeners:
  web: {{ bind: "127.0.0.1:0" }}
upstreams:
  app:
    hosts: ["{speaks.host}", "{is_mute.host}"]
    health: {{ kind: tcp, send: "PING\\r\\n", expect: "+PONG", interval: 200ms, timeout: 500ms, unhealthy_after: 1 }}
"""
        with node.Node(text) as edge:
            def state(server):
                return edge.metric("trellis_upstream_healthy", upstream="app", host=server.host)
            node.until(lambda: state(is_mute) == 0, "the mute one is seen")
            assert state(speaks) == 1
            node.until(lambda: edge.metric("trellis_upstream_checks_total", host=speaks.host, outcome="pass") >= 3, "checks")
            assert edge.metric("trellis_upstream_checks_total", host=speaks.host, outcome="fail") == 0


@pytest.mark.skipif(subprocess.run([SYSTEM_PYTHON, "-c", "import grpc"], capture_output=True).returncode != 0,
                    reason="python3-grpcio is not installed")
def test_a_grpc_server_is_asked_for_its_service(folder):
    grpc = GrpcHost(folder, "grpc").say("shop.Orders 1\n- 1\n")
    with running(grpc):
        text = f"""
listeners:
  web: {{ bind: "127.0.0.1:0" }}
upstreams:
  app:
    hosts: ["{grpc.address}"]
    health: {{ kind: grpc, service: shop.Orders, interval: 200ms, timeout: 2s, unhealthy_after: 1, healthy_after: 1 }}
"""
        with node.Node(text) as edge:
            def passed():
                return edge.metric("trellis_upstream_checks_total", upstream="app", outcome="pass")
            node.until(lambda: passed() >= 2, "it is serving")
            assert healthy(edge, grpc)
            grpc.say("shop.Orders 2\n- 1\n")
            node.until(lambda: not healthy(edge, grpc), "it is not serving")
            node.until(lambda: "answered NOT_SERVING" in edge.errors(), "the reason in the log")
            grpc.say("- 1\n")
            grpc.say("shop.Orders 1\n- 1\n")
            node.until(lambda: healthy(edge, grpc), "it serves again")
            grpc.say("- 1\n")
            node.until(lambda: "answered grpc-status 5 (NOT_FOUND)" in edge.errors(), "an unknown service")


def test_what_is_known_of_a_host_outlives_a_reload(folder):
    good = PythonHost(folder, "good").say("200 ready")
    ill = PythonHost(folder, "ill").say("503 ill")
    with running(good, ill) as hosts:
        with node.Node(config(hosts, f"    health: {FAST}\n    eject: off")) as edge:
            node.until(lambda: not healthy(edge, ill), "the ill one is seen")
            # With checks that will not say anything for an hour, only memory keeps the ill one out.
            slow = FAST.replace("interval: 200ms", "interval: 1h").replace("unhealthy_after: 2", "unhealthy_after: 1000")
            edge.write_config(config(hosts, f"    health: {slow}\n    eject: off"))
            edge.reload()
            assert not healthy(edge, ill)
            assert {ask(edge) for _ in range(20)} == {(200, "good")}
            # Without checks nobody fails them.
            edge.write_config(config(hosts, "    eject: off"))
            edge.reload()
            assert healthy(edge, ill)
            node.until(lambda: {ask(edge) for _ in range(8)} == {(200, "good"), (200, "ill")}, "both answer")
            # And a host that is new waits for its checks where it is said so.
            ill.say("200 ready")
            careful = FAST.replace("body: ready", "body: ready, initial: unhealthy")
            edge.write_config(config([good], f"    health: {careful}\n    eject: off"))
            edge.reload()
            ill.say("503 ill")
            edge.write_config(config(hosts, f"    health: {careful}\n    eject: off"))
            edge.reload()
            assert not healthy(edge, ill)
            assert {ask(edge) for _ in range(20)} == {(200, "good")}
            ill.say("200 ready")
            node.until(lambda: healthy(edge, ill), "it has passed")


def test_what_a_host_answered_before_a_reload_counts_after_it(folder):
    good = PythonHost(folder, "good").say("200 ready")
    bad = PythonHost(folder, "bad").say("200 ready 500")

    def upstream(connections, consecutive_errors=5):
        return f"    eject: {{ consecutive_errors: {consecutive_errors}, base_time: 10m, max_time: 10m }}\n" \
               f"    retry: {{ attempts: 1 }}\n    limits: {{ connections: {connections} }}"

    def figures(edge):
        told = json.loads(edge.ctl("hosts", "app", "--json").stdout)["hosts"]
        return next((host["answers"], host["errors"], host["state"]) for host in told if host["host"] == bad.address)

    with running(good, bad) as hosts, node.Node(config(hosts, upstream(100)), cores=1) as edge:
        errors = 0
        for round in range(5):  # one error, then a reload that changes the upstream
            for _ in range(20):
                if ask(edge)[0] == 500:
                    errors += 1
                    break
            assert errors == round + 1
            assert ejections(edge, bad, "consecutive_errors") == (1 if errors == 5 else 0)
            edge.write_config(config(hosts, upstream(101 + round)))
            edge.reload()
        assert "the old configuration stays" not in edge.errors()
        assert "5 errors in a row" in edge.errors()
        # It is out, and stays out whatever the next reload changes.
        edge.write_config(config(hosts, upstream(200, consecutive_errors=2)))
        edge.reload()
        assert {ask(edge) for _ in range(20)} == {(200, "good")}
        assert not healthy(edge, bad)
        assert figures(edge) == (5, 5, "ejected")
