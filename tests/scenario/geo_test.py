"""Clients go to the hosts of their region, to the next nearest while none of those works, and back: by a field of the
request, and by their address in MaxMind's test database where that is there (TRELLIS_DATA, or ../shared/data beside the
source tree).
"""
import contextlib
import os
import pathlib
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import node

DATA = pathlib.Path(os.environ.get("TRELLIS_DATA", node.ROOT.parent / "shared/data")) / "mmdb/test-data"

CONFIG = """
listeners:
  web: {{ bind: "127.0.0.1:0", trusted: [127.0.0.0/8] }}
upstreams:
  app:
    hosts: [{hosts}]
    retry: {{ budget: 100% }}
    eject: {{ base_time: 1s }}
    geo:
      {geo}
      other: us
      regions:
        as: {{ countries: [JP], near: [us] }}
        eu: {{ countries: [GB], near: [us] }}
        us: {{ countries: [US], near: [eu] }}
routes:
  - match: {{ path: /public/** }}
    filters: [{{ headers: {{ request: {{ remove: [X-Country] }} }} }}]
    to: upstream.app
  - {{ match: {{ path: /** }}, to: upstream.app }}
"""


class Server:
    """Answers every path with its name; may be closed and opened again at its port."""

    def __init__(self, name):
        self.name, self.port, self.server = name, 0, None

    def open(self):
        name = self.name.encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(name)))
                self.end_headers()
                self.wfile.write(name)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def close(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None


@contextlib.contextmanager
def servers():
    all_of_them = {name: Server(name).open() for name in ("as", "eu", "us")}
    try:
        yield all_of_them
    finally:
        for one in all_of_them.values():
            one.close()


def config(regions, geo):
    hosts = ", ".join(f'{{ address: "127.0.0.1:{one.port}", zone: {name} }}' for name, one in regions.items())
    return CONFIG.format(hosts=hosts, geo=geo)


def ask(running, *fields, path="/"):
    lines = "".join(f"{field}\r\n" for field in fields).encode()
    answer = running.ask(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + lines + b"\r\n", "web")
    assert answer.status == 200, answer
    return answer.body.decode()


def test_a_field_names_the_region_and_the_next_nearest_takes_over():
    with servers() as regions, node.Node(config(regions, "header: X-Country")) as running:
        for country, region in (("GB", "eu"), ("JP", "as"), ("US", "us"), ("eu", "eu"), ("ZZ", "us")):
            assert ask(running, f"X-Country: {country}") == region
        assert ask(running) == "us"
        assert ask(running, "X-Country: GB", path="/public/x") == "us", "the filter took the field off"
        regions["eu"].close()
        assert [ask(running, "X-Country: GB") for _ in range(20)] == ["us"] * 20
        regions["us"].close()
        assert [ask(running, "X-Country: GB") for _ in range(20)] == ["as"] * 20
        regions["eu"].open()
        node.until(lambda: ask(running, "X-Country: GB") == "eu", "the region has its clients again", 60)
        assert running.metric("trellis_region_tries_total", upstream="app", region="eu", at="away") > 0
        assert running.metric("trellis_region_tries_total", upstream="app", region="as", at="away") == 0


def test_a_field_of_strangers_names_no_region_where_proxies_are_trusted():
    with servers() as regions:
        believed = config(regions, "header: X-Country")
        for text, region in ((believed, "eu"), (believed.replace("trusted: [127.0.0.0/8]", "trusted: [192.0.2.0/24]"), "us"),
                             (believed.replace(", trusted: [127.0.0.0/8]", ""), "eu")):
            with node.Node(text) as running:
                assert ask(running, "X-Country: GB") == region


@pytest.mark.skipif(not (DATA / "GeoIP2-Country-Test.mmdb").exists(), reason=f"no databases in {DATA}; set TRELLIS_DATA")
def test_the_address_tells_the_region_and_a_reload_takes_a_new_database():
    with servers() as regions:
        running = node.Node(config(regions, "database: countries.mmdb"))
        place = running.folder / "countries.mmdb"
        shutil.copy(DATA / "GeoIP2-Country-Test.mmdb", place)
        with running:
            for address, region in (("81.2.69.160", "eu"), ("216.160.83.56", "us"), ("10.9.9.9", "us")):
                assert ask(running, f"X-Forwarded-For: {address}") == region
            assert "the database of countries is open" in running.errors()
            fresh = place.with_suffix(".new")
            shutil.copy(DATA / "GeoIP2-City-Test.mmdb", fresh)
            fresh.replace(place)
            running.reload()
            assert '"type":"GeoIP2-City"' in running.errors()
            assert ask(running, "X-Forwarded-For: 81.2.69.160") == "eu"
            (running.folder / "bad.new").write_bytes(b"no database")
            (running.folder / "bad.new").replace(place)
            running.reload()
            assert "upstreams.app.geo.database" in running.errors()
            assert ask(running, "X-Forwarded-For: 81.2.69.160") == "eu"


def test_a_database_that_is_not_there_is_told_with_its_place():
    with servers() as regions:
        running = node.Node(config(regions, "database: missing.mmdb"))
        with pytest.raises(AssertionError, match=r"upstreams\.app\.geo\.database.*missing\.mmdb"):
            running.__enter__()


def test_a_zone_that_is_no_region_is_told(tmp_path):
    text = config({"eu-wset": Server("x")}, "header: X-Country").replace(":0\", zone", ":8080\", zone")
    (tmp_path / "node.yaml").write_text(text.replace("127.0.0.1:0", "127.0.0.1:8080"))
    told = subprocess.run([str(node.BINARY), "check", str(tmp_path / "node.yaml")], capture_output=True, text=True,
                          timeout=node.PATIENCE)
    assert told.returncode != 0
    assert 'upstreams.app.hosts[0].zone: no region "eu-wset"' in told.stdout + told.stderr
