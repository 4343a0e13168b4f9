"""Relays of TCP and UDP between real clients and real servers: what comes out is what went in, ends and resets are passed
on as what they are, and who is refused harms nobody else."""
import collections
import contextlib
import json
import os
import resource
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time

import pytest

import node

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def config(listeners, upstreams, more=""):
    text = "listeners:\n" + "".join(f"  {name}: {value}\n" for name, value in listeners.items())
    text += "upstreams:\n" + "".join(
        f"  {name}: {{ hosts: [{', '.join(json.dumps(host) for host in hosts)}] }}\n" for name, hosts in upstreams.items())
    return text + more


def tcp(to="upstream.up", more="", beside=""):
    return f'{{ bind: "127.0.0.1:0", tcp: {{ to: {to}{more} }}{beside} }}'


def echo(connection, _):
    while data := connection.recv(65536):
        connection.sendall(data)


def says(word):
    """A server that sends a word, then echoes."""
    def talk(connection, number):
        connection.sendall(word)
        echo(connection, number)
    return talk


def is_reset(client):
    try:
        return client.socket.recv(1) is None
    except ConnectionError:
        return True


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


LOG = "observe: { access_log: { path: access.log } }\n"


def test_bytes_pass_both_ways_and_are_told_of(io):
    with node.RawServer(echo) as up, node.Node(config({"raw": tcp()}, {"up": [up.host]}, LOG), io=io) as running:
        payload = bytes(range(256)) * 4096 * 8  # 8 MiB
        with node.Client(running.address("raw")) as client:
            sender = threading.Thread(target=client.send, args=(payload,))
            sender.start()
            assert client.take(len(payload)) == payload
            sender.join()
            running.comes_to(1, "trellis_connections", listener="raw")
            client.half_close()
            assert client.at_end()
        line = node.until(lambda: lines(running.folder / "access.log"), "the line of the connection")[0]
        assert line["listener"] == "raw" and line["protocol"] == "tcp" and line["client"] == "127.0.0.1"
        assert line["bytes_in"] == line["bytes_out"] == len(payload)
        assert line["upstream"] == "up" and line["upstream_host"] == up.host and line["outcome"] == "finished"
        running.comes_to(len(payload), "trellis_relay_bytes_total", listener="raw", direction="in")
        running.comes_to(1, "trellis_relay_connections_total", upstream="up", outcome="finished")
        node.until(lambda: running.metric("trellis_connections", listener="raw") == 0, "the count to come down")


def test_the_end_of_one_direction_leaves_the_other(io):
    def sum_up(connection, _):
        total = 0
        while data := connection.recv(65536):
            total += len(data)
        connection.sendall(b"%d bytes" % total)  # only once the client has said that it was all

    with node.RawServer(sum_up) as up, node.Node(config({"raw": tcp()}, {"up": [up.host]}), io=io) as running:
        with node.Client(running.address("raw")) as client:
            client.send(b"x" * 100_000)
            client.half_close()
            assert client.to_the_end() == b"100000 bytes"


def test_a_host_that_breaks_off_is_seen_to_break_off(io):
    def break_off(connection, _):
        connection.sendall(b"half of it")
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    with node.RawServer(break_off) as up, node.Node(config({"raw": tcp()}, {"up": [up.host]}, LOG), io=io) as running:
        with node.Client(running.address("raw")) as client, node.Client(running.address("raw")) as other:
            assert client.take(10) == b"half of it"
            client.send(b".")
            assert is_reset(client)
            assert other.take(10) == b"half of it"  # nobody else is harmed
        node.until(lambda: any(one["outcome"] == "host_reset" for one in lines(running.folder / "access.log")), "the line")


