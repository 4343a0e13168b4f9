#!/usr/bin/env python3
"""Webhooks: what happens to links is posted, signed, and posted again when it did not arrive.

    python3 tests/scenario/links_webhooks_test.py
"""
import hashlib
import hmac
import http.server
import json
import pathlib
import sys
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import node as nodes  # noqa: E402
from links_node import CONFIG, LinksNode  # noqa: E402

ANY = CONFIG.replace('base_url: "http://go.test"', 'base_url: "http://go.test", webhooks: any')


class Receiver:
    """Keeps what is posted to it; answers with the statuses given, then with 204."""

    def __init__(self, *statuses):
        self.posts = []
        statuses = list(statuses)
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(statuses.pop(0) if statuses else 204)
                self.end_headers()
                receiver.posts.append((dict(self.headers), body))

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d/hook" % self.server.server_address[1]

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class Webhooks(unittest.TestCase):
    def hook(self, node, url, **more):
        status, _, made = node.api("POST", "/v1/webhooks", {"url": url, **more})
        self.assertEqual(status, 201, made)
        return made

    def test_a_change_is_posted_with_a_signature(self):
        with Receiver() as receiver, LinksNode(ANY) as node:
            secret = self.hook(node, receiver.url)["secret"]
            node.make("https://example.com/", alias="a", title="T")
            nodes.until(lambda: len(receiver.posts) == 1, "the link is told")
            self.assertEqual(node.api("PATCH", "/v1/links/a", {"title": "U"})[0], 200)
            nodes.until(lambda: len(receiver.posts) == 2, "its change is told")
            self.assertEqual(node.api("DELETE", "/v1/links/a")[0], 204)
            nodes.until(lambda: len(receiver.posts) == 3, "its end is told")
            events = [json.loads(body) for _, body in receiver.posts]
            self.assertEqual([event["event"] for event in events], ["link.created", "link.changed", "link.deleted"])
            self.assertEqual((events[0]["link"]["short_url"], events[1]["link"]["title"]), ("http://go.test/a", "U"))
            self.assertEqual(events[2]["link"], {"id": events[0]["link"]["id"], "code": "a", "domain": "go.test"})
            for headers, body in receiver.posts:
                time, _, signature = headers["Trellis-Signature"].partition(",v1=")
                wanted = hmac.new(secret.encode(), time.removeprefix("t=").encode() + b"." + body, hashlib.sha256).hexdigest()
                self.assertEqual(signature, wanted)
                self.assertEqual(headers["Content-Type"], "application/json")
                self.assertEqual(headers["Trellis-Event"], json.loads(body)["event"])
                self.assertEqual(headers["Trellis-Delivery"], str(json.loads(body)["delivery"]))

    def test_what_did_not_arrive_is_posted_again(self):
        with Receiver(500, 302) as receiver, LinksNode(ANY) as node:
            self.hook(node, receiver.url, events=["link.created"])
            node.make("https://example.com/")
            nodes.until(lambda: len(receiver.posts) == 3, "the third post is taken", seconds=60)
            self.assertEqual(len({json.loads(body)["delivery"] for _, body in receiver.posts}), 1)

    def test_what_was_acknowledged_is_told_after_a_crash(self):
        with Receiver() as receiver, LinksNode(ANY) as node:
            self.hook(node, receiver.url)
            codes = {node.make("https://example.com/")["code"] for _ in range(5)}
            node.kill()
            node.start()
            nodes.until(lambda: {json.loads(body)["link"]["code"] for _, body in receiver.posts} >= codes, "all links are told", seconds=60)

    def test_a_private_address_is_not_reached(self):
        with Receiver() as receiver, LinksNode() as node:
            self.hook(node, receiver.url)
            self.hook(node, receiver.url.replace("127.0.0.1", "localhost"))
            node.make("https://example.com/")
            nodes.until(lambda: node.metric("trellis_queue_dead_total", topic="webhooks") == 2, "both jobs are dead")
            self.assertEqual(receiver.posts, [])


if __name__ == "__main__":
    unittest.main()
