"""`trellis ctl cache why`: what the cache has for a page, and what would make it cacheable; `trellis cache ls` with what
a cache filter adds."""
import json
import subprocess

import pytest

from http_server import Handler, HttpServer
from node import BINARY, PATIENCE, Node, until


SLICE = 64 << 10
FILM = bytes(range(256)) * (10 * SLICE // 256) + b"the end"


class Origin(HttpServer):
    """Each path has its own fields."""

    FIELDS = {
        "/fresh": [("cache-control", "max-age=600, stale-if-error=60"), ("etag", '"1"'), ("surrogate-key", "a b")],
        "/varies": [("cache-control", "max-age=600"), ("vary", "Accept-Encoding")],
        "/mine": [("cache-control", "private")],
        "/silent": [],
        "/always": [("cache-control", "no-cache"), ("etag", '"1"')],
        "/part": [("cache-control", "max-age=600"), ("etag", '"1"')],
        "/stale": [("cache-control", "max-age=0, stale-while-revalidate=60")],
    }

    def __init__(self):
        origin = self
        self.asked = []

        class Application(Handler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                origin.asked.append(self.path)
                if self.path == "/part" and self.headers.get("range"):
                    self.send_response(206)
                    self.send_header("content-range", "bytes 0-1/5")
                    self.send_header("content-length", "2")
                    for name, value in origin.FIELDS[self.path]:
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(b"he")
                    return
                if self.path.startswith("/film"):
                    first, last = map(int, self.headers["range"].removeprefix("bytes=").split("-"))
                    body = FILM[first:last + 1]
                    self.send_response(206)
                    self.send_header("content-range", f"bytes {first}-{first + len(body) - 1}/{len(FILM)}")
                    self.send_header("content-length", str(len(body)))
                    self.send_header("cache-control", "max-age=600")
                    self.send_header("etag", '"film"')
                    self.end_headers()
                    self.wfile.write(body)
                    return
                self.send_response(200)
                self.send_header("content-length", "5")
                for name, value in origin.FIELDS[self.path.partition("?")[0]]:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"hello")

        super().__init__(Application)


@pytest.fixture(scope="module")
def origin():
    with Origin() as one:
        yield one


class Edge(Node):
    def __init__(self, origin):
        super().__init__(f"""
node: edge
listeners:
  web: {{ bind: "127.0.0.1:0", trusted: ["127.0.0.1/32"] }}
upstreams:
  origin: {{ hosts: [{{ address: "{origin.address}" }}] }}
caches:
  edge: {{ memory: 16MiB, disk: {{ path: ./kept, size: 64MiB }} }}
routes:
  - match: {{ path: /direct/** }}
    to: upstream.origin
  - match: {{ path: /film }}
    filters: [{{ cache: {{ in: edge, slice: 64KiB }} }}]
    to: upstream.origin
  - match: {{ path: /** }}
    filters: [{{ cache: {{ in: edge }} }}]
    to: upstream.origin
""")

    def get(self, path, fields=()):
        lines = [f"GET {path} HTTP/1.1", "Host: shop.example.com", *(f"{name}: {value}" for name, value in fields)]
        return self.ask("\r\n".join([*lines, "", ""]).encode(), "web")

    def purge(self, *words):
        done = self.ctl("purge", *words)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def edge(origin):
    with Edge(origin) as one:
        yield one


def why(edge, path, *words, code=0):
    done = edge.ctl("cache", "why", "http://shop.example.com" + path, *words)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


def answer(edge, path, *words):
    return json.loads(why(edge, path, "--json", *words))


def test_nothing_is_asked_of_the_origin(edge, origin):
    assert answer(edge, "/fresh?never")["next"] == "miss"
    assert "--fetch" in why(edge, "/fresh?never")
    assert "/fresh?never" not in origin.asked


def test_it_tells_what_is_stored(edge, origin):
    edge.get("/fresh")
    told = answer(edge, "/fresh")
    assert (told["next"], told["key"], told["cache"]) == ("hit", "http://shop.example.com/fresh", "edge")
    stored = told["memory"]
    assert (stored["status"], stored["bytes"], stored["lifetime"], stored["tags"]) == (200, 5, 600, 2)
    assert (stored["validator"], stored["purged"], stored["stale_if_error"]) == (True, "no", 60)
    text = why(edge, "/fresh")
    assert "it is given from the cache" in text and "2 tags" in text
    assert "To change it: ignore_request_directives" in why(edge, "/fresh", "--header", "Cache-Control: no-cache")
    assert origin.asked.count("/fresh") == 1


def test_it_tells_variants_apart(edge):
    edge.get("/varies", fields=[("Accept-Encoding", "br")])
    assert answer(edge, "/varies", "-H", "Accept-Encoding: br")["next"] == "hit"
    other = answer(edge, "/varies", "-H", "Accept-Encoding: gzip")
    assert (other["next"], other["varies_by"]) == ("miss", ["accept-encoding"])


def test_it_tells_what_would_make_it_cacheable(edge):
    edge.get("/mine")
    told = answer(edge, "/mine")
    assert told["next"] == "unshared" and told["unshared"]["reason"] == "private"
    assert "let it say public" in told["unshared"]["remedy"]
    edge.get("/silent")
    assert "ttl: { 200: 60s }" in why(edge, "/silent")
    assert "X-Original-URL" in why(edge, "/fresh", "-H", "X-Original-URL: /admin")


def test_it_tells_what_is_there_in_part(edge):
    edge.get("/part", fields=[("Range", "bytes=0-1")])
    assert answer(edge, "/part", "-H", "Range: bytes=0-1")["next"] == "hit"
    assert answer(edge, "/part")["next"] == answer(edge, "/part", "-H", "Range: bytes=2-3")["next"] == "partial"
    assert "for what is missing" in why(edge, "/part")
    assert "refused: only parts of it are there" in why(edge, "/part", "-H", "Cache-Control: only-if-cached")


def test_it_tells_why_something_is_validated(edge):
    edge.get("/always")
    text = why(edge, "/always")
    assert "can be validated" in text and "asked whether it is still right: the origin says Cache-Control: no-cache" in text
    edge.get("/stale")
    text = why(edge, "/stale")
    assert "stale from now on" in text and "-0 s" not in text and "it is given once more and fetched anew behind" in text
    assert "asked for it anew" in why(edge, "/stale", "-H", "Cache-Control: max-age=0")


def test_it_finds_what_came_by_https(edge):
    """Whoever takes TLS off may have said so, or not."""
    def at(scheme):
        done = edge.ctl("cache", "why", f"{scheme}://shop.example.com/fresh?tls", "--json")
        return json.loads(done.stdout)
    edge.get("/fresh?tls", fields=[("X-Forwarded-Proto", "https")])
    assert at("https")["next"] == "hit" and at("https")["key"].startswith("https:") and at("http")["next"] == "miss"
    edge.purge("--all")
    edge.get("/fresh?tls")
    assert at("https")["next"] == at("http")["next"] == "hit"


def test_it_fetches_when_told_to(edge, origin):
    before = origin.asked.count("/silent")
    told = answer(edge, "/silent", "--fetch")
    assert origin.asked.count("/silent") == before + 1
    assert told["fetched"]["status"] == 200 and "no-lifetime-named" in told["fetched"]["cache_status"]
    assert "no lifetime" in told["fetched"]["meaning"]


def test_it_counts_slices(edge):
    def ranged(first, last):
        return ("-H", f"Range: bytes={first}-{last}")

    assert "slices" not in answer(edge, "/film")
    assert edge.get("/film", fields=[("Range", f"bytes={2 * SLICE}-{4 * SLICE - 1}")]).status == 206
    assert "slices" not in answer(edge, "/film")  # nothing tells the size of it
    told = answer(edge, "/film", *ranged(2 * SLICE, 4 * SLICE - 1))
    assert told["slice"] == SLICE and told["next"] == "hit"
    counts = told["slices"]
    assert (counts["shown"], counts["of"], counts["needed"], counts["memory"], counts["usable"]) == (2, 11, 2, 2, 2)
    until(lambda: answer(edge, "/film", *ranged(2 * SLICE, 4 * SLICE - 1))["slices"]["disk"] == 2, "they are on disk")
    edge.get("/film", fields=[("Range", "bytes=0-5")])
    counts = answer(edge, "/film")["slices"]
    assert (counts["shown"], counts["of"], counts["needed"], counts["looked_at"]) == (0, 11, 11, 11)
    assert counts["memory"] == counts["usable"] == 3
    assert answer(edge, "/film", *ranged(2 * SLICE - 1, 3 * SLICE))["slices"]["usable"] == 2
    assert "11 in all, memory has 3" in why(edge, "/film")
    edge.purge("http://shop.example.com/film")
    counts = answer(edge, "/film").get("slices", {"usable": 0})
    assert counts["usable"] == 0


def test_explain_tells_the_key_of_slices_and_variants_in_a_line_each(edge):
    for path in ("/film?explained", "/varies"):
        for _ in range(2):
            done = edge.ctl("explain", "http://shop.example.com" + path, "-H", "Accept-Encoding: br")
            assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert [one for one in lines if "cache_key" in one and "http://shop.example.com" + path + " | #" in one], done.stdout
        assert all(" ms  " in one for one in lines[1:]), done.stdout


def test_it_tells_of_purges(edge):
    edge.get("/fresh")
    edge.purge("http://shop.example.com/fresh", "--soft")
    assert answer(edge, "/fresh")["memory"]["purged"] == "soft"
    assert answer(edge, "/fresh")["next"] == "validate"
    edge.purge("http://shop.example.com/fresh")
    told = answer(edge, "/fresh")
    assert told["next"] == "miss" and told.get("memory", {}).get("purged", "yes") == "yes"


def test_it_tells_of_routes_without_a_cache(edge):
    assert answer(edge, "/direct/x")["next"] == "no-cache-filter"
    assert "no address" in why(edge, "/a b", code=1)
    assert "there is no cache" in why(edge, "/fresh", "--cache", "other", code=1)


def test_ls_shows_both_tiers(edge):
    edge.get("/fresh")
    done = subprocess.run([str(BINARY), "cache", "ls", "--json", "--control", "%s:%d" % edge.control],
                          capture_output=True, text=True, timeout=PATIENCE)
    (one,) = json.loads(done.stdout)["caches"]
    assert one["objects"] >= 1 and one["edge"]["fills"] == 0 and one["edge"]["body_bytes"] > 0
    assert one["edge"]["disk"]["state"] == "ok"
