#!/usr/bin/env python3
"""Shlink's REST API, version 3, as its web client uses it.

What is expected stands here as Shlink's published description (docs/swagger of shlinkio/shlink) and the types of its
client (shlink-js-sdk) have it: paths, members, statuses and types of problems.

    python3 tests/scenario/links_shlink_test.py
"""
import json
import pathlib
import re
import sys
import unittest
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import node as nodes  # noqa: E402
from links_access_test import KEYS, key_command  # noqa: E402
from links_node import LinksNode, request  # noqa: E402

ERRORS = "https://shlink.io/api/error/"
NULL = type(None)

# definitions/ShortUrl.json, VisitsSummary.json, Pagination.json, Visit.json, ...: member: type, or types.
SUMMARY = {"total": int, "nonBots": int, "bots": int}
SHORT_URL = {"shortCode": str, "shortUrl": str, "longUrl": str, "dateCreated": str, "visitsSummary": SUMMARY,
             "tags": list, "meta": {"validSince": (str, NULL), "validUntil": (str, NULL), "maxVisits": (int, NULL)},
             "domain": (str, NULL), "title": (str, NULL), "crawlable": bool, "forwardQuery": bool, "hasRedirectRules": bool}
PAGINATION = {"currentPage": int, "pagesCount": int, "itemsPerPage": int, "itemsInCurrentPage": int, "totalItems": int}
VISIT = {"referer": str, "date": str, "userAgent": str, "visitLocation": (dict, NULL), "potentialBot": bool,
         "visitedUrl": str, "redirectUrl": (str, NULL)}
PROBLEM = {"type": str, "title": str, "detail": str, "status": int}
REDIRECTS = {"baseUrlRedirect": (str, NULL), "regular404Redirect": (str, NULL), "invalidShortUrlRedirect": (str, NULL)}
RULE = {"longUrl": str, "priority": int, "conditions": list}
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d\Z")


