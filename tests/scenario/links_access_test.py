#!/usr/bin/env python3
"""Who may do what with links: keys with scopes, passwords.

    python3 tests/scenario/links_access_test.py
"""
import json
import pathlib
import re
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import node as nodes  # noqa: E402
from links_node import CONFIG, LinksNode  # noqa: E402

KEYS = CONFIG.replace('base_url: "http://go.test"', 'base_url: "http://go.test", keys: required')
URL = "https://example.com/"


def key_command(node, *words, key=""):
    return subprocess.run([node.command[0], "key", *words], capture_output=True, text=True, timeout=nodes.PATIENCE,
                          cwd=node.folder, env={"TRELLIS_KEY": key} if key else {})


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class Keys(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = LinksNode(KEYS)
        made = key_command(cls.node, "add", "first", "--scope", "admin", "--store", "main", "--config", str(cls.node.folder / "node.yaml"))
        assert made.returncode == 0, made
        cls.admin = made.stdout.strip()
        cls.enterClassContext(cls.node)

    def command(self, *words, key=None):
        return key_command(self.node, *words, "--node", "http://%s:%d" % self.node.address(), key=self.admin if key is None else key)

    def api(self, method, path, body=None, key=None):
        return self.node.api(method, path, body, {"X-Api-Key": key} if key else None)

    def test_the_first_key_comes_from_the_stopped_node_and_makes_the_others(self):
        self.assertRegex(self.admin, r"^trl_[0-9a-f]{32}$")
        made = self.command("add", "shop", "--scope", "write", "--expires-at", "2199-01-01T00:00:00Z", "--json")
        self.assertEqual((made.returncode, made.stderr), (0, ""))
        shop = json.loads(made.stdout)
        self.assertEqual((shop["name"], shop["scope"], shop["expires_at"]), ("shop", "write", "2199-01-01T00:00:00.000Z"))
        status, _, link = self.api("POST", "/v1/links", {"url": URL}, shop["key"])
        self.assertEqual(status, 201)
        self.assertEqual(self.node.follow(link["code"]), (302, URL))
        self.assertEqual(self.api("GET", "/v1/keys", key=shop["key"])[0], 403)
        listed = self.command("ls")
        self.assertIn("shop", listed.stdout)
        self.assertNotIn(shop["key"], listed.stdout)
        self.assertEqual(self.command("rm", str(shop["id"])).returncode, 0)
        self.assertEqual(self.api("GET", "/v1/links", key=shop["key"])[0], 401)
        self.assertEqual(self.command("rm", str(shop["id"])).returncode, 1)

    def test_nothing_of_the_api_answers_without_a_key_but_what_is_open(self):
        _, _, document = self.node.api("GET", "/v1/openapi.json")
        closed = 0
        for path, methods in document["paths"].items():
            for method, what in methods.items():
                if "security" not in what:
                    self.assertTrue(path == "/v1/openapi.json" or not path.startswith("/v1/"), (method, path))
                    continue
                target = re.sub(r"{[^}]*}", "1", path)
                body = {} if "requestBody" in what else None
                self.assertEqual(self.node.api(method.upper(), target, body)[0], 401, (method, path))
                closed += 1
        self.assertGreaterEqual(closed, 10)

    def test_links_commands_take_the_key_of_the_environment(self):
        address = "http://%s:%d" % self.node.address()
        words = [self.node.command[0], "links", "add", URL, "--node", address]
        without = subprocess.run(words, capture_output=True, text=True, timeout=nodes.PATIENCE, env={})
        self.assertEqual((without.returncode, without.stdout), (1, ""))
        self.assertIn("key", without.stderr)
        done = subprocess.run(words, capture_output=True, text=True, timeout=nodes.PATIENCE, env={"TRELLIS_KEY": self.admin})
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)

    def test_the_store_of_a_running_node_is_left_alone(self):
        refused = key_command(self.node, "ls", "--store", "main", "--config", str(self.node.folder / "node.yaml"))
        self.assertEqual((refused.returncode, refused.stdout), (1, ""))
        self.assertIn("stop that node first", refused.stderr)


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class KeysOff(unittest.TestCase):
    def test_no_key_can_be_made_over_the_network(self):
        with LinksNode() as node:
            self.assertEqual(node.api("POST", "/v1/keys", {"name": "x", "scope": "admin"})[0], 403)
            self.assertEqual(node.api("GET", "/v1/links")[0], 200)


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class Passwords(unittest.TestCase):
    def curl(self, node, path, *words):
        """(status, Location) as curl sees it."""
        done = subprocess.run(["curl", "-sS", "-o", str(node.folder / "body"), "-w", "%{http_code} %{redirect_url}", *words,
                               "http://%s:%d%s" % (*node.address(), path)], capture_output=True, text=True, timeout=nodes.PATIENCE)
        self.assertEqual(done.returncode, 0, done)
        return tuple(done.stdout.split(" ", 1))

    def test_a_visitor_gets_through_with_the_password_only_also_after_a_kill(self):
        with LinksNode() as node:
            link = node.make(URL, password="open sesame", alias="door")
            self.assertTrue(link["has_password"])
            self.assertEqual(self.curl(node, "/door"), ("200", ""))
            page = (node.folder / "body").read_text()
            self.assertIn('type="password"', page)
            self.assertNotIn(URL, page)
            self.assertEqual(self.curl(node, "/door", "--data-urlencode", "password=wrong"), ("403", ""))
            self.assertEqual(self.curl(node, "/door", "--data-urlencode", "password=open sesame"), ("303", URL))
            self.assertEqual(self.curl(node, "/door", "-u", "me:open sesame"), ("302", URL))
            node.kill()
            node.start()
            self.assertEqual(self.curl(node, "/door"), ("200", ""))
            self.assertEqual(self.curl(node, "/door", "-u", "me:open sesame"), ("302", URL))
            self.assertEqual(node.api("PATCH", "/v1/links/door", {"password": None})[0], 200)
            self.assertEqual(self.curl(node, "/door"), ("302", URL))
            self.assertNotIn("sesame", node.errors_before + node.errors())

    def test_the_command_takes_one_from_standard_input_and_an_export_brings_it_back(self):
        with LinksNode() as node, LinksNode() as other:
            def command(*words, text=""):
                return subprocess.run([node.command[0], "links", *words, "--node", "http://%s:%d" % node.address()], input=text,
                                      capture_output=True, text=True, timeout=nodes.PATIENCE, cwd=node.folder)
            made = command("add", URL, "--alias", "door", "--password", text="open sesame\n")
            self.assertEqual((made.returncode, made.stderr), (0, ""))
            self.assertEqual(self.curl(node, "/door"), ("200", ""))
            self.assertEqual(command("add", URL, "--password").returncode, 2, "an empty line is none")
            exported = command("export", "links.ndjson")
            self.assertEqual(exported.returncode, 0, exported)
            self.assertNotIn("sesame", (node.folder / "links.ndjson").read_text())
            imported = other.cli("import", str(node.folder / "links.ndjson"))
            self.assertEqual(imported.returncode, 0, imported)
            self.assertEqual(self.curl(other, "/door"), ("200", ""))
            self.assertEqual(self.curl(other, "/door", "--data-urlencode", "password=open sesame"), ("303", URL))
            self.assertEqual(command("edit", "door", "--no-password").returncode, 0)
            self.assertEqual(self.curl(node, "/door"), ("302", URL))


if __name__ == "__main__":
    unittest.main()
