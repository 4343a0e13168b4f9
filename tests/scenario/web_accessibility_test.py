#!/usr/bin/env python3
"""The page for everybody: by keyboard alone, on a small phone, in dark colours, with a screen reader, without motion.

    python3 tests/scenario/web_accessibility_test.py

Checked in Chromium against the binary: what it computes and what its accessibility tree says, not what the sources
mean. The preview and the page that asks for a password are checked alike. Needs chromium and chromedriver.
"""
import json
import pathlib
import sys
import unittest
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "fixtures")]

import browser  # noqa: E402
import page_node  # noqa: E402

# dialog -> what opens it
DIALOGS = {"#edit": "tr[data-code=door] .edit", "#remove": "tr[data-code=door] .c-actions .quiet-danger",
           "#stats": "tr[data-code=door] .stats", "#qr": "tr[data-code=door] .qr", "#transfer": "#transfer-open",
           "#domains": "#domains-open", "#blocklist": "#blocklist-open", "#keys": "#keys-open"}
TABS = 160  # more stops than the page has

# Text whose contrast to what lies behind it is too small: 4.5, or 3 for large text (WCAG 2.2, 1.4.3).
FAINT = """
    const parse = (text) => {
      const n = text.match(/[\\d.]+/g).map(Number);
      const unit = text.startsWith('color(') ? 255 : 1;
      return [n[0] * unit, n[1] * unit, n[2] * unit, n.length > 3 ? n[3] : 1];
    };
    const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
    const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
      .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
    const chain = (node) => node ? [...chain(node.parentElement), node] : [];
    const contrast = (node, color) => {
      let below = parse(getComputedStyle(document.body).backgroundColor), opacity = 1;
      for (const each of chain(node)) {
        const style = getComputedStyle(each);
        below = over(parse(style.backgroundColor), below);
        opacity *= Number(style.opacity);
      }
      const ink = parse(color);
      ink[3] *= opacity;
      const [a, b] = [light(over(ink, below)), light(below)].sort((x, y) => y - x);
      return (a + .05) / (b + .05);
    };
    const faint = [];
    const look = (node, color, text) => {
      const style = getComputedStyle(node), size = parseFloat(style.fontSize);
      const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
      const ratio = contrast(node, color);
      if (ratio < (large ? 3 : 4.5)) faint.push(`${ratio.toFixed(2)} ${node.tagName}.${node.className} ${text.slice(0, 40)}`);
    };
    const root = document.querySelector(arguments[0]);
    const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    let seen = 0;
    while (walk.nextNode()) {
      const node = walk.currentNode.parentElement, text = walk.currentNode.textContent.trim();
      if (!text || !node.checkVisibility({ opacityProperty: true }) || node.closest(':disabled, .visually-hidden, script, style')) continue;
      seen += 1;
      look(node, getComputedStyle(node).color, text);
    }
    for (const node of root.querySelectorAll('input[placeholder]')) {
      if (node.checkVisibility()) look(node, getComputedStyle(node, '::placeholder').color, node.placeholder);
    }
    return [seen, faint]"""


