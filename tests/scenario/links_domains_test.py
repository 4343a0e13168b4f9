#!/usr/bin/env python3
"""Short links on many domains: the Host field says which, each has its own fallbacks, keys can be limited to one.

    python3 tests/scenario/links_domains_test.py
"""
import json
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import node as nodes  # noqa: E402
from links_node import CONFIG, LinksNode  # noqa: E402

KEYS = CONFIG.replace('base_url: "http://go.test"', 'base_url: "http://go.test", keys: required')
URL = "https://example.com/"


def at(node, host, path):
    """(status, Location or None) of a GET with this Host."""
    with node.client() as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        answer = client.answer()
    fields = {name.decode(): value.decode() for name, value in answer.fields}
    return answer.status, fields.get("location")


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class Domains(unittest.TestCase):
    def test_a_code_is_one_link_on_each_domain_and_stays_so_over_a_crash(self):
        with LinksNode() as node:
            status, fields, made = node.api("POST", "/v1/domains", {"base_url": "https://other.test", "unknown_url": URL + "unknown"})
            self.assertEqual((status, fields["location"], made["host"]), (201, f"/v1/domains/{made['id']}", "other.test"))
            node.make(URL + "1", alias="page")
            other = node.make(URL + "2", alias="page", domain="other.test")
            self.assertEqual((other["code"], other["domain"], other["short_url"]), ("page", "other.test", "https://other.test/page"))
            for _ in range(2):
                self.assertEqual(at(node, "go.test", "/page"), (302, URL + "1"))
                self.assertEqual(at(node, "other.test", "/page"), (302, URL + "2"))
                self.assertEqual(at(node, "OTHER.test:443", "/page"), (302, URL + "2"))
                self.assertEqual(at(node, "somebody.test", "/page"), (302, URL + "1"), "no domain of ours is the default one")
                self.assertEqual(at(node, "other.test", "/nothing"), (302, URL + "unknown"))
                self.assertEqual(at(node, "go.test", "/nothing")[0], 404)
                node.kill()
                node.start()
            self.assertEqual(node.api("DELETE", f"/v1/domains/{made['id']}")[0], 409)
            node.api("PATCH", f"/v1/domains/{made['id']}", {"unknown_url": None})
            self.assertEqual(at(node, "other.test", "/nothing")[0], 404, "at once")

    def test_each_domain_has_idempotency_keys_of_its_own(self):
        with LinksNode() as node:
            node.api("POST", "/v1/domains", {"base_url": "https://other.test"})
            key = {"Idempotency-Key": "order-1"}
            made = {}
            for query in ("", "?domain=other.test"):
                status, _, made[query] = node.api("POST", f"/v1/links{query}", {"url": URL + query[:5]}, key)
                self.assertEqual(status, 201, made)
            self.assertEqual([made[query]["domain"] for query in made], ["go.test", "other.test"])
            for query, link in made.items():
                self.assertEqual(node.api("POST", f"/v1/links{query}", {"url": link["url"]}, key)[2], link)
                self.assertEqual(node.api("POST", f"/v1/links{query}", {"url": URL + "x"}, key)[0], 422)
            self.assertEqual(node.api("POST", "/v1/links?domain=OTHER.test", {"url": URL + "x"}, key)[0], 422)

    def test_what_cannot_be_a_code_is_as_unknown_as_one_that_nobody_has(self):
        with LinksNode() as node:
            node.api("POST", "/v1/domains", {"base_url": "https://other.test", "unknown_url": URL + "unknown"})
            for path in ("/favicon.ico", "/old/page.html", "/old/", "/a/b/c/d/e/f/g/h/i/j", "//nothing", "/v1"):
                with self.subTest(path=path):
                    self.assertEqual(at(node, "other.test", path), (302, URL + "unknown"))
                    self.assertEqual(at(node, "go.test", path), (404, None))
            for path in ("/v1/nothing", "/v1/links/a/b", "/rest/v3/nothing"):
                with self.subTest(path=path):
                    self.assertEqual(at(node, "other.test", path), (404, None), "the API says so itself")

    def test_clicks_and_statistics_are_of_the_domain(self):
        with LinksNode() as node:
            node.api("POST", "/v1/domains", {"base_url": "https://other.test"})
            node.make(URL + "1", alias="page")
            node.make(URL + "2", alias="page", domain="other.test")
            for host, count in (("go.test", 1), ("other.test", 3)):
                for _ in range(count):
                    at(node, host, "/page")

            def clicks(path):
                stats = node.api("GET", path)[2]
                return stats["clicks"] + stats["bots"]
            nodes.until(lambda: clicks("/v1/stats") == 4, "four clicks")
            self.assertEqual(clicks("/v1/stats?domain=other.test"), 3)
            self.assertEqual(clicks("/v1/stats?domain=go.test"), 1)
            self.assertEqual(clicks("/v1/links/page/stats"), 1)
            self.assertEqual(clicks("/v1/links/page/stats?domain=other.test"), 3)

    def test_the_commands_name_links_by_domain_or_short_address(self):
        with LinksNode() as node:
            node.api("POST", "/v1/domains", {"base_url": "http://other.test"})
            added = node.cli("add", URL + "2", "--alias", "page", "--domain", "other.test")
            self.assertEqual((added.returncode, added.stdout), (0, "http://other.test/page\n"), added)
            node.make(URL + "1", alias="page")
            for words in (("page", "--domain", "other.test"), ("http://other.test/page",)):
                self.assertEqual(json.loads(node.cli("show", *words, "--json").stdout)["url"], URL + "2")
            self.assertEqual(json.loads(node.cli("show", "page", "--json").stdout)["url"], URL + "1")
            elsewhere = "http://%s:%d/page" % node.address()
            self.assertEqual(json.loads(node.cli("show", elsewhere, "--json").stdout)["url"], URL + "1")
            self.assertEqual(json.loads(node.cli("stats", elsewhere, "--json").stdout)["code"], "page")
            self.assertEqual(node.cli("show", "HTTP://Other.test:80/page", "--domain", "other.test").returncode, 0)
            for words in (("edit", elsewhere, "--title", "x"), ("rm", elsewhere)):
                refused = node.cli(*words)
                self.assertEqual(refused.returncode, 1, refused)
                self.assertIn("the node has no domain", refused.stderr)
            for verb in ("show", "rm"):
                refused = node.cli(verb, "http://other.test/page", "--domain", "go.test")
                self.assertEqual(refused.returncode, 2, refused)
            self.assertEqual((at(node, "other.test", "/page")[0], at(node, "go.test", "/page")[0]), (302, 302))
            self.assertEqual(node.cli("ls", "--domain", "other.test").stdout.count("\n"), 1)
            self.assertNotIn(URL + "1", node.cli("export", "--domain", "other.test").stdout)
            whole = node.folder / "all.csv"
            self.assertEqual(node.cli("export", str(whole)).returncode, 0)
            self.assertEqual(node.cli("rm", "http://other.test/page").returncode, 0)
            self.assertEqual((at(node, "other.test", "/page")[0], at(node, "go.test", "/page")[0]), (410, 302))
            # Elsewhere the same file makes the same links.
            with LinksNode() as fresh:
                self.assertNotEqual(fresh.cli("import", str(whole)).returncode, 0, "it has no such domain")
                fresh.api("POST", "/v1/domains", {"base_url": "http://other.test"})
                self.assertEqual(fresh.cli("import", str(whole)).returncode, 0)
                self.assertEqual(at(fresh, "other.test", "/page"), (302, URL + "2"))

    def test_a_key_can_be_limited_to_a_domain(self):
        node = LinksNode(KEYS)

        def key_command(*words, key=""):
            done = subprocess.run([node.command[0], "key", *words], capture_output=True, text=True, timeout=nodes.PATIENCE,
                                  cwd=node.folder, env={"TRELLIS_KEY": key} if key else {})
            return done.returncode, done.stdout.strip(), done.stderr
        stopped = ("--store", "main", "--config", str(node.folder / "node.yaml"))
        admin = key_command("add", "admin", "--scope", "admin", *stopped)[1]
        self.assertNotEqual(key_command("add", "x", "--domain", "other.test", *stopped)[0], 0, "there is none yet")
        default_only = key_command("add", "default", "--domain", "go.test", *stopped)[1]
        with node:
            def api(method, path, body=None, key=admin):
                return node.api(method, path, body, {"X-Api-Key": key})
            self.assertEqual(api("POST", "/v1/domains", {"base_url": "https://other.test"})[0], 201)
            code, limited, problem = key_command("add", "limited", "--domain", "other.test", "--node",
                                                 "http://%s:%d" % node.address(), key=admin)
            self.assertEqual((code, problem), (0, ""))
            self.assertEqual(api("POST", "/v1/links", {"url": URL + "2", "alias": "page"}, limited)[2]["domain"], "other.test")
            self.assertEqual(api("POST", "/v1/links", {"url": URL + "1", "alias": "page"}, default_only)[2]["domain"], "go.test")
            self.assertEqual([link["url"] for link in api("GET", "/v1/links", key=limited)[2]["items"]], [URL + "2"])
            self.assertEqual([link["url"] for link in api("GET", "/v1/links", key=default_only)[2]["items"]], [URL + "1"])
            self.assertEqual(api("GET", "/v1/links/page?domain=go.test", key=limited)[0], 403)
            for path in ("/v1/keys", "/v1/domains", "/v1/webhooks", "/rest/v3/short-urls?domain=DEFAULT"):
                self.assertEqual(api("GET", path, key=limited)[0], 403, path)
            listed = api("GET", "/rest/v3/short-urls", key=limited)[2]["shortUrls"]
            self.assertEqual([link["longUrl"] for link in listed["data"]], [URL + "2"], "the clients of others see no more")
            yourls = api("GET", f"/yourls-api.php?format=json&action=expand&shorturl=page&signature={limited}")[2]
            self.assertEqual(yourls["longurl"], URL + "2")


if __name__ == "__main__":
    unittest.main(verbosity=2)