def test_a_client_that_breaks_off_breaks_off_at_the_host(io):
    broken = threading.Event()

    def wait_for_it(connection, _):
        connection.sendall(b"?")
        try:
            while connection.recv(1000):
                pass
        except ConnectionResetError:
            broken.set()

    with node.RawServer(wait_for_it) as up, node.Node(config({"raw": tcp()}, {"up": [up.host]}), io=io) as running:
        client = node.Client(running.address("raw"))
        client.take(1)
        client.reset()
        assert broken.wait(node.PATIENCE)


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def test_a_dead_host_is_passed_over_and_no_host_is_a_reset(io):
    dead = f"127.0.0.1:{closed_port()}"
    listeners = {"raw": tcp(), "gone": tcp("upstream.gone")}
    with node.RawServer(says(b"here")) as up, \
            node.Node(config(listeners, {"up": [dead, up.host], "gone": [dead]}, LOG), io=io) as running:
        for _ in range(6):
            with node.Client(running.address("raw")) as client:
                assert client.take(4) == b"here"
        with contextlib.suppress(ConnectionError), node.Client(running.address("gone")) as client:
            assert is_reset(client)
        node.until(lambda: running.metric("trellis_relay_connections_total", listener="gone", outcome="no_host") == 1, "the count")


def test_limits_of_idle_time_lifetime_and_number(io):
    listeners = {"idle": tcp(more=", idle: 1s"), "life": tcp(more=", lifetime: 1s"),
                 "few": tcp(beside=", max_connections: 2")}
    with node.RawServer(echo) as up, node.Node(config(listeners, {"up": [up.host]}, LOG), io=io, cores=1) as running:
        with node.Client(running.address("idle")) as client:
            client.send(b"x")
            assert client.take(1) == b"x"
            assert client.at_end()
        with node.Client(running.address("life")) as client:
            client.send(b"x")
            assert client.take(1) == b"x"
            assert is_reset(client)
        with node.Client(running.address("few")) as one, node.Client(running.address("few")) as two:
            for client in (one, two):
                client.send(b"x")
                assert client.take(1) == b"x"
            with node.Client(running.address("few")) as three:
                assert three.at_end()
            one.send(b"y")
            assert one.take(1) == b"y"
        with contextlib.suppress(ConnectionError):
            node.until(lambda: {"idle", "lifetime"} <= {one["outcome"] for one in lines(running.folder / "access.log")}, "the lines")
        running.comes_to(1, "trellis_shed_total", reason="max_connections")


# --- the PROXY protocol ---

def version_one(source="203.0.113.9", port=4711, destination="192.0.2.1"):
    return b"PROXY TCP4 %s %s %d 443\r\n" % (source.encode(), destination.encode(), port)


def version_two(source="203.0.113.9", port=4711, destination="192.0.2.1", tlvs=b"", command=0x21):
    block = socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack(">HH", port, 443) + tlvs
    return SIGNATURE + bytes([command, 0x11]) + struct.pack(">H", len(block)) + block


HTTP = '{ bind: "127.0.0.1:0", proxy_protocol: in, trusted: [%s] }'
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
ROUTES = "routes:\n  - { match: { path: /** }, to: upstream.up }\n" + LOG


