"""What goes through the node as it comes: WebSocket, early hints, trailers, events, and who asked behind trusted proxies."""
import asyncio
import contextlib
import json
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading

import pytest
import websockets.exceptions

import node
from websocket_server import WebSockets, connect, echoes

CONFIG = """
node: edge-1
listeners:
  web: {{ bind: "127.0.0.1:0"{listener} }}
upstreams:
  up: {{ hosts: ["{host}"]{upstream} }}
observe: {{ access_log: {{ path: ./access.log }} }}
routes:
  - match: {{ path: /denied/** }}
    filters: [ {{ deny: ["203.0.113.0/24"] }} ]
    to: upstream.up
  - match: {{ path: /packed/** }}
    filters: [ {{ compress: {{}} }} ]
    to: upstream.up
  - {{ name: other, match: {{ path: /other }}, to: {{ fixed: {{ status: 200, body: "{body}" }} }} }}
  - {{ name: up, match: {{ path: /** }}, to: upstream.up }}
"""


def config(host, listener="", upstream="", body="one"):
    return CONFIG.format(host=host, listener=listener, upstream=upstream, body=body)


def get(path, more=b""):
    return b"GET " + path + b" HTTP/1.1\r\nHost: h\r\n" + more + b"\r\n"


def log_lines(running, mark):
    log = running.folder / "access.log"
    return log.exists() and [json.loads(line) for line in log.read_text().splitlines() if mark in line]


# --- WebSocket, with a client and a server that others wrote ---

async def conversation(address, path="/chat"):
    async with connect(address, path, subprotocols=["chat"]) as one:
        assert one.subprotocol == "chat"
        for message in ("hello", "", "ä" * 1000, b"\x00\xff" * 70_000, b"x" * (4 << 20)):
            await echoes(one, message)
        await asyncio.wait_for(await one.ping(), node.PATIENCE)
        await one.send("push 500")
        for number in range(500):
            assert await asyncio.wait_for(one.recv(), node.PATIENCE) == f"pushed {number}"
        await one.send("close")
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            await asyncio.wait_for(one.recv(), node.PATIENCE)
        assert (one.close_code, one.close_reason) == (4000, "enough")


def test_a_websocket_conversation(io):
    with WebSockets() as server, node.Node(config(server.host), io=io) as running:
        asyncio.run(conversation(running.address()))
        assert server.headers[0]["X-Forwarded-For"] == "127.0.0.1"
        lines = node.until(lambda: log_lines(running, "/chat"), "the line of the log")
        assert [line["status"] for line in lines] == [101]
        assert lines[0]["bytes_in"] > 4 << 20 and lines[0]["bytes_out"] > 4 << 20
        assert lines[0]["upstream"] == "up" and lines[0]["route"] == "up"
        running.comes_to(0, "trellis_upgraded_connections", route="up")
        running.comes_to(1, "trellis_requests_total", route="up", code="101")
        running.comes_to(0, "trellis_requests_in_flight", route="up")
        node.until(lambda: running.metric("trellis_upstream_connections", upstream="up", state="open") == 0, "the upstream's connection to end")


def test_many_websockets_at_once(io):
    async def crowd(address, running):
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(connect(address)) for _ in range(100)]
            running.comes_to(100, "trellis_upgraded_connections", route="up")
            running.comes_to(0, "trellis_requests_in_flight", route="up")
            for turn in range(5):
                await asyncio.gather(*(client.send(f"{index} {turn}") for index, client in enumerate(clients)))
                answers = await asyncio.gather(*(asyncio.wait_for(client.recv(), node.PATIENCE) for client in clients))
                assert answers == [f"{index} {turn}" for index in range(100)]

    with WebSockets() as server, node.Node(config(server.host), io=io) as running:
        asyncio.run(crowd(running.address(), running))
        node.until(lambda: running.metric("trellis_upgraded_connections", route="up") == 0, "all to end")
        node.until(lambda: server.open == 0, "all to end at the server")


@pytest.mark.parametrize("change", ["nothing", "another route", "its own host"])
def test_a_reload_keeps_websockets(io, change):
    async def over_reloads(running, server, other):
        async with connect(running.address()) as client:
            for number in range(5):
                await echoes(client, f"before {number}")
                host = other.host if change == "its own host" else server.host
                running.write_config(config(host, body=f"body {number}" if change == "another route" else "one"))
                await asyncio.to_thread(running.reload)
            running.comes_to(1, "trellis_upgraded_connections", route="up")
            await echoes(client, "behind")
        lines = await asyncio.to_thread(node.until, lambda: log_lines(running, "/chat"), "the line of the log")
        assert [(line["status"], line["upstream"], line["upstream_host"]) for line in lines] == [(101, "up", server.host)]
        assert "stays" not in running.errors()

    with WebSockets() as server, WebSockets() as other, node.Node(config(server.host), io=io) as running:
        asyncio.run(over_reloads(running, server, other))