class ShlinkTest(unittest.TestCase):
    def has_shape(self, value, shape, where=""):
        self.assertIsInstance(value, dict, where)
        for name, kind in shape.items():
            self.assertIn(name, value, where)
            if isinstance(kind, dict):
                self.has_shape(value[name], kind, f"{where}.{name}")
            else:
                self.assertIsInstance(value[name], kind, f"{where}.{name}")

    def is_problem(self, answer, status, kind, **more):
        got, fields, body = answer
        self.assertEqual((got, fields["content-type"]), (status, "application/problem+json"), body)
        self.has_shape(body, PROBLEM)
        self.assertEqual((body["type"], body["status"]), (ERRORS + kind, status))
        for name, value in more.items():
            self.assertEqual(body[name], value)


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class ShortUrls(ShlinkTest):
    def setUp(self):
        self.node = self.enterContext(LinksNode())

    def rest(self, method, path, body=None, query=None, **headers):
        if query:
            path += "?" + urllib.parse.urlencode(query)
        return self.node.api(method, "/rest/v3" + path, body, headers)

    def ok(self, method, path, body=None, query=None):
        status, fields, answer = self.rest(method, path, body, query)
        self.assertEqual((status, fields["content-type"]), (200, "application/json"), answer)
        return answer

    def make(self, url, **more):
        made = self.ok("POST", "/short-urls", {"longUrl": url, **more})
        self.has_shape(made, SHORT_URL)
        return made

    def test_health_needs_no_key_and_has_two_addresses(self):
        for path in ("/rest/v3/health", "/rest/health"):
            status, fields, body = self.node.api("GET", path)
            self.assertEqual((status, fields["content-type"]), (200, "application/health+json"))
            self.assertEqual(body["status"], "pass")
            self.assertRegex(body["version"], r"^\d+\.\d+\.\d+$")

    def test_a_short_url_is_made_read_changed_and_deleted(self):
        made = self.make("https://example.com/a?b=1", customSlug="spring", title="Spring", tags=["a", "b"], maxVisits=5,
                         validSince="2024-01-01T00:00:00+02:00", validUntil="2199-01-01T00:00:00+00:00")
        self.assertEqual((made["shortCode"], made["shortUrl"]), ("spring", "http://go.test/spring"))
        self.assertEqual(made["meta"], {"validSince": "2023-12-31T22:00:00+00:00", "validUntil": "2199-01-01T00:00:00+00:00", "maxVisits": 5})
        self.assertEqual((made["tags"], made["title"], made["domain"]), (["a", "b"], "Spring", None))
        self.assertTrue(made["forwardQuery"])
        self.assertRegex(made["dateCreated"], ISO)
        self.assertEqual(self.ok("GET", "/short-urls/spring"), made)
        changed = self.ok("PATCH", "/short-urls/spring", {"longUrl": "https://example.org/", "maxVisits": None, "title": None,
                                                          "tags": ["c"], "forwardQuery": False, "crawlable": False})
        self.assertEqual((changed["longUrl"], changed["title"], changed["tags"]), ("https://example.org/", None, ["c"]))
        self.assertEqual(changed["meta"]["maxVisits"], None)
        self.assertEqual(self.node.follow("spring"), (302, "https://example.org/"))
        self.assertEqual(self.rest("DELETE", "/short-urls/spring")[0], 204)
        self.is_problem(self.rest("GET", "/short-urls/spring"), 404, "short-url-not-found", shortCode="spring")
        self.is_problem(self.rest("DELETE", "/short-urls/spring"), 404, "short-url-not-found", shortCode="spring")
        self.is_problem(self.rest("PATCH", "/short-urls/nobody", {"title": "x"}), 404, "short-url-not-found", shortCode="nobody")

    def test_what_is_not_valid_names_its_element(self):
        self.is_problem(self.rest("POST", "/short-urls", {}), 400, "invalid-data", invalidElements=["longUrl"])
        for body in (b"[]", b"{", b'{"longUrl": ' + b"[" * 20 + b"]" * 20 + b"}"):
            self.is_problem(self.rest("POST", "/short-urls", body), 400, "invalid-data", invalidElements=[])
        twice = b'{"longUrl": "https://a.test/", "longUrl": "https://b.test/"}'
        self.is_problem(self.rest("POST", "/short-urls", twice), 400, "invalid-data", invalidElements=["longUrl"])
        for name, value in (("longUrl", "ftp://x"), ("validSince", "soon"), ("maxVisits", 0), ("customSlug", "a b"), ("tags", "x"), ("domain", "other.test")):
            body = {"longUrl": "https://example.com/", name: value}
            self.is_problem(self.rest("POST", "/short-urls", body), 400, "invalid-data", invalidElements=[name])
        self.make("https://example.com/", customSlug="taken")
        self.is_problem(self.rest("POST", "/short-urls", {"longUrl": "https://example.com/", "customSlug": "taken"}), 400,
                        "non-unique-slug", customSlug="taken")
        self.is_problem(self.rest("PATCH", "/short-urls/taken", {"maxVisits": "many"}), 400, "invalid-data", invalidElements=["maxVisits"])
        self.is_problem(self.rest("GET", "/nothing"), 404, "not-found")
        self.is_problem(self.node.api("GET", "/rest/v9/short-urls"), 404, "not-found")

    def test_one_that_exists_is_found_when_that_is_wanted(self):
        first = self.make("https://example.com/same")
        self.assertEqual(self.make("https://example.com/same", findIfExists=True)["shortCode"], first["shortCode"])
        self.assertNotEqual(self.make("https://example.com/same")["shortCode"], first["shortCode"])

    def test_lists_have_pages_filters_and_orders(self):
        for number in range(25):
            self.make(f"https://example.com/{number:02}", customSlug=f"c{number:02}", tags=["even"] if number % 2 == 0 else ["odd", "all"])
        page = self.ok("GET", "/short-urls")["shortUrls"]
        self.has_shape(page["pagination"], PAGINATION)
        self.assertEqual(page["pagination"], {"currentPage": 1, "pagesCount": 3, "itemsPerPage": 10, "itemsInCurrentPage": 10, "totalItems": 25})
        for link in page["data"]:
            self.has_shape(link, SHORT_URL)
        self.assertEqual([link["shortCode"] for link in page["data"]][:2], ["c24", "c23"])

        def codes(**query):
            found = self.ok("GET", "/short-urls", query=[(name.replace("__", "[]"), value) for name, values in query.items()
                                                         for value in (values if isinstance(values, list) else [values])])["shortUrls"]
            return [link["shortCode"] for link in found["data"]], found["pagination"]["totalItems"]
        self.assertEqual(codes(page=3), (["c04", "c03", "c02", "c01", "c00"], 25))
        self.assertEqual(codes(searchTerm="EXAMPLE.com/07"), (["c07"], 1))
        self.assertEqual(codes(tags__=["even"], itemsPerPage=2), (["c24", "c22"], 13))
        self.assertEqual(codes(tags__=["odd", "even"])[1], 25)
        self.assertEqual(codes(tags__=["odd", "all"], tagsMode="all")[1], 12)
        self.assertEqual(codes(tags__=["odd", "even"], tagsMode="all")[1], 0)
        self.assertEqual(codes(tags__=["odd", "odd"], tagsMode="all")[1], 12)
        self.assertEqual(codes(excludeTags__=["odd", "even"])[1], 0)
        self.assertEqual(codes(excludeTags__=["odd", "even"], excludeTagsMode="all")[1], 25)
        self.assertEqual(codes(excludeTags__=["odd", "all"], excludeTagsMode="all")[1], 13)
        self.assertEqual(codes(page=-1)[0], codes(page=1)[0])
        self.assertEqual(codes(orderBy="shortCode-ASC", itemsPerPage=2)[0], ["c00", "c01"])
        self.assertEqual(codes(orderBy="longUrl-DESC", itemsPerPage=1)[0], ["c24"])
        self.assertEqual(codes(startDate="2199-01-01T00:00:00+00:00")[1], 0)
        self.assertEqual(codes(endDate="2199-01-01T00:00:00+00:00")[1], 25)
        self.assertEqual(codes(domain="DEFAULT")[1], 25)
        self.assertEqual(codes(domain="other.test")[1], 0)
        self.assertEqual(codes(itemsPerPage=-1)[1], 25)
        self.is_problem(self.rest("GET", "/short-urls?startDate=soon"), 400, "invalid-data", invalidElements=["startDate"])

    def test_those_that_ended_can_be_left_out(self):
        self.make("https://example.com/", customSlug="one", maxVisits=1)
        self.node.follow("one")
        self.make("https://example.com/", customSlug="two")
        left = self.ok("GET", "/short-urls", query={"excludeMaxVisitsReached": "true", "excludePastValidUntil": "true"})
        self.assertEqual([link["shortCode"] for link in left["shortUrls"]["data"]], ["two"])

    def test_tags_are_listed_counted_renamed_and_deleted(self):
        self.make("https://example.com/", customSlug="a", tags=["red", "blue"])
        self.make("https://example.com/", customSlug="b", tags=["red"])
        self.assertEqual(self.ok("GET", "/tags")["tags"]["data"], ["blue", "red"])
        stats = self.ok("GET", "/tags/stats")["tags"]
        self.assertEqual(stats["data"], [{"tag": tag, "shortUrlsCount": count, "visitsSummary": {"total": 0, "nonBots": 0, "bots": 0}}
                                         for tag, count in (("blue", 1), ("red", 2))])
        self.has_shape(stats["pagination"], PAGINATION)
        self.assertEqual(self.ok("GET", "/tags?withStats=true")["tags"]["stats"], stats["data"])
        self.assertEqual(self.rest("PUT", "/tags", {"oldName": "red", "newName": "green"})[0], 204)
        self.assertEqual(self.ok("GET", "/short-urls/a")["tags"], ["green", "blue"])
        self.assertEqual(len(self.node.listed(query="&tag=green")), 2)
        self.is_problem(self.rest("PUT", "/tags", {"oldName": "red", "newName": "x"}), 404, "tag-not-found", tag="red")
        self.is_problem(self.rest("PUT", "/tags", {"oldName": "green", "newName": "blue"}), 409, "tag-conflict", oldName="green", newName="blue")
        self.is_problem(self.rest("PUT", "/tags", {"oldName": "green"}), 400, "invalid-data", invalidElements=["newName"])
        self.assertEqual(self.rest("DELETE", "/tags", query=[("tags[]", "green"), ("tags[]", "nobody")])[0], 204)
        self.assertEqual(self.ok("GET", "/short-urls/a")["tags"], ["blue"])
        self.assertEqual(self.ok("GET", "/short-urls/b")["tags"], [])

    def test_visits_are_counted_and_listed_by_hour(self):
        self.make("https://example.com/", customSlug="a", tags=["red"])
        for _ in range(3):
            self.node.follow("a")
        nodes.until(lambda: self.ok("GET", "/short-urls/a")["visitsSummary"]["total"] == 3, "three clicks are counted")
        for path in ("/short-urls/a/visits", "/visits/non-orphan"):
            nodes.until(lambda path=path: self.ok("GET", path)["visits"]["pagination"]["totalItems"] == 3, "and their hours")
        visits = self.ok("GET", "/visits")["visits"]
        self.has_shape(visits, {"nonOrphanVisits": SUMMARY, "orphanVisits": SUMMARY})
        self.assertEqual(visits["nonOrphanVisits"]["total"], 3)
        for path in ("/short-urls/a/visits", "/tags/red/visits", "/visits/non-orphan", "/domains/DEFAULT/visits"):
            answer = self.ok("GET", path, query={"itemsPerPage": 2})["visits"]
            self.assertEqual((len(answer["data"]), answer["pagination"]["totalItems"], answer["pagination"]["pagesCount"]), (2, 3, 2), path)
            self.has_shape(answer["pagination"], PAGINATION)
            for visit in answer["data"]:
                self.has_shape(visit, VISIT)
                self.assertRegex(visit["date"], ISO)
            self.assertEqual(len(self.ok("GET", path, query={"itemsPerPage": 2, "page": 2})["visits"]["data"]), 1)
        self.assertEqual(self.ok("GET", "/short-urls/a/visits", query={"endDate": "2020-01-01T00:00:00+00:00"})["visits"]["data"], [])
        self.assertEqual(self.ok("GET", "/visits/orphan")["visits"]["data"], [])
        self.is_problem(self.rest("GET", "/short-urls/nobody/visits"), 404, "short-url-not-found", shortCode="nobody")
        self.is_problem(self.rest("GET", "/tags/nobody/visits"), 404, "tag-not-found", tag="nobody")

    def test_there_is_one_domain(self):
        domains = self.ok("GET", "/domains")["domains"]
        self.assertEqual([(one["domain"], one["isDefault"]) for one in domains["data"]], [("go.test", True)])
        self.has_shape(domains["data"][0]["redirects"], REDIRECTS)
        self.has_shape(domains["defaultRedirects"], REDIRECTS)
        self.is_problem(self.rest("GET", "/mercure-info"), 501, "mercure-not-configured")

    def test_redirect_rules_are_ours_in_other_words(self):
        self.make("https://example.com/", customSlug="a")
        self.assertEqual(self.ok("GET", "/short-urls/a/redirect-rules"), {"defaultLongUrl": "https://example.com/", "redirectRules": []})
        conditions = [("device", None, "android"), ("device", None, "mobile"), ("language", None, "pt-BR"), ("query-param", "from", "mail"),
                      ("any-value-query-param", "x", ""), ("valueless-query-param", "y", ""), ("ip-address", None, "192.0.2.0/24"),
                      ("geolocation-country-code", None, "DE"), ("before-date", None, "2199-01-01T00:00:00+00:00")]
        rules = [{"longUrl": f"https://example.com/{number}", "conditions": [{"type": kind, "matchKey": key, "matchValue": value}]}
                 for number, (kind, key, value) in enumerate(conditions)]
        answer = self.ok("POST", "/short-urls/a/redirect-rules", {"redirectRules": rules})
        self.assertEqual(answer, self.ok("GET", "/short-urls/a/redirect-rules"))
        for number, rule in enumerate(answer["redirectRules"]):
            self.has_shape(rule, RULE)
            self.assertEqual(rule["priority"], number + 1)
            said = [(one["type"], one["matchKey"], one["matchValue"].lower()) for one in rule["conditions"]]
            kind, key, value = conditions[number]
            self.assertEqual(said, [(kind, key, value.lower())])
        wildcards = [{"longUrl": "https://example.com/", "conditions": [{"type": "ip-address", "matchKey": None, "matchValue": text}]}
                     for text in ("10.*.*.*", "192.168.*.*", "192.0.2.*")]
        said = self.ok("POST", "/short-urls/a/redirect-rules", {"redirectRules": wildcards})["redirectRules"]
        self.assertEqual([rule["conditions"][0]["matchValue"] for rule in said], ["10.0.0.0/8", "192.168.0.0/16", "192.0.2.0/24"])
        for text in ("10.*.0.*", "10.*", "*", "a.*.*.*"):
            wildcards[0]["conditions"][0]["matchValue"] = text
            self.is_problem(self.rest("POST", "/short-urls/a/redirect-rules", {"redirectRules": wildcards}), 400, "invalid-data")
        self.ok("POST", "/short-urls/a/redirect-rules", {"redirectRules": rules})
        self.assertTrue(self.ok("GET", "/short-urls/a")["hasRedirectRules"])
        self.assertEqual(self.node.follow("a?from=mail"), (302, "https://example.com/3?from=mail"))
        unknown = [{"longUrl": "https://example.com/", "conditions": [{"type": "geolocation-city-name", "matchKey": None, "matchValue": "Bonn"}]}]
        self.is_problem(self.rest("POST", "/short-urls/a/redirect-rules", {"redirectRules": unknown}), 400, "invalid-data")
        self.assertEqual(self.ok("POST", "/short-urls/a/redirect-rules", {"redirectRules": []})["redirectRules"], [])
        self.assertFalse(self.ok("GET", "/short-urls/a")["hasRedirectRules"])

    def test_rules_that_it_cannot_say_are_not_lost(self):
        link = self.node.make("https://example.com/", alias="a", rules=[{"split": [{"url": "https://a.test/", "weight": 1}, {"url": "https://b.test/", "weight": 1}]}])
        self.assertEqual(self.ok("GET", "/short-urls/a/redirect-rules")["redirectRules"], [])
        self.assertEqual(self.rest("POST", "/short-urls/a/redirect-rules", {"redirectRules": []})[0], 409)
        self.assertEqual(self.node.link("a")["rules"], link["rules"])

    def test_without_keys_pages_of_other_origins_change_nothing_and_read_nothing(self):
        status, fields, _ = self.rest("GET", "/short-urls", Origin="https://app.shlink.io")
        self.assertEqual(status, 200)
        self.assertNotIn("access-control-allow-origin", fields)
        body = {"longUrl": "https://example.com/"}
        self.assertEqual(self.rest("POST", "/short-urls", body, Origin="https://app.shlink.io")[0], 403)
        self.assertEqual(self.rest("POST", "/short-urls", body, Origin="http://go.test")[0], 200)