def test_http_hears_of_the_client_by_the_header_of_a_trusted_balancer(io):
    listeners = {"web": HTTP % "127.0.0.0/8"}
    with node.Recorder() as up, node.Node(config(listeners, {"up": [up.host]}, ROUTES), io=io) as running:
        for header, seen in ((version_one(), "203.0.113.9"), (version_two(), "203.0.113.9"),
                             (version_two(tlvs=b"\x02\0\x01x"), "203.0.113.9"), (version_two(command=0x20), "127.0.0.1"),
                             (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
                             (b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n", "2001:db8::7")):
            with node.Client(running.address("web")) as client:
                for i in range(len(header)):  # a byte at a time
                    client.send(header[i:i + 1])
                client.send(GET)
                assert client.answer().status == 200
                assert up.requests[-1].get(b"x-forwarded-for") == seen.encode(), header
                client.send(GET)  # the connection stays, and with it the client
                assert client.answer().status == 200
                assert up.requests[-1].get(b"x-forwarded-for") == seen.encode()
        node.until(lambda: len(lines(running.folder / "access.log")) == 12, "the lines")
        assert {line["client"] for line in lines(running.folder / "access.log")} == {"203.0.113.9", "127.0.0.1", "2001:db8::7"}


def test_what_is_no_header_is_refused_and_harms_nobody(io):
    listeners = {"web": HTTP % "127.0.0.1", "far": HTTP % "10.0.0.0/8",
                 "raw": tcp(beside=", proxy_protocol: { in: true, timeout: 1s }, trusted: [127.0.0.1]")}
    with node.Recorder() as up, node.Node(config(listeners, {"up": [up.host]}, ROUTES), io=io) as running:
        with node.Client(running.address("web")) as good:
            good.send(version_two() + GET)
            assert good.answer().status == 200
            for bad in (GET, b"PROXY TCP4 1.2.3.4\r\n" + GET, version_one("1.2.3.400"), SIGNATURE + b"\x31\x11\0\0",
                        SIGNATURE + b"\x21\x11\xff\xff", version_two(tlvs=b"\x03\0\4abcd"), b"P" * 5000, b"\x16\x03\x01"):
                for listener in ("web", "raw"):
                    with node.Client(running.address(listener)) as client:
                        client.send(bad)
                        assert is_reset(client) or client.at_end(), bad
            with node.Client(running.address("far")) as client:  # its header would be good, but not from here
                assert is_reset(client) or client.at_end()
            with node.Client(running.address("raw")) as client:  # says nothing
                assert client.at_end()
            good.send(GET)
            assert good.answer().status == 200
        assert len(up.requests) == 2
        running.comes_to(8, "trellis_header_refused_total", listener="web")
        running.comes_to(1, "trellis_header_refused_total", listener="far")
        assert "PROXY header" in running.errors()


def test_the_header_goes_on_through_a_relay_to_nginx(io):
    nginx = shutil.which("nginx")
    if not nginx:
        pytest.skip("nginx is not installed")
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="trellis-nginx-"))
        port = closed_port()
        with open(f"{folder}/nginx.conf", "w", encoding="ascii") as out:
            out.write(f"""
            daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
            events {{ worker_connections 64; }}
            http {{ access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
              uwsgi_temp_path {folder}; scgi_temp_path {folder};
              server {{ listen 127.0.0.1:{port} proxy_protocol;
                location / {{ return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr"; }} }} }}""")
        server = subprocess.Popen([nginx, "-c", f"{folder}/nginx.conf", "-p", folder], stderr=subprocess.DEVNULL)
        stack.callback(server.wait)
        stack.callback(server.terminate)
        node.until(lambda: connects(port), "nginx")
        both = ", proxy_protocol: { in: true, out: %s }, trusted: [127.0.0.1]"
        listeners = {"one": tcp(beside=", proxy_protocol: v1"), "two": tcp(beside=", proxy_protocol: v2"),
                     "through_one": tcp(beside=both % "v1"), "through_two": tcp(beside=both % "v2")}
        running = stack.enter_context(node.Node(config(listeners, {"up": [f"127.0.0.1:{port}"]}), io=io))
        for name in ("one", "two"):
            with node.Client(running.address(name)) as client:
                client.send(GET)
                assert client.answer().body.decode() == "127.0.0.1 %d 127.0.0.1" % client.socket.getsockname()[1]
        for name in ("through_one", "through_two"):
            with node.Client(running.address(name)) as client:
                client.send(version_two("203.0.113.9", 4711, "192.0.2.1") + GET)
                assert client.answer().body == b"203.0.113.9 4711 192.0.2.1"


def connects(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


# --- by the TLS hello ---

@pytest.fixture(scope="module")
def certificate():
    with tempfile.TemporaryDirectory(prefix="trellis-tls-") as folder:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem", "-days", "2", "-subj", "/CN=test"],
                       check=True, capture_output=True)
        yield f"{folder}/cert.pem", f"{folder}/key.pem"


def tls_server(certificate, word):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])

    def talk(connection, _):
        with contextlib.suppress(ssl.SSLError), context.wrap_socket(connection, server_side=True) as secured:
            secured.sendall(word)
            secured.recv(10)
    return node.RawServer(talk)


def tls_word(address, name, alpn=()):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    with socket.create_connection(address, node.PATIENCE) as raw, context.wrap_socket(raw, server_hostname=name) as secured:
        return secured.recv(100)


