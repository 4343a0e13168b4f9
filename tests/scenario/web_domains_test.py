#!/usr/bin/env python3
"""The page in Chromium: domains and blocked destinations.

    python3 tests/scenario/web_domains_test.py

Needs chromium and chromedriver; without them it says so and is skipped. The network is the loopback only.
"""
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "fixtures"), str(HERE.parents[1] / "tools")]

import page_node  # noqa: E402
from page_case import PageCase  # noqa: E402


@unittest.skipUnless(page_node.BINARY.exists(), f"{page_node.BINARY} is not built")
class Domains(PageCase, unittest.TestCase):
    make_node = page_node.BinaryNode

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

    def test_domains_that_were_listed_before_are_not_offered_until_the_node_has_answered(self):
        page = self.page
        page.click("#domains-open")
        page.until(lambda: page.visible("#domains-list li"), "the domains")
        page.press("escape")
        page.run("window.fetch = () => new Promise((answer) => {})")
        page.click("#domains-open")
        page.until(lambda: page.visible("#domains"), "the dialog")
        self.assertFalse(page.visible("#domains-list li"), "a row that is about to be replaced")
        page.press("escape")

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


if __name__ == "__main__":
    unittest.main(verbosity=2)
