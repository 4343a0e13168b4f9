"""Jobs that another process does, over the control API of the node that keeps them: leases, fencing numbers, kill -9."""
import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from links_node import CONFIG, LinksNode
from node import BINARY, PATIENCE, Client, until

OWNER = CONFIG + "workers:\n  none: { store: main, concurrency: 0 }\n"
TOKEN = "a-token-of-this-test-0123456789"

# A worker of its own program, as simple as one can be: it claims, has its effect, settles.
WORKER = r"""
import http.client, json, os, sys
host, port, folder, lease = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]

def post(path, body=b""):
    connection = http.client.HTTPConnection(host, port, timeout=30)
    connection.request("POST", path, body, {"Host": "localhost"})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    assert answer.status == 200, (answer.status, text)
    return json.loads(text)

while True:
    try:
        jobs = post("/v1/jobs/claim?queue=work&worker=w%d&max=8&wait_ms=500&lease_ms=%s" % (os.getpid(), lease))["jobs"]
        for job in jobs:
            # The effect: a file of the job's name, made once however often it is done.
            with open(os.path.join(folder, str(job["id"])), "a") as out:
                out.write("%d %d\n" % (os.getpid(), job["attempt"]))
        if jobs:
            post("/v1/jobs/settle?queue=work", json.dumps({"settlements": [
                {"id": job["id"], "attempt": job["attempt"], "verdict": "ack"} for job in jobs]}).encode())
    except (OSError, http.client.HTTPException):
        pass
"""


def ask(node, method, target, body=b"", host="localhost", more=""):
    """(status, JSON) of a request to the control listener."""
    with Client(node.control) as client:
        head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
        client.send(head.encode() + body)
        answer = client.answer(method.encode())
        return answer.status, json.loads(answer.body)


def enqueue(node, count, queue="work"):
    ids = []
    for number in range(count):
        status, answer = ask(node, "POST", f"/v1/jobs/enqueue?queue={queue}&kind=note", b"payload %d" % number)
        assert status == 201, answer
        ids.append(answer["id"])
    return ids


def claim(node, **parameters):
    query = "&".join(f"{name}={value}" for name, value in {"queue": "work", "worker": "w", **parameters}.items())
    status, answer = ask(node, "POST", f"/v1/jobs/claim?{query}")
    assert status == 200, answer
    return answer["jobs"]


def settle(node, *settlements):
    status, answer = ask(node, "POST", "/v1/jobs/settle?queue=work", json.dumps({"settlements": settlements}).encode())
    assert status == 200, answer
    return answer["settled"]


def work_queue(node):
    _, answer = ask(node, "GET", "/v1/jobs")
    return next(one for one in answer["queues"] if one["queue"] == "work")


@pytest.fixture(scope="module")
def owner():
    with LinksNode(OWNER) as one:
        yield one


def test_a_lease_has_a_number_and_an_old_one_is_refused(owner):
    one, = enqueue(owner, 1)
    first, = claim(owner, lease_ms=1000)
    assert first["id"] == one and first["payload_base64"] == "cGF5bG9hZCAw"
    assert claim(owner) == []
    second, = until(lambda: claim(owner, wait_ms=2000), "the job to come back")
    assert second["id"] == one and second["attempt"] == first["attempt"] + 1
    late = {"id": one, "attempt": first["attempt"], "verdict": "ack"}
    assert settle(owner, late) == ["stale"]
    assert settle(owner, {**late, "attempt": second["attempt"]}) == ["yes"]


def test_a_claim_waits_until_a_job_comes(owner):
    found = []
    waiter = threading.Thread(target=lambda: found.extend(claim(owner, wait_ms=15000)))
    waiter.start()
    one, = enqueue(owner, 1)
    waiter.join(PATIENCE)
    assert [job["id"] for job in found] == [one]
    assert settle(owner, {"id": one, "attempt": found[0]["attempt"], "verdict": "ack"}) == ["yes"]


@pytest.mark.parametrize("target,body", [
    ("/v1/jobs/claim", b""), ("/v1/jobs/claim?queue=a%20b&worker=w", b""), ("/v1/jobs/claim?queue=work&worker=w&max=65", b""),
    ("/v1/jobs/claim?queue=work&worker=w&wait_ms=60000", b""), ("/v1/jobs/claim?queue=work&worker=w&lease_ms=1", b""),
    ("/v1/jobs/settle?queue=work", b""), ("/v1/jobs/settle?queue=work", b"[]"),
    ("/v1/jobs/settle?queue=work", b'{"settlements":[{"id":1,"attempt":1,"verdict":"eat"}]}')])
def test_what_is_wrong_is_refused(owner, target, body):
    status, answer = ask(owner, "POST", target, body)
    assert status == 400, answer


def test_kill_9_of_a_worker_under_load_loses_no_job_and_shows_none_twice(tmp_path):
    with LinksNode(OWNER) as owner:
        folder = tmp_path / "effects"
        folder.mkdir()
        program = tmp_path / "worker.py"
        program.write_text(WORKER)

        def start():
            host, port = owner.control
            return subprocess.Popen([sys.executable, str(program), host, str(port), str(folder), "1000"])

        ids = enqueue(owner, 400)
        workers = [start() for _ in range(2)]
        try:
            for round_ in range(4):
                at_least = min(len(ids), 60 * (round_ + 1))
                until(lambda: len(os.listdir(folder)) >= at_least, "some effects")
                os.kill(workers[0].pid, signal.SIGKILL)
                workers[0].wait()
                workers = workers[1:] + [start()]
            until(lambda: work_queue(owner)["done"] == len(ids), "all jobs done", seconds=60)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        assert sorted(int(name) for name in os.listdir(folder)) == sorted(ids)
        stats = work_queue(owner)
        assert (stats["ready"], stats["delayed"], stats["leased"], stats["dead"]) == (0, 0, 0, 0)
        for name in os.listdir(folder):  # who did it again had a higher number
            numbers = [int(line.split()[1]) for line in (folder / name).read_text().splitlines()]
            assert numbers == sorted(set(numbers)), name


def test_other_machines_need_the_token_and_see_jobs_only(tmp_path):
    addresses = subprocess.run(["hostname", "-I"], capture_output=True, text=True).stdout.split()
    mine = next((one for one in addresses if "." in one and not one.startswith("127.")), None)
    if not mine:
        pytest.skip("this machine has no address but loopback")
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    with LinksNode(OWNER, sets=(f"control={{ bind: \"{mine}:0\", token_file: {token} }}",)) as owner:
        host = "%s:%d" % owner.control
        bearer = f"Authorization: Bearer {TOKEN}\r\n"
        assert ask(owner, "POST", "/v1/jobs/claim?queue=work&worker=w", host=host)[0] == 401
        assert ask(owner, "POST", "/v1/jobs/claim?queue=work&worker=w", host=host,
                   more="Authorization: Bearer wrong-wrong-wrong-wrong\r\n")[0] == 401
        assert ask(owner, "POST", "/v1/jobs/claim?queue=work&worker=w", host=host, more=bearer) == (200, {"jobs": []})
        for method, path in (("POST", "/v1/reload"), ("GET", "/v1/jobs"), ("GET", "/v1/status"), ("GET", "/metrics")):
            assert ask(owner, method, path, host=host, more=bearer)[0] == 403, path
        assert TOKEN not in owner.errors()


def test_beyond_loopback_a_token_must_be_configured(tmp_path):
    config = tmp_path / "node.yaml"
    config.write_text(OWNER + "control: 0.0.0.0:9900\n")
    done = subprocess.run([str(BINARY), "check", str(config)], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and "without a token" in done.stdout + done.stderr