def test_tls_goes_where_its_hello_says_without_being_opened(io, certificate):
    routes = ", hello: 1s, routes: [{ sni: a.example, alpn: h2, to: upstream.a2 }, { sni: a.example, to: upstream.a }, " \
             '{ sni: "*.b.example", to: upstream.b }, { sni: no.example, to: refuse }]'
    with tls_server(certificate, b"a") as a, tls_server(certificate, b"a2") as a2, tls_server(certificate, b"b") as b, \
            node.RawServer(says(b"plain")) as plain:
        upstreams = {"a": [a.host], "a2": [a2.host], "b": [b.host], "plain": [plain.host]}
        listeners = {"tls": tcp("upstream.plain", routes), "strict": tcp("refuse", routes)}
        with node.Node(config(listeners, upstreams, LOG), io=io) as running:
            at = running.address("tls")
            assert tls_word(at, "a.example") == b"a"
            assert tls_word(at, "A.Example", ["http/1.1"]) == b"a"
            assert tls_word(at, "a.example", ["http/1.1", "h2"]) == b"a2"
            assert tls_word(at, "x.b.example") == b"b"
            assert tls_word(at, "x.y.b.example") == b"b"
            for where, name in (("tls", "no.example"), ("strict", "b.example"), ("strict", None)):
                with pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"):
                    tls_word(running.address(where), name)
            with node.Client(at) as client:  # another protocol
                client.send(b"SSH-2.0-x\r\n")
                assert client.take(16) == b"plainSSH-2.0-x\r\n"
            with node.Client(running.address("strict")) as client:
                client.send(b"SSH-2.0-x\r\n")
                assert client.at_end()
            with node.Client(at) as client:  # says nothing
                assert client.at_end()
            with node.Client(at) as client:  # a hello without end
                client.send(b"\x16\x03\x01\x40\x00\x01\x00\x3f\x00" + b"x" * 20_000)
                assert client.at_end()
            node.until(lambda: {"refused", "hello_timeout", "bad_hello"}
                       <= {line["outcome"] for line in lines(running.folder / "access.log")}, "the lines")
            assert any(line.get("server_name") == "x.y.b.example" for line in lines(running.folder / "access.log"))


@pytest.mark.parametrize("empty", [b"\x16\x03\x01\0\0", b"\x14\x03\x03\0\0"])
def test_no_empty_record_leads_past_a_hello(certificate, empty):
    # OpenSSL passes over empty records in front of a hello; so a name that is refused could be asked for behind them.
    routes = ", routes: [{ sni: no.example, to: refuse }]"
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        client.wrap_bio(into, out, server_hostname="no.example").do_handshake()
    with tls_server(certificate, b"a") as a, \
            node.Node(config({"tls": tcp("upstream.a", routes)}, {"a": [a.host]})) as running:
        with node.Client(running.address("tls")) as evader:
            evader.send(empty + out.read())
            assert evader.at_end()


def test_openssl_is_led_by_its_servername(certificate):
    with tls_server(certificate, b"over there\n") as a, tls_server(certificate, b"elsewhere\n") as b:
        listener = tcp("upstream.b", ", routes: [{ sni: a.example, to: upstream.a }]")
        with node.Node(config({"tls": listener}, {"a": [a.host], "b": [b.host]})) as running:
            for name, word in (("a.example", b"over there"), ("b.example", b"elsewhere")):
                done = subprocess.run(["openssl", "s_client", "-quiet", "-servername", name, "-connect",
                                       "%s:%d" % running.address("tls")], input=b"bye\n", capture_output=True, timeout=60)
                assert word in done.stdout, done


