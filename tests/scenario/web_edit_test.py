#!/usr/bin/env python3
"""The page in Chromium: settings of a link, its tags, rules and password.

    python3 tests/scenario/web_edit_test.py

Needs chromium and chromedriver; without them it says so and is skipped. The network is the loopback only.
"""
import pathlib
import sys
import unittest
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "fixtures"), str(HERE.parents[1] / "tools")]

import page_node  # noqa: E402
from page_case import PageCase  # noqa: E402


@unittest.skipUnless(page_node.BINARY.exists(), f"{page_node.BINARY} is not built")
class Edit(PageCase, unittest.TestCase):
    make_node = page_node.BinaryNode

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


if __name__ == "__main__":
    unittest.main(verbosity=2)
