#!/usr/bin/env python3
"""Every configuration in examples/ is started for real and answers as its comment says; every whole configuration in
README.md and docs/ (a block that begins with ```yaml whole) is good to `trellis check`; links between pages lead somewhere.

    python3 tests/scenario/examples_test.py              # all
    python3 tests/scenario/examples_test.py StaticSite   # one

Ports are chosen by the kernel; the network is the loopback only. TRELLIS_BINARY names another binary than the release build.
"""
import gzip
import http.client
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from http_server import Handler, HttpServer

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("TRELLIS_BINARY", ROOT / "build/release/trellis"))


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self):
        return json.loads(self.body)


class Node:
    """`trellis run examples/NAME` in a folder of its own, its listeners and control on free ports."""

    def __init__(self, name, listener="web", *sets):
        self.name, self.listener, self.sets = name, listener, sets

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="trellis-example-")
        shutil.copytree(ROOT / "examples", pathlib.Path(self.folder.name) / "examples")
        # A checkout may give files any time; a compressed form must not be older than its file.
        for packed in pathlib.Path(self.folder.name).rglob("*.gz"):
            os.utime(packed)
        arguments = [str(BINARY), "run", f"examples/{self.name}"]
        for one in (f"listeners.{self.listener}.bind=127.0.0.1:0", "control=127.0.0.1:0", *self.sets):
            arguments += ["--set", one]
        self.errors = open(pathlib.Path(self.folder.name) / "stderr.log", "w+b")
        self.process = subprocess.Popen(arguments, cwd=self.folder.name, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=self.errors)
        try:
            self.port, self.control = self._addresses()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _addresses(self):
        """From the lines that say where it listens."""
        text, deadline = b"", time.monotonic() + 20
        while True:
            listening = re.search(rb"^listening %s [a-z]+://localhost:(\d+)$" % self.listener.encode(), text, re.M)
            control = re.search(rb"^control http://127\.0\.0\.1:(\d+)$", text, re.M)
            if listening and control:
                return int(listening[1]), int(control[1])
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            piece = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not piece:
                self.errors.seek(0)
                raise AssertionError(f"{self.name} did not start: {text!r}\n{self.errors.read().decode(errors='replace')}")
            text += piece

    def ask(self, path, method="GET", body=None, headers=None, port=None):
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=10)
        try:
            connection.request(method, path, body, headers or {})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def stop(self):
        """Asks it to end, as a supervisor does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def __exit__(self, *_):
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        self.errors.close()
        self.folder.cleanup()


class Application(HttpServer):
    """What stands behind a proxy: answers with what it was asked, as JSON."""

    def __init__(self, name):
        class Telling(Handler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                length = int(self.headers.get("content-length") or 0)
                told = {"name": name, "method": self.command, "path": self.path, "received": self.rfile.read(length).decode(),
                        "headers": {key.lower(): value for key, value in self.headers.items()}, "filler": "x" * 4000}
                self.say("application/json", json.dumps(told).encode())

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

        super().__init__(Telling)
        self.name = name


def eventually(read, wanted, seconds=10):
    """The first value of read() that is wanted, or the last one."""
    deadline = time.monotonic() + seconds
    while True:
        value = read()
        if value == wanted or time.monotonic() > deadline:
            return value
        time.sleep(0.02)


@unittest.skipUnless(BINARY.exists(), f"{BINARY} is not built")
class ExampleTest(unittest.TestCase):
    def shortens_and_counts(self, node):
        made = node.ask("/v1/links", "POST", json.dumps({"url": "https://example.com/a?b=c"}), {"content-type": "application/json"})
        self.assertEqual(made.status, 201, made.body)
        code = made.json()["code"]
        followed = node.ask(f"/{code}")
        self.assertEqual((followed.status, followed.headers["location"]), (302, "https://example.com/a?b=c"))
        self.assertEqual(eventually(lambda: node.ask(f"/v1/links/{code}").json()["clicks"], 1), 1)


class OneBox(ExampleTest):
    def test_shortens_redirects_and_counts(self):
        with Node("one-box.yaml") as node:
            self.assertIn(b"<html", node.ask("/").body)
            self.shortens_and_counts(node)
            self.assertIn("links", [tier["id"] for tier in node.ask("/v1/status").json()["tiers"]])
            self.assertEqual(node.ask("/readyz", port=node.control).body, b"ready\n")
            self.assertEqual(node.stop(), 0)

    def test_is_what_runs_without_a_configuration(self):
        printed = subprocess.run([BINARY, "run", "--print-config"], capture_output=True, check=True, text=True).stdout

        def settings(text):
            return [line for line in text.splitlines() if line and not line.startswith("#")]

        self.assertEqual(settings((ROOT / "examples/one-box.yaml").read_text()), settings(printed))


class ReverseProxy(ExampleTest):
    def test_spreads_requests_and_says_who_asked(self):
        with Application("one") as one, Application("two") as two:
            hosts = f'upstreams.app.hosts=["{one.address}", "{two.address}"]'
            with Node("reverse-proxy.yaml", "web", hosts, "runtime.cores=1") as node:
                told = [node.ask("/a/b?c=d", headers={"x-forwarded-for": "203.0.113.9"}).json() for _ in range(4)]
                self.assertEqual(sorted(one["name"] for one in told), ["one", "one", "two", "two"])
                self.assertEqual(told[0]["path"], "/a/b?c=d")
                self.assertEqual(told[0]["headers"]["x-forwarded-for"], "127.0.0.1")
                self.assertEqual(told[0]["headers"]["x-forwarded-host"], f"127.0.0.1:{node.port}")
                self.assertEqual(told[0]["headers"]["via"], "1.1 edge")

    def test_goes_on_when_a_host_is_gone(self):
        with Application("one") as one:
            with Application("two") as two:
                gone = two.address
            hosts = f'upstreams.app.hosts=["{gone}", "{one.address}"]'
            with Node("reverse-proxy.yaml", "web", hosts) as node:
                for _ in range(4):
                    self.assertEqual(node.ask("/").json()["name"], "one")

    def test_answers_for_an_application_that_is_away(self):
        with Application("gone") as gone:
            address = gone.address
        with Node("reverse-proxy.yaml", "web", f'upstreams.app.hosts=["{address}"]') as node:
            away = node.ask("/")
            self.assertEqual((away.status, away.json()["code"]), (502, "upstream_unavailable"))
            self.assertEqual(away.headers["content-type"], "application/problem+json")
            self.assertEqual(node.ask("/edge-healthz").body, b"ok\n")

    def test_compresses_and_limits(self):
        with Application("one") as one:
            with Node("reverse-proxy.yaml", "web", f'upstreams.app.hosts=["{one.address}"]') as node:
                packed = node.ask("/", headers={"accept-encoding": "gzip"})
                self.assertEqual(packed.headers["content-encoding"], "gzip")
                self.assertEqual(json.loads(gzip.decompress(packed.body))["name"], "one")
                large = node.ask("/", "POST", b"", {"content-length": str(11 << 20)})
                self.assertEqual((large.status, large.json()["code"]), (413, "body_too_large"))


class EdgeCache(ExampleTest):
    def test_answers_from_what_it_kept_also_when_the_application_is_gone(self):
        with Application("one") as one:
            with Node("edge-cache.yaml", "web", f'upstreams.app.hosts=["{one.address}"]') as node:
                self.assertEqual(node.ask("/page").headers["x-cache-status"], "MISS")
                self.assertEqual(node.ask("/page?utm_source=x").headers["x-cache-status"], "HIT")
                asset = node.ask("/assets/app.css")
                self.assertEqual(asset.headers["cache-control"], "public, max-age=31536000, immutable")
                one.server.server_close()
                self.assertEqual(node.ask("/page").headers["x-cache-status"], "HIT")


class Canary(ExampleTest):
    def test_a_few_clients_get_the_new_version_and_stay_there(self):
        with Application("old") as old, Application("new") as new:
            hosts = (f'upstreams.old.hosts=["{old.address}"]', f'upstreams.new.hosts=["{new.address}"]')
            with Node("canary.yaml", "web", *hosts) as node:
                forced = node.ask("/", headers={"x-canary": "1"})
                self.assertEqual((forced.json()["name"], forced.headers["x-version"]), ("new", "new"))
                seen = set()
                for session in range(200):
                    cookie = {"cookie": f"session=s{session}"}
                    versions = {node.ask("/", headers=cookie).json()["name"] for _ in range(2)}
                    self.assertEqual(len(versions), 1)
                    seen |= versions
                self.assertEqual(seen, {"old", "new"})
                first = node.ask("/")
                kept = {"cookie": first.headers["set-cookie"].split(";")[0]}
                self.assertEqual(node.ask("/", headers=kept).json()["name"], first.json()["name"])
                self.assertEqual(node.ask("/reports/1").json()["name"], "old")
                self.assertEqual(node.ask("/", headers={"x-fault": "delay"}).status, 200)


class StaticSite(ExampleTest):
    def test_serves_files_as_their_kind_wants(self):
        with Node("static-site.yaml") as node:
            home = node.ask("/")
            self.assertEqual((home.status, home.headers["cache-control"]), (200, "no-cache"))
            self.assertEqual(home.headers["content-security-policy"], "default-src 'self'")
            again = node.ask("/", headers={"if-none-match": home.headers["etag"]})
            self.assertEqual((again.status, again.body), (304, b""))
            script = node.ask("/assets/app.3f2a9c1d.js")
            self.assertEqual(script.headers["cache-control"], "public, max-age=31536000, immutable")
            style = node.ask("/style.css", headers={"accept-encoding": "gzip"})
            on_disk = (ROOT / "examples/static-site/site/style.css.gz").read_bytes()
            self.assertEqual((style.headers["content-encoding"], style.body), ("gzip", on_disk))
            self.assertEqual(gzip.decompress(on_disk), (ROOT / "examples/static-site/site/style.css").read_bytes())
            part = node.ask("/style.css", headers={"range": "bytes=0-4"})
            self.assertEqual((part.status, part.body), (206, b":root"))
            page = node.ask("/guide")
            self.assertEqual((page.status, page.headers["location"]), (308, "./guide/"))
            self.assertEqual(node.ask("/guide/").status, 200)
            self.assertEqual(node.ask("/nothing").status, 404)
            self.assertEqual(node.ask("/", "POST", b"x").status, 405)
            old = node.ask("/index.html")
            self.assertEqual((old.status, old.headers["location"]), (308, "/"))


class Redirects(ExampleTest):
    def test_leads_every_old_address_on(self):
        with Node("redirects.yaml") as node:
            for host, path, status, location in [
                    ("example.com", "/about?from=card", 308, "https://www.example.com/about?from=card"),
                    ("de.shop.example.com", "/x", 302, "https://shop.example.com/x"),
                    ("localhost", "/docs/a/b", 301, "https://docs.example.com/docs/a/b"),
                    ("localhost", "/?ref=poster", 307, "https://www.example.com/welcome")]:
                answer = node.ask(path, headers={"host": host})
                self.assertEqual((answer.status, answer.headers["location"]), (status, location), f"{host}{path}")
            self.assertIn(b"Disallow: /", node.ask("/robots.txt").body)
            self.assertEqual(node.ask("/beta/x").status, 410)
            self.assertEqual(node.ask("/").status, 404)


class LinkServiceBehindEdge(ExampleTest):
    def test_the_same_routes_with_the_service_elsewhere(self):
        with Node("link-service-behind-edge/links.yaml", "inside") as links:
            hosts = f'upstreams.links.hosts=["127.0.0.1:{links.port}"]'
            with Node("link-service-behind-edge/edge.yaml", "web", hosts) as edge:
                self.assertIn(b"<html", edge.ask("/").body)
                self.shortens_and_counts(edge)
                self.assertEqual(edge.ask("/v1/status").json()["node"], "links-1")


class HeadersAndLimits(ExampleTest):
    def test_changes_fields_and_keeps_limits(self):
        with Application("app") as app:
            with Node("headers-and-limits.yaml", "web", f'upstreams.app.hosts=["{app.address}"]') as node:
                answer = node.ask("/api/items?x=1", headers={"x-debug": "1"})
                told = answer.json()
                self.assertEqual(told["path"], "/v1/items?x=1")
                self.assertEqual(told["headers"]["x-edge-route"], "api")
                self.assertNotIn("x-debug", told["headers"])
                self.assertEqual(answer.headers["x-served-for"], "127.0.0.1")
                self.assertEqual(answer.headers["x-frame-options"], "DENY")
                self.assertIsNone(answer.headers["server"])
                self.assertEqual(node.ask("/api/items", "POST", b"a" * 70000).status, 413)
                self.assertEqual(node.ask("/api/items", "POST", b"a" * 60000).json()["received"], "a" * 60000)
                self.assertEqual(node.ask("/any", headers={"x-partner": "acme"}).json()["path"], "/any")
                self.assertEqual(node.ask("/any").status, 403)
                self.assertEqual(node.ask("/api/", headers={"x-big": "a" * 17000}).status, 431)


class Relay(ExampleTest):
    def test_passes_bytes_on(self):
        with socket.create_server(("127.0.0.1", 0)) as far, socket.create_server(("127.0.0.1", 0)) as gone:
            hosts = [f"127.0.0.1:{one.getsockname()[1]}" for one in (far, gone)]
            gone.close()
            free = [f"listeners.{name}.bind=127.0.0.1:0" for name in ("bad_redis", "tls", "dns")]
            with Node("relay.yaml", "redis", f"upstreams.redis.hosts={json.dumps(hosts)}", *free) as node:
                for _ in range(2):
                    with socket.create_connection(("127.0.0.1", node.port), 20) as client:
                        there, _ = far.accept()
                        with there:
                            client.sendall(b"PING\r\n")
                            self.assertEqual(there.recv(100), b"PING\r\n")
                            there.sendall(b"+PONG\r\n")
                            self.assertEqual(client.recv(100), b"+PONG\r\n")


class Everything(ExampleTest):
    def test_no_example_is_left_out(self):
        source = pathlib.Path(__file__).read_text()
        for path in sorted((ROOT / "examples").rglob("*.yaml")):
            name = str(path.relative_to(ROOT / "examples"))
            self.assertIn(f'Node("{name}"', source, f"examples/{name} is started by no test")
            self.assertTrue(path.read_text().startswith("# "), f"examples/{name} does not say what it is")

    def test_whole_configurations_in_the_docs_are_good(self):
        pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
        found = 0
        with tempfile.TemporaryDirectory(prefix="trellis-docs-") as folder:
            for page in pages:
                for block in re.finditer(r"^```yaml whole\n(.*?)^```$", page.read_text(), re.M | re.S):
                    line = page.read_text().count("\n", 0, block.start(1)) + 1
                    path = pathlib.Path(folder) / f"{page.stem}-{line}.yaml"
                    path.write_text(block[1])
                    checked = subprocess.run([BINARY, "check", path], capture_output=True, text=True)
                    self.assertEqual(checked.returncode, 0, f"{page.relative_to(ROOT)}:{line}: {checked.stderr}")
                    found += 1
        self.assertGreater(found, 0)


class Pages(unittest.TestCase):
    def test_links_between_pages_lead_somewhere(self):
        def anchors(page):
            heads = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), re.M)
            return {re.sub(r"[^a-z0-9 _-]", "", head.lower()).replace(" ", "-") for head in heads}

        pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
        for page in pages:
            if page.name.startswith("000-"):
                continue
            for link in re.findall(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)", page.read_text()):
                if re.match(r"[a-z]+:", link) or "reference/" in link:  # what is generated is checked where it is made
                    continue
                path, _, anchor = link.partition("#")
                there = (page.parent / path).resolve() if path else page
                self.assertTrue(there.exists(), f"{page.relative_to(ROOT)}: {link}")
                if anchor and there.suffix == ".md":
                    self.assertIn(anchor, anchors(there), f"{page.relative_to(ROOT)}: {link}")


del ExampleTest  # its subclasses run, it itself does not

if __name__ == "__main__":
    unittest.main(verbosity=2)
