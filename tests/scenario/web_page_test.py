#!/usr/bin/env python3
"""The first page in Chromium: what a newcomer does with it, against the binary and against a mock of its contract.

    python3 tests/scenario/web_page_test.py            # all; the binary's part is skipped when it is not built
    python3 tests/scenario/web_page_test.py MockPage   # the page alone

Needs chromium and chromedriver; without them it says so and is skipped. The network is the loopback only.
"""
import json
import pathlib
import sys
import tempfile
import threading
import unittest
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "fixtures"), str(HERE.parents[1] / "tools")]

import browser  # noqa: E402
import embed_web  # noqa: E402
import mock_node  # noqa: E402
import page_node  # noqa: E402


class Target:
    """Where the short links lead: a server that answers every path with its name."""

    def __enter__(self):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = f"<!doctype html><title>Arrived</title><p>Arrived at {self.path}".encode()
                self.send_response(200)
                self.send_header("content-type", "text/html")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Page:
    """The behaviours, whatever node serves the page. Each test makes links of its own, named after it."""

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

    def test_a_newcomer_shortens_a_link_opens_it_and_sees_the_click_counted(self):
        home = self.page.windows()[0]
        code = self.shorten(f"{self.target.url}/first?a=1&b=2#part")
        self.see(code)
        self.assertEqual(self.page.text(".counter .count"), "0")
        self.assertEqual(self.page.texts("#rows tr .code")[0], code)
        self.assertEqual(self.page.run("return document.querySelector('#url').value"), "")

        self.page.click("#result-short")
        self.assertEqual(self.leave_new_window(home), f"{self.target.url}/first?a=1&b=2#part")
        self.page.until(lambda: self.page.text(".counter .count") == "1", "one click on the card")
        self.page.until(lambda: self.page.text(self.row(code, ".count")) == "1", "one click in the list")

        self.page.click(self.row(code, "a"))
        self.leave_new_window(home)
        self.page.until(lambda: self.page.text(self.row(code, ".count")) == "2", "two clicks in the list")

    def test_the_keyboard_alone_creates_and_follows(self):
        home = self.page.windows()[0]
        self.page.press("tab")
        self.assertEqual(self.page.focused(), "skip")
        self.page.press("enter")
        self.assertEqual(self.page.focused(), "url")
        outline = self.page.run("return getComputedStyle(document.activeElement).outlineStyle")
        self.assertNotEqual(outline, "none")
        self.page.write(f"{self.target.url}/keys")
        self.page.press("tab", "tab")
        self.page.press("space")
        self.page.press("tab")
        self.assertEqual(self.page.focused(), "alias")
        self.page.write("by-keyboard")
        self.page.press("enter")
        self.page.until(lambda: self.page.focused() == "result-short", "the focus on the short link")
        self.page.press("enter")
        self.assertEqual(self.leave_new_window(home), f"{self.target.url}/keys")
        self.see("by-keyboard")

    def test_errors_stand_at_the_field_they_are_about(self):
        self.refusals_expected = True
        self.page.click("#shorten")
        self.assertEqual(self.page.text("#url-error"), "Enter the address to shorten.")
        self.page.type("#url", "not a url")
        self.assertEqual(self.page.text("#url-error"), "")
        self.page.click("#shorten")
        self.page.until(lambda: self.page.text("#url-error"), "the node's reason at the field")
        self.assertEqual(self.page.focused(), "url")
        self.assertEqual(self.page.run("return document.querySelector('#url').getAttribute('aria-invalid')"), "true")
        self.assertEqual(self.page.run("return document.querySelector('#url').value"), "not a url")
        self.assertFalse(self.page.visible("#result-short"))

        self.make("taken", alias="taken-alias")
        self.page.click("#more summary")
        self.page.type("#url", f"{self.target.url}/other")
        self.page.type("#alias", "taken-alias")
        self.page.click("#shorten")
        self.page.until(lambda: self.page.text("#alias-error"), "the alias refused at its field")
        self.assertEqual(self.page.focused(), "alias")
        self.assertEqual(self.page.text("#url-error"), "")

    def test_a_link_is_edited(self):
        code = self.make("edit-before", title="Before")["code"]
        self.see(code)
        self.page.click(self.row(code, ".edit"))
        self.page.until(lambda: self.page.visible("#edit"), "the dialog")
        self.assertEqual(self.page.run("return document.querySelector('#edit-url').value"),
                         f"{self.target.url}/edit-before")
        self.page.type("#edit-url", f"{self.target.url}/edit-after")
        self.page.type("#edit-link-title", "After")
        self.page.run("document.querySelector('#edit-expires_at').value = '2199-01-02T03:04'")
        self.page.press("enter")
        self.page.until(lambda: not self.page.visible("#edit"), "the dialog closed")
        self.page.until(lambda: self.page.text(self.row(code, ".title")) == "After", "the new title")
        link = self.api("GET", f"/v1/links/{code}")
        self.assertEqual((link["url"], link["title"]), (f"{self.target.url}/edit-after", "After"))
        self.assertRegex(link["expires_at"], "^2199-01-0")
        self.assertRegex(self.page.text(self.row(code, ".expiry")), "^in ")

    def test_an_edit_overwrites_nothing_that_another_changed(self):
        self.refusals_expected = True
        code = self.make("mine")["code"]
        self.see(code)
        self.page.click(self.row(code, ".edit"))
        self.page.until(lambda: self.page.visible("#edit"), "the dialog")
        self.api("PATCH", f"/v1/links/{code}", {"url": f"{self.target.url}/theirs"})
        self.page.type("#edit-link-title", "Mine")
        self.page.press("enter")
        self.page.until(lambda: self.page.visible("#edit-error"), "the conflict")
        self.assertEqual(self.page.run("return document.querySelector('#edit-url').value"), f"{self.target.url}/theirs")
        self.page.press("escape")
        self.page.until(lambda: not self.page.visible("#edit"), "the dialog closed")
        self.assertFalse(self.api("GET", f"/v1/links/{code}")["title"])

    def test_a_link_is_deleted_after_a_question(self):
        kept, code = self.make("keep")["code"], self.make("delete")["code"]
        self.see(code)
        remove = self.row(code, ".quiet-danger")
        self.page.click(remove)
        self.page.until(lambda: self.page.visible("#remove"), "the question")
        self.assertEqual(self.page.text("#remove [data-close]:focus"), "Keep it")
        self.page.press("enter")
        self.page.until(lambda: not self.page.visible("#remove"), "the question closed")
        self.assertTrue(self.page.visible(self.row(code)))
        self.page.click(remove)
        self.page.click("#remove .danger")
        self.page.until(lambda: not self.page.visible(self.row(code)), "the row gone")
        self.see(kept)
        with self.assertRaises(urllib.error.HTTPError) as refused:
            self.api("GET", f"/{code}")
        self.assertEqual(refused.exception.code, 410)
        refused.exception.close()

    def test_what_others_make_and_delete_appears_and_goes(self):
        code = self.make("from-elsewhere")["code"]
        self.see(code)
        self.api("DELETE", f"/v1/links/{code}")
        self.page.until(lambda: not self.page.visible(self.row(code)), "the row gone")

    def test_search_and_load_more_ask_the_node(self):
        for number in range(25):
            self.make(f"batch-needle-{number}")
        other = self.make("straw")["code"]
        self.see(other)
        self.page.type("#search", "batch-needle")
        self.page.until(lambda: not self.page.visible(self.row(other)), "only what matches")
        self.page.until(lambda: len(self.page.texts("#rows tr")) == 20, "a first page of 20")
        self.assertEqual(self.page.text("#links-note"), "20+ links found")
        self.page.click("#load-more")
        self.page.until(lambda: len(self.page.texts("#rows tr")) == 25, "the rest")
        self.assertFalse(self.page.visible("#load-more"))
        self.assertEqual(len(set(self.page.texts("#rows .code"))), 25)
        self.page.type("#search", "needle-7")
        self.page.until(lambda: len(self.page.texts("#rows tr")) == 1, "the one that matches")
        self.page.type("#search", "no such thing anywhere")
        self.page.until(lambda: self.page.visible("#empty"), "that nothing was found")
        self.assertIn("Nothing found", self.page.text("#empty"))
        self.page.run("const s = document.querySelector('#search'); s.value = ''; s.dispatchEvent(new Event('input'))")
        self.see(other)

    def test_a_copy_says_that_it_was_made(self):
        code = self.make("copy")["code"]
        self.see(code)
        self.page.click(self.row(code, ".copy"))
        self.page.until(lambda: self.page.run(
            "return document.querySelector(arguments[0]).classList.contains('done')", self.row(code, ".copy")),
            "feedback")
        self.page.until(lambda: self.page.text("#announce").startswith("Copied"), "the announcement")

    def test_titles_are_text(self):
        code = self.make("markup", title="<img src=x onerror=document.title='broken'>")["code"]
        self.see(code)
        self.assertEqual(self.page.text(self.row(code, ".title")), "<img src=x onerror=document.title='broken'>")
        self.assertEqual(self.page.run("return document.title"), "Trellis")

    def test_the_tiers_move_with_the_requests(self):
        code = self.make("tiers")["code"]
        opener = urllib.request.build_opener()

        def requests_seen():
            opener.open(f"{self.node.url}/{code}", timeout=10).close()
            return float(self.page.text('[data-tier="edge"] .large b').replace(",", "") or 0) > 0

        self.page.until(requests_seen, "requests at the edge")
        for tier in ("clients", "edge", "links", "cache", "store", "clicks", "worker"):
            figure = f'[data-tier="{tier}"] .large b'
            self.page.until(lambda: self.page.text(figure) not in ("", "–"), f"a figure of {tier}")
        self.page.until(lambda: self.page.run(
            "return document.querySelector('[data-tier=edge] polyline').getAttribute('points')"), "a line")
        self.assertIn("p99", self.page.text('[data-tier="edge"] dl'))

    def test_a_node_that_is_gone_is_said_to_be_gone(self):
        self.refusals_expected = True
        code = self.make("still")["code"]
        self.see(code)
        self.node.stop()
        try:
            self.page.until(lambda: "not reachable, retrying" in self.page.text("#pulse-text"), "the bad news")
            self.page.type("#url", f"{self.target.url}/kept")
            self.page.click("#shorten")
            self.page.until(lambda: self.page.visible("#create-error"), "an error at the form")
            self.assertEqual(self.page.run("return document.querySelector('#url').value"), f"{self.target.url}/kept")
            self.assertTrue(self.page.visible(self.row(code)))
        finally:
            self.node.start()
        self.page.until(lambda: self.page.text("#pulse-text").endswith("is live"), "the node back")
        self.page.click("#shorten")
        self.page.until(lambda: self.page.visible("#result-short"), "the short link after all")

    def test_a_phone_scrolls_one_way_only(self):
        self.make("long/" + "x" * 300, title="A title that is much longer than a phone is wide, and then some more")
        for width, dark in ((390, False), (320, True)):
            with self.subTest(width=width), browser.Browser(width, 800, phone=True, dark=dark) as phone:
                phone.open(self.node.url)
                phone.until(lambda: phone.visible("#rows tr:not(.ghost)"), "the list")
                self.assertEqual(phone.run("return document.documentElement.scrollWidth"), width)
                wide = phone.run("""
                    return [...document.querySelectorAll('main, .card, .tier, button, input, select, h1, h2, td, a')]
                      .filter((n) => n.checkVisibility() && !n.matches('.skip'))
                      .filter((n) => n.getBoundingClientRect().right > innerWidth + 0.5)
                      .map((n) => n.outerHTML.slice(0, 120))""")
                self.assertEqual(wide, [])
                narrow = phone.run("""
                    return [...document.querySelectorAll('.path .tier')]
                      .filter((n) => n.getBoundingClientRect().width < innerWidth * 0.8).map((n) => n.dataset.tier)""")
                self.assertEqual(narrow, [])
                small = phone.run("""
                    return [...document.querySelectorAll('button')].filter((n) => n.checkVisibility())
                      .filter((n) => n.getBoundingClientRect().height < 32).map((n) => n.outerHTML.slice(0, 120))""")
                self.assertEqual(small, [])
                self.assertEqual(phone.console(), [])

    def test_every_control_has_a_name_and_no_id_stands_twice(self):
        self.see(self.make("names")["code"])
        nameless = self.page.run("""
            return [...document.querySelectorAll('button, a[href], input, select')].filter((n) => !(
              n.getAttribute('aria-label') || n.innerText || n.textContent.trim() || n.labels?.length))
              .map((n) => n.outerHTML.slice(0, 120))""")
        self.assertEqual(nameless, [])
        twice = self.page.run("""
            const ids = [...document.querySelectorAll('[id]')].map((n) => n.id);
            return ids.filter((id, at) => ids.indexOf(id) !== at)""")
        self.assertEqual(twice, [])
        lost = self.page.run("""
            return [...document.querySelectorAll('[aria-describedby], [aria-labelledby], label[for]')]
              .flatMap((n) => ['aria-describedby', 'aria-labelledby', 'for'].map((a) => n.getAttribute(a)))
              .filter((id) => id && !document.getElementById(id))""")
        self.assertEqual(lost, [])

    def test_nothing_moves_while_it_loads_and_refreshes(self):
        self.see(self.make("steady")["code"])
        self.page.reload()
        self.page.until(lambda: self.page.visible("#rows tr:not(.ghost)"), "the list")
        self.page.until(lambda: self.page.text('[data-tier="edge"] .large b') not in ("", "–"), "the figures")
        shift = self.page.run("""
            return new Promise((resolve) => {
              let sum = 0;
              new PerformanceObserver((list) => {
                for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
              }).observe({ type: 'layout-shift', buffered: true });
              setTimeout(() => resolve(sum), 2500);
            })""")
        self.assertLess(shift, 0.02)