def test_a_stop_gives_websockets_the_drain_time_and_then_cuts(io):
    async def until_the_end(running):
        async with connect(running.address()) as client:
            await echoes(client, "one")
            running.signal(signal.SIGTERM)
            await echoes(client, "two")
            with pytest.raises(websockets.exceptions.ConnectionClosed):
                await asyncio.wait_for(client.recv(), node.PATIENCE)
        assert await asyncio.to_thread(running.process.wait, node.PATIENCE) == 0
        assert [line["status"] for line in log_lines(running, "/chat")] == [101]

    with WebSockets() as server, node.Node(config(server.host), io=io, sets=["runtime.drain=700ms"]) as running:
        asyncio.run(until_the_end(running))


@contextlib.contextmanager
def nginx(text):
    """An nginx on a free port of loopback that forwards as `text` says ({port} is put in). Gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="trellis-nginx-") as folder:
        path = pathlib.Path(folder) / "nginx.conf"
        path.write_text(f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log; events {{ }}\n"
                        f"http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;"
                        f" uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n"
                        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_http_version 1.1; {text} }} }} }}\n")
        process = subprocess.Popen(["/usr/sbin/nginx", "-c", str(path), "-e", f"{folder}/error.log"], stderr=subprocess.PIPE)
        try:
            def answers():
                assert process.poll() is None, process.stderr.read()
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    return True
            node.until(answers, "nginx to listen")
            yield ("127.0.0.1", port)
        finally:
            process.terminate()
            process.wait()
            process.stderr.close()


def test_a_websocket_over_a_second_proxy(io):
    with WebSockets() as server:
        switch = 'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";'
        with nginx(f"proxy_pass http://{server.host}; {switch}") as behind:
            with node.Node(config("%s:%d" % behind), io=io) as running:
                asyncio.run(conversation(running.address()))
        with node.Node(config(server.host), io=io) as running:
            with nginx("proxy_pass http://%s:%d; %s" % (*running.address(), switch)) as before:
                asyncio.run(conversation(before))


def test_an_upgrade_that_the_upstream_declines(io):
    with node.Recorder() as upstream, node.Node(config(upstream.host), io=io) as running:
        with node.Client(running.address()) as client:
            for _ in range(2):
                client.send(get(b"/chat", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"))
                assert client.answer().body == b"/chat"
        assert upstream.requests[0].get(b"upgrade") == b"websocket"
        assert upstream.requests[0].all(b"connection") == [b"Upgrade"]


# --- early hints ---

def test_early_hints(io):
    go_on = threading.Event()

    def talk(connection, _):
        reader = node.Reader(connection)
        while request := node.read_request(reader):
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nKeep-Alive: timeout=5\r\n\r\n")
            go_on.wait(node.PATIENCE)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (len(request.target), request.target))

    with node.RawServer(talk) as upstream, node.Node(config(upstream.host), io=io) as running:
        with node.Client(running.address()) as client:
            client.send(get(b"/packed/x", b"Accept-Encoding: gzip\r\n"))
            head = client.take_until(b"\r\n\r\n")  # there is no answer yet
            assert head == b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload"
            go_on.set()
            assert client.answer().status == 200
            client.send(get(b"/again"))
            hints = []
            assert client.answer(interim=hints).body == b"/again"
            assert [hint.status for hint in hints] == [103]
        with node.Client(running.address()) as client:
            client.send(b"GET /old HTTP/1.0\r\n\r\n")
            hints = []
            assert client.answer(interim=hints).body == b"/old" and hints == []
        url = "http://%s:%d/curl" % running.address()
        assert subprocess.run(["curl", "-sS", url], capture_output=True, check=True).stdout == b"/curl"


# --- trailers ---

def test_trailers_both_ways_with_curl(io):
    seen = []

    def talk(connection, _):
        reader = node.Reader(connection)
        while b"\r\n\r\n" not in reader.rest and reader.more():
            pass
        head, _, reader.rest = reader.rest.partition(b"\r\n\r\n")
        seen.append(head)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTrailer: X-Checksum\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
                           b"5\r\nhello\r\n0\r\nX-Checksum: 5d41\r\nSet-Cookie: evil=1\r\n\r\n")

    with node.RawServer(talk) as upstream, node.Node(config(upstream.host), io=io) as running:
        url = "http://%s:%d/x" % running.address()
        for asked in (["-H", "TE: trailers", "-H", "Connection: TE"], []):
            done = subprocess.run(["curl", "-sS", "-D", "-", *asked, url], capture_output=True, check=True)
            assert b"hello" in done.stdout and b"X-Checksum: 5d41" in done.stdout, done
            assert b"evil" not in done.stdout
        assert b"TE: trailers" in seen[0] and b"TE: trailers" not in seen[1]


# --- events ---

def test_server_sent_events_with_curl(io):
    """Each event is written only after curl has shown the one before."""
    shown = threading.Semaphore(0)
    gone = threading.Event()

    def talk(connection, _):
        reader = node.Reader(connection)
        if not node.read_request(reader):
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(20):
            event = b"data: %d\n\n" % number
            connection.sendall(b"%x\r\n%b\r\n" % (len(event), event))
            if not shown.acquire(timeout=node.PATIENCE):
                return
        with contextlib.suppress(OSError):
            while connection.recv(100):
                pass
        gone.set()

    with node.RawServer(talk) as upstream, node.Node(config(upstream.host), io=io) as running:
        for path in ("events", "packed/events"):
            gone.clear()
            url = "http://%s:%d/%s" % (*running.address(), path)
            curl = subprocess.Popen(["curl", "-sSN", "--compressed", url], stdout=subprocess.PIPE)
            killer = threading.Timer(node.PATIENCE, curl.kill)
            killer.start()
            for number in range(20):
                assert curl.stdout.readline() == b"data: %d\n" % number
                assert curl.stdout.readline() == b"\n"
                shown.release()
            curl.kill()
            curl.wait()
            curl.stdout.close()
            killer.cancel()
            assert gone.wait(node.PATIENCE), "a client that leaves ends the upstream's answer"


# --- trusted proxies ---

def client_of(running, mark):
    return node.until(lambda: log_lines(running, mark), "the line of the log")[0]["client"]


def test_who_asked_behind_trusted_proxies(io):
    with node.Recorder() as upstream, node.Node(config(upstream.host, listener=', trusted: ["127.0.0.0/8"]'), io=io) as running:
        with nginx("proxy_pass http://%s:%d; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto https;"
                   % running.address()) as before:
            with node.Client(before) as client:
                client.send(get(b"/nginx", b"X-Forwarded-For: 203.0.113.9\r\nX-Request-Id: mine\r\n"))
                assert client.answer().status == 200
        seen = upstream.requests[-1]
        assert seen.get(b"x-forwarded-for") == b"203.0.113.9, 127.0.0.1, 127.0.0.1", "nginx is trusted, and so is who asked it"
        assert seen.get(b"x-forwarded-proto") == b"https"
        assert seen.get(b"x-request-id") == b"mine"
        assert client_of(running, "/nginx") == "203.0.113.9"
        for given, status in ((b"203.0.113.9", 403), (b"198.51.100.1", 200), (b"198.51.100.1, 203.0.113.9", 403), (b"203.0.113.9, 198.51.100.1", 200)):
            assert running.ask(get(b"/denied/x", b"X-Forwarded-For: %b\r\n" % given), "web").status == status, given
        assert running.ask(get(b"/spoof", b"X-Forwarded-For: 127.0.0.1, 198.51.100.1\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n"), "web").status == 200
        seen = upstream.with_mark(b"/spoof")[0]
        assert b"6.6.6.6" not in seen.head
        assert seen.get(b"x-forwarded-for") == b"198.51.100.1, 127.0.0.1"
        assert seen.get(b"forwarded") == b'for=198.51.100.1;proto=http;host="h", for=127.0.0.1'
        assert client_of(running, "/spoof") == "198.51.100.1"
        for name in (b"X_Forwarded_For", b"x-forwarded_for", b"X_Real_IP"):
            assert running.ask(get(b"/alike", name + b": 6.6.6.6\r\n"), "web").status == 400, name


def test_nobody_is_trusted_unless_named(io):
    for listener in ("", ', trusted: ["10.0.0.0/8"]'):
        with node.Recorder() as upstream, node.Node(config(upstream.host, listener=listener), io=io) as running:
            claims = b"X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-Proto: https\r\nForwarded: for=198.51.100.1\r\nX-Request-Id: mine\r\n"
            assert running.ask(get(b"/x", claims), "web").status == 200
            seen = upstream.requests[0]
            assert b"198.51.100.1" not in seen.head
            assert seen.get(b"x-forwarded-proto") == b"http"
            assert (seen.get(b"x-request-id") == b"mine") == (listener == ""), "beside trusted proxies a stranger's id is not taken"
            assert client_of(running, "/x") == "127.0.0.1"


# --- Refusals in the middle of an upload ---

def test_who_sends_chunks_beyond_the_limit_hears_why(io):
    def swallow(connection, _):
        while connection.recv(65536):
            pass

    limited = """
listeners:
  web: {{ bind: "127.0.0.1:0" }}
upstreams:
  up: {{ hosts: ["{host}"] }}
routes:
  - {{ match: {{ path: /** }}, filters: [ {{ body_limit: {{ max: 100KiB }} }} ], to: upstream.up }}
"""
    with node.RawServer(swallow) as up, node.Node(limited.format(host=up.host), io=io) as running:
        for _ in range(5):
            with node.Client(running.address()) as client:
                client.send(b"POST /upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
                # Ten times the limit, without looking at what comes back: a reset on the way would take the answer along.
                for _ in range(64):
                    client.send(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
                answer = client.answer()
                assert answer.status == 413 and json.loads(answer.body)["code"] == "body_too_large", answer
                client.send(b"0\r\n\r\n")
                assert client.at_end()
