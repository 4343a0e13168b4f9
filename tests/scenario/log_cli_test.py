"""The event log of a running node as a person meets it: `trellis log` and the control API behind it."""
import json
import subprocess

import pytest

from links_node import CONFIG, LinksNode
from node import PATIENCE

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


@pytest.mark.parametrize("verb", ["topics", "groups", "lag", "peek", "replay"])
def test_every_command_explains_itself_with_an_example(node, verb):
    text = subprocess.run([node.command[0], "log", verb, "--help"], capture_output=True, text=True).stdout
    assert f"trellis log {verb}" in text and "--json" in text
