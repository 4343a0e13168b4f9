"""bench/load's trellis_load against servers that answer well and badly. Needs the build of script/build release."""
import json
import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest

BUILD = Path(os.environ.get("TRELLIS_BUILD", Path(__file__).resolve().parents[2] / "build/release"))
LOAD = BUILD / "bench/trellis_load"
ORIGIN = BUILD / "bench/trellis_origin"

pytestmark = pytest.mark.skipif(not LOAD.exists() or not ORIGIN.exists(), reason="trellis_load is not built")


class Server:
    """Answers each request head with fixed bytes, on any number of connections, until the test ends."""

    def __init__(self, answer, close_after=False):
        self.answer = answer
        self.close_after = close_after
        self.requests = []
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        data = b""
        with connection:
            while True:
                try:
                    more = connection.recv(65536)
                    if not more:
                        return
                    data += more
                    while b"\r\n\r\n" in data:
                        head, data = data.split(b"\r\n\r\n", 1)
                        self.requests.append(head)
                        connection.sendall(self.answer)
                        if self.close_after:
                            return
                except OSError:
                    return


@pytest.fixture
def serve():
    servers = []

    def make(answer, **kwargs):
        servers.append(Server(answer, **kwargs))
        return servers[-1]
    yield make
    for server in servers:
        server.socket.close()


