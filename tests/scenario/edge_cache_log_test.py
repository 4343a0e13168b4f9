"""The access log of a real site, replayed through the edge cache: how often the origin is asked for each object. The log is
looked for in TRELLIS_DATA or ../shared/data."""
import collections
import concurrent.futures
import contextlib
import lzma
import os
import pathlib
import urllib.parse

import pytest

import node
from cache_origin import Origin, ask, reply

DATA = pathlib.Path(os.environ.get("TRELLIS_DATA", node.ROOT / "../shared/data"))
LOG = DATA / "access-log-2015.tsv.xz"
MOST = 64 << 10  # bytes of a body; what is larger in the log is as large here
CLIENTS = 8

pytestmark = pytest.mark.skipif(not LOG.exists(), reason=f"{LOG} is not here: set TRELLIS_DATA")

EDGE = """
node: {name}
listeners:
  web: {{ bind: "127.0.0.1:0" }}
caches:
  edge: {{ memory: 512MiB{peers} }}
upstreams:
  app: {{ hosts: ["{origin}"] }}
{members}
routes:
  - match: {{ path: /** }}
    filters:
      - cache: {{ in: edge, ttl: {{ 301: 1h, 404: 1h }} }}
    to: upstream.app
"""

Line = collections.namedtuple("Line", "client method path status size")


def same(path):
    """Of paths that are written in several ways, with more escapes or fewer, with an empty query or none, the edge makes one.
    Queries count as they are."""
    path, mark, query = path.removesuffix(b"?").partition(b"?")
    return urllib.parse.unquote_to_bytes(path) + mark + query


def read_log():
    """GET and HEAD of paths that an edge takes, in order."""
    lines = []
    for text in lzma.decompress(LOG.read_bytes()).decode().splitlines():
        if not text.startswith("#"):
            _, client, method, path, status, size = text.split("\t")
            # A control character in a path is refused at the edge.
            if method in ("GET", "HEAD") and min(same(path.encode())) >= 0x20:
                lines.append(Line(int(client), method.encode(), path.encode(), int(status), int(size)))
    return lines


class Site:
    """What the origin says: for each path what it said most often, with a lifetime of a week for what was there."""

    def __init__(self, lines):
        said, sizes = collections.defaultdict(collections.Counter), {}
        for line in lines:
            # 206, 304 and 416 were answers to conditions and ranges: there was something.
            said[same(line.path)][200 if line.status in (206, 304, 416) else line.status] += 1
            sizes[same(line.path)] = min(max(sizes.get(same(line.path), 0), line.size), MOST)
        self.status = {path: counts.most_common(1)[0][0] for path, counts in said.items()}
        self.sizes = sizes

    def body(self, path):
        return (path * (self.sizes[path] // len(path) + 1))[:self.sizes[path]]

    def answer(self, seen, _):
        path = same(seen.target)
        status = self.status[path]
        if status == 200:
            fields = (b"Cache-Control: max-age=604800", b'ETag: "%x"' % self.sizes[path], b"Last-Modified: Mon, 04 May 2015 00:00:00 GMT")
            if seen.get(b"if-none-match") == b'"%x"' % self.sizes[path]:
                return reply(b"", *fields, status=b"304 Not Modified").replace(b"Content-Length: 0\r\n", b"")
            answer = reply(self.body(path), *fields)
        elif status == 301:
            answer = reply(b"", b"Location: " + seen.target + b"/", status=b"301 Moved Permanently")
        else:
            answer = reply(b"said %d" % status, status=b"%d Said" % status)
        return answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if seen.method == b"HEAD" else answer

    def check(self, line, answer):
        path = same(line.path)
        status = self.status[path]
        if line.status == 304 and status == 200:
            assert (answer.status, answer.body) == (304, b""), line
        elif status == 200:
            assert (answer.status, answer.body) == (200, b"" if line.method == b"HEAD" else self.body(path)), line
        else:
            assert answer.status == status, line


def replay(lines, site, addresses):
    """Clients keep the order of the log among themselves, and go to the edges in turn."""
    def client(number):
        with node.Client(addresses[number % len(addresses)]) as connection:
            for line in lines:
                if line.client % CLIENTS != number:
                    continue
                condition = (b'If-None-Match: "%x"' % site.sizes[same(line.path)],) if line.status == 304 else ()
                answer = ask(connection, line.path, *condition, method=line.method)
                site.check(line, answer)

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(client, range(CLIENTS)))


def fetches(origin):
    """GETs that the origin got, by path."""
    return collections.Counter(same(seen.target) for seen in origin.requests if seen.method == b"GET")


def distinct(lines, site):
    """Paths that were asked for by GET and may be stored."""
    return {same(line.path) for line in lines if line.method == b"GET" and site.status[same(line.path)] in (200, 301, 404)}


def test_an_edge_asks_for_each_object_once(io):
    lines = read_log()
    site = Site(lines)
    with Origin(site.answer) as origin, node.Node(EDGE.format(name="edge", origin=origin.host, peers="", members=""), io=io) as n:
        replay(lines, site, [n.address()])
        asked = fetches(origin)
        objects = distinct(lines, site)
        assert len(objects) > 1400
        assert {path: asked[path] for path in objects} == dict.fromkeys(objects, 1)
        # All but what may not be stored, and HEAD for what was not there yet.
        assert origin.count() < len(objects) + 60


def test_two_edges_and_an_owner_ask_for_each_object_once():
    """The owner is the only member of the cluster; both edges ask it for what they lack."""
    lines = read_log()
    site = Site(lines)
    peers = ", peers: { upstream: edges, key_file: cluster.key }"

    def edge(name, origin, owner):
        members = f'  edges: {{ balance: hash, hosts: ["{owner}"] }}'
        one = node.Node(EDGE.format(name=name, origin=origin.host, peers=peers, members=members))
        (one.folder / "cluster.key").write_text("k" * 32)
        return one

    with Origin(site.answer) as origin, contextlib.ExitStack() as stack:
        with contextlib.closing(node.socket.create_server(("127.0.0.1", 0))) as free:
            port = free.getsockname()[1]
        owner_node = edge("owner", origin, f"127.0.0.1:{port}")
        owner_node.write_config(owner_node.config_path.read_text().replace('"127.0.0.1:0"', f'"127.0.0.1:{port}"'))
        owner = stack.enter_context(owner_node)
        edges = [stack.enter_context(edge(f"edge-{number}", origin, f"127.0.0.1:{port}")) for number in range(2)]
        replay(lines, site, [one.address() for one in edges])
        asked = fetches(origin)
        objects = distinct(lines, site)
        once = sum(asked[path] == 1 for path in objects)
        assert once == len(objects), {path: asked[path] for path in objects if asked[path] != 1}
        for one in edges:
            assert one.metric("trellis_cache_member_total", event="fetched") > 500
        assert owner.metric("trellis_cache_requests_total", outcome="hit") > 0