class MockPage(Page, unittest.TestCase):
    """The page against the mock, and what only a mock can be made to do."""

    make_node = mock_node.MockNode

    def test_an_empty_node_says_what_to_do(self):
        with mock_node.MockNode() as empty:
            self.page.open(empty.url)
            self.page.until(lambda: self.page.visible("#empty"), "the empty list")
            self.assertIn("No links yet", self.page.text("#empty"))
            self.assertFalse(self.page.visible("#table"))
            self.shorten(f"{self.target.url}/first-ever")
            self.page.until(lambda: len(self.page.texts("#rows tr")) == 1, "the first row")
            self.assertFalse(self.page.visible("#empty"))

    def test_tiers_and_figures_nobody_foresaw_are_shown(self):
        self.node.node.extra_tiers = [{"id": "mill", "name": "Grain mill", "kind": "stone", "figures": {
            "sacks_per_second": 12.5, "grind_ms": 3.25, "wear_ratio": 0.25, "flour_bytes": 2048, "mood": "good"}}]
        try:
            self.page.until(lambda: self.page.visible('[data-tier="mill"]'), "the unknown tier")
            text = self.page.text('[data-tier="mill"]')
            for part in ("Grain mill", "stone", "12.5", "sacks/s", "3.3 ms", "25.0 %", "2.0 KiB", "good"):
                self.assertIn(part, text)
        finally:
            self.node.node.extra_tiers = []
        self.page.until(lambda: not self.page.visible('[data-tier="mill"]'), "the tier gone again")

    def test_a_failure_without_a_field_stands_above_the_form_with_its_reference(self):
        self.refusals_expected = True
        self.node.node.refuse = mock_node.Failure(503, "unavailable", "The store does not answer.")
        try:
            self.page.type("#url", f"{self.target.url}/refused")
            self.page.click("#shorten")
            self.page.until(lambda: self.page.visible("#create-error"), "the failure")
            self.assertEqual(self.page.text("#create-error"), "The store does not answer. (request 0123456789abcdef)")
        finally:
            self.node.node.refuse = None

    def test_a_key_is_asked_for_where_one_is_wanted(self):
        self.refusals_expected = True
        self.node.node.refuse = mock_node.Failure(401, "unauthenticated", "A valid key is needed.")
        try:
            self.page.type("#url", f"{self.target.url}/with-a-key")
            self.page.click("#shorten")
            self.page.until(lambda: self.page.visible("#key-bar"), "the question for a key")
            self.page.type("#key", "two words")
            self.page.press("enter")
            self.assertIn("no spaces", self.page.text("#key-error"))
            self.page.type("#key", "a-key")
            self.page.press("enter")
            self.page.until(lambda: not self.page.visible("#key-bar"), "the key taken")
            self.assertEqual(self.page.run("return sessionStorage.getItem('trellis.key')"), "a-key")
        finally:
            self.node.node.refuse = None
            self.page.run("sessionStorage.clear()")

    def test_every_asset_is_named_by_its_content_and_packed(self):
        names = self.page.run("return performance.getEntriesByType('resource').map((e) => e.name)")
        assets = [name for name in names if "/_trellis/" in name]
        self.assertGreaterEqual(len(assets), 11)
        for name in assets:
            self.assertRegex(name, r"/_trellis/[\w-]+\.[0-9a-f]{10}\.(js|css|svg)$")
        self.assertTrue(all(name.startswith(self.node.url) for name in names), names)


