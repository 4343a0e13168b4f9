"""Several routes at one edge cache: what each stores is its own, under the address that clients ask for; and purges and
`ctl cache why` go by that address."""
import pytest

import node
from cache_origin import Origin, ask, outcome, reply
from edge_origin import Edge, PURGE_KEY

FRESH = b"Cache-Control: max-age=3600"

CONFIG = """
listeners:
  web: {{ bind: "127.0.0.1:0" }}
caches:
  edge: {{ memory: 32MiB{disk} }}
upstreams:
  first: {{ hosts: ["{first}"] }}
  second: {{ hosts: ["{second}"] }}
routes:
  - match: {{ path: /first/** }}
    filters: [{{ rewrite: {{ strip_prefix: /first }} }}, {{ cache: {{ in: edge, immutable: [/first/kept/**] }} }}]
    to: upstream.first
  - match: {{ path: /second/** }}
    filters: [{{ rewrite: {{ strip_prefix: /second }} }}, {{ cache: {{ in: edge }} }}]
    to: upstream.second
  - match: {{ host: "*.one.example", path: /shared/** }}
    filters: [{{ cache: {{ in: edge, key: {{ host: false }}, purge: {{ key_file: purge.key }} }} }}]
    to: upstream.first
  - match: {{ host: "*.two.example", path: /shared/** }}
    filters: [{{ cache: {{ in: edge, key: {{ host: false }} }} }}]
    to: upstream.second
  - match: {{ path: /picked/** }}
    filters: [{{ cache: {{ in: edge, slice: 64KiB, key: {{ without: ["utm_*"] }}, purge: {{ key_file: purge.key }} }} }}]
    to: upstream.first
  - match: {{ path: /asked/**, headers: {{ X-Beta: "yes" }} }}
    filters: [{{ cache: {{ in: edge }} }}]
    to: upstream.second
  - match: {{ path: /asked/** }}
    filters: [{{ cache: {{ in: edge }} }}]
    to: upstream.first
"""


def says(name):
    return lambda seen, count: reply(b"%b %b %d" % (name, seen.target, count), FRESH, b'ETag: "%d"' % count)


@pytest.fixture
def first():
    with Origin(says(b"first")) as one:
        yield one


@pytest.fixture
def second():
    with Origin(says(b"second")) as one:
        yield one


@pytest.fixture(params=["memory", "disk"])
def edge(first, second, request):
    disk = ", disk: { path: ./kept, size: 64MiB }" if request.param == "disk" else ""
    n = node.Node(CONFIG.format(first=first.host, second=second.host, disk=disk))
    (n.folder / "purge.key").write_text(PURGE_KEY.replace(" ", "-") + "\n")
    with n:
        yield n


def test_routes_that_rewrite_to_one_path_have_answers_of_their_own(edge):
    for _ in range(2):
        assert ask(edge, b"/first/x").body == b"first /x 0"
        assert ask(edge, b"/second/x").body == b"second /x 0"
    assert outcome(ask(edge, b"/first/x")) == outcome(ask(edge, b"/second/x")) == "HIT"


def test_what_is_rewritten_goes_by_the_address_that_clients_ask_for(edge, first):
    assert b"immutable" in ask(edge, b"/first/kept/x").get(b"cache-control")
    assert ask(edge, b"/first/x").body == b"first /x 0"
    why = edge.ctl("cache", "why", "http://h/first/x").stdout
    assert "key        http://h/first/x\n" in why and "next       it is given from the cache\n" in why, why
    assert edge.ctl("purge", "http://h/first/x").returncode == 0
    assert ask(edge, b"/first/x").body == b"first /x 1"
    # An unsafe request, and the Location that it is answered with.
    assert ask(edge, b"/first/x", b"Content-Length: 0", method=b"POST").body == b"first /x 2"
    assert ask(edge, b"/first/x").body == b"first /x 3"
    first.at[b"/form"] = reply(b"done", b"Location: /first/x", status=b"303 See Other")
    assert ask(edge, b"/first/form", b"Content-Length: 0", method=b"POST").status == 303
    assert ask(edge, b"/first/x").body == b"first /x 4"


