#!/usr/bin/env python3
"""The links API as docs/links.md tells it: each route with good and bad input, and many clients at once.

    python3 tests/scenario/links_api_test.py
"""
import datetime
import email.utils
import json
import pathlib
import re
import sys
import threading
import unittest
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import node as nodes  # noqa: E402
from links_node import LinksNode, request  # noqa: E402
from node import until  # noqa: E402

URL = "https://example.com/"
NEVER_MADE = "not-made"
CORE = {"create_link", "list_links", "get_link", "change_link", "delete_link", "follow_link", "preview_link", "link_qr_code",
        "openapi", "link_stats", "all_stats"}

# Each is refused with 400 and "field": "url".
BAD_URLS = (
    "", "example.com", "/path", "//example.com", "https://", "https:///path", "https:example.com", "http//example.com",
    "ftp://example.com/", "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", " https://example.com/",
    "https://example.com/ ", "https://example.com/\n", "https://example.com/\r\nSet-Cookie: a=b", "https://example.com/\x00",
    "https://example.com/\x7f", "https://a b/", "https://a%2fb/", "https://a<b>/", "https://a|b/", "https://a^b/",
    "https://user@example.com/", "https://user:word@example.com/", "https://example.com:0x50/", "https://example.com:65536/",
    "https://example.com:99999999999/", "https://example.com:-1/", "https://[::1/", "https://[g::1]/", "https://[]/", "https://[::1::]/",
    "https://.", "https://example.com/" + "x" * 8173, "http://go.test/loop", "http://GO.TEST:80/loop", "http://go.test./loop",
    "https://go.test/loop", "https:\\\\example.com",
    "https://example.com\\@other/", "https://example.com\\path",
)

# Each is kept byte for byte and leads to exactly this.
GOOD_URLS = (
    ("https://example.com", None), ("HTTP://Example.COM/Path", None), ("https://example.com:8443/?a=1&b=%20#part", None),
    ("https://example.com/a b\"c'{d}\\e|f^g`h<i>", None), ("https://example.com/%zz%", None),
    ("https://example.com/üñ", "https://example.com/%C3%BC%C3%B1"), ("https://例え.jp/", "https://xn--r8jz45g.jp/"),
    ("https://example.com/?q=🦊", "https://example.com/?q=%F0%9F%A6%8A"), ("https://192.0.2.1/", None), ("http://[2001:db8::1]:80/", None),
    ("https://example.com//../a/./b", None), ("https://example.com?x", None), ("https://example.com/" + "x" * 8172, None),
)

# (body, code, field): all 400.
BAD_BODIES = (
    (b"", "invalid_json", None),
    (b"{", "invalid_json", None),
    (b'{"url": "https://example.com/"} x', "invalid_json", None),
    (b"{'url': 'https://example.com/'}", "invalid_json", None),
    (b'{"url": "https://example.com/\xff"}', "invalid_json", None),
    (b'{"url": "https://example.com/\\ud800"}', "invalid_json", None),
    (b"[" * 30_000, "invalid_json", None),
    (b'{"title": ' + b"[" * 20 + b"]" * 20 + b"}", "invalid_json", None),
    (b"[]", "invalid_argument", None),
    (b'"https://example.com/"', "invalid_argument", None),
    (b"null", "invalid_argument", None),
    (b"{}", "invalid_argument", "url"),
    (b'{"url": null}', "invalid_argument", "url"),
    (b'{"url": 1}', "invalid_argument", "url"),
    (b'{"url": "https://a/", "url": "https://b/"}', "invalid_argument", "url"),
    (b'{"url": "https://a/", "rules": [{"url": "https://a/", "url": "https://b/"}]}', "invalid_argument", "rules"),
    (b'{"url": "https://a/", "status": "302"}', "invalid_argument", "status"),
    (b'{"url": "https://a/", "status": 200}', "invalid_argument", "status"),
    (b'{"url": "https://a/", "status": 303}', "invalid_argument", "status"),
    (b'{"url": "https://a/", "status": 301.5}', "invalid_argument", "status"),
    (b'{"url": "https://a/", "status": 18446744073709551917}', "invalid_argument", "status"),
    (b'{"url": "https://a/", "title": 1}', "invalid_argument", "title"),
    (b'{"url": "https://a/", "title": "a\\u0000b"}', "invalid_argument", "title"),
    (b'{"url": "https://a/", "title": "' + b"x" * 513 + b'"}', "invalid_argument", "title"),
    (b'{"url": "https://a/", "expires_at": 1}', "invalid_argument", "expires_at"),
    (b'{"url": "https://a/", "expires_at": "tomorrow"}', "invalid_argument", "expires_at"),
    (b'{"url": "https://a/", "expires_at": "2200-02-30T00:00:00Z"}', "invalid_argument", "expires_at"),
    (b'{"url": "https://a/", "expires_at": "2200-01-01T00:00:00"}', "invalid_argument", "expires_at"),
    (b'{"url": "https://a/", "expires_at": "2001-01-01T00:00:00Z"}', "invalid_argument", "expires_at"),
    (b'{"url": "https://a/", "clicks": 5}', "unknown_member", "clicks"),
)