class Embedding(unittest.TestCase):
    """tools/embed_web.py: what it makes of a folder, and what it refuses."""

    def build(self, **files):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                (pathlib.Path(folder) / name.replace("_", ".")).write_text(text)
            return {asset.path.split(".")[0]: asset for asset in embed_web.build(folder)}

    def test_a_changed_module_changes_the_names_of_all_that_import_it(self):
        page = '<script type="module" src="/_trellis/a.js"></script>'
        old = self.build(index_html=page, a_js="import { b } from './b.js';", b_js="export const b = 1;")
        new = self.build(index_html=page, a_js="import { b } from './b.js';", b_js="export const b = 2;")
        for path in ("/_trellis/a", "/_trellis/b"):
            self.assertNotEqual(old[path].path, new[path].path)
        self.assertIn(new["/_trellis/b"].path.encode(), new["/_trellis/a"].body)
        self.assertIn(new["/_trellis/a"].path.encode(), new["/"].body)
        self.assertEqual(new["/"].cache_control, "no-cache")
        self.assertIn("immutable", new["/_trellis/a"].cache_control)

    def test_the_same_folder_gives_the_same_source(self):
        web = page_node.ROOT / "web"
        self.assertEqual(embed_web.source(embed_web.build(web)), embed_web.source(embed_web.build(web)))

    def test_what_the_policy_forbids_is_refused_with_its_place(self):
        for text, reason in (
            ("<p>\n<script>alert(1)</script>", "index.html:2: inline script"),
            ("<style>p {}</style>", "index.html:1: inline style"),
            ('<p style="color: red">', "style attribute"),
            ('<a href="/" onclick="go()">', "event attribute"),
            ('<img src="https://example.com/a.png">', "another host"),
            ('<img src="//example.com/a.png">', "another host"),
            ('<img src="/_trellis/absent.svg">', "absent.svg, which is not in"),
        ):
            with self.subTest(text=text), self.assertRaisesRegex(embed_web.Refused, reason):
                self.build(index_html=text)
        with self.assertRaisesRegex(embed_web.Refused, "imports itself"):
            self.build(index_html="", a_js="import './b.js';", b_js="import './a.js';")