def test_hosts_share_answers_within_their_route_only(edge):
    assert ask(edge, b"/shared/x", host=b"a.one.example").body == b"first /shared/x 0"
    assert ask(edge, b"/shared/x", host=b"a.two.example").body == b"second /shared/x 0"
    assert outcome(ask(edge, b"/shared/x", host=b"b.one.example")) == "HIT"
    assert outcome(ask(edge, b"/shared/x", host=b"b.two.example")) == "HIT"


@pytest.mark.parametrize("words", [
    ("http://b.one.example/shared/x",), ("--prefix", "b.one.example/shared/"), ("--host", "b.one.example"),
    ("--soft", "http://b.one.example/shared/x")])
def test_a_purge_at_one_host_is_one_for_all_that_share_the_answer(edge, words):
    for host in (b"a.one.example", b"b.one.example"):
        ask(edge, b"/shared/x", host=host)
    assert edge.ctl("purge", *words).returncode == 0
    # The host that asked first, whose answer it was, and the one that was named.
    assert ask(edge, b"/shared/x", host=b"b.one.example").body == b"first /shared/x 1"
    assert ask(edge, b"/shared/x", host=b"a.one.example").body == b"first /shared/x 1"
    if "--host" not in words:
        assert edge.ctl("purge", "http://b.one.example/shared/other").returncode == 0
        assert outcome(ask(edge, b"/shared/x", host=b"a.one.example")) == "HIT"


def test_a_purge_request_names_its_page_whatever_parameters_do_not_count(edge, first):
    assert outcome(ask(edge, b"/picked/x?a=1&utm_source=mail")) == "MISS"
    assert outcome(ask(edge, b"/picked/x?a=1")) == "HIT"
    purged = edge.ask(Edge.purge_request(Edge, "/picked/x?utm_source=web&a=1", host="h"), "web")
    assert purged.status == 200, purged
    assert outcome(ask(edge, b"/picked/x?a=1&utm_source=mail")) == "MISS"
    # So does what is changed by a request.
    ask(edge, b"/picked/x?a=1&utm_source=post", b"Content-Length: 0", method=b"POST")
    assert outcome(ask(edge, b"/picked/x?a=1")) == "MISS"
    assert all(b"utm" not in seen.target for seen in first.requests if seen.method == b"GET")


def test_why_tells_of_the_route_that_takes_the_request(edge):
    assert ask(edge, b"/asked/x", b"X-Beta: yes").body == b"second /asked/x 0"
    beta = edge.ctl("cache", "why", "http://h/asked/x", "--header", "X-Beta: yes").stdout
    assert "next       it is given from the cache\n" in beta and "X-Beta=yes" in beta, beta
    assert "next       the origin is asked: nothing is stored" in edge.ctl("cache", "why", "http://h/asked/x").stdout


def test_a_page_under_the_name_of_an_asset_is_no_asset(first):
    """Web cache deception: an origin that takes any path below a page for the page, and a client that was led there."""
    config = f"""
listeners:
  web: {{ bind: "127.0.0.1:0" }}
caches:
  edge: {{ memory: 16MiB }}
upstreams:
  first: {{ hosts: ["{first.host}"] }}
routes:
  - match: {{ path: /** }}
    filters: [{{ cache: {{ in: edge, hashed_names_immutable: true }} }}]
    to: upstream.first
"""
    page = b"/account/x.3f2a9c81b7d4.css"
    with node.Node(config) as n:
        for fields in ((b"Content-Type: text/html; charset=utf-8",), (b"Content-Type: application/json",), (),
                       (b"Content-Type: text/css", b"Set-Cookie: sid=1")):
            first.at[page] = lambda seen, _, fields=fields: reply(b"of " + (seen.get(b"cookie") or b"nobody"), *fields)
            assert ask(n, page, b"Cookie: sid=alice").body == b"of sid=alice"
            assert ask(n, page).body == b"of nobody"
        first.at[page] = reply(b"a { color: red }", b"Content-Type: Text/CSS; charset=utf-8")
        assert b"immutable" in ask(n, page).get(b"cache-control")
        assert outcome(ask(n, page)) == "HIT"
