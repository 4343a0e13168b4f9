#!/usr/bin/env python3
"""What a client may make those behind the node believe: nothing of its connection, its way here or the configuration's own fields.

    python3 -m pytest tests/scenario/edge_claims_test.py
"""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import node  # noqa: E402

CONFIG = """
node: edge-1
listeners:
  web: {{ bind: "127.0.0.1:0" }}
  merged: {{ bind: "127.0.0.1:0", merge_slashes: true }}
upstreams:
  app: {{ hosts: ["{host}"] }}
routes:
  - match: {{ path: /own/** }}
    filters:
      - headers: {{ request: {{ set: {{ X-Edge-Secret: "abc" }}, add: {{ X-Edge-Added: "def", X-Forwarded-Prefix: "/own" }},
                               remove: [X-Gone] }} }}
    to: upstream.app
  - {{ match: {{ path: /app/** }}, to: upstream.app }}
  - {{ match: {{ path: /fixed }}, to: {{ fixed: {{ status: 200, body: "ok" }} }} }}
  - {{ match: {{ path: /** }}, to: {{ redirect: {{ to: "https://www.example.com$${{uri}}" }} }} }}
"""


class Recorder(node.RawServer):
    """Answers 204, as HTTP/1.0 where the path says so, and keeps what it was asked."""

    def __init__(self):
        super().__init__(self._talk)
        self.seen = []

    def _talk(self, connection, number):
        reader = node.Reader(connection)
        while True:
            seen = node.read_request(reader)
            if seen is None:
                return
            self.seen.append(seen)
            old = b"/old" in seen.head
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n" if old else b"HTTP/1.1 204 No Content\r\n\r\n")
            if old:
                return


