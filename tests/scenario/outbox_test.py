"""What happens to links, as events in the log: each change once and in order, over kill -9 and reloads."""
import json
import shutil
import subprocess
import threading

from links_node import CONFIG, LinksNode
from node import PATIENCE, until

WITH_LOG = CONFIG.replace("services:\n", "logs:\n  events: dir:./data/events\nservices:\n") \
                 .replace("cache: hot,", "cache: hot, log: events, remove_expired_after: 0s,")
CHANGES = "links.changes"


def log(node, *words):
    done = subprocess.run([node.command[0], "log", *words, "--json", "--control", "%s:%d" % node.control],
                          capture_output=True, text=True, timeout=PATIENCE, cwd=node.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def head(node):
    return sum(one["head"] for one in log(node, "topics")["topics"] if one["topic"] == CHANGES)


def events(node):
    """All events of the topic, as (key, object)."""
    found = []
    while len(found) < head(node):
        some = log(node, "peek", CHANGES, "--offset", str(len(found)), "--limit", "100")["events"]
        found += [(one["key"], json.loads(one["value"])) for one in some]
    return found


def waiting(node):
    return node.metric("trellis_outbox_waiting", topic=CHANGES)


def test_each_change_is_told_once_and_in_order():
    with LinksNode(WITH_LOG) as node:
        link = node.make("https://example.com/a", title="first")
        code = link["code"]
        status, _, changed = node.api("PATCH", f"/v1/links/{code}", {"title": "second"})
        assert status == 200
        status, _, _ = node.api("DELETE", f"/v1/links/{code}")
        assert status == 204
        status, _, batch = node.api("POST", "/v1/links:batch",
                                    {"links": [{"url": f"https://example.com/{i}"} for i in range(20)]})
        assert status == 200, batch
        status, _, refused = node.api("PATCH", f"/v1/links/{code}", {"title": "third"})
        assert status in (404, 410)
        until(lambda: head(node) == 23, "all events in the log")
        told = events(node)
        names = [event["event"] for _, event in told]
        assert names == ["link.created", "link.changed", "link.deleted"] + ["link.created"] * 20
        assert told[0][0] == code and told[0][1]["link"] == link
        assert told[1][1]["link"] == changed and changed["title"] == "second"
        assert told[2][1]["link"] == {"id": link["id"], "code": code, "domain": "go.test"}
        ids = [event["id"] for _, event in told]
        outbox = ids[0].split("-")[0]
        assert ids == [f"{outbox}-{number}" for number in range(1, 24)]
        until(lambda: waiting(node) == 0, "an empty outbox")


def test_expired_links_and_imports_are_told():
    with LinksNode(WITH_LOG) as node:
        file = node.folder / "links.ndjson"
        file.write_text('{"url":"https://example.com/1","code":"old-one","expires_at":"2020-01-01T00:00:00Z"}\n'
                        '{"url":"https://example.com/2","code":"new-one"}\n')
        done = subprocess.run([node.command[0], "links", "import", str(file), "--node",
                               "http://%s:%d" % node.address()], capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stdout + done.stderr
        until(lambda: head(node) == 2, "the import in the log")
        done = subprocess.run([node.command[0], "jobs", "enqueue", "links", "remove-expired", "--control",
                               "%s:%d" % node.control], capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stdout + done.stderr
        until(lambda: head(node) == 3, "the expiry in the log")
        key, event = events(node)[2]
        assert (key, event["event"], event["link"]["code"]) == ("old-one", "link.expired", "old-one")


def test_kill_9_under_load_loses_no_event_and_tells_none_twice():
    with LinksNode(WITH_LOG) as node:
        made = []

        def work():
            with node.client() as client:
                try:
                    while True:
                        made.append(node.make("https://example.com/", client=client)["code"])
                except (OSError, EOFError, AssertionError):
                    return

        for _ in range(5):
            at_least = len(made) + 200
            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            until(lambda: len(made) >= at_least, "some links")
            node.kill()
            for thread in threads:
                thread.join()
            node.start()
        until(lambda: waiting(node) == 0 and head(node) >= len(made), "an empty outbox")
        told = events(node)
        codes = [key for key, _ in told]
        assert len(codes) == len(set(codes)), "an event is there twice"
        assert set(made) <= set(codes), "an acknowledged link was not told of"
        numbers = [int(event["id"].split("-")[1]) for _, event in told]
        assert numbers == list(range(1, len(told) + 1))
        for code in codes:
            assert node.follow(code)[0] == 302, "an event of a link that is not there"


def test_a_reload_that_replaces_the_service_tells_no_event_twice():
    with LinksNode(WITH_LOG) as node:
        made = []
        over = threading.Event()

        def work():
            with node.client() as client:
                while not over.is_set():
                    made.append(node.make("https://example.com/", client=client)["code"])

        thread = threading.Thread(target=work)
        thread.start()
        for status in (301, 302, 307):
            at_least = len(made) + 50
            until(lambda: len(made) >= at_least, "some links")
            node.write_config(WITH_LOG.replace("log: events,", f"log: events, status: {status},"))
            node.reload()
        over.set()
        thread.join()
        until(lambda: waiting(node) == 0 and head(node) >= len(made), "an empty outbox")
        assert [key for key, _ in events(node)] == made


def test_a_log_that_is_away_for_a_while_gets_everything_in_the_end():
    with LinksNode(WITH_LOG) as node:
        node.make("https://example.com/")
        until(lambda: head(node) == 1, "the first event")
        node.stop()
        folder = node.folder / "data/events" / CHANGES
        shutil.rmtree(folder)  # lost: what was told is gone, what comes is told
        node.start()
        code = node.make("https://example.com/2")["code"]
        until(lambda: head(node) == 1, "the second event")
        (key, event), = events(node)
        assert key == code and event["id"].endswith("-2")
        assert "the log is shorter than what was moved to it" in node.errors()


def test_peek_shows_clicks_and_other_bytes():
    with LinksNode(WITH_LOG) as node:
        code = node.make("https://example.com/")["code"]
        assert node.follow(code)[0] == 302
        until(lambda: any(one["topic"] == "clicks" and one["head"] > 0 for one in log(node, "topics")["topics"]),
              "the click in the log")
        event = log(node, "peek", "clicks")["events"][0]
        assert event["count"] == 1 and event["clicks"][0]["source"] == "link"
        shown = subprocess.run([node.command[0], "log", "peek", "clicks", "--control", "%s:%d" % node.control],
                               capture_output=True, text=True, timeout=PATIENCE)
        assert "1 clicks {" in shown.stdout