@unittest.skipUnless(page_node.BINARY.exists(), f"{page_node.BINARY} is not built")
class Accessibility(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if browser.missing():
            raise unittest.SkipTest(browser.missing())
        cls.node = cls.enterClassContext(page_node.BinaryNode())
        cls.api("/v1/domains", {"base_url": "https://shop.example", "unknown_url": "https://www.example.com/no-such-page"})
        cls.api("/v1/blocklist", {"pattern": "blocked.example", "reason": "a long-lasting nuisance"})
        cls.api("/v1/links", {"url": "https://example.com/ended", "alias": "plain", "tags": ["spring", "a-rather-long-tag"],
                              "title": "A title that goes on for longer than a phone is wide"})
        cls.api("/v1/links", {"url": "https://example.com/shop", "alias": "shop", "domain": "shop.example"})
        cls.api("/v1/links", {"url": "https://example.com/plan?" + "x" * 90, "alias": "door", "password": "open-sesame"})
        cls.page = cls.enterClassContext(browser.Browser())

    @classmethod
    def api(cls, path, body):
        request = urllib.request.Request(cls.node.url + path, json.dumps(body).encode(), {"content-type": "application/json"})
        urllib.request.urlopen(request, timeout=30).close()

    def ready(self, page):
        page.open(self.node.url)
        page.until(lambda: page.visible("tr[data-code=door]"), "the list")
        page.until(lambda: page.text("#pulse-text").endswith("is live"), "the node's figures")
        page.until(lambda: page.run("return document.querySelectorAll('#domain option').length") == 2, "the domains")

    def open(self, page, dialog):
        page.run("document.querySelector(arguments[0]).focus()", DIALOGS[dialog])
        page.press("enter")
        page.until(lambda: page.visible(dialog), f"{dialog} open")
        ready = {"#stats": "#stats .totals", "#domains": "#domains-list li", "#blocklist": "#blocklist-list li"}
        if dialog in ready:
            page.until(lambda: page.visible(ready[dialog]), f"what {dialog} shows")

    def close(self, page, dialog):
        page.press("escape")
        page.until(lambda: not page.visible(dialog), f"{dialog} closed")

    def look(self, page, root):
        """How many texts there are, and which of them are faint once nothing fades in any more."""
        page.until(lambda: page.run("return !document.getAnimations().some((each) => each instanceof CSSTransition)"), "rest")
        return page.run(FAINT, root)

    # --- Keyboard ---

    def test_the_tab_key_reaches_everything_in_its_order_and_the_focus_is_seen(self):
        page = self.page
        self.ready(page)
        page.click("#more summary")
        page.run("document.activeElement.blur(); scrollTo(0, 0); getSelection().removeAllRanges();"
                 "document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute('tabindex')")
        wanted = page.run("""
            window.stops = [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"]')]
              .filter((n) => n.checkVisibility() && !n.disabled && n.getClientRects().length);
            return stops.length""")
        met = []
        for _ in range(TABS):
            page.press("tab")
            at, shown, inside = page.run("""
                const n = document.activeElement, style = getComputedStyle(n), box = n.getBoundingClientRect();
                const x = box.left + box.width / 2, y = box.top + box.height / 2;
                return [stops.indexOf(n), style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
                        x > 0 && x < innerWidth && y > 0 && y < innerHeight]""")
            if at < 0:
                break
            if met and at == met[-1]:
                continue  # the parts of a date are stops of their own
            name = page.run("return stops[arguments[0]].outerHTML.slice(0, 120)", at)
            self.assertTrue(shown, f"no outline: {name}")
            self.assertTrue(inside, f"not on the screen: {name}")
            met.append(at)
        self.assertEqual(met, list(range(wanted)))
        self.assertGreater(wanted, 30)

    def test_dialogs_hold_the_focus_and_give_it_back(self):
        page = self.page
        for dialog, opener in DIALOGS.items():
            with self.subTest(dialog=dialog):
                self.ready(page)
                self.open(page, dialog)
                for key in ["tab"] * 25 + ["shift+tab"] * 6:
                    inside = page.run("const n = document.activeElement;"
                                      "return n === document.body || document.querySelector(arguments[0]).contains(n)", dialog)
                    self.assertTrue(inside, page.focused())
                    page.press(key)
                self.close(page, dialog)
                page.until(lambda: page.run("return document.activeElement === document.querySelector(arguments[0])", opener),
                           "the focus where it was")
                self.assertEqual(page.run("return document.querySelectorAll('dialog[open]').length"), 0)

    # --- Small and dark ---

    def test_a_phone_of_360_points_scrolls_one_way_only(self):
        with browser.Browser(360, 740, phone=True) as phone:
            self.ready(phone)
            phone.click("#more summary")
            self.assertTrue(phone.visible("tr[data-code=shop] .host"), "which of the domains it is")
            self.assertEqual(phone.run("return document.documentElement.scrollWidth"), 360)
            for dialog in DIALOGS:
                with self.subTest(dialog=dialog):
                    self.open(phone, dialog)
                    self.assertEqual(phone.run("return document.documentElement.scrollWidth"), 360)
                    self.assertEqual(phone.run("const n = document.querySelector(arguments[0]);"
                                               "return n.scrollWidth - n.clientWidth", dialog), 0)
                    self.close(phone, dialog)
            for path in ("/door", "/plain+", "/door+"):
                phone.open(self.node.url + path)
                self.assertEqual(phone.run("return document.documentElement.scrollWidth"), 360, path)

    def test_text_stands_out_in_light_and_in_dark_colours(self):
        for dark in (False, True):
            with browser.Browser(1280, 900, dark=dark) as page:
                self.ready(page)
                page.click("#more summary")
                page.click("#shorten")  # an error is text, too
                with self.subTest(dark=dark, part="page"):
                    seen, faint = self.look(page, "body")
                    self.assertGreater(seen, 80)
                    self.assertEqual(faint, [])
                for dialog in DIALOGS:
                    with self.subTest(dark=dark, part=dialog):
                        self.open(page, dialog)
                        seen, faint = self.look(page, dialog)
                        self.assertGreater(seen, 3)
                        self.assertEqual(faint, [])
                        self.close(page, dialog)
                for path in ("/door", "/plain+", "/door+"):
                    with self.subTest(dark=dark, part=path):
                        page.open(self.node.url + path)
                        seen, faint = self.look(page, "body")
                        self.assertGreater(seen, 3)
                        self.assertEqual(faint, [])
                with self.subTest(dark=dark, part="page of a node that is gone"):
                    self.ready(page)
                    page.devtools("Network.enable")
                    page.devtools("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
                    page.until(lambda: page.run("return document.body.classList.contains('unreachable')"), "the bad news")
                    self.assertEqual(self.look(page, "body")[1], [])

    # --- Screen reader ---

    def tree(self, page):
        """What a screen reader is given: (role, name, properties) of each node."""
        page.devtools("Accessibility.enable")
        nodes = page.devtools("Accessibility.getFullAXTree")["nodes"]
        return [(node.get("role", {}).get("value"), node.get("name", {}).get("value", "").strip(),
                 {each["name"]: each["value"].get("value") for each in node.get("properties", [])})
                for node in nodes if not node.get("ignored")]

    def assert_named(self, tree):
        talking = {"button", "link", "textbox", "searchbox", "combobox", "checkbox", "spinbutton", "dialog", "table",
                   "progressbar", "image", "Date", "DateTime", "columnheader"}
        self.assertEqual([node for node in tree if node[0] in talking and not node[1]], [])

    def test_a_screen_reader_is_told_names_roles_and_states(self):
        page = self.page
        self.ready(page)
        page.click("#more summary")
        tree = self.tree(page)
        self.assert_named(tree)
        found = {(role, name) for role, name, _ in tree}
        for wanted in (("heading", "Make a long link short."), ("table", "Links"), ("columnheader", "Leads to"),
                       ("button", "Edit door"), ("button", "Statistics of door"), ("combobox", "Domain"),
                       ("button", "Show the password"), ("searchbox", "Search links"), ("main", ""), ("banner", "")):
            self.assertIn(wanted, found)
        self.assertTrue(any(role == "row" and "asks for a password" in name or role == "StaticText" and name == "asks for a password"
                            for role, name, _ in tree), "the lock is told")
        self.assertGreaterEqual(sum(properties.get("live") == "polite" for _, _, properties in tree), 3)
        for dialog in DIALOGS:
            with self.subTest(dialog=dialog):
                self.open(page, dialog)
                tree = self.tree(page)
                self.assert_named(tree)
                open_ones = [node for node in tree if node[0] == "dialog"]
                self.assertEqual(len(open_ones), 1)
                self.assertTrue(open_ones[0][2].get("modal"))
                self.assertNotIn("Make a long link short.", [name for _, name, _ in tree], "what lies behind is silent")
                self.close(page, dialog)

    def test_errors_and_results_are_told(self):
        page = self.page
        self.ready(page)
        page.click("#shorten")
        where = [node for node in self.tree(page) if node[0] == "textbox" and node[1] == "Long URL"]
        self.assertEqual(where[0][2].get("invalid"), "true")
        self.assertTrue(where[0][2].get("focused"))
        page.write("https://example.com/told")
        page.press("enter")
        page.until(lambda: page.text("#announce").startswith("Short link ready: "), "the news")
        self.open(page, "#blocklist")
        page.type("#block-pattern", "https://told.example/x")
        page.press("enter")
        page.until(lambda: page.text("#blocklist .announce") == "Blocked told.example/x", "the news inside of the dialog")
        self.close(page, "#blocklist")

    def test_the_pages_for_visitors_speak_and_can_be_walked(self):
        page = self.page
        page.open(self.node.url + "/door")
        self.assertEqual(page.focused(), "password")
        self.assert_named(self.tree(page))
        page.write("wrong")
        page.press("tab")
        page.press("enter")
        page.until(lambda: page.visible("[role=alert]"), "that it was wrong")
        self.assertEqual(page.run("return document.querySelector('#password').getAttribute('aria-invalid')"), "true")
        page.open(self.node.url + "/plain+")
        tree = self.tree(page)
        self.assert_named(tree)
        self.assertIn(("link", "Continue to example.com"), {(role, name) for role, name, _ in tree})
        page.press("tab", "tab")
        self.assertEqual(page.focused(), "go")
        page.console()

    # --- Motion ---

    def test_nothing_moves_for_who_asked_for_it(self):
        with browser.Browser() as page:
            page.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
            self.ready(page)
            page.type("#url", "https://example.com/still")
            page.click("#shorten")
            page.until(lambda: page.visible("#result-short"), "the short link")
            page.until(lambda: page.run("return document.querySelectorAll('.flowing').length"), "requests that pass")
            self.assertEqual(page.run("return document.getAnimations().map((each) => each.animationName ?? each.transitionProperty)"), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
