"""The memory caches of a running node by hand: `trellis cache` and the control API behind it."""
import json
import sqlite3
import subprocess

import pytest

from links_node import LinksNode
from node import PATIENCE


def cache(node, *words, code=0):
    done = subprocess.run([node.command[0], "cache", *words, "--control", "%s:%d" % node.control], capture_output=True,
                          text=True, timeout=PATIENCE, cwd=node.folder)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


@pytest.fixture(scope="module")
def node():
    with LinksNode() as one:
        yield one


def behind_its_back(node, url):
    """Changes all links in the store without the node: what it has in memory is old then."""
    with sqlite3.connect(node.folder / "data/trellis.db", timeout=PATIENCE) as db:
        db.execute("UPDATE links SET url = ?", (url,))
    db.close()


def test_ls_shows_what_is_held(node):
    node.make("https://example.com/", alias="held")
    node.follow("held")
    (one,) = json.loads(cache(node, "ls", "--json"))["caches"]
    assert (one["cache"], one["spaces"], one["capacity"]) == ("hot", ["links"], 64 << 20)
    assert one["objects"] >= 1 and one["bytes"] > 0
    assert "hot" in cache(node, "ls")


def test_a_purge_of_an_object_leaves_the_others(node):
    for alias in ("one", "two"):
        node.make("https://example.com/old", alias=alias)
        node.follow(alias)
    behind_its_back(node, "https://example.com/new")
    assert node.follow("one") == (302, "https://example.com/old")
    assert cache(node, "purge", "hot", "--space", "links", "--key", "one") == "purged one of links, if it was there\n"
    assert node.follow("one") == (302, "https://example.com/new")
    assert node.follow("two") == (302, "https://example.com/old")


def test_a_purge_of_all_leaves_none(node):
    for alias in ("three", "four"):
        node.make("https://example.com/old", alias=alias)
        node.follow(alias)
    behind_its_back(node, "https://example.com/newer")
    assert cache(node, "purge", "hot") == "purged all of links\n"
    for alias in ("three", "four"):
        assert node.follow(alias) == (302, "https://example.com/newer")


def test_what_is_wrong_is_told(node):
    assert "there are: hot" in cache(node, "purge", "cold", code=1)
    assert "there are: links" in cache(node, "purge", "hot", "--space", "lnks", code=1)
    assert "--space" in cache(node, "purge", "hot", "--key", "x", code=2)
    # As of a shell's variable that is not set: not all of it.
    assert "--space" in cache(node, "purge", "hot", "--space", "", code=2)
    assert "--key" in cache(node, "purge", "hot", "--space", "links", "--key", "", code=2)
    cache(node, "purge", code=2)
    cache(node, code=2)
