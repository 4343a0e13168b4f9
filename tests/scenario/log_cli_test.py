"""The event log of a running node as a person meets it: `trellis log` and the control API behind it."""
import json
import subprocess

import pytest

from links_node import CONFIG, LinksNode
from node import PATIENCE, until

WITH_LOG = CONFIG.replace("services:\n", "logs:\n  events: dir:./data/events\nservices:\n")


def log(node, *words, code=0):
    done = subprocess.run([node.command[0], "log", *words, "--control", "%s:%d" % node.control], capture_output=True,
                          text=True, timeout=PATIENCE, cwd=node.folder)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


@pytest.fixture(scope="module")
def node():
    with LinksNode(WITH_LOG) as one:
        yield one


def test_a_log_without_topics_says_so(node):
    assert json.loads(log(node, "topics", "--json")) == {"topics": []}
    assert log(node, "topics") == "no topics\n"
    assert log(node, "groups") == "no groups\n"
    assert log(node, "lag") == "no groups\n"


def test_what_is_wrong_is_told(node):
    assert "there are: none" in log(node, "peek", "clicks", code=1)
    assert "there are: events" in log(node, "topics", "--log", "evnets", code=1)
    assert "there is no topic" in log(node, "replay", "clicks", "group", "--ago", "1h", code=1)
    assert "say where to begin" in log(node, "replay", "clicks", "group", code=2)
    log(node, "peek", "clicks", "--limit", "1000", code=2)
    log(node, code=2)


@pytest.mark.parametrize("words", [
    ("--offset", "-1"), ("--offset", "99999999999999999999"), ("--offset", "1.5"), ("--offset", ""), ("--partition", "-1")])
def test_a_number_out_of_its_limits_is_told_in_a_line(node, words):
    told = log(node, "peek", "clicks", *words, code=2).splitlines()[0]
    assert told.startswith(words[0]) and "from 0 to" in told and len(told) < 100, told


def test_a_damaged_place_is_told_with_the_next_whole_event():
    config = WITH_LOG.replace("{ store: main, cache: hot,", "{ store: main, cache: hot, log: events,")
    with LinksNode(config) as node:
        for number in range(3):
            node.make(f"https://example.com/{number}")
        until(lambda: json.loads(log(node, "topics", "--json"))["topics"][1]["head"] == 3, "the outbox to be moved")
        node.stop()
        segment = node.folder / "data/events/links.changes/0/00000000000000000000.log"
        damaged = bytearray(segment.read_bytes())
        damaged[3] ^= 1
        segment.write_bytes(damaged)
        node.start()
        next_whole = json.loads(log(node, "topics", "--json"))["topics"][1]["head"]
        told = log(node, "peek", "links.changes", "--offset", "0", code=1)
        assert segment.name in told and f"the next whole event is at offset {next_whole}" in told, told
        # Its age is not known: it stays until that of those behind it is.
        node.make("https://example.com/behind")
        until(lambda: log(node, "peek", "links.changes", "--offset", str(next_whole)).count("link.created") == 1, "an event")
        assert segment.exists()


def test_a_replay_of_the_counters_is_over_when_they_begin():
    config = WITH_LOG.replace("{ store: main, cache: hot,", "{ store: main, cache: hot, log: events,")

    def lags(node):
        return sorted(one["lag"] for one in json.loads(log(node, "lag", "--json"))["groups"])

    with LinksNode(config) as node:
        code = node.make("https://example.com/")["code"]
        node.follow(code)
        until(lambda: lags(node) == [0, 0], "the click to be counted")
        assert "such as 2027" in log(node, "replay", "clicks", "totals", "--at", "yesterday", code=2)
        assert "one of --offset" in log(node, "replay", "clicks", "totals", "--at", "2020-01-01T00:00:00Z", "--ago", "1h", code=2)
        log(node, "replay", "clicks", "totals", "--at", "2020-01-01T00:00:00Z")
        assert lags(node) == [0, 1]
        log(node, "replay", "clicks", "totals", "--at", "2100-01-01T00:00:00Z")
        assert lags(node) == [0, 0]
        log(node, "replay", "clicks", "totals", "--offset", "0")
        assert lags(node) == [0, 1]
        node.stop()
        node.start()
        until(lambda: lags(node) == [0, 0], "the counter to tell its place")
        assert node.link(code)["clicks"] == 1


@pytest.mark.parametrize("verb", ["topics", "groups", "lag", "peek", "replay"])
def test_every_command_explains_itself_with_an_example(node, verb):
    text = subprocess.run([node.command[0], "log", verb, "--help"], capture_output=True, text=True).stdout
    assert f"trellis log {verb}" in text and "--json" in text