BAD_ALIASES = ("", "a b", "a/b", "a.b", "favicon.ico", "ä", "a%20", "x" * 129, 7, ["a"])
RESERVED = ("v1", "V1", "healthz", "readyz", "metrics", "_trellis", "assets", "Assets")


def together(count, work):
    """Runs work(number) on `count` threads that begin at once; gives the results, raises the first failure."""
    barrier = threading.Barrier(count)
    results, failures = [None] * count, []

    def one(number):
        try:
            barrier.wait(nodes.PATIENCE)
            results[number] = work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return results


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class Api(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = cls.enterClassContext(LinksNode())

    def setUp(self):
        self.client = self.enterContext(self.node.client())

    def api(self, method, path, body=None, headers=None):
        return self.node.api(method, path, body, headers, self.client)

    def refused(self, answer, status, code, field=None, detail=None):
        """An RFC 9457 problem with this code, and the field that it is about."""
        got, fields, problem = answer
        self.assertEqual(got, status, problem)
        self.assertEqual(fields["content-type"], "application/problem+json")
        self.assertEqual((problem["code"], problem["status"], problem.get("field")), (code, status, field), problem)
        self.assertEqual(problem["request_id"], fields["x-request-id"])
        self.assertEqual(problem["temporary"], False)
        self.assertTrue(problem["title"] and problem["detail"] and problem["type"], problem)
        if detail:
            self.assertRegex(problem["detail"], detail)
        return problem

    # --- Making ---

    def test_a_new_link_is_answered_whole_and_can_be_read_and_followed(self):
        status, fields, link = self.api("POST", "/v1/links", {"url": URL, "title": "Example"})
        self.assertEqual(status, 201)
        self.assertRegex(link["code"], r"^[A-Za-z0-9]{7}$")
        self.assertEqual(fields["location"], f"/v1/links/{link['code']}")
        self.assertEqual(fields["etag"], link["etag"])
        self.assertEqual(fields["content-type"], "application/json")
        self.assertEqual(link["short_url"], f"http://go.test/{link['code']}")
        self.assertEqual((link["url"], link["title"], link["status"], link["expires_at"], link["clicks"]), (URL, "Example", 302, None, 0))
        self.assertEqual(link["created_at"], link["updated_at"])
        self.assertRegex(link["created_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        status, fields, read = self.api("GET", fields["location"])
        self.assertEqual((status, read, fields["etag"]), (200, link, link["etag"]))
        self.assertEqual(self.node.follow(link["code"]), (302, URL))

    def test_urls_are_kept_byte_for_byte_and_followed_to_exactly_there(self):
        for url, location in GOOD_URLS:
            with self.subTest(url=url[:80]):
                link = self.node.make(url, self.client)
                self.assertEqual(link["url"], url)
                self.assertEqual(self.node.link(link["code"])["url"], url)
                self.assertEqual(self.node.follow(link["code"], client=self.client), (302, location or url))

    def test_bad_urls_are_refused_at_their_field(self):
        for url in BAD_URLS:
            with self.subTest(url=url[:80]):
                self.refused(self.api("POST", "/v1/links", {"url": url}), 400, "invalid_argument", "url")

    def test_bad_bodies_are_refused_at_their_field(self):
        for body, code, field in BAD_BODIES:
            with self.subTest(body=body[:80]):
                self.refused(self.api("POST", "/v1/links", body), 400, code, field)

    def test_an_unknown_member_is_told_with_the_nearest_one(self):
        for name, nearest in (("uri", "url"), ("alais", "alias"), ("expires", "expires_at"), ("Title", "title")):
            with self.subTest(name=name):
                answer = self.api("POST", "/v1/links", {"url": URL, name: "x"})
                self.refused(answer, 400, "unknown_member", name, f'did you mean "{nearest}"')
        self.refused(self.api("PATCH", f"/v1/links/{NEVER_MADE}", {"alias": "x"}), 400, "unknown_member", "alias")

    def test_media_types_other_than_json_are_refused(self):
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""):
            with self.subTest(kind=kind):
                answer = self.api("POST", "/v1/links", b'{"url": "https://a/"}', {"Content-Type": kind})
                self.refused(answer, 415, "unsupported_media_type")
                self.assertEqual(answer[1]["accept"], "application/json")
        for kind in ("application/json; charset=utf-8", "Application/JSON"):
            self.assertEqual(self.api("POST", "/v1/links", b'{"url": "https://a/"}', {"Content-Type": kind})[0], 201)
        self.refused(self.api("GET", "/v1/links", headers={"Accept": "text/html"}), 406, "not_acceptable")
        self.assertEqual(self.api("GET", "/v1/links", headers={"Accept": "text/html, */*;q=0.1"})[0], 200)

    def test_a_body_over_64_kib_is_refused_however_it_is_framed(self):
        body = json.dumps({"url": URL, "title": "x" * 66_000}).encode()
        with self.node.client() as client:
            self.refused(self.node.api("POST", "/v1/links", body, client=client), 413, "body_too_large")
        with self.node.client() as client:
            head = request("POST", "/v1/links", b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
            client.send(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
            self.assertEqual(client.answer().status, 413)

    def test_a_dead_end_is_a_page_in_a_browser_and_a_problem_elsewhere(self):
        self.node.make(URL, self.client, alias="dead")
        self.api("DELETE", "/v1/links/dead")
        browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
        for path, status, says in (("/dead", 410, b"This link was deleted."), (f"/{NEVER_MADE}", 404, b"There is no such link."),
                                   ("/old/page.html", 404, b"There is no such link."), ("/", 404, b"There is nothing here.")):
            for accept in ("*/*", "application/json", "text/html;q=0.5, application/json", None):
                answer = self.api("GET", path, headers={"Accept": accept} if accept else None)
                self.assertEqual((answer[0], answer[1]["content-type"]), (status, "application/problem+json"))
                self.assertEqual(answer[1]["vary"], "Accept")
            for method in ("GET", "HEAD"):
                with self.subTest(path=path, method=method):
                    self.client.send(request(method, path, headers={"Accept": browser}))
                    answer = self.client.answer(method.encode())
                    self.assertEqual((answer.status, answer.get(b"content-type")), (status, b"text/html; charset=utf-8"))
                    self.assertIn(b"default-src 'none'", answer.get(b"content-security-policy"))
                    self.assertEqual((answer.get(b"cache-control"), answer.get(b"vary")), (b"no-store", b"Accept"))
                    self.assertEqual(says in answer.body, method == "GET")
        self.client.send(request("GET", "/v1/nothing", headers={"Accept": browser}))
        self.assertEqual(self.client.answer().get(b"content-type"), b"application/problem+json")

    def test_links_redirect_with_the_status_they_were_given(self):
        for status, age in ((301, 90), (302, 0), (307, 0), (308, 90)):
            code = self.node.make(URL, self.client, status=status)["code"]
            got, fields, _ = self.api("GET", f"/{code}")
            self.assertEqual((got, fields["location"], fields["cache-control"]), (status, URL, f"private, max-age={age}"))
            for method in ("POST", "PUT", "DELETE"):
                with self.subTest(status=status, method=method):
                    answer = self.api(method, f"/{code}", b"{}")
                    if status in (307, 308):
                        self.assertEqual((answer[0], answer[1]["location"]), (status, URL))
                    else:
                        self.refused(answer, 405, "method_not_allowed")
                        self.assertEqual(answer[1]["allow"], "GET, HEAD")

    # --- Aliases ---

    def test_an_alias_is_the_code_and_is_given_once(self):
        for alias in ("a-_9", "-", "x" * 128, "v2x", "index2"):
            link = self.node.make(URL, self.client, alias=alias)
            self.assertEqual(link["code"], alias)
            self.assertEqual(self.node.follow(alias), (302, URL))
            self.refused(self.api("POST", "/v1/links", {"url": URL, "alias": alias}), 409, "already_exists", "alias")
        self.assertEqual(self.node.make(URL, alias="CaseMatters")["code"], "CaseMatters")
        self.assertEqual(self.node.make(URL, alias="casematters")["code"], "casematters")

    def test_bad_and_reserved_aliases_are_refused(self):
        for alias in BAD_ALIASES + RESERVED:
            with self.subTest(alias=str(alias)[:40]):
                self.refused(self.api("POST", "/v1/links", {"url": URL, "alias": alias}), 400, "invalid_argument", "alias")

    def test_of_64_clients_that_want_one_alias_exactly_one_gets_it(self):
        answers = together(64, lambda number: self.node.api("POST", "/v1/links", {"url": f"{URL}{number}", "alias": "wanted"}))
        statuses = [status for status, _, _ in answers]
        self.assertEqual(sorted(statuses), [201] + [409] * 63)
        winner = statuses.index(201)
        self.assertEqual(self.node.follow("wanted"), (302, f"{URL}{winner}"))

    def test_an_alias_asked_for_before_it_was_made_is_followed_as_soon_as_it_is(self):
        for number in range(50):
            alias = f"early-{number}"
            self.assertEqual(self.node.follow(alias, client=self.client)[0], 404)
            self.node.make(URL, self.client, alias=alias)
            self.assertEqual(self.node.follow(alias, client=self.client), (302, URL))

    # --- Idempotency ---

    def test_a_repeat_with_its_key_gets_the_first_answer_and_makes_nothing(self):
        key = {"Idempotency-Key": "repeat-1"}
        first = self.api("POST", "/v1/links", {"url": f"{URL}repeat-key"}, key)
        again = self.api("POST", "/v1/links", {"url": f"{URL}repeat-key"}, key)
        self.assertEqual((first[0], again[0]), (201, 201))
        self.assertEqual(first[2], again[2])
        for name in ("location", "etag"):
            self.assertEqual(first[1][name], again[1][name])
        self.assertEqual(len(self.node.listed(query="&q=repeat-key")), 1)
        self.refused(self.api("POST", "/v1/links", {"url": f"{URL}other"}, key), 422, "idempotency_key_reused")
        alias = {"url": URL, "alias": "keyed"}
        self.assertEqual(self.api("POST", "/v1/links", alias, {"Idempotency-Key": "repeat-2"})[0], 201)
        self.assertEqual(self.api("POST", "/v1/links", alias, {"Idempotency-Key": "repeat-2"})[0], 201)
        self.assertEqual(self.api("POST", "/v1/links", alias, {"Idempotency-Key": "repeat-3"})[0], 409)

    def test_a_refused_creation_does_not_use_its_key_up(self):
        key = {"Idempotency-Key": "second-try"}
        self.refused(self.api("POST", "/v1/links", {"url": "nonsense"}, key), 400, "invalid_argument", "url")
        self.assertEqual(self.api("POST", "/v1/links", {"url": URL}, key)[0], 201)

    def test_bad_keys_are_refused(self):
        for key in ("", "x" * 256, "a b", "ä"):
            with self.subTest(key=key[:20]):
                head = request("POST", "/v1/links", {"url": URL}, {"Idempotency-Key": "@"}).replace(b"@", key.encode())
                self.client.send(head)
                self.assertEqual(json.loads(self.client.answer().body)["code"], "invalid_idempotency_key")
        self.assertEqual(self.api("POST", "/v1/links", {"url": URL}, {"Idempotency-Key": "x" * 255})[0], 201)

    def test_twenty_at_once_with_one_key_make_one_link(self):
        answers = together(20, lambda _: self.node.api("POST", "/v1/links", {"url": f"{URL}twenty"}, {"Idempotency-Key": "twenty"}))
        self.assertEqual({status for status, _, _ in answers}, {201})
        self.assertEqual(len({link["code"] for _, _, link in answers}), 1)
        self.assertEqual(len(self.node.listed(query="&q=twenty")), 1)

    # --- Changing and deleting ---

    def test_a_patch_changes_what_it_names_and_nothing_else(self):
        link = self.node.make(URL, self.client, title="Old")
        for patch in ({"title": "New"}, {"url": f"{URL}new"}, {"status": 308}, {"expires_at": "2199-01-31T12:00:00.000Z"},
                      {"expires_at": None}, {"title": None}):
            status, fields, changed = self.api("PATCH", f"/v1/links/{link['code']}", patch)
            self.assertEqual(status, 200, changed)
            wanted = {**link, **patch}
            wanted["title"] = wanted["title"] or ""
            self.assertEqual({**changed, "etag": 0, "updated_at": 0}, {**wanted, "etag": 0, "updated_at": 0})
            self.assertNotEqual(changed["etag"], link["etag"])
            self.assertEqual(fields["etag"], changed["etag"])
            link = changed
        self.assertEqual(self.api("PATCH", f"/v1/links/{link['code']}", {})[2]["etag"], link["etag"])
        answer = self.api("PATCH", f"/v1/links/{link['code']}", b'{"title": "merge"}', {"Content-Type": "application/merge-patch+json"})
        self.assertEqual(answer[2]["title"], "merge")
        self.refused(self.api("PATCH", f"/v1/links/{link['code']}", {"url": "x"}), 400, "invalid_argument", "url")
        self.refused(self.api("PATCH", f"/v1/links/{link['code']}", b"x"), 400, "invalid_json")
        self.refused(self.api("PATCH", f"/v1/links/{link['code']}", b"{}", {"Content-Type": "text/plain"}), 415, "unsupported_media_type")
        self.refused(self.api("PATCH", f"/v1/links/{NEVER_MADE}", {"title": "x"}), 404, "not_found")

    def test_if_match_stops_who_came_too_late(self):
        link = self.node.make(URL, self.client)
        path, old = f"/v1/links/{link['code']}", {"If-Match": link["etag"]}
        status, _, link = self.api("PATCH", path, {"title": "first"}, old)
        self.assertEqual(status, 200)
        self.refused(self.api("PATCH", path, {"title": "second"}, old), 412, "precondition_failed")
        self.refused(self.api("DELETE", path, headers=old), 412, "precondition_failed")
        self.refused(self.api("PATCH", path, {"title": "weak"}, {"If-Match": f"W/{link['etag']}"}), 412, "precondition_failed")
        self.assertEqual(self.node.link(link["code"])["title"], "first")
        self.assertEqual(self.api("PATCH", path, {"title": "any"}, {"If-Match": "*"})[0], 200)
        link = self.node.link(link["code"])
        self.assertEqual(self.api("PATCH", path, {"title": "listed"}, {"If-Match": f'"0-0", {link["etag"]}'})[0], 200)
        self.assertEqual(self.api("DELETE", path, headers={"If-Match": self.node.link(link["code"])["etag"]})[0], 204)

    def test_if_none_match_asks_for_another_version_only(self):
        link = self.node.make(URL)
        path = f"/v1/links/{link['code']}"
        for known in (link["etag"], f"W/{link['etag']}", f'"0-0", {link["etag"]}', "*"):
            for method in ("GET", "HEAD"):
                with self.subTest(known=known, method=method):
                    status, fields, body = self.api(method, path, headers={"If-None-Match": known})
                    self.assertEqual((status, fields["etag"], body), (304, link["etag"], None))
            self.refused(self.api("PATCH", path, {"title": "x"}, {"If-None-Match": known}), 412, "precondition_failed")
            self.refused(self.api("DELETE", path, headers={"If-None-Match": known}), 412, "precondition_failed")
        self.assertEqual(self.api("GET", path, headers={"If-None-Match": '"0-0"'})[0], 200)
        self.refused(self.api("GET", path, headers={"If-Match": '"0-0"'}), 412, "precondition_failed")
        self.assertEqual(self.api("PATCH", path, {"title": "x"}, {"If-None-Match": '"0-0"'})[0], 200)
        self.assertEqual(self.api("GET", path, headers={"If-None-Match": link["etag"]})[0], 200)

    def test_a_parameter_that_is_there_twice_is_refused(self):
        link = self.node.make(URL)
        for method, path, name in (("GET", "/v1/links?limit=5&limit=6", "limit"), ("GET", "/v1/links?tag=a&tag=b", "tag"),
                                   ("GET", "/v1/links?q=a&%71=b", "q"), ("GET", "/v1/stats?step=day&step=hour", "step"),
                                   ("DELETE", f"/v1/links/{link['code']}?domain=go.test&domain=go.test", "domain"),
                                   ("GET", "/v1/domains?limit=1&limit=2", "limit")):
            with self.subTest(path=path):
                self.refused(self.api(method, path), 400, "invalid_argument", name)
        body = b"url,code\nhttps://example.com/,imported\n"
        answer = self.api("POST", "/v1/imports?dry_run=true&dry_run=false", body, {"Content-Type": "text/csv"})
        self.refused(answer, 400, "invalid_argument", "dry_run")
        self.assertEqual(self.node.follow("imported")[0], 404)

    def test_a_coded_body_is_refused_as_one(self):
        answer = self.api("POST", "/v1/links", b"\x1f\x8b", {"Content-Encoding": "gzip"})
        self.refused(answer, 415, "unsupported_content_coding")
        self.assertEqual(answer[1]["accept-encoding"], "identity")
        self.assertEqual(self.api("POST", "/v1/links", {"url": URL}, {"Content-Encoding": "identity"})[0], 201)

    def test_of_32_changes_under_one_etag_one_is_made(self):
        link = self.node.make(URL)
        answers = together(32, lambda number: self.node.api(
            "PATCH", f"/v1/links/{link['code']}", {"title": f"by {number}"}, {"If-Match": link["etag"]}))
        self.assertEqual(sorted(status for status, _, _ in answers), [200] + [412] * 31)

    def test_clicks_do_not_change_the_etag(self):
        link = self.node.make(URL)
        self.node.follow(link["code"])
        read = until(lambda: (now := self.node.link(link["code"]))["clicks"] == 1 and now, "the click")
        self.assertEqual((read["etag"], read["updated_at"]), (link["etag"], link["updated_at"]))

    def test_a_deleted_code_is_gone_and_never_given_again(self):
        for more in ({}, {"alias": "to-delete"}):
            code = self.node.make(URL, self.client, **more)["code"]
            self.assertEqual(self.node.follow(code, client=self.client), (302, URL))
            status, fields, body = self.api("DELETE", f"/v1/links/{code}")
            self.assertEqual((status, body, "content-length" in fields), (204, None, False))
            self.refused(self.api("GET", f"/{code}"), 410, "gone")
            self.refused(self.api("GET", f"/v1/links/{code}"), 410, "gone")
            self.refused(self.api("PATCH", f"/v1/links/{code}", {"title": "x"}), 410, "gone")
            self.refused(self.api("DELETE", f"/v1/links/{code}"), 410, "gone")
            self.refused(self.api("POST", "/v1/links", {"url": URL, "alias": code}), 409, "already_exists", "alias")
            self.assertNotIn(code, [link["code"] for link in self.node.listed()])
        self.refused(self.api("DELETE", f"/v1/links/{NEVER_MADE}"), 404, "not_found")

    def test_an_expired_link_is_gone_until_its_time_is_moved(self):
        date = self.api("GET", "/v1/links?limit=1")[1]["date"]
        now = email.utils.parsedate_to_datetime(date).timestamp()
        moment = datetime.datetime.fromtimestamp(now + 3, datetime.timezone.utc)
        link = self.node.make(URL, self.client, expires_at=moment.isoformat())
        code = link["code"]
        self.assertEqual(link["expires_at"], moment.strftime("%Y-%m-%dT%H:%M:%S.000Z"))
        self.assertEqual(self.node.follow(code, client=self.client), (302, URL))
        until(lambda: self.node.follow(code, client=self.client)[0] == 410, "the end of the link")
        self.refused(self.api("GET", f"/{code}"), 410, "gone", detail="expired")
        self.assertEqual(self.node.link(code)["code"], code)
        self.assertEqual(self.api("PATCH", f"/v1/links/{code}", {"expires_at": None})[0], 200)
        self.assertEqual(self.node.follow(code, client=self.client), (302, URL))

    def test_readers_never_see_an_old_target_after_a_change_was_answered(self):
        code = self.node.make(f"{URL}0")["code"]
        changed = 0
        ended = threading.Event()
        rounds = [0] * 32

        def work(number):
            nonlocal changed
            with self.node.client() as client:
                if number == 32:
                    try:
                        for version in range(1, 201):
                            status = self.node.api("PATCH", f"/v1/links/{code}", {"url": f"{URL}{version}"}, client=client)[0]
                            self.assertEqual(status, 200)
                            changed = version
                    finally:
                        ended.set()
                    return
                while not ended.is_set():
                    floor = changed
                    status, location = self.node.follow(code, client=client)
                    self.assertEqual(status, 302)
                    self.assertGreaterEqual(int(location.removeprefix(URL)), floor)
                    rounds[number] += 1

        together(33, work)
        self.assertGreater(min(rounds), 0)
        self.assertEqual(self.node.follow(code), (302, f"{URL}200"))

    # --- Listing ---

    def test_the_list_is_complete_and_without_repeats_while_others_write(self):
        before = [self.node.make(f"{URL}listing/{number}", self.client)["code"] for number in range(150)]
        doomed = set(before[::10])
        ended = threading.Event()

        def writer(number):
            made = 0
            with self.node.client() as client:
                while not ended.is_set() and made < 5000:
                    self.node.make(f"{URL}meanwhile", client)
                    made += 1

        def reader(number):
            try:
                seen = []
                for at, page in enumerate(self.node.pages(limit=7, query="&q=listing/")):
                    self.assertLessEqual(len(page), 7)
                    seen += [link["code"] for link in page]
                    if at == 3:
                        for code in doomed:
                            self.assertEqual(self.node.api("DELETE", f"/v1/links/{code}")[0], 204)
                return seen
            finally:
                ended.set()

        seen = together(4, lambda number: (reader if number == 0 else writer)(number))[0]
        self.assertEqual(len(seen), len(set(seen)))
        self.assertLessEqual(set(before) - doomed, set(seen))
        self.assertLessEqual(set(seen), set(before))
        self.assertEqual([code for code in seen if code not in doomed], [code for code in reversed(before) if code not in doomed])

    def test_a_search_finds_pieces_of_code_url_and_title(self):
        link = self.node.make("https://example.com/Haystack?a=1&b=%41", self.client, alias="the-needle-code", title="50% of Wörter + \"more\"")
        for piece in ("needle", "NEEDLE", "haystack", "a=1&b", "%41", "50% of", "wörter", "Wörter", '+ "more"', "the-needle-code"):
            with self.subTest(piece=piece):
                found = self.node.listed(query="&q=" + urllib.parse.quote(piece))
                self.assertIn(link["code"], [one["code"] for one in found])
        self.assertIn(link["code"], [one["code"] for one in self.node.listed(query="&q=50%25+of")])
        for piece in ("no such thing", "'; DROP TABLE links; --", "_eedle", "nee%dle"):
            self.assertEqual(self.node.listed(query="&q=" + urllib.parse.quote(piece)), [])

    def test_bad_parameters_are_refused_by_name(self):
        for query, field in (("limit=0", "limit"), ("limit=101", "limit"), ("limit=x", "limit"), ("limit=-1", "limit"), ("limit=", "limit"),
                             ("limit=99999999999999999999", "limit"), ("cursor=x", "cursor"), ("cursor=", "cursor"),
                             ("cursor=ffffffffffffffff", "cursor"), ("q=" + "x" * 201, "q")):
            with self.subTest(query=query[:40]):
                self.refused(self.api("GET", f"/v1/links?{query}"), 400, "invalid_argument", field)
        self.refused(self.api("GET", "/v1/links?page=2"), 400, "unknown_parameter", "page")
        self.refused(self.api("GET", "/v1/links?q=%zz"), 400, "invalid_argument")
        for limit in (1, 100):
            self.assertLessEqual(len(self.api("GET", f"/v1/links?limit={limit}")[2]["items"]), limit)

    # --- Following ---

    def test_head_is_answered_like_get_and_not_counted(self):
        code = self.node.make(URL, self.client)["code"]
        for _ in range(5):
            self.assertEqual(self.node.follow(code, "HEAD", client=self.client), (302, URL))
        self.assertEqual(self.node.follow(code, client=self.client), (302, URL))
        until(lambda: self.node.link(code)["clicks"] >= 1, "the click")
        self.assertEqual(self.node.link(code)["clicks"], 1)

    def test_refusals_are_not_counted(self):
        link = self.node.make(URL, self.client)
        until(lambda: self.node.metric("trellis_queue_depth", topic="clicks") == 0, "the clicks of others counted")
        counted = self.node.metric("trellis_queue_messages_total", topic="clicks", event="recorded")
        for path in (f"/{link['code']}/", f"/{link['code']}x", f"/{NEVER_MADE}"):
            self.assertEqual(self.api("GET", path)[0], 404)
        self.assertEqual(self.api("POST", f"/{link['code']}")[0], 405)
        self.node.follow(link["code"], client=self.client)
        until(lambda: self.node.link(link["code"])["clicks"] == 1, "the click")
        self.assertEqual(self.node.metric("trellis_queue_messages_total", topic="clicks", event="recorded"), counted + 1)

    def test_a_code_is_the_whole_path_and_nothing_else(self):
        code = self.node.make(URL, self.client, alias="whole")["code"]
        for path in (f"/{code}?utm=1", "/%77hole", "/wh%6Fle?"):
            self.assertEqual(self.node.api("GET", path)[0], 302, path)
        for path in ("/WHOLE", "/whole/", "/whole/x", "//whole", "/whole%00", "/whole%2F", "/whole%20", "/%2e%2e/whole2", "/" + "x" * 129):
            self.assertIn(self.node.api("GET", path)[0], (400, 404), path)

    # --- Methods and the document ---

    def test_other_methods_are_refused_with_the_allowed_ones(self):
        code = self.node.make(URL, self.client)["code"]
        for method, path, allowed in (("PUT", "/v1/links", "GET, HEAD, POST, OPTIONS"), ("DELETE", "/v1/links", "GET, HEAD, POST, OPTIONS"),
                                      ("PATCH", "/v1/links", "GET, HEAD, POST, OPTIONS"),
                                      ("POST", f"/v1/links/{code}", "GET, HEAD, PATCH, DELETE, OPTIONS"),
                                      ("PUT", f"/v1/links/{code}", "GET, HEAD, PATCH, DELETE, OPTIONS"),
                                      ("POST", "/v1/openapi.json", "GET, HEAD, OPTIONS")):
            with self.subTest(method=method, path=path):
                answer = self.api(method, path, b"{}")
                self.refused(answer, 405, "method_not_allowed")
                self.assertEqual(answer[1]["allow"], allowed)
                status, fields, _ = self.api("OPTIONS", path)
                self.assertEqual((status, fields["allow"]), (204, allowed))
        for path in ("/v1/nothing", "/v1/links/", f"/v1/links/{code}/x", "/a/b"):
            self.refused(self.api("GET", path), 404, "not_found")

    def test_head_of_the_api_is_get_without_the_body(self):
        code = self.node.make(URL, self.client)["code"]
        for path in ("/v1/links?limit=1", f"/v1/links/{code}", "/v1/openapi.json"):
            head, get = self.api("HEAD", path), self.api("GET", path)
            self.assertEqual((head[0], head[2]), (200, None))
            self.assertEqual([head[1].get(name) for name in ("content-type", "etag")], [get[1].get(name) for name in ("content-type", "etag")])

    def test_the_openapi_document_is_sound_and_every_operation_in_it_answers_as_it_says(self):
        status, fields, document = self.api("GET", "/v1/openapi.json")
        self.assertEqual((status, fields["content-type"]), (200, "application/json"))
        self.assertRegex(document["openapi"], r"^3\.1\.")
        self.assertTrue(document["info"]["title"] and document["info"]["version"])
        references = re.findall(r'"\$ref": "([^"]+)"', json.dumps(document))
        self.assertTrue(references)
        for reference in references:
            at = document
            for part in reference.removeprefix("#/").split("/"):
                at = at[part]
        code = self.node.make(URL, self.client)["code"]
        ids, asked = [], 0
        # The deletion comes last: what is documented for the others is more than 410.
        operations = [(path, method, operation) for path, item in document["paths"].items() for method, operation in item.items()
                      if method != "parameters"]
        for path, method, operation in sorted(operations, key=lambda one: one[1] == "delete"):
            with self.subTest(path=path, method=method):
                ids.append(operation["operationId"])
                self.assertTrue(operation["summary"])
                in_path = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path" and one["required"]}
                self.assertEqual(in_path, set(re.findall(r"{(\w+)}", path)))
                for status, answer in operation["responses"].items():
                    self.assertRegex(status, r"^[1-5]\d\d$|^default$")
                    self.assertTrue(answer["description"])
                if operation["operationId"] == "click_stream":
                    continue  # it has no end
                body = {"url": URL} if "requestBody" in operation else None
                got = self.status_of(method, path.replace("{code}", code), body)
                self.assertIn(str(got), operation["responses"])
                if operation["operationId"] not in CORE:
                    continue  # their own tests say what they answer
                self.assertLess(got, 400)
                if "{code}" in path:
                    got = self.status_of(method, path.replace("{code}", NEVER_MADE), body)
                    self.assertEqual(got, 404)
                    self.assertIn("404", operation["responses"])
                asked += 1
        self.assertEqual(len(ids), len(set(ids)))
        self.assertEqual(asked, len(CORE))
        self.assertLessEqual({"/v1/links", "/v1/links/{code}", "/v1/openapi.json", "/{code}"}, set(document["paths"]))

    def status_of(self, method, path, body):
        """Whatever the answer's body is."""
        with self.node.client() as one:
            one.send(request(method.upper(), re.sub(r"{\w+}", "1", path), body))
            return one.answer(method.upper().encode()).status


if __name__ == "__main__":
    unittest.main(verbosity=2)