def test_a_real_redis_behind_a_relay(io):
    redis = shutil.which("redis-server")
    if not redis:
        pytest.skip("redis-server is not installed")
    port = closed_port()
    server = subprocess.Popen([redis, "--port", str(port), "--bind", "127.0.0.1", "--save", ""], stdout=subprocess.DEVNULL)
    try:
        node.until(lambda: connects(port), "redis")
        with node.Node(config({"redis": tcp()}, {"up": [f"127.0.0.1:{port}"]}), io=io) as running:
            with node.Client(running.address("redis")) as client:
                value = b"v" * 3_000_000
                client.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%b\r\n" % (len(value), value))
                assert client.take(5) == b"+OK\r\n"
                client.send(b"GET k\r\nPING\r\n")
                assert client.take(len(value) + 12) == b"$%d\r\n%b\r\n" % (len(value), value)
                assert client.take(7) == b"+PONG\r\n"
                client.send(b"QUIT\r\n")
                assert client.to_the_end() == b"+OK\r\n"
    finally:
        server.terminate()
        server.wait()


# --- reload and stop ---

def test_a_reload_leaves_connections_and_leads_new_ones_elsewhere(io):
    with node.RawServer(says(b"one")) as one, node.RawServer(says(b"two")) as two:
        with node.Node(config({"raw": tcp()}, {"up": [one.host]}), io=io) as running:
            with node.Client(running.address("raw")) as old:
                assert old.take(3) == b"one"
                running.write_config(config({"raw": tcp()}, {"up": [two.host]}))
                running.reload()
                with node.Client(running.address("raw")) as new:
                    assert new.take(3) == b"two"
                old.send(b"still")
                assert old.take(5) == b"still"


def test_a_stop_lets_connections_end_and_cuts_those_that_do_not(io):
    with node.RawServer(says(b"on")) as up:
        with node.Node(config({"raw": tcp()}, {"up": [up.host]}), io=io, sets=["runtime.drain=2s"]) as running:
            ends, stays = (node.Client(running.address("raw")) for _ in range(2))
            for client in (ends, stays):
                assert client.take(2) == b"on"
            running.process.terminate()
            node.until(lambda: not connects(running.address("raw")[1]), "the listener to close")
            ends.send(b"more")
            assert ends.take(4) == b"more"
            ends.half_close()
            assert ends.at_end()
            assert is_reset(stays)
            running.process.wait(node.PATIENCE)
            ends.close()
            stays.close()


# --- datagrams ---

class UdpServer:
    """Answers each datagram with its name and the datagram; keeps who asked."""

    def __init__(self, name, address="127.0.0.1"):
        self.name = name
        self.address = address
        self.seen = collections.Counter()

    def __enter__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((self.address, 0))
        self.host = "%s:%d" % self.socket.getsockname()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.stopping = False
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", self.socket.getsockname())
        self.thread.join()
        self.socket.close()

    def _run(self):
        while True:
            data, who = self.socket.recvfrom(65536)
            if self.stopping:
                return
            self.seen[who] += 1
            if data != b"silent":
                self.socket.sendto(self.name + data, who)


@contextlib.contextmanager
def udp_client(address, timeout=node.PATIENCE):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(timeout)
        client.connect(address)  # answers from any other address would not arrive
        yield client


def ask(client, data):
    client.send(data)
    return client.recv(70000)


def taken(client, answers):
    """How many there are with those that have come by now; for a client without patience."""
    with contextlib.suppress(BlockingIOError):
        while True:
            answers.add(client.recv(70000))
    return len(answers)


def udp(more="", beside=""):
    return f'{{ bind: "127.0.0.1:0", udp: {{ to: upstream.up{more} }}{beside} }}'


def test_clients_of_datagrams_stay_with_their_hosts(io):
    with UdpServer(b"1") as one, UdpServer(b"2") as two, \
            node.Node(config({"dns": udp()}, {"up": [one.host, two.host]}), io=io) as running, \
            contextlib.ExitStack() as stack:
        clients = [stack.enter_context(udp_client(running.address("dns"))) for _ in range(8)]
        homes = [ask(client, b"first")[:1] for client in clients]
        assert set(homes) == {b"1", b"2"}
        for i in range(20):
            for client, home in zip(clients, homes):
                assert ask(client, b"q%d" % i) == home + b"q%d" % i
        large = b"x" * 60_000
        assert ask(clients[0], large) == homes[0] + large
        assert ask(clients[0], b"") == homes[0]
        assert len(one.seen) + len(two.seen) == 8  # a socket a session
        running.comes_to(8, "trellis_connections", listener="dns")
        running.comes_to(8 * 21 + 2, "trellis_relay_datagrams_total", listener="dns", direction="in")


