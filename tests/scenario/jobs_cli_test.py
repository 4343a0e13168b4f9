"""Jobs of a running node as a person meets them: `trellis jobs`, the control API behind it, and what a stop, a kill and
a reload do to them. The only jobs that come by themselves are those of the links service; their handler is quick."""
import json
import subprocess

import pytest

from links_node import CONFIG, LinksNode
from node import PATIENCE, Client, until

IDLE = CONFIG + "workers:\n  none: { store: main, concurrency: 0 }\n"


def jobs(node, *words, code=0):
    """`trellis jobs` against this node; its standard output, or standard error where it fails."""
    done = subprocess.run([node.command[0], "jobs", *words, "--control", "%s:%d" % node.control], capture_output=True,
                          text=True, timeout=PATIENCE, cwd=node.folder)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


def ask(node, *words):
    return json.loads(jobs(node, *words, "--json"))


def queue(node, name="links"):
    return next((one for one in ask(node, "stats")["queues"] if one["queue"] == name), None)


def control(node, method, target, more=""):
    with Client(node.control) as client:
        client.send(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{more}\r\n".encode())
        answer = client.answer(method.encode())
        return answer.status, json.loads(answer.body)


@pytest.fixture(scope="module")
def node():
    with LinksNode() as one:
        yield one


@pytest.fixture(scope="module")
def idle():
    """A node whose workers do nothing, so that jobs stay where they are put."""
    with LinksNode(IDLE) as one:
        yield one


def test_a_job_that_is_enqueued_is_done(node):
    made = ask(node, "enqueue", "links", "remove-expired")
    assert made["duplicate"] is False
    until(lambda: ask(node, "show", str(made["id"]))["state"] == "done", "the job to be done")
    assert queue(node)["ready"] == 0


def test_a_service_has_its_schedules(node):
    schedules = ask(node, "schedules")["schedules"]
    assert [one["name"] for one in schedules] == ["links.remove-expired", "links.remove-reports"]
    assert schedules[0]["next_at"].endswith(":17:00.000Z")
    assert "links.remove-expired" in jobs(node, "schedules")


def test_a_dead_job_is_shown_with_its_errors_redriven_and_cancelled(node):
    # No handler knows this kind: one attempt, and it is dead.
    made = ask(node, "enqueue", "links", "mystery", "hello", "--max-attempts", "1")["id"]
    until(lambda: ask(node, "show", str(made))["state"] == "dead", "the job to die")
    listed = ask(node, "ls", "--queue", "links")["jobs"]
    assert [job["id"] for job in listed] == [made]
    assert "no handler for jobs of kind mystery" in listed[0]["last_error"]
    shown = ask(node, "show", str(made))
    assert shown["payload"] == "hello" and shown["worker"] == "links"
    assert [failure["attempt"] for failure in shown["history"]] == [1]
    text = jobs(node, "show", str(made))
    assert "dead" in text and "hello" in text and "no handler" in text
    assert str(made) in jobs(node, "ls")

    assert ask(node, "redrive", str(made))["redriven"] == 1
    until(lambda: len(ask(node, "show", str(made))["history"]) == 2, "the second attempt")
    until(lambda: queue(node)["dead"] == 1, "the job to die again")
    assert jobs(node, "redrive", "--queue", "links") == "1 redriven\n"
    until(lambda: len(ask(node, "show", str(made))["history"]) == 3, "the third attempt")
    until(lambda: queue(node)["dead"] == 1, "the job to die once more")
    jobs(node, "cancel", str(made))
    assert "there is no job" in jobs(node, "show", str(made), code=1)
    assert jobs(node, "ls") == "no dead jobs\n"


def test_what_is_enqueued_keeps_what_was_said_about_it(idle):
    first = ask(idle, "enqueue", "mail", "letter", "--priority", "9", "--key", "once")
    again = ask(idle, "enqueue", "mail", "letter", "--key", "once")
    assert again == {"id": first["id"], "duplicate": True}
    late = ask(idle, "enqueue", "mail", "letter", "--delay", "1h")
    (idle.folder / "payload").write_bytes(b"from a file")
    filed = ask(idle, "enqueue", "mail", "letter", "--file", "payload")
    assert ask(idle, "show", str(filed["id"]))["payload"] == "from a file"
    ready = ask(idle, "ls", "--queue", "mail", "--state", "ready")["jobs"]
    assert [job["id"] for job in ready] == [first["id"], filed["id"]]
    assert [job["priority"] for job in ready] == [9, 4]
    delayed = ask(idle, "ls", "--state", "delayed")["jobs"]
    assert [job["id"] for job in delayed] == [late["id"]]
    assert queue(idle, "mail")["ready"] == 2
    assert "mail" in jobs(idle, "stats")
    for job in (first, late, filed):
        jobs(idle, "cancel", str(job["id"]))
    assert queue(idle, "mail") is None


def test_jobs_wait_for_workers_and_outlive_a_kill_and_reloads():
    with LinksNode(IDLE) as node:
        ids = [ask(node, "enqueue", "links", "remove-expired")["id"] for _ in range(5)]
        assert queue(node)["ready"] == 5
        node.kill()
        node.start()
        assert queue(node)["ready"] == 5
        node.write_config(CONFIG)
        assert control(node, "POST", "/v1/reload")[0] == 200
        until(lambda: queue(node)["done"] == 5, "all jobs to be done")
        for one in ids:
            shown = ask(node, "show", str(one))
            assert (shown["state"], shown["attempts"]) == ("done", 1)
        # Another base_url makes a new service beside the old one; then none at all; then one again.
        node.write_config(CONFIG.replace("go.test", "other.test"))
        assert control(node, "POST", "/v1/reload")[0] == 200
        more = ask(node, "enqueue", "links", "remove-expired")["id"]
        until(lambda: ask(node, "show", str(more))["state"] == "done", "a job after the reload")
        without = "\n".join(line for line in CONFIG.splitlines()
                            if not line.startswith(("services", "  links:")) and "service.links" not in line)
        node.write_config(without + "\n  - { match: { path: /** }, to: { fixed: { status: 200 } } }\n")
        assert control(node, "POST", "/v1/reload")[0] == 200
        assert ask(node, "schedules")["schedules"] == []
        waits = ask(node, "enqueue", "links", "remove-expired")["id"]
        assert ask(node, "show", str(waits))["state"] == "ready"
        node.write_config(CONFIG)
        assert control(node, "POST", "/v1/reload")[0] == 200
        assert len(ask(node, "schedules")["schedules"]) == 2
        until(lambda: ask(node, "show", str(waits))["state"] == "done", "the job that waited for its service")
        assert node.stop() == 0


def test_what_is_wrong_is_told(node):
    assert "there is no job 4711" in jobs(node, "show", "4711", code=1)
    assert "there is no job 4711" in jobs(node, "cancel", "4711", code=1)
    assert "there are: main" in jobs(node, "stats", "--store", "mian", code=1)
    assert "A-Z a-z 0-9" in jobs(node, "enqueue", "no such", "kind", code=1)
    assert "such as 5m" in jobs(node, "enqueue", "links", "x", "--delay", "soon", code=1)
    assert "say which" in jobs(node, "redrive", code=2)
    assert "cannot be read" in jobs(node, "enqueue", "links", "x", "--file", "nowhere", code=1)
    jobs(node, "ls", "--state", "asleep", code=2)
    jobs(node, code=2)
    gone = subprocess.run([node.command[0], "jobs", "stats", "--control", "127.0.0.1:1"], capture_output=True, text=True,
                          timeout=PATIENCE)
    assert gone.returncode == 1 and "no node answers" in gone.stderr


def test_the_control_api_refuses_what_it_does_not_know(node):
    for target, status in (("/v1/jobs/list?state=asleep", 400), ("/v1/jobs/list?limit=1000", 400),
                           ("/v1/jobs/list?limit=%zz", 400), ("/v1/jobs/show", 400), ("/v1/jobs/show?id=0", 400),
                           ("/v1/jobs/redrive", 405), ("/v1/jobs/nothing", 404), ("/v1/jobs?store=x", 404)):
        assert control(node, "GET", target)[0] == status, target
    assert control(node, "POST", "/v1/jobs/redrive?id=1&queue=links")[0] == 400
    assert control(node, "POST", "/v1/jobs/redrive?queue=links", "Origin: http://evil.test\r\n")[0] == 403


@pytest.mark.parametrize("target", [
    "/v1/jobs/enqueue?queue=typo&kind=x&dedupekey=once", "/v1/jobs/enqueue?queue=typo&kind=x&priority=9&priority=0",
    "/v1/jobs/cancel?id=1&id=2", "/v1/jobs/redrive?queue=typo&limit=1", "/v1/jobs/schedules/remove?name=typo&force=true",
    "/v1/caches/purge?cache=hot&spaces=links", "/v1/store/backup?name=typo.db&forc=true",
    "/v1/store/backup?name=typo.db&force=yes"])
def test_a_misspelt_or_repeated_parameter_changes_nothing(idle, target):
    status, problem = control(idle, "POST", target)
    assert status == 400 and problem["code"] == "invalid_argument", problem
    assert queue(idle, "typo") is None
    assert not (idle.folder / "data/backups/typo.db").exists()


def test_dead_jobs_of_several_queues_are_listed_page_by_page():
    with LinksNode(IDLE) as node:
        ids = []
        for name in ("b", "a", "b", "a", "c"):
            ids.append(ask(node, "enqueue", name, "note")["id"])
            control(node, "POST", f"/v1/jobs/claim?queue={name}&worker=w")
            body = json.dumps({"settlements": [{"id": ids[-1], "attempt": 1, "verdict": "bury", "error": "no"}]})
            with Client(node.control) as client:
                client.send(f"POST /v1/jobs/settle?queue={name} HTTP/1.1\r\nHost: localhost\r\n"
                            f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
                assert json.loads(client.answer(b"POST").body) == {"settled": ["buried"]}
        paged = []
        while page := ask(node, "ls", "--limit", "2", "--after", str(paged[-1] if paged else 0))["jobs"]:
            paged += [job["id"] for job in page]
        assert paged == ids
        assert ask(node, "redrive", "--queue", "b") == {"redriven": 2}
        assert ask(node, "show", str(ids[0]))["attempts"] == 0
        assert control(node, "GET", "/v1/jobs/list?state=ready&after=1")[0] == 400


def test_jobs_whose_delay_is_over_are_ready_and_age_though_no_worker_asks(idle):
    made = ask(idle, "enqueue", "late", "note", "--delay", "1s")["id"]
    assert ask(idle, "show", str(made))["ready_at"] > ask(idle, "show", str(made))["created_at"]
    until(lambda: queue(idle, "late")["ready"] == 1, "the delay to be over")
    assert queue(idle, "late")["delayed"] == 0
    assert [job["id"] for job in ask(idle, "ls", "--state", "ready", "--queue", "late")["jobs"]] == [made]
    assert ask(idle, "show", str(made))["state"] == "ready"


def test_a_job_whose_worker_is_gone_can_be_cancelled(idle):
    made = ask(idle, "enqueue", "gone", "note")["id"]
    status, claimed = control(idle, "POST", "/v1/jobs/claim?queue=gone&worker=w&lease_ms=1000")
    assert status == 200 and claimed["jobs"][0]["id"] == made
    assert "is leased already" in jobs(idle, "cancel", str(made), code=1)
    until(lambda: subprocess.run([idle.command[0], "jobs", "cancel", str(made), "--control", "%s:%d" % idle.control],
                                 capture_output=True).returncode == 0, "the lease to run out")


def test_text_of_others_does_not_steer_the_terminal(idle):
    payload = b"one\ntwo \x1b[31mred \xc2\x9b0m\x00 end"
    (idle.folder / "payload").write_bytes(payload)
    made = ask(idle, "enqueue", "shown", "note", "--file", "payload")["id"]
    text = jobs(idle, "show", str(made))
    assert "  one\ntwo \\x1b[31mred \\x9b0m\\x00 end\n" in text, text


@pytest.mark.parametrize("words", [
    ("enqueue", "q", "x", "--file", "/"), ("enqueue", "q", "x", "--delay", "4000d")])
def test_what_cannot_be_is_told_in_a_line(idle, words):
    told = jobs(idle, *words, code=1)
    assert told.startswith("trellis: ") and len(told.splitlines()) == 1, told


@pytest.mark.parametrize("words", [
    ("show", "99999999999999999999"), ("show", "0"), ("cancel", "1x"), ("ls", "--after", "-5"),
    ("enqueue", "q", "x", "--key", ""), ("enqueue", "q", "x", "--delay", ""), ("schedules", "--remove", "")])
def test_wrong_use_is_told(idle, words):
    assert len(jobs(idle, *words, code=2)) < 200


@pytest.mark.parametrize("verb", ["stats", "ls", "show", "redrive", "cancel", "enqueue", "schedules"])
def test_every_command_explains_itself_with_an_example(node, verb):
    text = subprocess.run([node.command[0], "jobs", verb, "--help"], capture_output=True, text=True).stdout
    assert f"trellis jobs {verb}" in text and "--json" in text


def test_a_queue_that_is_full_refuses_and_says_when_to_come_again():
    with LinksNode(IDLE + "jobs: { max_waiting: 3 }\n") as node:
        for _ in range(3):
            jobs(node, "enqueue", "links", "remove-expired", "--delay", "1h")
        assert "the queue links is full: 3 jobs wait" in jobs(node, "enqueue", "links", "remove-expired", code=1)
        with Client(node.control) as client:
            client.send(b"POST /v1/jobs/enqueue?queue=links&kind=remove-expired HTTP/1.1\r\nHost: localhost\r\n"
                        b"Content-Length: 0\r\n\r\n")
            answer = client.answer(b"POST")
        assert answer.status == 503 and int(answer.get(b"retry-after")) > 0
        node.comes_to(2, "trellis_queue_messages_total", topic="links", event="refused")
        assert queue(node)["delayed"] == 3
