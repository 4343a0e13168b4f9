"""An application behind edges that cache, and edges that share what they have. The answers tell how often the
application was asked; it names their lifetime and tags."""
import hashlib
import hmac
import threading
import time

import node
from http_server import Handler, HttpServer


class Origin(HttpServer):
    """Counts the requests by path. `version` is in every answer; `hold`: an Event that answers wait for, by path; `failing`: all
    is answered by 503."""

    def __init__(self):
        origin = self
        self.version = 1
        self.cache_control = "max-age=600"
        self.failing = False
        self.asked = {}
        self.methods = []
        self.hold = {}
        self.lock = threading.Lock()

        class Application(Handler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet

            def answer(self):
                self.path = self.requestline.split()[1]  # as sent: Python makes one slash of two
                if self.path.startswith("/sliced/"):
                    return self.part()
                with origin.lock:
                    origin.asked[self.path] = origin.asked.get(self.path, 0) + 1
                    origin.methods.append(self.command)
                    body = f"{self.path} version {origin.version}".encode()
                if self.path.startswith("/hinted/"):
                    self.send_response_only(103)
                    self.send_header("link", "</a.css>")
                    self.end_headers()
                if self.path in origin.hold:
                    origin.hold[self.path].wait(node.PATIENCE)
                if origin.failing:
                    return self.send_error(503)
                if self.headers.get("if-none-match") == f'"{origin.version}"':
                    self.send_response(304)
                    self.send_header("etag", f'"{origin.version}"')
                    self.send_header("cache-control", origin.cache_control)
                    self.end_headers()
                    return
                self.send_response(200)
                self.send_header("content-type", "text/plain")
                self.send_header("content-length", str(len(body)))
                self.send_header("cache-control", origin.cache_control)
                self.send_header("etag", f'"{origin.version}"')
                self.send_header("surrogate-key", "everything " + self.path.strip("/").split("/")[0])
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def part(self):
                first, last = (int(one) for one in self.headers["range"].removeprefix("bytes=").split("-"))
                part = LARGE[first:last + 1]
                with origin.lock:
                    asked = f"{self.path} {first}"
                    origin.asked[asked] = origin.asked.get(asked, 0) + 1
                self.send_response(206)
                self.send_header("content-range", f"bytes {first}-{first + len(part) - 1}/{len(LARGE)}")
                self.send_header("content-length", str(len(part)))
                self.send_header("cache-control", "max-age=600")
                self.send_header("etag", '"large"')
                self.end_headers()
                self.wfile.write(part)

            do_GET = do_HEAD = do_POST = answer

        super().__init__(Application)

    def total(self):
        with self.lock:
            return sum(self.asked.values())

    def times(self, path):
        with self.lock:
            return self.asked.get(path, 0)


LARGE = bytes((i * 7 + (i >> 8) * 13) & 0xFF for i in range((1 << 20) + 321))
PURGE_KEY = "the key of those who publish"
CLUSTER_KEY = "the key of the cluster of edges"


class Edge(node.Node):
    """A node with a cache filter in front of an origin. `members`: a file with the edges of its cluster."""

    def __init__(self, origin, name="edge", members=None, disk=False, memory="16MiB", **options):
        peers = ', peers: { upstream: edges, key_file: cluster.key }' if members else ""
        disk_text = ", disk: { path: ./kept, size: 64MiB }" if disk else ""
        edges = f"""
  edges:
    balance: hash
    hosts: [{{ file: {members} }}]
    timeouts: {{ connect: 300ms, first_byte: 5s }}""" if members else ""
        super().__init__(f"""
node: {name}
listeners:
  web: {{ bind: "127.0.0.1:0" }}
upstreams:
  origin: {{ hosts: [{{ address: "{origin.address}" }}] }}{edges}
caches:
  edge: {{ memory: {memory}{disk_text}{peers} }}
routes:
  - match: {{ path: /plain/** }}
    filters: [{{ cache: {{ in: edge }} }}]
    to: upstream.origin
  - match: {{ path: /sliced/** }}
    filters: [{{ cache: {{ in: edge, slice: 64KiB }} }}]
    to: upstream.origin
  - match: {{ path: /encoded/** }}
    filters: [{{ compress: {{ encodings: [gzip], min_size: 10B }} }}, {{ cache: {{ in: edge }} }}]
    to: upstream.origin
  - match: {{ path: /** }}
    filters: [{{ cache: {{ in: edge, purge: {{ key_file: purge.key }} }} }}]
    to: upstream.origin
""", **options)
        (self.folder / "purge.key").write_text(PURGE_KEY.replace(" ", "-") + "\n")
        (self.folder / "cluster.key").write_text(CLUSTER_KEY.replace(" ", "-") + "\n")

    def get(self, path, host="shop.example.com", fields=()):
        return self.request("GET", path, host, fields)

    def request(self, method, path, host="shop.example.com", fields=()):
        return self.ask(self.written(method, path, host, fields), "web")

    @staticmethod
    def written(method, path, host, fields):
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in fields), "", ""]
        return "\r\n".join(lines).encode()

    def body(self, path, **more):
        answer = self.get(path, **more)
        assert answer.status == 200, answer
        return answer.body.decode()

    def purge(self, *words, code=0):
        done = self.ctl("purge", *words)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def signed_purge(self, *words, **named):
        return self.ask(self.purge_request(*words, **named), "web")

    def purge_request(self, path, what="key", host="shop.example.com", key=PURGE_KEY, at=None):
        moment = str(int(time.time() if at is None else at))
        text = "".join(f"{line}\n" for line in ("PURGE", host, path, what, moment))
        signature = hmac.new(key.replace(" ", "-").encode(), text.encode(), hashlib.sha256).hexdigest()
        return self.written("PURGE", path, host, (("X-Trellis-Purge", what), ("X-Trellis-Purge-Time", moment),
                                                  ("X-Trellis-Purge-Signature", signature)))

    def member(self):
        return "%s:%d" % self.address()