def test_a_dead_host_of_datagrams_ends_sessions_and_nothing_else(io):
    with UdpServer(b"1") as one:
        dead = f"127.0.0.1:{closed_port()}"
        with node.Node(config({"dns": udp()}, {"up": [one.host, dead]}, LOG), io=io) as running, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(udp_client(running.address("dns"), 0.5)) for _ in range(4)]

            def answered(client):
                with contextlib.suppress(TimeoutError):
                    return ask(client, b"x") == b"1x"

            for client in clients:  # who came to the dead one is told to nobody, and comes to the other one later
                node.until(lambda c=client: answered(c), "an answer")
            node.until(lambda: any(line["outcome"] == "host_refused" for line in lines(running.folder / "access.log")), "the line")
            assert running.alive()


def test_who_keeps_sending_to_a_host_that_fails_its_checks_moves_to_another(io):
    def checked(address, port=0):
        return socket.create_server((address, port))

    with UdpServer(b"1") as one, UdpServer(b"2", "127.0.0.2") as two, checked("127.0.0.1") as first:
        port = first.getsockname()[1]
        with checked("127.0.0.2", port):
            health = f"health: {{ kind: tcp, port: {port}, interval: 100ms, unhealthy_after: 2, healthy_after: 2 }}"
            up = f'upstreams:\n  up: {{ hosts: ["{one.host}", "{two.host}"], {health} }}\n'
            with node.Node(f"listeners:\n  dns: {udp()}\n" + up + LOG, io=io) as running, contextlib.ExitStack() as stack:
                clients = [stack.enter_context(udp_client(running.address("dns"))) for _ in range(8)]
                homes = [ask(client, b"x")[:1] for client in clients]
                assert set(homes) == {b"1", b"2"}
                first.close()
                node.until(lambda: running.metric("trellis_upstream_healthy", host=one.host) == 0, "the check to fail")
                assert {ask(client, b"x") for client in clients} == {b"2x"}
                node.until(lambda: [line["outcome"] for line in lines(running.folder / "access.log")].count("host_failing")
                           == homes.count(b"1"), "a line of each")
                with checked("127.0.0.1", port):
                    node.until(lambda: running.metric("trellis_upstream_healthy", host=one.host) == 1, "the check to pass")
                    assert {ask(client, b"x") for client in clients} == {b"2x"}  # they stay


def test_sessions_of_datagrams_have_limits(io):
    with UdpServer(b"1") as one, \
            node.Node(config({"dns": udp(", sessions: 2, idle: 2s")}, {"up": [one.host]}), io=io, cores=1) as running, \
            contextlib.ExitStack() as stack:
        first, second, third = (stack.enter_context(udp_client(running.address("dns"), 0.5)) for _ in range(3))
        assert ask(first, b"x") == b"1x"
        assert ask(second, b"x") == b"1x"
        third.send(b"x")
        node.until(lambda: running.metric("trellis_relay_dropped_total", listener="dns", reason="sessions") == 1, "the drop")

        def served():
            with contextlib.suppress(TimeoutError):
                return ask(third, b"x")
        assert node.until(served, "a session to end") == b"1x"
        node.until(lambda: running.metric("trellis_connections", listener="dns") == 0, "the last session to end")


def test_a_reload_keeps_sessions_of_datagrams(io):
    with UdpServer(b"1") as one, UdpServer(b"2") as two:
        with node.Node(config({"dns": udp()}, {"up": [one.host]}), io=io) as running, \
                udp_client(running.address("dns")) as old, udp_client(running.address("dns")) as new:
            assert ask(old, b"x") == b"1x"
            running.write_config(config({"dns": udp()}, {"up": [two.host]}))
            running.reload()
            assert ask(old, b"x") == b"1x"
            assert ask(new, b"x") == b"2x"


