#!/usr/bin/env python3
"""Destinations that may not be linked, by the API and by a file that a reload reads again.

    python3 tests/scenario/links_blocklist_test.py
"""
import json
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import node as nodes  # noqa: E402
from links_node import CONFIG, LinksNode  # noqa: E402

WITH_FILE = CONFIG.replace('base_url: "http://go.test"', 'base_url: "http://go.test", blocklist: blocked.txt')


def curl(node, path, *words):
    """(status, Location, body) as curl sees it."""
    done = subprocess.run(["curl", "-sS", "-w", "\n%{http_code} %{redirect_url}", *words, "http://%s:%d%s" % (*node.address(), path)],
                          capture_output=True, text=True, timeout=nodes.PATIENCE)
    assert done.returncode == 0, done
    body, _, last = done.stdout.rpartition("\n")
    status, _, location = last.partition(" ")
    return int(status), location, body


def post(node, path, body):
    return curl(node, path, "-H", "content-type: application/json", "-d", json.dumps(body))


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class Blocklist(unittest.TestCase):
    def test_what_is_blocked_holds_at_once_and_after_a_kill_until_it_is_taken_away(self):
        with LinksNode() as node:
            bad = node.make("https://www.bad.example/a")["code"]
            good = node.make("https://good.example/")["code"]
            self.assertEqual(curl(node, "/" + bad)[:2], (302, "https://www.bad.example/a"))
            status, _, body = post(node, "/v1/blocklist", {"pattern": "bad.example", "reason": "phishing"})
            self.assertEqual(status, 201, body)
            number = json.loads(body)["id"]
            for _ in range(2):
                status, location, body = curl(node, "/" + bad)
                self.assertEqual((status, location, json.loads(body)["code"]), (410, "", "blocked"))
                self.assertEqual(curl(node, "/" + good)[0], 302)
                status, _, body = post(node, "/v1/links", {"url": "http://BAD.example.:8080/x"})
                self.assertEqual((status, json.loads(body)["code"]), (422, "blocked"))
                self.assertNotIn("phishing", body)
                node.kill()
                node.start()
            self.assertEqual(curl(node, f"/v1/blocklist/{number}", "-X", "DELETE")[0], 204)
            self.assertEqual(curl(node, "/" + bad)[:2], (302, "https://www.bad.example/a"))

    def test_a_reload_reads_the_file_again_and_a_wrong_one_changes_nothing(self):
        node = LinksNode(WITH_FILE)
        blocked = node.folder / "blocked.txt"
        blocked.write_text("# ours\nbad.example\n")
        with node:
            self.assertEqual(post(node, "/v1/links", {"url": "https://bad.example/"})[0], 422)
            code = node.make("https://worse.example/")["code"]
            self.assertEqual(curl(node, "/" + code)[0], 302)

            def replace(text):
                fresh = node.folder / "fresh.txt"
                fresh.write_text(text)
                fresh.replace(blocked)
                node.reload()

            replace("bad.example\nno host\n")
            self.assertIn("blocked.txt:2", node.errors())
            self.assertEqual(curl(node, "/" + code)[0], 302)
            replace("worse.example\n")
            self.assertEqual(curl(node, "/" + code)[0], 410)
            self.assertEqual(post(node, "/v1/links", {"url": "https://bad.example/"})[0], 201)

    def test_a_node_does_not_start_without_its_file(self):
        node = LinksNode(WITH_FILE)
        with self.assertRaisesRegex(AssertionError, "blocked.txt"):
            node.start()


if __name__ == "__main__":
    unittest.main()