class Parts:
    """What only a whole node answers: rules, statistics, clicks as they come, QR codes, files."""

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

    def test_a_tag_filters_the_list(self):
        spring = self.make("tag-spring", tags=["spring & co", "mail"])["code"]
        autumn = self.make("tag-autumn", tags=["autumn"])["code"]
        self.page.until(lambda: self.page.visible(self.row(autumn)), "the list")
        self.page.click(self.row(spring, ".tag"))
        self.page.until(lambda: not self.page.visible(self.row(autumn)), "only the tagged ones")
        self.assertTrue(self.page.visible(self.row(spring)))
        self.assertEqual(self.page.text("#tag-filter-text"), "spring & co")
        self.page.press("enter")  # the focus is on what takes the filter off
        self.page.until(lambda: self.page.visible(self.row(autumn)), "all of them")
        self.assertFalse(self.page.visible("#tag-filter"))

    def test_the_settings_of_a_link_are_edited(self):
        code = self.make("settings", tags=["old"])["code"]
        self.edit(code)
        self.page.type("#edit-tags", "new, other ")
        self.page.type("#edit-max_visits", "7")
        self.page.click("#edit-forward_query")
        self.page.run("document.querySelector('#edit-not_before').value = '2020-01-02T03:04'")
        self.choose("#edit-status", "307")
        self.save()
        link = self.api("GET", f"/v1/links/{code}")
        self.assertEqual((link["tags"], link["max_visits"], link["forward_query"], link["status"]),
                         (["new", "other"], 7, True, 307))
        self.assertRegex(link["not_before"], "^2020-01-0")
        self.edit(code)
        self.assertEqual(self.page.run("return document.querySelector('#edit-max_visits').value"), "7")
        self.page.run("document.querySelector('#edit-max_visits').value = ''")
        self.save()
        self.assertIsNone(self.api("GET", f"/v1/links/{code}")["max_visits"])

    def test_rules_are_added_ordered_and_removed(self):
        code = self.make("rules")["code"]
        self.edit(code)
        self.page.click("#edit-rules summary")
        self.page.click("#rules .add-rule")
        rule = '[data-rule="0"]'
        self.page.type(f"{rule} [data-condition='0'] input", "phone, tablet")
        self.page.click(f"{rule} .add-condition")
        self.page.type(f"{rule} [data-condition='1'] input", "de, AT")
        self.page.click(f"{rule} .add-condition")
        self.choose(f"{rule} [data-condition='2'] select", "query")
        self.page.type(f"{rule} [data-condition='2'] input", "ref")
        self.page.click(f"{rule} .add-condition")
        self.choose(f"{rule} [data-condition='3'] select", "date")
        self.page.run("const n = document.querySelector(arguments[0]); n.value = '2020-01-01T00:00';"
                      "n.dispatchEvent(new Event('input', { bubbles: true }))", f"{rule} [data-condition='3'] input")
        self.page.type(f"{rule} .target input", "https://example.com/app")
        self.page.click("#rules .add-rule")
        rule = '[data-rule="1"]'
        self.page.click(f"{rule} .condition > button")
        self.choose(f"{rule} .target select", "split")
        self.page.type(f"{rule} .part:nth-child(1) input", "https://example.com/a")
        self.page.type(f"{rule} .part:nth-child(2) input", "https://example.com/b")
        self.page.type(f"{rule} .part:nth-child(2) .weight", "3")
        self.page.click(f"{rule} .up")
        self.save()
        split, other = self.api("GET", f"/v1/links/{code}")["rules"]
        self.assertEqual(split, {"split": [{"url": "https://example.com/a", "weight": 1},
                                           {"url": "https://example.com/b", "weight": 3}]})
        self.assertEqual(other["url"], "https://example.com/app")
        self.assertEqual(other["when"][:3], [{"device": ["phone", "tablet"]}, {"country": ["DE", "AT"]},
                                             {"query": {"name": "ref"}}])
        self.assertIn("from", other["when"][3]["date"])
        self.edit(code)
        self.page.click('[data-rule="0"] .remove-rule')
        self.save()
        self.assertEqual(self.api("GET", f"/v1/links/{code}")["rules"], [other])

    def test_a_wrong_rule_is_named_and_json_is_another_view(self):
        self.refusals_expected = True
        code = self.make("rules-json")["code"]
        self.edit(code)
        self.page.click("#edit-rules summary")
        self.page.click("#rules .as-json")
        self.page.type("#rules textarea", '[{"when": [{"country": ["nowhere"]}], "url": "https://example.com/x"}]')
        self.page.click("#edit [type=submit]")
        self.page.until(lambda: self.page.visible("#edit-error"), "the reason")
        self.assertRegex(self.page.text("#edit-error"), r"^Rule 1\.when\[0\]\.country\[0\]: ")
        self.page.click("#rules .as-json")
        self.page.type('[data-rule="0"] [data-condition="0"] input', "fr")
        self.save()
        self.assertEqual(self.api("GET", f"/v1/links/{code}")["rules"],
                         [{"when": [{"country": ["FR"]}], "url": "https://example.com/x"}])

    def test_a_password_is_set_changed_and_removed(self):
        def opens_with(code, password):
            request = urllib.request.Request(f"{self.node.url}/{code}", f"password={password}".encode(), method="POST")
            try:
                urllib.request.urlopen(request, timeout=30).close()
                return True
            except urllib.error.HTTPError as refused:
                refused.close()
                return False

        self.page.click("#more summary")
        self.page.type("#url", f"{self.target.url}/closed")
        self.page.type("#password", "open sesame")
        self.page.click(".reveal")
        self.assertEqual(self.page.run("const n = document.querySelector('#password'); return [n.type, n.value]"),
                         ["text", "open sesame"])
        self.page.click("#shorten")
        self.page.until(lambda: self.page.visible("#result-short"), "the short link")
        code = self.page.run("return document.querySelector('#result-short').href").rsplit("/", 1)[1]
        self.assertEqual(self.page.run("const n = document.querySelector('#password'); return [n.type, n.value]"),
                         ["password", ""])
        self.page.until(lambda: self.page.visible(self.row(code, ".lock")), "the lock")
        self.assertTrue(opens_with(code, "open+sesame"))

        self.edit(code)
        self.page.type("#edit-password", "another")
        self.save()
        self.assertEqual(self.page.run("return document.querySelector('#edit-password').value"), "")
        self.assertEqual([opens_with(code, word) for word in ("open+sesame", "another")], [False, True])
        self.edit(code)
        self.page.type("#edit-link-title", "Closed")
        self.save()
        self.assertTrue(opens_with(code, "another"), "what is not touched stays")
        self.edit(code)
        self.page.click("#edit-open")
        self.assertTrue(self.page.run("return document.querySelector('#edit-password').disabled"))
        self.save()
        self.assertFalse(self.api("GET", f"/v1/links/{code}")["has_password"])
        self.page.until(lambda: not self.page.visible(self.row(code, ".lock")), "no lock")
        self.edit(code)
        self.assertFalse(self.page.visible("#edit-open"))
        self.page.press("escape")
        self.page.until(lambda: not self.page.visible("#edit"), "the dialog closed")

    def test_domains_are_added_chosen_changed_and_removed(self):
        self.refusals_expected = True
        page = self.page
        page.click("#more summary")
        self.assertFalse(page.visible("#domain"), "one domain is no choice")
        page.click("#domains-open")
        page.until(lambda: page.visible("#domains-list li"), "the domains")
        page.type("#domain-base_url", "shop.example")
        page.type("#domain-unknown_url", "https://www.example.com/nothing")
        page.click("#domain-form [type=submit]")
        page.until(lambda: page.visible('[data-host="shop.example"]'), "the new one")
        self.assertIn("unknown codes: https://www.example.com/nothing", page.text('[data-host="shop.example"]'))
        page.type("#domain-base_url", "https://shop.example")
        page.click("#domain-form [type=submit]")
        page.until(lambda: "already" in page.text("#domain-base_url-error"), "that it is there")
        page.click('[data-host="shop.example"] .row-buttons button')
        page.type("#domain-unknown_url", "")
        page.type("#domain-gone_url", "https://www.example.com/gone")
        page.click("#domain-form [type=submit]")
        page.until(lambda: "ended links" in page.text('[data-host="shop.example"]'), "the change")
        self.assertNotIn("unknown codes", page.text('[data-host="shop.example"]'))
        page.press("escape")

        page.type("#url", f"{self.target.url}/shop")
        page.type("#alias", "on-shop")
        self.choose("#domain", "shop.example")
        page.click("#shorten")
        page.until(lambda: page.visible("#result-short"), "the short link")
        self.assertEqual(page.run("return document.querySelector('#result-short').href"), "https://shop.example/on-shop")
        page.until(lambda: page.visible(self.row("on-shop")), "the row")
        self.assertIn("shop.example", page.text(self.row("on-shop", ".host")))
        page.click("#domains-open")
        remove = '[data-host="shop.example"] .quiet-danger'
        page.until(lambda: page.visible(remove), "the domains")
        page.click(remove)
        page.click(remove)
        page.until(lambda: "links on this domain" in page.text("#domains-status"), "that it is in use")
        self.api("DELETE", "/v1/links/on-shop?domain=shop.example")
        page.click(remove)
        page.click(remove)
        page.until(lambda: not page.visible(remove), "the domain gone")
        page.press("escape")
        self.assertFalse(page.visible("#domain"))

    def test_a_blocked_destination_is_explained_and_unblocked(self):
        self.refusals_expected = True
        page = self.page
        page.click("#blocklist-open")
        page.until(lambda: page.visible("#blocklist-manage"), "the blocklist")
        self.assertIn("Nothing is blocked here", page.text("#blocklist-status"))
        page.type("#block-pattern", "https://Bad.example/here")
        page.type("#block-reason", "<b>phishing</b>")
        page.press("enter")
        page.until(lambda: page.texts("#blocklist-list b") == ["bad.example/here"], "the entry")
        self.assertIn("<b>phishing</b>", page.text("#blocklist-list"))
        page.press("escape")
        page.type("#url", "https://www.bad.example/here/too")
        page.click("#shorten")
        page.until(lambda: page.text("#url-error"), "the refusal")
        self.assertIn("bad.example/here", page.text("#url-error"))
        self.assertIn("ask whoever runs this node", page.text("#url-error"))
        page.click("#blocklist-open")
        page.until(lambda: page.visible("#blocklist-list button"), "the entry")
        page.click("#blocklist-list button")
        page.click("#blocklist-list button")
        page.until(lambda: page.texts("#blocklist-list b") == [], "the entry gone")
        page.press("escape")

    def test_statistics_tell_when_and_who(self):
        code = self.make("stats", title="<b>Counted</b>")["code"]
        for number in range(3):
            self.follow(code, referer="https://news.example/x")
        self.follow(code, agent="Googlebot/2.1 (+http://www.google.com/bot.html)")
        self.page.until(lambda: self.page.visible(self.row(code)), "the row")
        self.page.click(self.row(code, ".stats"))
        self.page.until(lambda: self.page.texts("#stats .totals dd") == ["3", "1", "1"], "clicks, visitors and bots")
        self.assertEqual(self.page.text("#stats-title"), "Statistics of <b>Counted</b>")
        self.assertEqual(self.page.texts('[data-dimension="referrer"] .label'), ["news.example"])
        self.assertEqual(self.page.texts('[data-dimension="browser"] .label'), ["firefox"])
        self.assertEqual(self.page.run("return document.querySelectorAll('.chart rect').length"), 2)
        self.assertIn("3 clicks of people and 1 of bots",
                      self.page.run("return document.querySelector('#chart-desc').textContent"))
        self.page.click("#stats-table summary")
        self.assertEqual(self.page.texts("#stats-table td"), ["3", "1", "1"])
        self.choose("#stats-range", "3600")
        self.assertEqual(self.page.run("return document.querySelector('#stats-step').value"), "minute")
        self.page.until(lambda: ":" in (self.page.text(".chart figcaption") or ""), "minutes")
        self.choose("#stats-bots", "only")
        self.page.until(lambda: not self.page.visible('[data-dimension="referrer"]'), "the bots")
        self.choose("#stats-range", "own")
        self.assertTrue(self.page.visible("#stats-from"))
        self.assertTrue(self.page.run("return document.querySelector('#stats-step option').disabled"))
        self.page.press("escape")
        self.page.until(lambda: not self.page.visible("#stats"), "the dialog closed")
        self.assertIn("stats", self.page.focused())
        self.page.click("#stats-all")
        self.page.until(lambda: self.page.visible("#stats .totals"), "the figures of all")
        self.assertEqual(self.page.text("#stats-title"), "Statistics of all links")
        self.page.press("escape")

    def test_clicks_are_shown_as_they_come_and_paused(self):
        code = self.make("live")["code"]
        self.page.click("#live-all .watch")
        self.page.until(lambda: self.page.text("#live-all .note").startswith("Watching"), "the stream")
        self.follow(code)
        self.page.until(lambda: code in (self.page.text("#live-all .live-list") or ""), "the click")
        self.assertIn("firefox", self.page.text("#live-all .live-list"))
        for number in range(60):
            self.follow(code)
        self.page.until(lambda: self.page.text("#live-all .live-count").startswith("61 clicks"), "all of them counted")
        self.assertEqual(len(self.page.texts("#live-all li")), 50)
        self.page.click("#live-all .watch")
        self.assertTrue(self.page.text("#live-all .note").startswith("Paused"))

    def test_a_qr_code_is_shown_and_can_be_kept(self):
        code = self.make("qr")["code"]
        self.page.until(lambda: self.page.visible(self.row(code)), "the row")
        self.page.click(self.row(code, ".qr"))
        self.page.until(lambda: self.page.run("const n = document.querySelector('#qr-image');"
                                        "return n.complete && n.naturalWidth > 0"), "the picture")
        self.assertEqual(self.page.run("const n = document.querySelector('#qr-png'), q = new URLSearchParams(n.search);"
                                       "return [n.download, q.get('format'), q.get('size'), q.get('domain')]"),
                         [f"{code}.png", "png", "1000", self.node.url.split("//")[1]])
        self.page.press("escape")
        self.page.until(lambda: not self.page.visible("#qr"), "the dialog closed")

    def test_links_come_from_a_file_and_go_into_one(self):
        self.node = self.enterContext(page_node.BinaryNode())  # its own: so many links bury those of other tests
        self.page.open(self.node.url)
        rows = "".join(f"https://example.com/{number},file-{number},\"two\nlines {number}\"\n" for number in range(9000))
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
            file.write("url,code,title\n" + rows + "no address,file-wrong,x\n")
            file.flush()
            self.page.click("#transfer-open")
            self.page.until(lambda: self.page.visible("#transfer"), "the dialog")
            self.page.click("#import [type=submit]")
            self.assertEqual(self.page.text("#import-file-error"), "Choose a file.")
            self.page.type("#import-file", file.name, clear=False)
            self.page.click("#import [type=submit]")
            self.page.until(lambda: "nothing was written" in self.page.text("#import-status"), "the end of the trial")
            self.assertIn("9,001 rows: 9,000 can be made, 1 with a problem", self.page.text("#import-status"))
            self.assertEqual(self.page.texts("#import-problems tbody th, #import-problems tbody td")[:2], ["18002", "url"])
            with self.assertRaises(urllib.error.HTTPError) as absent:
                self.api("GET", "/v1/links/file-7")
            absent.exception.close()
            self.page.click("#import-dry")
            self.page.click("#import [type=submit]")
            self.page.until(lambda: self.page.text("#import-status").startswith("Imported."), "the end of the import")
        self.assertIn("9,000 made, 1 with a problem", self.page.text("#import-status"))
        self.assertEqual(self.api("GET", "/v1/links/file-8999")["title"], "two lines 8999")
        with tempfile.TemporaryDirectory() as folder:
            self.page.devtools("Browser.setDownloadBehavior", behavior="allow", downloadPath=folder)
            self.page.click('[data-format="csv"]')
            self.page.until(lambda: (pathlib.Path(folder) / "links.csv").exists(), "the file")
            self.assertIn("file-8999", (pathlib.Path(folder) / "links.csv").read_text())
        self.page.press("escape")
        self.page.until(lambda: not self.page.visible("#transfer"), "the dialog closed")
        self.page.open("about:blank")

    def test_dialogs_fit_a_small_phone(self):
        code = self.make("small", tags=["a-tag-that-is-rather-long-for-a-phone"], rules=[
            {"when": [{"device": ["phone"]}, {"query": {"name": "ref", "equals": "mail"}},
                      {"date": {"from": "2026-01-01T00:00:00Z"}}], "url": "https://example.com/app"},
            {"split": [{"url": "https://example.com/a", "weight": 3}, {"url": "https://example.com/b", "weight": 1}]},
        ])["code"]
        self.follow(code, referer="https://a-rather-long-name-of-a-host-for-a-phone.example/")
        with browser.Browser(320, 700, phone=True) as phone:
            phone.open(self.node.url)
            phone.until(lambda: phone.visible(self.row(code)), "the list")
            self.assertTrue(phone.visible(self.row(code, ".code")))
            self.assertEqual(phone.run("return document.documentElement.scrollWidth"), 320)
            for button, dialog in ((".edit", "#edit"), (".stats", "#stats"), (".qr", "#qr")):
                phone.run("document.querySelector(arguments[0]).click()", self.row(code, button))
                if dialog == "#stats":
                    phone.until(lambda: phone.visible("#stats .dimension"), "the figures")
                wide = phone.run("""
                    const dialog = document.querySelector(arguments[0]);
                    return [...dialog.querySelectorAll('*')].filter((n) => n.checkVisibility())
                      .filter((n) => n.getBoundingClientRect().right > innerWidth + 0.5 && !n.closest('.label'))
                      .map((n) => n.outerHTML.slice(0, 120))""", dialog)
                self.assertEqual(wide, [], dialog)
                phone.press("escape")
                phone.until(lambda: not phone.visible(dialog), "the dialog closed")
            self.assertEqual(phone.console(), [])


