"""What the tests of the page in Chromium share: a target for short links, and a page of a node with a browser before it.

A test class mixes PageCase with unittest.TestCase and says `make_node`. Node, target and browser are made once a class; each test makes
links of its own, named after it, and fails when the browser's console has said something.
"""
import json
import unittest
import urllib.error
import urllib.request

import browser
from http_server import Handler, HttpServer


class Arrived(Handler):
    def do_GET(self):
        self.say("text/html", f"<!doctype html><title>Arrived</title><p>Arrived at {self.path}".encode())


class Target(HttpServer):
    """Where the short links lead: a server that answers every path with its name."""

    def __init__(self):
        super().__init__(Arrived)

    @property
    def url(self):
        return f"http://{self.address}"


class PageCase:
    @classmethod
    def setUpClass(cls):
        if browser.missing():
            raise unittest.SkipTest(browser.missing())
        cls.node = cls.enterClassContext(cls.make_node())
        cls.target = cls.enterClassContext(Target())
        cls.page = cls.enterClassContext(browser.Browser())

    def setUp(self):
        self.refusals_expected = False
        self.page.console()
        self.page.open(self.node.url)
        self.page.until(lambda: self.page.text("#pulse-text").endswith("is live"), "the node's figures")

    def tearDown(self):
        lines = self.page.console()
        if self.refusals_expected:
            lines = [line for line in lines if "Failed to load resource" not in line]
        self.assertEqual(lines, [])

    def api(self, method, path, body=None, headers=None):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.node.url + path, data, method=method,
                                         headers={"content-type": "application/json", **(headers or {})})
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
            return json.loads(text) if text else None

    def make(self, name, **more):
        return self.api("POST", "/v1/links", {"url": f"{self.target.url}/{name}", **more})

    def row(self, code, part=""):
        return f'tr[data-code="{code}"] {part}'.strip()

    def see(self, code):
        self.page.until(lambda: self.page.visible(self.row(code)), f"a row for {code}")

    def shorten(self, url):
        self.page.type("#url", url)
        self.page.click("#shorten")
        self.page.until(lambda: self.page.visible("#result-short"), "the short link")
        return self.page.run("return document.querySelector('#result-short').href").rsplit("/", 1)[1]

    def leave_new_window(self, home):
        """Waits for the window that a link opened, reads its address, closes it and comes back."""
        self.page.until(lambda: len(self.page.windows()) == 2, "a new window")
        self.page.switch(next(window for window in self.page.windows() if window != home))
        self.page.until(lambda: self.page.address().startswith(self.target.url), "the target's address")
        address = self.page.address()
        self.page.close_window()
        self.page.switch(home)
        return address

    def follow(self, code, agent="Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0", **fields):
        class Stay(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *_):
                return None
        headers = {"user-agent": agent, **fields}
        request = urllib.request.Request(f"{self.node.url}/{code}", headers=headers)
        try:
            urllib.request.build_opener(Stay).open(request, timeout=30).close()
        except urllib.error.HTTPError as answer:
            answer.close()
            return answer.headers["location"]

    def edit(self, code):
        self.page.until(lambda: self.page.visible(self.row(code)), f"a row for {code}")
        self.page.click(self.row(code, ".edit"))
        self.page.until(lambda: self.page.visible("#edit"), "the dialog")

    def save(self):
        self.page.click("#edit [type=submit]")
        self.page.until(lambda: not self.page.visible("#edit"), "the dialog closed")

    def choose(self, selector, value):
        self.page.run("const n = document.querySelector(arguments[0]); n.value = arguments[1];"
                      "n.dispatchEvent(new Event('change', { bubbles: true }))", selector, value)
