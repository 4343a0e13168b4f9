"""Purging the edge cache: by all that can be named, hard and soft, during a fill, over restarts, by signed requests."""
import json
import os
import signal
import threading
import time

import pytest

import node
from edge_origin import Edge, Origin
from upgrade_test import HANGS, Upgradable, command_pids


@pytest.fixture()
def origin():
    with Origin() as one:
        yield one


@pytest.fixture()
def edge(origin):
    with Edge(origin) as one:
        yield one


def is_cached(edge, origin, path, **more):
    """Whether the edge answers by itself."""
    before = origin.total()
    edge.body(path, **more)
    return origin.total() == before


def test_a_purge_of_a_url_takes_that_one(edge, origin):
    for path in ("/a?x=1&y=2", "/b"):
        assert edge.body(path) == f"{path} version 1"
    origin.version = 2
    assert edge.body("/a?x=1&y=2") == "/a?x=1&y=2 version 1"
    out = edge.purge("https://Shop.example.com/a?y=2&x=1")
    assert "purged by key shop.example.com/a?x=1&y=2" in out and "edge: this node" in out
    assert edge.body("/a?x=1&y=2") == "/a?x=1&y=2 version 2"
    assert edge.body("/b") == "/b version 1"


@pytest.mark.parametrize("words, gone, stay", [
    (("--prefix", "shop.example.com/img/*"), "/img/1", "/imgs"),
    (("--host", "shop.example.com"), "/x", None),
    (("--tag", "red"), "/red/1", "/blue/1"),
    (("--all",), "/x", None),
])
def test_a_purge_takes_what_it_names(edge, origin, words, gone, stay):
    paths = [path for path in (gone, stay) if path]
    for path in paths:
        edge.body(path)
        edge.body(path, host="other.example.com")
    edge.purge(*words)
    assert not is_cached(edge, origin, gone)
    if stay:
        assert is_cached(edge, origin, stay)
    everywhere = words[0] in ("--tag", "--all")
    assert is_cached(edge, origin, gone, host="other.example.com") == (not everywhere)


@pytest.mark.parametrize("words", [("http://shop.example.com/a",), ("--prefix", "shop.example.com./a"), ("--host", "shop.example.com")])
def test_a_dot_behind_the_host_hides_nothing_from_a_purge(edge, origin, words):
    # The same host to DNS and to routes, though origins and browsers tell the two apart.
    for host in ("shop.example.com", "shop.example.com."):
        assert edge.body("/a", host=host) == "/a version 1"
    origin.version = 2
    edge.purge(*words)
    for host in ("shop.example.com", "shop.example.com.", "shop.example.com.:8080"):
        assert edge.body("/a", host=host) == "/a version 2"


def test_a_soft_purge_lets_the_answer_be_validated(edge, origin):
    edge.body("/a")
    edge.purge("https://shop.example.com/a", "--soft")
    assert edge.body("/a") == "/a version 1"
    assert origin.times("/a") == 2  # asked with If-None-Match, and 304 was the answer
    assert is_cached(edge, origin, "/a")


def test_it_counts_the_rules_that_it_keeps(edge):
    assert edge.metric("trellis_cache_purge_rules", cache="edge") == 0
    edge.purge("--tag", "red")
    edge.comes_to(1, "trellis_cache_purge_rules", cache="edge")


def test_a_purge_during_a_fill_wins_over_the_fill(edge, origin):
    origin.hold["/slow"] = threading.Event()
    answers = []
    asking = threading.Thread(target=lambda: answers.append(edge.body("/slow")))
    asking.start()
    node.until(lambda: origin.times("/slow") == 1, "the fill has begun")
    origin.version = 2  # published, and purged
    edge.purge("https://shop.example.com/slow")
    origin.hold["/slow"].set()
    asking.join()
    assert answers == ["/slow version 1"]
    assert edge.body("/slow") == "/slow version 2"
    assert is_cached(edge, origin, "/slow")


def test_json_says_what_became_of_it_and_list_what_was_purged(edge):
    answer = json.loads(edge.purge("--tag", "red", "--json"))
    assert answer == {"kind": "tag", "text": "red", "soft": False, "complete": True,
                      "caches": [{"cache": "edge", "complete": True, "kept": True, "members": []}]}
    edge.purge("--host", "shop.example.com", "--soft")
    edge.comes_to(2, "trellis_cache_purges_total", cache="edge")
    rows = edge.purge("--list").splitlines()
    assert rows[1].split()[1:] == ["edge", "soft", "host", "shop.example.com"]
    assert rows[2].split()[1:] == ["edge", "hard", "tag", "red"]


def test_wrong_words_are_told(edge):
    for words in ((), ("https://a/", "--all")):
        edge.purge(*words, code=2)
    for words in (("no url",), ("--tag", "a,b"), ("--all", "--cache", "none")):
        edge.purge(*words, code=1)


def test_purges_outlive_kill_9_and_a_restart(origin):
    with Edge(origin, disk=True) as edge:
        for path in ("/a", "/b"):
            edge.body(path)
        node.until(lambda: edge.metric("trellis_cache_objects", tier="disk") >= 2, "both are on disk")
        edge.body("/a")
        edge.purge("https://shop.example.com/a")
        edge.signal(signal.SIGKILL)
        edge.process.wait()
        edge.process.stdout.close()
        edge.log.close()
        origin.version = 2
        with edge:
            node.until(lambda: edge.metric("trellis_cache_objects", tier="disk") >= 1, "the disk tier is there")
            assert edge.body("/b") == "/b version 1"
            assert edge.body("/a") == "/a version 2"


