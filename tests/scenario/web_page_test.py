#!/usr/bin/env python3
"""The first page in Chromium: what a newcomer does with it, against the binary and against a mock of its contract.

    python3 tests/scenario/web_page_test.py            # all; the binary's part is skipped when it is not built
    python3 tests/scenario/web_page_test.py MockPage   # the page alone

Needs chromium and chromedriver; without them it says so and is skipped. The network is the loopback only.
"""
import pathlib
import sys
import unittest
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "fixtures"), str(HERE.parents[1] / "tools")]

import browser  # noqa: E402
import mock_node  # noqa: E402
import page_node  # noqa: E402
from page_case import PageCase  # noqa: E402


class Page(PageCase):
    """The behaviours, whatever node serves the page."""

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


@unittest.skipUnless(page_node.BINARY.exists(), f"{page_node.BINARY} is not built")
class BinaryPage(Page, unittest.TestCase):
    """The page as the binary serves it."""

    make_node = page_node.BinaryNode

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


if __name__ == "__main__":
    unittest.main(verbosity=2)
