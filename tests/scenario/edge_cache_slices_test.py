"""Large answers in slices, and answers that are encoded once: what the origin is asked for, and what clients get."""
import gzip
import http.client
import re
import threading

import pytest

import http_server
import node

MIB = 1 << 20
SLICE = 256 << 10
BODY = bytes((i * 7 + (i >> 8) * 13 + (i >> 16)) & 0xFF for i in range(2 * MIB + 12345))
TEXT = b"All work and no play makes Jack a dull boy.\n" * 4000


class Film(http_server.Handler):
    """One large body with ranges; remembers what was asked for."""

    asked = []
    etag = '"one"'
    ranges = True
    length = len(BODY)
    lock = threading.Lock()
    go_on = threading.Event()
    stalls_at = None  # a number of bytes, behind which it waits to go on

    def do_HEAD(self):
        with Film.lock:
            Film.asked.append("HEAD")
        self.send_response(200)
        self.send_header("etag", Film.etag)
        self.send_header("content-length", str(Film.length))
        self.end_headers()

    def do_GET(self):
        with Film.lock:
            Film.asked.append(self.headers.get("range"))
        if self.path.startswith("/assets/stalls/"):
            self.send_response(200)
            self.send_header("cache-control", "max-age=3600")
            self.send_header("content-length", self.path.rpartition("/")[2])
            self.end_headers()
            self.wfile.flush()
            Film.go_on.wait(30)
            return
        if self.path.startswith("/assets/"):
            return self.say("text/css", b"a { color: red }")
        body = TEXT if self.path.startswith("/text") else BODY[:Film.length]
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range") or "")
        first, last = (int(found[1]), min(int(found[2]), len(body) - 1)) if found and Film.ranges else (0, len(body) - 1)
        if first >= len(body):
            self.send_response(416)
            self.send_header("content-range", f"bytes */{len(body)}")
            self.send_header("content-length", "0")
            self.end_headers()
            return
        part = body[first:last + 1]
        self.send_response(206 if found and Film.ranges else 200)
        if found and Film.ranges:
            self.send_header("content-range", f"bytes {first}-{last}/{len(body)}")
        self.send_header("cache-control", "max-age=3600")
        self.send_header("etag", Film.etag)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(part)))
        self.end_headers()
        self.wfile.write(part[:Film.stalls_at])
        if Film.stalls_at:
            self.wfile.flush()
            Film.go_on.wait(30)
            self.wfile.write(part[Film.stalls_at:])


CONFIG = """
caches: {{ edge: {{ memory: 64MiB }} }}
listeners: {{ web: {{ bind: "127.0.0.1:0" }} }}
upstreams: {{ origin: {{ hosts: [ {{ address: "{origin}" }} ] }} }}
routes:
  - match: {{ path: /text/** }}
    filters:
      - compress: {{ encodings: [gzip] }}
      - cache: {{ in: edge }}
    to: upstream.origin
  - match: {{ path: /assets/** }}
    filters:
      - cache: {{ in: edge, immutable: [/assets/**] }}
    to: upstream.origin
  - match: {{ path: /** }}
    filters:
      - cache: {{ in: edge, slice: 256KiB }}
    to: upstream.origin
"""


@pytest.fixture(params=["uring", "epoll"])
def edge(request):
    Film.asked, Film.etag, Film.ranges, Film.length, Film.stalls_at = [], '"one"', True, len(BODY), None
    with http_server.HttpServer(Film) as origin:
        with node.Node(CONFIG.format(origin=origin.address), io=request.param) as n:
            yield n


def get(n, path="/film", method="GET", **headers):
    host, port = n.address()
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def slice_range(number):
    return f"bytes={number * SLICE}-{(number + 1) * SLICE - 1}"


def test_a_range_fetches_the_slices_that_it_touches(edge):
    answer, body = get(edge, range=f"bytes={SLICE + 10}-{SLICE + 19}")
    assert (answer.status, body) == (206, BODY[SLICE + 10:SLICE + 20])
    assert answer.getheader("content-range") == f"bytes {SLICE + 10}-{SLICE + 19}/{len(BODY)}"
    assert Film.asked == [slice_range(1)]
    answer, body = get(edge, range=f"bytes={SLICE + 100}-{SLICE + 199}")
    assert (answer.status, body, answer.getheader("x-cache-status")) == (206, BODY[SLICE + 100:SLICE + 200], "HIT")
    assert Film.asked == [slice_range(1)]