def test_a_reload_without_descriptors_for_a_relay_of_datagrams_fails_and_leaves_no_deaf_one(io):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        free = one.getsockname()
    with UdpServer(b"1") as up, \
            node.Node(config({"dns": udp()}, {"up": [up.host]}), io=io, cores=1) as running, \
            udp_client(running.address("dns")) as old, udp_client(free) as new:
        assert ask(old, b"x") == b"1x"
        running.write_config(config({"dns": udp(), "more": udp().replace(":0", ":%d" % free[1])}, {"up": [up.host]}))
        used = {int(name) for name in os.listdir(f"/proc/{running.pid}/fd")}
        unused = [number for number in range(len(used) + 2) if number not in used]
        _, hard = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (unused[1], hard))  # one for the socket, none for its duplicate
        running.reload()
        assert "the old configuration stays" in running.errors() and "listeners.more" in running.errors(), running.errors()
        assert ask(old, b"x") == b"1x"
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (hard, hard))
        running.reload()
        assert "configuration reloaded" in running.errors()
        assert ask(new, b"x") == b"1x"
        assert ask(old, b"x") == b"1x"


# --- faults ---

def faults(running, listener, fault):
    return running.metric("trellis_relay_faults_total", listener=listener, fault=fault)


def test_connections_are_broken_on_purpose_as_configured(io):
    listeners = {"plain": tcp(), "late": tcp(more=", fault: { delay: { time: 300ms..400ms } }"),
                 "cut": tcp(more=", fault: { reset: { after: 20KiB } }"), "refused": tcp(more=", fault: { reset: {} }"),
                 "some": tcp(more=", fault: { reset: { share: 30% } }"), "slow": tcp(more=", fault: { bandwidth: 200KiB }")}
    with node.RawServer(echo) as up, node.Node(config(listeners, {"up": [up.host]}, LOG), io=io) as running:
        began = time.monotonic()
        with node.Client(running.address("late")) as client:
            client.send(b"x")
            node.until(lambda: faults(running, "late", "delay") == 1, "the delay begins")
            assert up.accepted == 0 or time.monotonic() - began > 0.3, "no host is asked before"
            assert client.take(1) == b"x"
            assert time.monotonic() - began > 0.3
        with node.Client(running.address("cut")) as client:
            client.send(b"x" * 10_000)
            assert client.take(10_000) == b"x" * 10_000
            client.send(b"y" * 20_000)
            assert len(client.to_the_end()) <= 480 and client.ended
        before = up.accepted
        with contextlib.suppress(ConnectionError), node.Client(running.address("refused")) as client:
            assert is_reset(client)
        assert up.accepted == before, "no host is asked"
        refused = 0
        for _ in range(100):
            with contextlib.suppress(ConnectionError, EOFError), node.Client(running.address("some")) as client:
                client.send(b"x")
                if client.more():
                    continue
            refused += 1
        assert 5 < refused < 58  # six standard deviations
        assert faults(running, "some", "reset") == refused
        began = time.monotonic()
        with node.Client(running.address("slow")) as client:
            client.send(b"z" * 100_000)
            assert client.take(100_000) == b"z" * 100_000
            assert time.monotonic() - began > 0.48
        with node.Client(running.address("plain")) as client:
            client.send(b"z" * 1_000_000)
            assert client.take(1_000_000) == b"z" * 1_000_000
        for name, fault in (("late", "delay"), ("cut", "reset"), ("refused", "reset"), ("slow", "bandwidth")):
            assert faults(running, name, fault) == 1, name
        assert faults(running, "plain", "reset") == 0
        node.until(lambda: sum(one["outcome"] == "fault_reset" for one in lines(running.folder / "access.log")) == 2 + refused,
                   "the lines of the resets")
        # Who breaks off during a delay is not kept.
        listeners = {"late": tcp(more=", fault: { delay: { time: 1h } }")}
        running.write_config(config(listeners, {"up": [up.host]}, LOG))
        running.reload()
        client = node.Client(running.address("late"))
        client.send(b"x")
        node.until(lambda: faults(running, "late", "delay") == 2, "the delay begins")
        running.comes_to(1, "trellis_connections", listener="late")
        client.reset()
        node.until(lambda: running.metric("trellis_connections", listener="late") == 0, "it is let go")


