"""Why a request was answered as it was: by `trellis ctl explain`, and by the field with a key of the configuration."""
import json
import re

import node

KEY = "the-0123456789abcdef"

CONFIG = """
listeners:
  web: {{ bind: "127.0.0.1:0" }}
upstreams:
  app: {{ hosts: ["{good}", "127.0.0.1:1"], balance: least_connections }}
routes:
  - name: api
    match: {{ host: api.example.com, path: /v1/**, methods: [GET] }}
    filters:
      - rewrite: {{ strip_prefix: /v1 }}
      - allow: ["127.0.0.0/8"]
    to: upstream.app
  - {{ name: rest, match: {{ path: /** }}, to: {{ fixed: {{ status: 404, body: "nothing" }} }} }}
observe:
  access_log: {{ path: ./access.log }}
{observe}
"""


class Seeing(node.RawServer):
    """Answers everything, and keeps the requests."""

    def __init__(self):
        super().__init__(self._talk)
        self.requests = []

    def _talk(self, connection, number):
        reader = node.Reader(connection)
        while (seen := node.read_request(reader)) is not None:
            self.requests.append(seen)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=9\r\n\r\nhi")


def decisions(box, *words):
    done = box.ctl("explain", *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def of(told, step):
    return [one["detail"] for one in told["decisions"] if one["step"] == step]


def test_ctl_explain_tells_every_decision_of_a_request(io):
    with Seeing() as app, node.Node(CONFIG.format(good=app.host, observe=""), io=io) as box:
        told = decisions(box, "http://api.example.com/v1/users")
        assert told["status"] == 200
        assert of(told, "route") == ["api: host api.example.com, path /v1/**, method GET; leads to upstream.app; "
                                     "less specific: rest (path /**)"]
        assert of(told, "filter") == ["allow passes", "rewrite: the path is /users now"]
        assert of(told, "pick")[-1].startswith(app.host + " by least_connections; ")
        assert of(told, "try")[-1].startswith(app.host + ": status 200 after ")
        assert of(told, "answer") == ["status 200; its Cache-Control was max-age=9"]
        times = [one["ms"] for one in told["decisions"]]
        assert times == sorted(times)
        # The host that refuses connections is asked first sooner or later: the retry is told.
        asked = node.until(lambda: next((one for one in (decisions(box, "http://api.example.com/v1/") for _ in range(4))
                                         if len(of(one, "try")) == 2), None), "a retry")
        assert of(asked, "try")[0].startswith("127.0.0.1:1: ") and "connect" in of(asked, "try")[0]
        assert all(seen.get(b"x-trellis-explain") is None for seen in app.requests)
        # For people, a line each.
        done = box.ctl("explain", "api.example.com/v1/users", "-H", "X-Who: me")
        assert done.returncode == 0, done.stderr
        assert re.search(r"^ +\d+\.\d{3} ms  route +api: host", done.stdout, re.M), done.stdout
        assert app.requests[-1].get(b"x-who") == b"me"


def test_ctl_explain_tells_why_nothing_was_found():
    with Seeing() as app:
        config = CONFIG.format(good=app.host, observe="").replace("path: /** }, to: { fixed", "path: /x }, to: { fixed")
        with node.Node(config) as box:
            told = decisions(box, "http://api.example.com/v1/users", "-X", "DELETE")
            assert told["status"] == 405
            assert of(told, "route") == ["no route of 2 takes DELETE api.example.com/v1/users; near: "
                                         "api (host api.example.com, path /v1/**, method GET)"]


def test_ctl_explain_says_what_it_needs():
    with Seeing() as app:
        config = CONFIG.format(good=app.host, observe="").replace(
            'web: { bind: "127.0.0.1:0" }', 'web: { bind: "127.0.0.1:0" }\n  other: { bind: "127.0.0.1:0" }')
        with node.Node(config) as box:
            done = box.ctl("explain", "http://api.example.com/")
            assert done.returncode == 1 and "--listener" in done.stderr and "other (127.0.0.1:" in done.stderr
            assert decisions(box, "http://api.example.com/", "--listener", "other")["status"] == 404
            assert box.ctl("explain", "http://api.example.com/", "-H", "nonsense").returncode == 1


def test_ctl_explain_takes_addresses_as_they_are_written_and_says_what_is_none():
    with Seeing() as app, node.Node(CONFIG.format(good=app.host, observe="")) as box:
        for page in ("HTTP://API.Example.com/v1/a#top", "api.example.com/v1/a", "https://api.example.com/v1/a"):
            assert decisions(box, page)["status"] == 200, page
        assert decisions(box, "http://api.example.com?v=1")["status"] == 404
        for page in ("ftp://api.example.com/", "http://user@api.example.com/", "http://api.example.com:99999/",
                     "http://a b/", "http:///v1/a", "", "/v1/a"):
            done = box.ctl("explain", page)
            assert done.returncode == 1 and "is no address such as" in done.stderr, (page, done)
        done = box.ctl("explain", "http://api.example.com/%zz")
        assert done.returncode == 1 and done.stderr.strip() == 'trellis: "/%zz" is no path', done


def test_a_key_of_the_configuration_opens_it_to_whoever_has_it(tmp_path):
    key = tmp_path / "key"
    key.write_text(KEY + "\n")
    observe = f"  explain_key_file: {key}"
    with Seeing() as app, node.Node(CONFIG.format(good=app.host, observe=observe)) as box:
        def ask(*fields):
            head = b"GET /v1/a HTTP/1.1\r\nHost: api.example.com\r\n" + b"".join(fields) + b"\r\n"
            return box.ask(head, "web")

        told = ask(b"X-Trellis-Explain: " + KEY.encode() + b"\r\n")
        assert any(line.startswith(b"route;t=") for line in told.all(b"x-trellis-explain"))
        assert told.all(b"cache-control") == [b"no-store"]
        for wrong in (b"", KEY.encode()[:-1], KEY.encode() + b"x", b"x" * 5000):
            silent = ask(b"X-Trellis-Explain: " + wrong + b"\r\n")
            assert silent.status == 200 and silent.all(b"x-trellis-explain") == []
            assert silent.all(b"cache-control") == [b"max-age=9"]
        assert all(seen.get(b"x-trellis-explain") is None for seen in app.requests)
        # A reload reads it again.
        key.write_text("another-0123456789abcdef")
        box.reload()
        assert ask(b"X-Trellis-Explain: " + KEY.encode() + b"\r\n").all(b"x-trellis-explain") == []
        assert ask(b"X-Trellis-Explain: another-0123456789abcdef\r\n").all(b"x-trellis-explain")
        key.write_text("short")
        assert box.ctl("reload").returncode == 1
        assert KEY not in box.errors() and KEY not in (box.folder / "access.log").read_text()