def kept(n, slices):
    """A slice is stored a moment after its last byte was given away."""
    n.comes_to(slices, "trellis_cache_objects", tier="memory")


# RFC 9110 §9.3.2: the first slice tells all that HEAD asks for.
def test_head_is_answered_from_slices(edge):
    answer, _ = get(edge, method="HEAD")
    assert (answer.status, answer.getheader("x-cache-status"), Film.asked) == (200, "MISS", ["HEAD"])
    get(edge, range="bytes=0-9")
    kept(edge, 1)
    asked = len(Film.asked)
    for _ in range(2):
        answer, _ = get(edge, method="HEAD")
        assert (answer.status, answer.getheader("content-length")) == (200, str(len(BODY)))
        assert answer.getheader("x-cache-status") == "HIT"
    answer, _ = get(edge, method="HEAD", if_none_match='"one"')
    assert (answer.status, answer.getheader("x-cache-status")) == (304, "HIT")
    assert len(Film.asked) == asked
    Film.etag = '"two"'
    get(edge, method="HEAD", cache_control="no-cache")  # what it says takes the first slice away
    answer, _ = get(edge, range="bytes=0-9")
    assert (answer.getheader("etag"), answer.getheader("x-cache-status")) == ('"two"', "MISS")


# RFC 9111 §5.2.1.7: what can be given without the origin is given.
def test_only_if_cached_finds_what_is_in_slices(edge):
    wanted = {"cache_control": "only-if-cached"}
    get(edge, range=f"bytes={SLICE}-{2 * SLICE + 9}")  # the second and the third
    kept(edge, 2)
    asked = len(Film.asked)
    answer, body = get(edge, range=f"bytes={SLICE + 5}-{2 * SLICE + 9}", **wanted)
    assert (answer.status, body, answer.getheader("x-cache-status")) == (206, BODY[SLICE + 5:2 * SLICE + 10], "HIT")
    for lacking in ({}, {"range": f"bytes=5-{SLICE}"}, {"range": f"bytes={SLICE}-{SLICE + 1},{2 * SLICE}-{2 * SLICE + 1}"},
                    {"range": f"bytes={SLICE}-{SLICE + 1}", "if_range": '"other"'}):
        assert get(edge, **lacking, **wanted)[0].status == 504
    assert len(Film.asked) == asked
    get(edge)
    kept(edge, len(BODY) // SLICE + 1)
    asked = len(Film.asked)
    answer, body = get(edge, **wanted)
    assert (answer.status, body == BODY, len(Film.asked)) == (200, True, asked)


def test_a_range_over_several_slices_comes_in_one_piece(edge):
    answer, body = get(edge, range=f"bytes={SLICE - 5}-{3 * SLICE + 4}")
    assert (answer.status, body) == (206, BODY[SLICE - 5:3 * SLICE + 5])
    assert sorted(Film.asked) == sorted(slice_range(i) for i in range(4))


def test_the_whole_is_put_together_and_kept(edge):
    for _ in range(2):
        answer, body = get(edge)
        assert (answer.status, len(body), body == BODY) == (200, len(BODY), True)
        assert answer.getheader("content-length") == str(len(BODY))
    assert sorted(Film.asked) == sorted(slice_range(i) for i in range(9))


def test_many_at_once_ask_the_origin_once_a_slice(edge):
    bodies = []

    def run():
        bodies.append(get(edge)[1] == BODY)

    threads = [threading.Thread(target=run) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bodies == [True] * 16
    assert sorted(Film.asked) == sorted(slice_range(i) for i in range(9))


def test_the_end_of_it_and_what_lies_behind(edge):
    answer, body = get(edge, range="bytes=-10")
    assert (answer.status, body) == (206, BODY[-10:])
    answer, _ = get(edge, range=f"bytes={len(BODY) + SLICE}-")
    assert (answer.status, answer.getheader("content-range")) == (416, f"bytes */{len(BODY)}")


def test_a_range_behind_any_end_asks_the_origin_for_no_nonsense(edge):
    for first in (2**62 + 1, 2**63, 2**64 - SLICE - 1, 2**64 - 2, 2**64, 2**70):
        answer, _ = get(edge, range=f"bytes={first}-")
        assert answer.status in (200, 416), first
    for asked in Film.asked:
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", asked).groups())
        assert first < last and last - first == SLICE - 1


@pytest.mark.parametrize("io", ("uring", "epoll"))
def test_slices_that_memory_has_no_room_for_come_from_disk(io):
    Film.asked, Film.etag, Film.ranges, Film.length, Film.stalls_at = [], '"one"', True, len(BODY), None
    with http_server.HttpServer(Film) as origin:
        config = CONFIG.format(origin=origin.address).replace(
            "memory: 64MiB", "memory: 1MiB, disk: { path: ./kept, size: 64MiB }")
        with node.Node(config, io=io) as n:
            assert get(n)[1] == BODY
            slices = -(-len(BODY) // SLICE)
            node.until(lambda: n.metric("trellis_cache_objects", tier="disk") == slices, "all are on disk")
            asked = len(Film.asked)
            for _ in range(3):
                assert get(n)[1] == BODY
            for number in range(slices):
                first = number * SLICE + 17
                answer, body = get(n, range=f"bytes={first}-{first + 99}")
                assert (answer.status, body) == (206, BODY[first:first + 100])
                assert "hit" in answer.getheader("cache-status") and "fwd" not in answer.getheader("cache-status")
            assert len(Film.asked) == asked == slices


@pytest.mark.parametrize("io", ("uring", "epoll"))
def test_a_slice_that_there_is_no_room_for_is_passed_on(io):
    Film.asked, Film.etag, Film.ranges, Film.length, Film.stalls_at = [], '"one"', True, len(BODY), None
    Film.go_on.clear()
    with http_server.HttpServer(Film) as origin:
        with node.Node(CONFIG.format(origin=origin.address).replace("memory: 64MiB", "memory: 1MiB"), io=io) as n:
            get(n, range=f"bytes={SLICE}-{SLICE + 9}")
            get(n, range="bytes=0-9")
            # Bodies under way take all that there may be: 64 MiB beside the memory.
            stalling = [threading.Thread(target=breaks_off, args=(n, f"/assets/stalls/{bytes}"))
                        for bytes in (64 * MIB, 400 << 10)]
            try:
                for thread in stalling:
                    thread.start()
                node.until(lambda: len(Film.asked) == 4, "both are under way")
                for wanted in (None, f"bytes=17-{len(BODY) - 20}", f"bytes=100-{3 * SLICE + 5}"):
                    answer, body = get(n, **({"range": wanted} if wanted else {}))
                    first, last = (int(x) for x in wanted[6:].split("-")) if wanted else (0, len(BODY) - 1)
                    assert (answer.status, body == BODY[first:last + 1]) == (206 if wanted else 200, True)
                    assert slice_range(2) in Film.asked[4:] and slice_range(0) not in Film.asked[4:]
                    del Film.asked[4:]
            finally:
                Film.go_on.set()
                for thread in stalling:
                    thread.join()


def test_conditions_are_answered_from_a_slice(edge):
    get(edge, range="bytes=0-9")
    answer, body = get(edge, if_none_match='"one"')
    assert (answer.status, body) == (304, b"")
    answer, body = get(edge, range="bytes=0-9", if_range='"other"')
    assert (answer.status, body == BODY) == (200, True)


def breaks_off(n, path="/film", **headers):
    try:
        get(n, path, **headers)
    except (http.client.IncompleteRead, ConnectionError):
        return True
    return False


def test_slices_of_two_versions_are_never_put_together(edge):
    for number in (0, 3, 5):
        get(edge, range=f"bytes={number * SLICE}-{number * SLICE + 9}")
    Film.etag = '"two"'
    assert breaks_off(edge)
    # What is left of the first version breaks off nothing more.
    for _ in range(2):
        answer, body = get(edge)
        assert (answer.getheader("etag"), body == BODY) == ('"two"', True)


def test_what_has_become_shorter_is_found_out(edge):
    get(edge, range="bytes=0-9")
    Film.etag, Film.length = '"short"', SLICE + 10
    answer, _ = get(edge, range=f"bytes={3 * SLICE}-{3 * SLICE + 9}")
    assert (answer.status, answer.getheader("content-range")) == (416, f"bytes */{SLICE + 10}")
    answer, body = get(edge)
    assert (answer.status, body == BODY[:SLICE + 10]) == (200, True)


def test_a_whole_that_has_become_shorter_than_its_first_slice_says(edge):
    get(edge, range="bytes=0-9")
    Film.etag, Film.length = '"short"', 1000
    assert breaks_off(edge)
    answer, body = get(edge)
    assert (answer.status, body == BODY[:1000]) == (200, True)


def test_an_origin_without_ranges_is_stored_whole(edge):
    Film.ranges = False
    for _ in range(2):
        answer, body = get(edge)
        assert (answer.status, body == BODY) == (200, True)
    assert Film.asked == [slice_range(0)]


def test_an_origin_without_ranges_is_asked_once_wherever_clients_begin(edge):
    Film.ranges = False
    for first in (3 * SLICE + 5, 0, SLICE, len(BODY) - 9, 6 * SLICE):
        answer, body = get(edge, range=f"bytes={first}-{first + 8}")
        assert (answer.status, body) == (206, BODY[first:first + 9])
    answer, body = get(edge)
    assert (answer.status, body == BODY) == (200, True)
    assert get(edge, range=f"bytes={len(BODY)}-")[0].status == 416
    assert Film.asked == [slice_range(3)]
    # Where one waits for another's fetch, and where it is fetched anew.
    edge.ctl("purge", "--all")
    Film.asked.clear()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(get(edge, range=f"bytes={4 * SLICE}-{4 * SLICE + 8}")))
               for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [(answer.status, body) for answer, body in answers] == [(206, BODY[4 * SLICE:4 * SLICE + 9])] * 8
    assert Film.asked == [slice_range(4)]
    answer, body = get(edge, cache_control="no-cache", range=f"bytes={SLICE}-{SLICE + 8}")
    assert (answer.status, body) == (206, BODY[SLICE:SLICE + 9])
    assert get(edge, range="bytes=0-8", cache_control="only-if-cached")[1] == BODY[:9]
    assert len(Film.asked) == 2
    # It has ranges from now on.
    Film.ranges = True
    edge.ctl("purge", "--all")
    assert get(edge, range=f"bytes={SLICE}-{SLICE + 8}")[1] == BODY[SLICE:SLICE + 9]
    assert Film.asked[2:] == [slice_range(1)]


def test_an_origin_without_ranges_is_asked_once_while_its_answer_comes(edge):
    Film.ranges, Film.stalls_at = False, 4 * SLICE
    Film.go_on.clear()
    try:
        for first in (3 * SLICE + 5, SLICE, 0):
            answer, body = get(edge, range=f"bytes={first}-{first + 8}")
            assert (answer.status, body) == (206, BODY[first:first + 9])
        assert "collapsed" in answer.getheader("cache-status")
        answers = {}
        late = [threading.Thread(target=lambda first=first: answers.update({first: get(edge, range=f"bytes={first}-")[1]}))
                for first in (0, 6 * SLICE)]
        for one in late:
            one.start()
    finally:
        Film.go_on.set()
    for one in late:
        one.join()
    assert all(answers[first] == BODY[first:] for first in (0, 6 * SLICE))
    assert Film.asked == [slice_range(3)]


def test_an_answer_is_encoded_once_and_given_to_each_as_it_accepts(edge):
    plain, body = get(edge, "/text/a")
    assert (plain.getheader("content-encoding"), body) == (None, TEXT)
    for _ in range(3):
        answer, body = get(edge, "/text/a", accept_encoding="gzip")
        assert (answer.getheader("content-encoding"), gzip.decompress(body)) == ("gzip", TEXT)
        assert "accept-encoding" in answer.getheader("vary").lower()
    # The form that was kept has a length, one that is being made has none.
    assert answer.getheader("content-length") == str(len(body))
    assert get(edge, "/text/a")[1] == TEXT
    assert Film.asked == [None]


def test_assets_that_never_change_are_kept_for_a_year(edge):
    for _ in range(2):
        answer, body = get(edge, "/assets/site.css")
        assert (answer.status, body) == (200, b"a { color: red }")
        assert answer.getheader("cache-control") == "public, max-age=31536000, immutable"
    assert Film.asked == [None]