def load(port, *args, path="/", fails=False):
    done = subprocess.run([LOAD, "--json", "--seconds", "0.3", "--warmup", "0.05", "--connections", "2", *args,
                           f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, timeout=60)
    assert fails or done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def clean(result):
    return (result["connect_errors"], result["socket_errors"], result["framing_faults"]) == (0, 0, 0)


def test_counts_answers_with_a_length(serve):
    result = load(serve(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").port)
    assert result["status"]["2xx"] == result["answers"] > 10 and clean(result)


def test_reads_chunks_extensions_and_trailers(serve):
    result = load(serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n").port)
    assert result["answers"] > 10 and clean(result)


def test_skips_interim_answers(serve):
    result = load(serve(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n").port)
    assert result["status"]["2xx"] == result["answers"] > 10 and clean(result)


def test_tells_classes_of_status_apart(serve):
    assert load(serve(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n").port)["status"]["3xx"] > 10
    assert load(serve(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").port)["status"]["5xx"] > 10


def test_connects_again_when_the_server_says_close(serve):
    result = load(serve(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", close_after=True).port)
    assert result["answers"] > 3 and clean(result)


def test_reads_answers_that_end_with_the_connection(serve):
    result = load(serve(b"HTTP/1.1 200 OK\r\n\r\nuntil the end", close_after=True).port)
    assert result["answers"] > 3 and clean(result)


def test_an_answer_cut_short_is_an_error(serve):
    result = load(serve(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", close_after=True).port, fails=True)
    assert result["answers"] == 0 and result["socket_errors"] > 0


@pytest.mark.parametrize("answer, fault", [
    (b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n", "status_line"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "length"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "length"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "both_lengths"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "transfer_coding"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", "chunk"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", "chunk"),
    (b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n", "field"),
    (b"HTTP/1.1 200 OK\r\nX: 1\nY: 2\r\n\r\n", "field"),
])
def test_names_faults_of_framing(serve, answer, fault):
    result = load(serve(answer).port, fails=True)
    assert result["answers"] == 0 and result["faults"][fault] > 0


def test_bytes_that_nobody_asked_for_are_a_fault(serve):
    result = load(serve(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more").port)
    assert result["framing_faults"] > 0


def test_pipelines(serve):
    result = load(serve(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").port, "--pipeline", "8")
    assert result["answers"] > 10 and clean(result)


def test_takes_paths_in_turn_with_method_headers_and_body(serve, tmp_path):
    server = serve(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
    paths = tmp_path / "paths"
    paths.write_text("/a\n/b\n/c\n")
    load(server.port, "--paths", str(paths), "--method", "PUT", "--header", "X-Test: yes", "--connections", "1")
    lines = [r.split(b"\r\n")[0] for r in server.requests[:6]]
    assert lines == [b"PUT /a HTTP/1.1", b"PUT /b HTTP/1.1", b"PUT /c HTTP/1.1"] * 2
    assert b"X-Test: yes" in server.requests[0] and b"Content-Length: 0" in server.requests[0]


def test_sends_the_body_it_is_given(serve):
    server = serve(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
    load(server.port, "--method", "POST", "--body", "hello", "--connections", "1")
    assert b"Content-Length: 5" in server.requests[0]
    assert server.requests[1].startswith(b"helloPOST / ")  # the head behind the body of the first


def test_skew_prefers_the_first_path(serve, tmp_path):
    server = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    paths = tmp_path / "paths"
    paths.write_text("".join(f"/{i}\n" for i in range(100)))
    load(server.port, "--paths", str(paths), "--zipf", "2", "--connections", "1", "--seconds", "0.5")
    first = sum(r.startswith(b"GET /0 ") for r in server.requests)
    assert first > len(server.requests) / 3


@pytest.fixture
def origin():
    process = subprocess.Popen([ORIGIN, "0"], stdout=subprocess.PIPE, text=True)
    port = int(process.stdout.readline().split()[-1])
    yield process.pid, port
    process.terminate()
    process.wait(10)
    process.stdout.close()


@pytest.mark.parametrize("path, size", [("/small", 100), ("/1k", 1 << 10), ("/64k", 1 << 16), ("/1m", 1 << 20)])
def test_the_origin_answers_whole(origin, path, size):
    result = load(origin[1], path=path)
    assert clean(result) and result["answers"] > 0
    if path != "/1m":  # the last one is in flight too long to compare
        assert result["bytes"] >= result["answers"] * size


def test_the_origin_answers_pipelined_large_ones_in_order(origin):
    result = load(origin[1], "--pipeline", "4", path="/64k")
    assert clean(result) and result["answers"] > 4


def test_the_origin_skips_bodies(origin):
    result = load(origin[1], "--method", "POST", "--body-size", "100000", path="/small")
    assert clean(result) and result["answers"] > 4


def test_an_open_loop_keeps_its_rate(origin):
    result = load(origin[1], "--rate", "200", "--seconds", "1", path="/small")
    assert clean(result) and 150 < result["rate"] < 250


def test_an_open_loop_counts_the_wait_of_what_was_due(serve):
    """Nobody answers: what was due still shows, with the age it has."""
    server = serve(b"")
    result = load(server.port, "--rate", "100", fails=True)
    assert result["answers"] == 0 and result["unanswered"] >= 25
    assert result["latency_us"]["p99"] > 200_000


@pytest.mark.parametrize("extra", [[], ["--rate", "100"]])
def test_connects_for_each_request_when_told(origin, extra):
    result = load(origin[1], "--reconnect", *extra, path="/small")
    assert clean(result) and abs(result["connects"] - result["answers"]) <= 4 and result["answers"] > 4


@pytest.mark.parametrize("size", ["1", "125", "126", "65535"])
def test_messages_of_websockets_come_back(origin, size):
    result = load(origin[1], "--echo", size, path="/echo")
    assert clean(result) and result["status"]["2xx"] == result["answers"] > 10 and result["connects"] <= 2
    assert result["bytes"] > result["answers"] * int(size)
    result = load(origin[1], "--echo", size, "--rate", "100", path="/echo")
    assert clean(result) and result["answers"] > 4


def test_an_upgrade_that_is_refused_counts_as_what_it_is(origin):
    result = load(origin[1], "--echo", "10", path="/nothing")
    assert result["status"]["4xx"] == result["answers"] > 0


def test_a_body_is_answered_when_it_is_there(origin):
    result = load(origin[1], "--method", "POST", "--body-size", "100000", path="/small")
    assert clean(result) and result["status"]["2xx"] == result["answers"] > 10


def test_holds_idle_connections_and_reads_cpu_and_memory(origin):
    pid, port = origin
    result = load(port, "--idle", "300", "--cpu-of", str(pid), path="/small")
    assert result["idle"] == 300 and clean(result)
    assert result["resident_kib"] > 0 and result["cpu_user_us"] + result["cpu_system_us"] >= 0


@pytest.mark.parametrize("args", [["--nonsense", "1"], ["--connections", "0"], ["--rate"], ["--pipeline", "2", "--rate", "5"],
                                  ["--echo", "0"], ["--echo", "5", "--reconnect"], ["--cpu-of", "x"], ["--paths", "/does/not/exist"]])
def test_wrong_use_is_said_and_exits_with_2(args):
    done = subprocess.run([LOAD, *args, "http://127.0.0.1:1/"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 2 and done.stderr.startswith("trellis_load: ")


def test_wrong_urls_are_refused():
    for url in ("https://127.0.0.1/", "http://:80/", "http://127.0.0.1:99999/", "nothing"):
        assert subprocess.run([LOAD, url], capture_output=True, timeout=10).returncode == 2
    assert subprocess.run([LOAD], capture_output=True, timeout=10).returncode == 2
