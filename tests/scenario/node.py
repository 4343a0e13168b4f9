"""A running node for scenario tests, raw clients and raw upstreams: bytes go out as written and come back as they came.

    with Node(config) as node:
        with Client(node.address("web")) as client:
            client.send(b"GET / HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n")
            answer = client.answer()

The program is build/release/trellis, or what TRELLIS_BINARY names. Ports are chosen by the kernel, the loopback only.
Nothing here sleeps for a fixed time: `until` polls with a deadline.
"""
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("TRELLIS_BINARY", ROOT / "build/release/trellis"))
BACKENDS = ("epoll", "uring")
PATIENCE = 20.0  # seconds after which what has not come will not come; a loaded machine is slow


def until(true, what, seconds=PATIENCE, every=0.02):
    """Polls until `true()` gives something true, and gives that."""
    deadline = time.monotonic() + seconds
    while True:
        value = true()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(every)


class Node:
    """`trellis run` with `config` (text) in a folder of its own. Leaves with SIGTERM, at the latest with SIGKILL."""

    def __init__(self, config, io="epoll", cores=2, sets=(), environment=None):
        self.folder_guard = tempfile.TemporaryDirectory(prefix="trellis-scenario-")
        self.folder = pathlib.Path(self.folder_guard.name)
        self.config_path = self.folder / "node.yaml"
        self.write_config(config)
        self.command = [str(BINARY), "run", str(self.config_path), "--set", "control=127.0.0.1:0",
                        "--set", f"runtime.io={io}", "--set", f"runtime.cores={cores}"]
        for one in sets:
            self.command += ["--set", one]
        self.environment = {**os.environ, **(environment or {})}
        self.process = None
        self.listeners = {}
        self.control = None

    def write_config(self, text):
        """As an editor does it: the old file is whole until the new one is."""
        fresh = self.config_path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.config_path)

    def __enter__(self):
        self.log = open(self.folder / "stderr.log", "wb")
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=self.log, cwd=self.folder,
                                        env=self.environment)
        killer = threading.Timer(PATIENCE, self.process.kill)
        killer.start()
        try:
            for line in self.process.stdout:
                words = line.decode().split()
                if words[:1] == ["listening"]:
                    self.listeners[words[1]] = self._address(words[2])
                elif words[:1] == ["control"]:
                    self.control = self._address(words[1])
                    break
        finally:
            killer.cancel()
        if not self.control:
            self.process.wait()
            text = self.errors()
            self.__exit__()
            raise AssertionError(f"the node did not start: {text}")
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        self.log.close()
        self.folder_guard.cleanup()

    @staticmethod
    def _address(url):
        host, port = url.split("://")[1].rsplit(":", 1)
        return ("127.0.0.1" if host == "localhost" else host, int(port))

    def address(self, listener="web"):
        return self.listeners[listener]

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process.poll() is None

    def errors(self):
        self.log.flush()
        return (self.folder / "stderr.log").read_text(errors="replace")

    def signal(self, number):
        os.kill(self.pid, number)

    def reload(self):
        """SIGHUP, and waits until the node says what became of it."""
        before = self.reloads()
        self.signal(signal.SIGHUP)
        until(lambda: self.reloads() > before, "the reload")

    def reloads(self):
        text = self.errors()
        return text.count("configuration reloaded") + text.count("the old configuration stays")

    def ctl(self, *words, timeout=PATIENCE):
        control = "%s:%d" % self.control
        return subprocess.run([str(BINARY), "ctl", *words, "--control", control], capture_output=True, text=True, timeout=timeout)

    def ask(self, request, listener=None):
        """One request on a connection of its own, to the control listener unless named. Gives the answer."""
        with Client(self.address(listener) if listener else self.control) as client:
            client.send(request)
            return client.answer()

    def metrics(self):
        """All samples of /metrics: {'name{labels}': value}."""
        answer = self.ask(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer.status == 200, answer
        samples = {}
        for line in answer.body.decode().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                samples[name] = float(value)
        return samples

    def metric(self, name, **labels):
        """The sum over all samples with this name and these labels."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(value for sample, value in self.metrics().items()
                   if sample.split("{")[0] == name and all(one in sample for one in wanted))

    def comes_to(self, wanted, name, **labels):
        """Waits until the metric is this: an answer is out before it is counted."""
        until(lambda: self.metric(name, **labels) == wanted, f"{name} {labels} to be {wanted}")

    def sockets(self):
        """Open sockets of the process."""
        folder = f"/proc/{self.pid}/fd"
        count = 0
        for name in os.listdir(folder):
            try:
                count += os.readlink(f"{folder}/{name}").startswith("socket:")
            except FileNotFoundError:
                pass
        return count

    def resident(self):
        """Bytes of resident memory."""
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) * 1024


class Malformed(AssertionError):
    """Bytes of the node that are no HTTP/1.1 answer."""


class Answer:
    def __init__(self, head, body, trailers=b""):
        line, *fields = head.split(b"\r\n")
        self.head = head
        self.status = int(line.split(b" ")[1])
        self.version = line.split(b" ")[0]
        self.fields = [(name.lower(), value.strip()) for name, _, value in (one.partition(b":") for one in fields)]
        self.body = body
        self.trailers = trailers

    def get(self, name):
        values = self.all(name)
        return values[0] if values else None

    def all(self, name):
        return [value for key, value in self.fields if key == name.lower()]

    def __repr__(self):
        return f"<{self.status} {self.head!r} {self.body[:200]!r} ({len(self.body)} bytes)>"


STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-5][0-9][0-9] [\t\x20-\x7e\x80-\xff]*\Z")
FIELD_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\Z")


def check_head(head):
    """Refuses whatever a strict reader would; the node must never write it."""
    line, *fields = head.split(b"\r\n")
    if not STATUS_LINE.match(line):
        raise Malformed(f"status line {line!r}")
    for field in fields:
        if not FIELD_LINE.match(field):
            raise Malformed(f"field line {field!r}")


class Client:
    """A raw connection. Bytes that were read and not used stay in `rest`."""

    def __init__(self, address, timeout=PATIENCE, receive_buffer=None):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""
        self.ended = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Leaves with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def more(self):
        """Reads something; False at the end of the stream. A reset counts as an end."""
        if self.ended:
            return False
        try:
            data = self.socket.recv(262144)
        except ConnectionError:
            data = b""
        if not data:
            self.ended = True
            return False
        self.rest += data
        return True

    def take(self, size):
        pieces, left = [], size
        while len(self.rest) < left:
            pieces.append(self.rest)
            left -= len(self.rest)
            self.rest = b""
            if not self.more():
                raise EOFError(f"{left} bytes missing")
        data, self.rest = self.rest[:left], self.rest[left:]
        return b"".join(pieces) + data

    def take_until(self, mark):
        while mark not in self.rest:
            if not self.more():
                raise EOFError(f"the stream ended before {mark!r}: {self.rest[:200]!r}")
        data, _, self.rest = self.rest.partition(mark)
        return data

    def to_the_end(self):
        pieces = [self.rest]
        self.rest = b""
        while self.more():
            pieces.append(self.rest)
            self.rest = b""
        return b"".join(pieces)

    def at_end(self):
        """Is the stream over, with nothing left?"""
        return not self.rest and not self.more()

    def answer(self, method=b"GET", interim=None):
        """The next final answer, read strictly. EOFError where the stream ends before or within it."""
        while True:
            head = self.take_until(b"\r\n\r\n")
            check_head(head)
            answer = Answer(head, b"")
            if answer.status >= 200 or answer.status == 101:
                break
            if interim is not None:
                interim.append(answer)
        lengths, codings = answer.all(b"content-length"), answer.all(b"transfer-encoding")
        if len(lengths) > 1 or len(codings) > 1 or (lengths and codings):
            raise Malformed(f"ambiguous framing: {head!r}")
        if method == b"HEAD" or answer.status in (101, 204, 304):
            return answer
        if codings:
            if codings[0] != b"chunked":
                raise Malformed(f"coding {codings[0]!r}")
            pieces = []
            while True:
                line = self.take_until(b"\r\n")
                if not re.fullmatch(rb"[0-9a-fA-F]+", line):
                    raise Malformed(f"chunk line {line!r}")
                size = int(line, 16)
                if size == 0:
                    break
                pieces.append(self.take(size))
                if self.take(2) != b"\r\n":
                    raise Malformed("no CRLF behind a chunk")
            trailers = []
            while line := self.take_until(b"\r\n"):
                trailers.append(line)
            answer.body, answer.trailers = b"".join(pieces), b"\r\n".join(trailers)
        elif lengths:
            answer.body = self.take(int(lengths[0]))
        else:
            answer.body = self.to_the_end()
        return answer


class RawServer:
    """An upstream of threads: `talk(connection, number)` has each accepted socket to itself, numbered from 0."""

    def __init__(self, talk, backlog=1024):
        self.talk = talk
        self.backlog = backlog
        self.accepted = 0
        self.open = 0
        self.lock = threading.Lock()
        self.connections = set()

    def __enter__(self):
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=self.backlog)
        self.port = self.listening.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        try:
            self.listening.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listening.close()
        self.thread.join()
        with self.lock:
            left = list(self.connections)
        for connection in left:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"

    def _accept(self):
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            with self.lock:
                number = self.accepted
                self.accepted += 1
                self.open += 1
                self.connections.add(connection)
            connection.settimeout(60)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection, number):
        try:
            self.talk(connection, number)
        except (OSError, EOFError):
            pass
        finally:
            with self.lock:
                self.open -= 1
                self.connections.discard(connection)
            connection.close()


class Seen:
    """A request as an upstream got it."""

    def __init__(self, head, body, chunked, complete):
        self.head, self.body, self.chunked, self.complete = head, body, chunked, complete
        line, *fields = head.split(b"\r\n")
        self.line = line
        parts = line.split(b" ")
        self.method = parts[0]
        self.target = parts[1] if len(parts) > 1 else b""
        self.fields = [(name.lower(), value.strip()) for name, _, value in (one.partition(b":") for one in fields)]

    def all(self, name):
        return [value for key, value in self.fields if key == name]

    def get(self, name):
        values = self.all(name)
        return values[0] if values else None

    def __repr__(self):
        return f"<{self.head!r} {self.body[:100]!r} complete={self.complete}>"


REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [\x21-\x7e]+ HTTP/1\.1\Z")


def request_faults(head):
    """What a strict upstream would find wrong with a request's head: a list of words, empty for a good one."""
    line, *fields = head.split(b"\r\n")
    faults = []
    if not REQUEST_LINE.match(line):
        faults.append(f"request line {line!r}")
    names = []
    for field in fields:
        if not FIELD_LINE.match(field):
            faults.append(f"field {field!r}")
        names.append(field.partition(b":")[0].lower())
    if names.count(b"host") != 1:
        faults.append(f"{names.count(b'host')} Host fields")
    if names.count(b"content-length") + names.count(b"transfer-encoding") > 1:
        faults.append("more than one framing")
    for name in names:
        if b"_" in name and name.replace(b"_", b"-") in (b"content-length", b"transfer-encoding"):
            faults.append(f"ambiguous {name!r}")
    return faults


def read_request(reader, on_head=None):
    """One request by the letter; `reader` is a Client-like thing (rest, more, take, take_until). None at the end."""
    while b"\r\n\r\n" not in reader.rest:
        if not reader.more():
            return None if not reader.rest else Seen(reader.rest, b"", False, False)
    head, _, reader.rest = reader.rest.partition(b"\r\n\r\n")
    seen = Seen(head, b"", False, False)
    if on_head:
        on_head(seen)
    lengths, codings = seen.all(b"content-length"), seen.all(b"transfer-encoding")
    try:
        if codings:
            seen.chunked = True
            while True:
                size = int(reader.take_until(b"\r\n"), 16)
                if size == 0:
                    break
                seen.body += reader.take(size)
                if reader.take(2) != b"\r\n":
                    raise EOFError("no CRLF behind a chunk")
            while reader.take_until(b"\r\n"):
                pass
        elif lengths:
            seen.body = reader.take(int(lengths[0]))
        seen.complete = True
    except EOFError:
        pass
    return seen


class Reader(Client):
    """The reading half of Client over an accepted socket."""

    def __init__(self, connection):
        self.socket = connection
        self.rest = b""
        self.ended = False


class Recorder(RawServer):
    """An upstream that keeps what it got, byte for byte and request by request, and answers 200 with the target."""

    def __init__(self, backlog=1024):
        super().__init__(self._talk, backlog)
        self.raw = []       # bytes of each connection
        self.requests = []  # Seen

    def _talk(self, connection, number):
        reader = Reader(connection)
        log = bytearray()
        with self.lock:
            self.raw.append(log)
        receive = connection.recv

        def more():
            if reader.ended:
                return False
            data = receive(262144)
            if not data:
                reader.ended = True
                return False
            log.extend(data)
            reader.rest += data
            return True

        reader.more = more
        while True:
            seen = read_request(reader)
            if seen is None:
                return
            with self.lock:
                self.requests.append(seen)
            if not seen.complete:
                return
            body = b"" if seen.method == b"HEAD" else seen.target
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(seen.target), body))

    def with_mark(self, mark):
        with self.lock:
            return [seen for seen in self.requests if mark in seen.head or mark in seen.body]

    def holds(self, mark):
        """Did these bytes arrive anywhere?"""
        with self.lock:
            return any(mark in bytes(log) for log in self.raw)


def uring_missing():
    """Why the node cannot run on io_uring here, or nothing."""
    config = 'listeners:\n  web: { bind: "127.0.0.1:0" }\nroutes: []\n'
    try:
        with Node(config, io="uring", cores=1):
            return None
    except AssertionError as error:
        return str(error)