@unittest.skipUnless(page_node.BINARY.exists(), f"{page_node.BINARY} is not built")
class BinaryPage(Page, Parts, unittest.TestCase):
    """The page as the binary serves it."""

    make_node = page_node.BinaryNode



@unittest.skipUnless(page_node.BINARY.exists(), f"{page_node.BINARY} is not built")
class Keys(unittest.TestCase):
    """The page of a node that asks for API keys."""

    @classmethod
    def setUpClass(cls):
        if browser.missing():
            raise unittest.SkipTest(browser.missing())
        cls.node = cls.enterClassContext(page_node.KeyedNode())
        cls.page = cls.enterClassContext(browser.Browser())

    def sign_in(self, key):
        self.page.until(lambda: self.page.visible("#key-bar"), "the question for a key")
        self.page.type("#key", key)
        self.page.press("enter")

    def test_a_key_is_asked_for_kept_in_the_tab_and_makes_others(self):
        page = self.page
        page.open(self.node.url)
        self.sign_in("trl_00000000000000000000000000000000")
        page.until(lambda: page.text("#key-error") == "This node does not know this key.", "the refusal")
        self.sign_in(self.node.key)
        page.until(lambda: not page.visible("#key-bar"), "the key taken")
        page.until(lambda: page.visible("#empty") and "No links yet" in page.text("#empty"), "the empty list")
        page.reload()
        page.type("#url", "https://example.com/with-a-key")
        page.click("#shorten")
        page.until(lambda: page.visible("#result-short"), "the short link")
        self.assertFalse(page.visible("#key-bar"))
        page.click("#live-all .watch")
        page.until(lambda: page.text("#live-all .note").startswith("Watching"), "the stream")
        page.click("#live-all .watch")

        page.click("#keys-open")
        page.until(lambda: page.visible("#keys-manage"), "the keys")
        self.assertEqual(page.texts("#keys-list b"), ["first"])
        page.type("#key-new-name", "<i>reader</i>")
        page.click("#key-new [type=submit]")
        page.until(lambda: page.visible("#key-made code"), "the new key")
        reader = page.text("#key-made code")
        self.assertEqual(page.texts("#keys-list b"), ["first", "<i>reader</i>"])
        page.click("#keys [data-close]")
        page.until(lambda: not page.visible("#keys"), "the dialog closed")
        self.assertNotIn(reader, page.run("return document.documentElement.outerHTML"))

        page.click("#keys-open")
        page.until(lambda: page.visible("#keys-manage"), "the keys")
        page.click("#key-forget")
        self.sign_in(reader)
        page.until(lambda: not page.visible("#key-bar"), "the key taken")
        page.type("#url", "https://example.com/may-not")
        page.click("#shorten")
        page.until(lambda: page.visible("#key-bar"), "that the key opens too little")
        self.sign_in(self.node.key)
        page.until(lambda: not page.visible("#key-bar"), "the key taken")
        page.click("#keys-open")
        page.until(lambda: page.visible("#keys-manage"), "the keys")
        revoke = "#keys-list li:nth-child(2) button"
        page.click(revoke)
        self.assertEqual(page.text(revoke), "Really revoke?")
        page.click(revoke)
        page.until(lambda: page.texts("#keys-list b") == ["first"], "the key gone")
        page.press("escape")


if __name__ == "__main__":
    unittest.main(verbosity=2)