class Claims(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.upstream = cls.enterClassContext(Recorder())
        cls.node = cls.enterClassContext(node.Node(CONFIG.format(host=cls.upstream.host)))

    def send(self, text, method=b"GET"):
        """(the answer, what the upstream saw, whether the connection went on)."""
        before = len(self.upstream.seen)
        with node.Client(self.node.address()) as client:
            client.send(text)
            answer = client.answer(method)
            ended = False
            try:
                client.send(b"GET /fixed HTTP/1.1\r\nHost: h\r\n\r\n")
                client.answer()
            except (EOFError, ConnectionError):
                ended = True
        seen = self.upstream.seen[before:]
        return answer, seen[0] if seen else None, not ended

    def test_slashes_are_merged_before_a_route_is_chosen_where_the_listener_says_so(self):
        for path, merged in ((b"/app//x", b"/app/x"), (b"//app/x", b"/app/x"), (b"/app%2Fx", b"/app/x"), (b"/%2f/app///x/", b"/app/x/"),
                             (b"/app/x?u=//a%2Fb", b"/app/x?u=//a%2Fb"), (b"/app/%252F", b"/app/%252F")):
            with node.Client(self.node.address("merged")) as client:
                client.send(b"GET " + path + b" HTTP/1.1\r\nHost: h\r\n\r\n")
                self.assertEqual(client.answer().status, 204, path)
            self.assertEqual(self.upstream.seen[-1].target, merged, path)
        for path in (b"//app/x", b"/app%2Fx"):  # elsewhere they are other paths, and go to the last route
            answer, seen, _ = self.send(b"GET " + path + b" HTTP/1.1\r\nHost: h\r\n\r\n")
            self.assertEqual((answer.status, seen), (302, None), path)

    def test_connection_takes_off_nothing_that_the_configuration_sets(self):
        answer, seen, _ = self.send(b"GET /own/x HTTP/1.1\r\nHost: h\r\nX-Mine: 1\r\nConnection: X-Edge-Secret, x-edge-added, x-mine\r\n\r\n")
        self.assertEqual(answer.status, 204)
        self.assertEqual(seen.all(b"x-edge-secret"), [b"abc"])
        self.assertEqual(seen.all(b"x-edge-added"), [b"def"])
        self.assertEqual(seen.all(b"x-mine"), [])
        for name in (b"via", b"x-forwarded-for", b"x-forwarded-prefix", b"x-request-id", b"host"):
            answer, seen, _ = self.send(b"GET /own/x HTTP/1.1\r\nHost: h\r\nConnection: %b\r\n\r\n" % name)
            self.assertEqual((answer.status, seen), (400, None), name)

    def test_fields_that_only_look_like_the_configurations_own_are_taken_off(self):
        _, seen, _ = self.send(b"GET /own/x HTTP/1.1\r\nHost: h\r\nX_Edge_Secret: evil\r\nx_edge-secret: evil\r\nX_Gone: evil\r\n"
                               b"X_Other: stays\r\n\r\n")
        self.assertNotIn(b"evil", seen.head)
        self.assertEqual(seen.all(b"x_other"), [b"stays"])

    def test_claims_of_the_way_here_do_not_pass_and_the_configurations_own_do(self):
        claims = b"".join(b"%b: evil\r\n" % name for name in (
            b"X-Forwarded", b"X-Forwarded-For", b"X-Forwarded-Host", b"X-Forwarded-Proto", b"X-Forwarded-Port", b"x-forwarded-prefix",
            b"X-Forwarded-Ssl", b"X-Forwarded-Scheme", b"X-Forwarded-Server", b"X-Forwarded-User", b"X-Forwarded-Client-Cert",
            b"Forwarded", b"X-Real-IP"))
        _, seen, _ = self.send(b"GET /own/x HTTP/1.1\r\nHost: h\r\n" + claims + b"\r\n")
        self.assertNotIn(b"evil", seen.head)
        self.assertEqual(seen.all(b"x-forwarded-prefix"), [b"/own"])
        self.assertEqual(seen.all(b"x-forwarded-proto"), [b"http"])

    def test_an_https_target_is_refused_where_nothing_is_secured(self):
        for target in (b"https://h/app/x", b"HTTPS://h:443/app/x"):
            answer, seen, goes_on = self.send(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % target)
            self.assertEqual((answer.status, seen, goes_on), (421, None, False), target)
        answer, seen, _ = self.send(b"GET http://h/app/x HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual((answer.status, seen.all(b"x-forwarded-proto")), (204, [b"http"]))

    def test_nothing_is_read_behind_a_refused_connect(self):
        answer, seen, _ = self.send(b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\nGET /app/hidden HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual((answer.status, answer.get(b"connection"), seen), (405, b"close", None))

    def test_options_go_as_far_as_max_forwards_says(self):
        for given, passed in ((b"5", b"4"), (b"1", b"0"), (b"99999999999999999999", b"4294967294")):
            answer, seen, _ = self.send(b"OPTIONS /app/x HTTP/1.1\r\nHost: h\r\nMax-Forwards: %b\r\n\r\n" % given)
            self.assertEqual((answer.status, seen.all(b"max-forwards")), (204, [passed]))
        answer, seen, _ = self.send(b"OPTIONS /app/x HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n")
        self.assertEqual((answer.status, seen), (204, None))
        self.assertIn(b"OPTIONS", answer.get(b"allow"))
        for bad in (b"x", b"-1", b"1, 2", b""):
            answer, seen, _ = self.send(b"OPTIONS /app/x HTTP/1.1\r\nHost: h\r\nMax-Forwards: %b\r\n\r\n" % bad)
            self.assertEqual((answer.status, seen), (400, None), bad)
        _, seen, _ = self.send(b"GET /app/x HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n")
        self.assertEqual(seen.all(b"max-forwards"), [b"0"], "it is for OPTIONS and TRACE")

    def test_a_refusal_of_head_has_no_body(self):
        for head in (b"HEAD /app/x HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", b"HEAD /app/x HTTP/1.1\r\n\r\n",
                     b"HEAD /app/x HTTP/1.1\r\nHost: h\r\nX : y\r\n\r\n", b"HEAD /app/x HTTP/3.1\r\nHost: h\r\n\r\n"):
            with node.Client(self.node.address()) as client:
                client.send(head)
                answer = client.answer(b"HEAD")
                self.assertIn(answer.status, (400, 505))
                while client.more():
                    pass
                self.assertEqual(client.rest, b"", head)

    def test_via_says_in_which_version_a_message_came(self):
        for version in (b"1.0", b"1.1"):
            answer, seen, _ = self.send(b"GET /app/x HTTP/%b\r\nHost: h\r\n\r\n" % version)
            self.assertEqual(seen.all(b"via"), [version + b" edge-1"])
            self.assertEqual(answer.get(b"via"), b"1.1 edge-1")
        answer, _, _ = self.send(b"GET /app/old HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(answer.get(b"via"), b"1.0 edge-1")

    def test_commas_in_comments_of_via_are_no_hops(self):
        lines = b"Via: 1.1 a (x, y, (z, \\), w))\r\n" * 7
        answer, _, _ = self.send(b"GET /app/x HTTP/1.1\r\nHost: h\r\n" + lines + b"\r\n")
        self.assertEqual(answer.status, 204)
        answer, seen, _ = self.send(b"GET /app/x HTTP/1.1\r\nHost: h\r\nVia: " + b", ".join([b"1.1 a"] * 20) + b"\r\n\r\n")
        self.assertEqual((answer.status, seen), (508, None))

    def test_the_star_of_options_does_not_become_a_part_of_a_hosts_name(self):
        answer, _, _ = self.send(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(answer.get(b"location"), b"https://www.example.com/")


if __name__ == "__main__":
    unittest.main()