def test_purges_of_both_processes_outlive_an_upgrade(origin):
    with Edge(origin, disk=True) as edge:
        for path in ("/a", "/b", "/c"):
            edge.body(path)
        node.until(lambda: edge.metric("trellis_cache_objects", tier="disk") >= 3, "they are on disk")
        edge.purge("https://shop.example.com/a")
        upgraded = edge.ctl("upgrade", "--json")
        assert upgraded.returncode == 0, upgraded.stderr
        successor = json.loads(upgraded.stdout)["pid"]
        try:
            edge.purge("https://shop.example.com/b")
            edge.process.wait(node.PATIENCE)
        finally:
            os.kill(successor, signal.SIGKILL)
        node.until(lambda: not os.path.exists(f"/proc/{successor}"), "it is gone")
        edge.process.stdout.close()
        edge.log.close()
        origin.version = 2
        with edge:
            node.until(lambda: edge.metric("trellis_cache_objects", tier="disk") >= 1, "the disk tier is there")
            assert edge.body("/c") == "/c version 1"
            for path in ("/a", "/b"):
                assert edge.body(path) == f"{path} version 2"


class UpgradableEdge(Upgradable, Edge):
    pass


@pytest.mark.parametrize("disk", [False, True])
def test_a_purge_that_the_new_process_would_not_hear_of_is_refused(origin, disk):
    with UpgradableEdge(origin, disk=disk) as edge:
        edge.body("/a")
        edge.install(HANGS)
        asking = threading.Thread(target=edge.upgrade)
        asking.start()
        node.until((edge.folder / "begun").exists, "the new process")
        edge.purge("https://shop.example.com/a", code=1)
        signed = edge.signed_purge("/a")
        assert signed.status == 503 and signed.get(b"retry-after") and b'"upgrading"' in signed.body, signed
        assert is_cached(edge, origin, "/a")  # refused, and not half done
        (new,) = command_pids(["sleep", "60"], edge.folder)
        os.kill(new, signal.SIGKILL)
        asking.join()
        # It did not come to be: purges are taken again.
        assert edge.signed_purge("/a").status == 200
        edge.body("/b")
        edge.purge("https://shop.example.com/b")
        for path in ("/a", "/b"):
            assert not is_cached(edge, origin, path)


def test_the_old_process_takes_no_purge_any_more(origin):
    with UpgradableEdge(origin) as edge, node.Client(edge.address()) as kept:
        edge.body("/a")
        begun, rest = edge.purge_request("/a").split(b"\r\n", 1)
        kept.send(begun)  # so the old process waits for the rest of it
        node.until(lambda: edge.metric("trellis_connections", listener="web") == 1, "it has the connection")
        assert edge.upgrade().returncode == 0
        kept.send(b"\r\n" + rest)
        answer = kept.answer(b"PURGE")
        assert answer.status == 503 and answer.get(b"retry-after") and answer.get(b"connection") == b"close", answer
        assert edge.signed_purge("/a").status == 200  # the new one does


def test_a_damaged_file_of_purges_counts_for_all_on_disk(origin):
    with Edge(origin, disk=True) as edge:
        edge.body("/a")
        node.until(lambda: edge.metric("trellis_cache_objects", tier="disk") >= 1, "it is on disk")
        edge.purge("https://shop.example.com/other")
        edge.purge("https://shop.example.com/another")
        edge.signal(signal.SIGTERM)
        edge.process.wait(node.PATIENCE)
        edge.process.stdout.close()
        edge.log.close()
        (book,) = edge.folder.rglob("*purges")
        damaged = bytearray(book.read_bytes())
        damaged[30] ^= 1
        book.write_bytes(damaged)
        origin.version = 2
        with edge:
            assert edge.body("/a") == "/a version 2"
            assert "is damaged" in edge.errors()


def test_signed_requests_purge(edge, origin):
    for path in ("/a", "/img/1", "/red/1"):
        edge.body(path)
    for path, what, gone in (("/a", "key", "/a"), ("/img/*", "prefix", "/img/1"), ("/", "tag=red", "/red/1")):
        assert is_cached(edge, origin, gone)
        answer = edge.signed_purge(path, what)
        assert answer.status == 200, answer
        assert json.loads(answer.body)["complete"] is True
        assert not is_cached(edge, origin, gone)
    edge.body("/a")
    assert edge.signed_purge("/a", "key; soft").status == 200
    assert edge.body("/a") == "/a version 1"
    assert "PURGE" not in origin.methods


def test_requests_that_are_not_signed_purge_nothing(edge, origin):
    edge.body("/a")
    assert edge.request("PURGE", "/a").status == 403
    assert edge.signed_purge("/a", key="another key of somebody").status == 403
    assert edge.signed_purge("/a", at=time.time() - 400).status == 403
    assert edge.signed_purge("/a", at=time.time() + 400).status == 403
    assert edge.signed_purge("/a", "nonsense").status == 400
    answer = edge.signed_purge("/plain/a")  # a route that takes none
    assert answer.status == 405 and answer.get(b"allow")
    assert is_cached(edge, origin, "/a")
    assert "PURGE" not in origin.methods


def test_fields_for_caches_do_not_reach_clients(edge):
    for _ in range(2):
        answer = edge.get("/a")
        assert answer.get(b"surrogate-key") is None and answer.get(b"etag")