@unittest.skipUnless(nodes.BINARY.exists(), f"{nodes.BINARY} is not built")
class WithKeys(ShlinkTest):
    @classmethod
    def setUpClass(cls):
        cls.node = LinksNode(KEYS)
        config = str(cls.node.folder / "node.yaml")
        cls.keys = {}
        for scope in ("write", "read"):
            made = key_command(cls.node, "add", scope, "--scope", scope, "--store", "main", "--config", config)
            assert made.returncode == 0, made
            cls.keys[scope] = made.stdout.strip()
        cls.enterClassContext(cls.node)

    def rest(self, method, path, body=None, key=None):
        headers = {"Origin": "https://app.shlink.io"}
        if key:
            headers["X-Api-Key"] = key
        return self.node.api(method, "/rest/v3" + path, body, headers)

    def test_the_web_client_may_come_from_its_own_origin(self):
        with self.node.client() as client:
            client.send(request("OPTIONS", "/rest/v3/short-urls", headers={
                "Origin": "https://app.shlink.io", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}))
            answer = client.answer(b"OPTIONS")
        self.assertEqual(answer.status, 204)
        self.assertEqual(answer.get(b"access-control-allow-origin"), b"*")
        self.assertIn(b"POST", answer.get(b"access-control-allow-methods"))
        self.assertIn(b"x-api-key", answer.get(b"access-control-allow-headers").lower())
        status, fields, _ = self.rest("POST", "/short-urls", {"longUrl": "https://example.com/"}, self.keys["write"])
        self.assertEqual((status, fields["access-control-allow-origin"]), (200, "*"))

    def test_a_key_is_needed_for_all_but_health(self):
        self.assertEqual(self.rest("GET", "/health")[0], 200)
        self.is_problem(self.rest("GET", "/short-urls"), 401, "missing-authentication", expectedHeaders=["X-Api-Key"])
        self.is_problem(self.rest("GET", "/short-urls", key="nobody"), 401, "invalid-api-key")
        self.assertEqual(self.rest("GET", "/short-urls", key=self.keys["read"])[0], 200)
        self.is_problem(self.rest("POST", "/short-urls", {"longUrl": "https://example.com/"}, self.keys["read"]), 403, "invalid-api-key")
        # A refusal can be read by the page that caused it.
        self.assertEqual(self.rest("GET", "/short-urls")[1]["access-control-allow-origin"], "*")


if __name__ == "__main__":
    unittest.main()
