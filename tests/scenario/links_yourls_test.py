#!/usr/bin/env python3
"""YOURLS' API at /yourls-api.php.

What is expected stands here as YOURLS documents its API (the API page of its site, version 1.10): actions, parameters,
members and statuses of the answers.

    python3 tests/scenario/links_yourls_test.py
"""
import json
import pathlib
import re
import sys
import unittest
import urllib.parse
import xml.etree.ElementTree as xml

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import node as nodes  # noqa: E402
from links_access_test import KEYS, key_command  # noqa: E402
from links_node import LinksNode, request  # noqa: E402

FORM = "application/x-www-form-urlencoded"
LINK = {"shorturl", "url", "title", "timestamp", "ip", "clicks"}
DATE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\Z")


class Yourls(unittest.TestCase):
    def ask(self, method="GET", headers=None, body=None, **form):
        """(status, media type, body as bytes)."""
        path = "/yourls-api.php"
        headers = dict(headers or {})
        if method == "GET":
            path += "?" + urllib.parse.urlencode(form)
        elif body is None:
            body = urllib.parse.urlencode(form).encode()
            headers["Content-Type"] = FORM
        with self.node.client() as client:
            client.send(request(method, path, body, headers))
            answer = client.answer()
        return answer.status, answer.get(b"content-type").decode(), answer.body

    def json(self, method="GET", expect=200, **form):
        status, kind, body = self.ask(method, format="json", **form)
        self.assertEqual((status, kind), (expect, "application/json"), body)
        return json.loads(body)


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class Actions(Yourls):
    def setUp(self):
        self.node = self.enterContext(LinksNode())

    def test_shorturl_makes_a_link_by_get_and_by_post(self):
        for method, keyword in (("GET", "one"), ("POST", "two")):
            made = self.json(method, action="shorturl", url="https://example.com/a?b=1&c=2", keyword=keyword, title="A title")
            self.assertEqual({name: made[name] for name in ("status", "code", "errorCode", "statusCode", "title", "shorturl")},
                             {"status": "success", "code": "", "errorCode": "", "statusCode": "200", "title": "A title", "shorturl": f"http://go.test/{keyword}"})
            self.assertEqual(set(made["url"]), {"keyword", "url", "title", "date", "ip"})
            self.assertEqual((made["url"]["keyword"], made["url"]["url"]), (keyword, "https://example.com/a?b=1&c=2"))
            self.assertRegex(made["url"]["date"], DATE)
            self.assertEqual(self.node.follow(keyword), (302, "https://example.com/a?b=1&c=2"))

    def test_shorturl_by_a_multipart_form(self):
        fields = {"action": "shorturl", "format": "simple", "url": "https://example.com/m", "keyword": "multi"}
        body = b"".join(f'--xx\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items()) + b"--xx--\r\n"
        answer = self.ask("POST", {"Content-Type": "multipart/form-data; boundary=xx"}, body)
        self.assertEqual(answer, (200, "text/plain; charset=utf-8", b"http://go.test/multi"))

    def test_shorturl_says_why_not(self):
        self.json(action="shorturl", url="https://example.com/", keyword="taken")
        for form, code in (({"url": "https://example.com/", "keyword": "taken"}, "error:keyword"), ({"url": "https://example.com/", "keyword": "v1"}, "error:keyword"),
                           ({"url": ""}, "error:nourl"), ({"url": "ftp://example.com/"}, "error:nourl"), ({"url": "http://go.test/x"}, "error:noloop")):
            said = self.json(expect=400, action="shorturl", **form)
            self.assertEqual({name: said[name] for name in ("status", "code", "errorCode", "statusCode")},
                             {"status": "fail", "code": code, "errorCode": "400", "statusCode": "400"}, form)
        self.assertEqual(self.json(action="shorturl", url="example.com/bare")["url"]["url"], "http://example.com/bare")

    def test_expand_takes_a_keyword_or_a_short_url(self):
        self.json(action="shorturl", url="https://example.com/long", keyword="abc", title="T")
        for short in ("abc", "http://go.test/abc"):
            said = self.json(action="expand", shorturl=short)
            self.assertEqual(said, {"keyword": "abc", "shorturl": "http://go.test/abc", "longurl": "https://example.com/long", "title": "T",
                                    "message": "success", "statusCode": "200"})
        self.assertEqual(self.ask(action="expand", shorturl="abc", format="simple")[2], b"https://example.com/long")
        said = self.json(expect=404, action="expand", shorturl="nobody")
        self.assertEqual(said, {"keyword": "nobody", "message": "Error: short URL not found", "errorCode": "404"})
        self.assertEqual(self.ask(action="expand", shorturl="nobody", format="simple")[::2], (404, b"not found"))

    def test_statistics_of_one_of_all_and_of_some(self):
        for number in range(4):
            self.json(action="shorturl", url=f"https://example.com/{number}", keyword=f"k{number}")
        for _ in range(2):
            self.node.follow("k1")
        nodes.until(lambda: self.node.link("k1")["clicks"] == 2, "the clicks are counted")
        one = self.json(action="url-stats", shorturl="k1")
        self.assertEqual((one["statusCode"], one["message"], set(one["link"])), ("200", "success", LINK))
        self.assertEqual((one["link"]["clicks"], one["link"]["url"]), ("2", "https://example.com/1"))
        self.assertRegex(one["link"]["timestamp"], DATE)
        self.assertEqual(self.json(expect=404, action="url-stats", shorturl="nobody")["statusCode"], "404")
        totals = {"total_links": "4", "total_clicks": "2"}
        self.assertEqual(self.json(action="db-stats"), {"db-stats": totals, "statusCode": "200", "message": "success"})

        def keywords(**form):
            said = self.json(action="stats", **form)
            self.assertEqual((said["stats"], said["statusCode"], said["message"]), (totals, "200", "success"))
            links = said.get("links", {})
            self.assertEqual(list(links), [f"link_{number + 1}" for number in range(len(links))])
            for link in links.values():
                self.assertEqual(set(link), LINK)
            return [link["shorturl"].rpartition("/")[2] for link in links.values()]
        self.assertEqual(keywords(filter="top", limit=1), ["k1"])
        self.assertEqual(keywords(filter="last", limit=2), ["k3", "k2"])
        self.assertEqual(keywords(filter="bottom", limit=4)[-1], "k1")
        self.assertEqual(keywords(filter="top", limit=2, start=1)[0], "k3")
        self.assertEqual(sorted(keywords(filter="rand", limit=10)), ["k0", "k1", "k2", "k3"])
        self.assertEqual(keywords(filter="top"), [])

    def test_answers_come_in_four_formats(self):
        self.json(action="shorturl", url="https://example.com/?a=1&b=<2>", keyword="abc")
        status, kind, body = self.ask(action="expand", shorturl="abc", format="xml")
        self.assertEqual((status, kind), (200, "application/xml"))
        root = xml.fromstring(body)
        self.assertEqual((root.find("longurl").text, root.find("statusCode").text), ("https://example.com/?a=1&b=<2>", "200"))
        self.assertEqual(self.ask(action="expand", shorturl="abc")[1:], (kind, body))
        tree = xml.fromstring(self.ask(action="stats", filter="top", limit=1, format="xml")[2])
        self.assertEqual(tree.find("links/link_1/shorturl").text, "http://go.test/abc")
        status, kind, body = self.ask(action="expand", shorturl="abc", format="jsonp", callback="got.it")
        self.assertEqual((status, kind), (200, "application/javascript"))
        self.assertTrue(body.startswith(b"got.it({") and body.endswith(b"})"))
        self.assertEqual(json.loads(body[7:-1])["callback"], "got.it")
        self.assertEqual(self.ask(action="version", format="jsonp", callback="alert(1)//")[0], 400)
        self.assertEqual(self.ask(action="db-stats", format="simple")[2], b"Need either XML or JSON format for stats")
        self.assertRegex(self.json(action="version")["version"], r"^\d+\.\d+\.\d+$")

    def test_an_unknown_action_is_said_to_be_one(self):
        for form in ({}, {"action": "dance"}):
            said = self.json(expect=400, **form)
            self.assertEqual(said, {"errorCode": "400", "message": 'Unknown or missing "action" parameter'})

    def test_without_keys_pages_of_other_origins_make_nothing(self):
        for field in ({"Origin": "https://example.org"}, {"Sec-Fetch-Site": "cross-site"}):
            self.assertEqual(self.ask(headers=field, action="shorturl", url="https://example.com/", format="json")[0], 403)
        self.assertEqual(self.node.listed(), [])


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class WithKeys(Yourls):
    @classmethod
    def setUpClass(cls):
        cls.node = LinksNode(KEYS)
        made = key_command(cls.node, "add", "tool", "--scope", "write", "--store", "main", "--config", str(cls.node.folder / "node.yaml"))
        assert made.returncode == 0, made
        cls.key = made.stdout.strip()
        cls.enterClassContext(cls.node)

    def test_a_key_is_a_signature_or_a_password(self):
        for proof in ({"signature": self.key}, {"username": "anybody", "password": self.key}):
            self.assertEqual(self.json("POST", action="shorturl", url="https://example.com/", **proof)["status"], "success")

    def test_without_a_key_it_is_forbidden(self):
        for proof, message in (({}, "Please log in"), ({"signature": "nobody"}, "Invalid username or password"),
                               ({"signature": "0" * 32, "timestamp": "1700000000"}, "Signatures with a timestamp are not supported")):
            said = self.json(expect=403, action="stats", **proof)
            self.assertEqual(said, {"message": message, "errorCode": "403"})
        self.assertEqual(self.ask(action="version", format="simple")[::2], (403, b"Please log in"))


if __name__ == "__main__":
    unittest.main()