def test_datagrams_are_lost_and_late_on_purpose_as_configured(io):
    listeners = {"lossy": udp(", fault: { drop: { share: 50% } }"), "late": udp(", fault: { delay: { time: 100ms..200ms } }"),
                 "void": udp(", fault: { drop: {} }")}
    with UdpServer(b"1") as up, node.Node(config(listeners, {"up": [up.host]}), io=io) as running:
        with udp_client(running.address("lossy"), 0) as client:
            answers = set()
            for first in range(0, 400, 20):  # few at once: a full buffer would lose more
                for number in range(first, first + 20):
                    client.send(b"%d" % number)
                node.until(lambda: faults(running, "lossy", "drop") + taken(client, answers) == first + 20,
                           "each datagram is lost once or answered")
        assert 48 < len(answers) < 152  # a quarter comes back; six standard deviations
        with udp_client(running.address("late")) as client:
            began = time.monotonic()
            for number in range(20):
                client.send(b"%d" % number)
            came = [client.recv(100) for _ in range(20)]
            assert sorted(came) == sorted(b"1%d" % number for number in range(20))
            assert time.monotonic() - began > 0.2, "late both ways"
            assert faults(running, "late", "delay") == 40
        with udp_client(running.address("void")) as client:
            client.send(b"lost")
            node.until(lambda: faults(running, "void", "drop") == 1, "it is lost")
            assert running.metric("trellis_connections", listener="void") == 0, "what is lost begins no session"
            # The drill is over with the next reload, for who is there as well.
            running.write_config(config({**listeners, "void": udp()}, {"up": [up.host]}))
            running.reload()
            assert ask(client, b"x") == b"1x"


def test_what_a_fault_holds_back_goes_on_when_the_node_stops(io):
    slow = {"udp": udp(", fault: { delay: { time: 1h } }")}
    with UdpServer(b"1") as up, node.Node(config({"udp": udp()}, {"up": [up.host]}), io=io) as running:
        with udp_client(running.address("udp")) as asks, udp_client(running.address("udp")) as hears:
            hears.send(b"silent")
            at = node.until(lambda: next(iter(up.seen), None), "the host hears of it")
            running.write_config(config(slow, {"up": [up.host]}))
            running.reload()
            up.socket.sendto(b"an answer", at)
            asks.send(b"a question")
            node.until(lambda: faults(running, "udp", "delay") == 2, "both are held back")
            running.process.terminate()
            assert hears.recv(100) == b"an answer"
            assert asks.recv(100) == b"1a question"
            running.process.wait(node.PATIENCE)


# --- what is wrong is said ---

@pytest.mark.parametrize("listener, word", [
    (tcp("upstream.other"), "no upstream"),
    (tcp("refuse"), "say where connections go"),
    (tcp(more=', routes: [{ sni: "*.example", to: upstream.up }, { sni: a.example, to: upstream.up }]'), "never reached"),
    (tcp(more=", routes: [{ to: upstream.up }]"), "neither sni nor alpn"),
    (tcp(beside=", idle_timeout: 5s"), "is for HTTP"),
    (tcp(beside=", proxy_protocol: in"), "whose headers"),
    (tcp(beside=", trusted: [127.0.0.1]"), "is for proxy_protocol"),
    ('{ bind: "127.0.0.1:0", proxy_protocol: v2 }', "hosts of a tcp relay"),
    (udp(beside=", max_connections: 5"), "is for connections"),
    (tcp(more=", fault: {}"), "does nothing"),
    (tcp(more=", fault: { drop: {} }"), "unknown"),
    (udp(", fault: { bandwidth: 1KiB }"), "unknown"),
    ('{ bind: "127.0.0.1:0", udp: { to: upstream.up }, tcp: { to: upstream.up } }', "tcp"),
])
def test_a_wrong_relay_is_told(tmp_path, listener, word):
    path = tmp_path / "node.yaml"
    path.write_text(config({"raw": listener}, {"up": ["127.0.0.1:1"]}))
    done = subprocess.run([str(node.BINARY), "check", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert word in done.stdout + done.stderr
