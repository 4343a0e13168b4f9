"""The links service as a keeper of links: how many it creates a second, how fast it is back with ten million of them, and how
much memory they cost.

Creating: 64 connections, each with one request on its way; a link is on disk before its creation is answered. Restart: from the
start of the process to the first redirect, after an orderly stop and after a kill in the middle of creating links. Memory: what
the process holds for itself (anonymous) with all the links less what it holds with none, by link; then what it and its maps of
the file hold after redirects by random links, whose cache has 64 MiB. The store is filled by SQL, not through the API. Import:
`trellis links import` of a CSV with a tenth as many links, half with codes of their own, into an empty store, from its start to
its end. Statistics: the answers to questions about a link with as many clicks as there are links, drawn over 400 days by the
functions that count real ones, one question at a time. --rows takes some of create, restart, memory, import and stats.
"""
import http.client
import json
import os
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import calmly, footer, parse, parser, progress, publish, run_json, span, sync_micros, wanted
from servers import BUILD, Trellis

SUMMARY = "links: creates a second, restart and memory with ten million of them, import of a million, statistics of ten million clicks"
LOAD = BUILD / "bench/trellis_load"
URL = "https://example.com/an/article/with/a/long/path?and=a&query="
CONNECTIONS = 64
GOALS = {"creates": 10_000, "restart": 5.0, "bytes": 64, "imported": 150_000, "stats": 0.020}
QUESTIONS = {"30 days by day": "", "48 hours by hour": "step=hour", "60 minutes by minute": "step=minute",
             "400 days by day": "step=day&from=%400", "14 days by hour": "step=hour&from=%14", "125 days by hour": "step=hour&from=%125"}
DAYS = 400


class Node(Trellis):
    """A node over a store of links."""

    def __init__(self, name, folder, options):
        super().__init__(name, "links", folder, options.cores)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None
        self.output.close()

    def memory(self):
        """Anonymous and file memory that is resident, in bytes."""
        lines = Path(f"/proc/{self.pid}/status").read_text().split("\n")
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        return tuple(int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile"))

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def body(self, method, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status != 200:
            sys.exit(f"{path}: {answer.status} {body[:200]}")
        return body

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status

    def begin(self, path):
        """Starts it; seconds to the first redirect."""
        began = time.monotonic()
        self.start()
        while self.ask("GET", path) != 302:
            if time.monotonic() - began > 120:
                sys.exit(f"{self.name}: no redirect of {path} within 120 s")
            time.sleep(0.005)
        return time.monotonic() - began


def fill(database, count):
    """Links 1 to `count` in a store that a node has made and closed, under codes that no counter gives."""
    db = sqlite3.connect(database, isolation_level=None)
    db.executescript("PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE; PRAGMA cache_size=-262144; PRAGMA wal_autocheckpoint=0;")
    now = int(time.time() * 1000)
    step = 1_000_000
    for first in range(1, count + 1, step):
        last = min(first + step - 1, count)
        db.execute("""
            WITH RECURSIVE numbers(n) AS (SELECT ? UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)
            INSERT INTO links(id, code, url, title, status, created_at, updated_at, version)
            SELECT n, printf('%08x', n), ? || n, '', 302, ?, ?, 1 FROM numbers""", (first, last, URL, now, now))
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        progress(f"filled {last:,} of {count:,} links")
    db.execute("UPDATE link_settings SET value = ? WHERE name = 'next'", (count + 1,))
    db.close()


def path_of(number):
    return f"/{number:08x}"


def creates(node, options, what, results):
    """One round: what trellis_load says of creating links."""
    def once():
        found = run_json(["taskset", "-c", options.cores, LOAD, "--json", "--connections", CONNECTIONS, "--seconds", options.seconds,
                          "--warmup", min(0.5, options.seconds), "--method", "POST", "--header", "Content-Type: application/json",
                          "--body", f'{{"url":"{URL}1"}}', "--cpu-of", node.pid, f"http://127.0.0.1:{node.port}/v1/links"], options.seconds)
        if found["status"]["2xx"] != found["answers"] or found["connect_errors"] + found["socket_errors"] > 0:
            sys.exit(f"creating links: not every answer was 201: {found['status']}")
        return found
    result = calmly(options, once)
    node.forget_logs()
    results.append(result)
    progress(f"{what}: {result['rate']:,.0f}/s, p99 {span(result['latency_us']['p99'])}, steal {result['steal']:.1f} %")


def create_row(what, results):
    middle = lambda get: statistics.median(get(r) for r in results)  # noqa: E731
    rate = middle(lambda r: r["rate"])
    return (f"| {what} | {rate:,.0f} | {middle(lambda r: r['cpu_user_us'] + r['cpu_system_us']):.1f} | "
            f"{span(middle(lambda r: r['latency_us']['p50']))} | {span(middle(lambda r: r['latency_us']['p99']))} | "
            f"{GOALS['creates']:,} |")


def redirects(node, options, paths):
    return run_json(["taskset", "-c", options.cores, LOAD, "--json", "--connections", CONNECTIONS, "--seconds", max(options.seconds, 1),
                     "--warmup", 0, "--paths", paths, f"http://127.0.0.1:{node.port}/"], options.seconds)


def restart_under_load(node, options, path):
    """Kills the node while links are being created; seconds to the first redirect of the next one."""
    load = subprocess.Popen([LOAD, "--seconds", "30", "--connections", str(CONNECTIONS), "--method", "POST", "--header",
                             "Content-Type: application/json", "--body", f'{{"url":"{URL}1"}}', f"http://127.0.0.1:{node.port}/v1/links"],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(min(1.0, options.seconds))
    finally:
        node.kill()
        load.kill()
        load.wait()
    return node.begin(path)


def write_csv(path, count):
    rng = random.Random(2)
    codes = rng.sample(range(36 ** 6), count // 2)
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    with path.open("w") as file:
        file.write("url,code,title\n")
        for i in range(count):
            code = ""
            if i % 2:
                number = codes[i // 2]
                for _ in range(6):
                    number, digit = divmod(number, 36)
                    code += digits[digit]
            file.write(f"{URL}{i},{code},\n")


def import_once(options, folder, file, count):
    """Into an empty store."""
    node = Node("import", folder, options)
    shutil.rmtree(node.folder, ignore_errors=True)
    node.start()
    try:
        before = node.cpu_seconds()
        began = time.monotonic()
        done = subprocess.run(["taskset", "-c", options.cores, BUILD / "trellis", "links", "import", file, "--node",
                               f"http://127.0.0.1:{node.port}"], capture_output=True, text=True)
        seconds = time.monotonic() - began
        if done.returncode != 0:
            sys.exit(f"trellis links import: {done.stdout}{done.stderr}")
        return {"rate": count / seconds, "cpu_us": 1e6 * (node.cpu_seconds() - before) / count}
    finally:
        node.stop()


def imports(options, folder, lines, data):
    count = max(options.links // 10, 1)
    file = folder / "links.csv"
    write_csv(file, count)
    results = []
    for turn in range(options.rounds):
        result = calmly(options, lambda: import_once(options, folder, file, count))
        results.append(result)
        progress(f"import, round {turn + 1} of {options.rounds}: {result['rate']:,.0f}/s, steal {result['steal']:.1f} %")
    lines += [f"| import of {count:,} links | links/s | CPU µs a link, of the node | goal |", "|---|---|---|---|",
              f"| CSV, half with codes of their own | {statistics.median(r['rate'] for r in results):,.0f} | "
              f"{statistics.median(r['cpu_us'] for r in results):.1f} | {GOALS['imported']:,} |", ""]
    data["imports"] = results


def statistics_of(options, folder, lines, data):
    node = Node("stats", folder, options)
    clicks = options.links
    try:
        node.start()
        node.ask("POST", "/v1/links", json.dumps({"url": URL, "alias": "many"}))
        link = json.loads(node.body("GET", "/v1/links/many"))["id"]
        node.stop()
        began = time.monotonic()
        done = subprocess.run([BUILD / "bench/trellis_click_history", node.folder / "links.db", str(link), str(clicks), str(DAYS)],
                              capture_output=True, text=True, check=True)
        progress(f"{int(done.stdout):,} clicks counted in {time.monotonic() - began:.1f} s")
        node.start()
        times = {}
        for what, question in QUESTIONS.items():
            if "%" in question:
                question, days = question.split("%")
                question += time.strftime("%Y-%m-%d", time.gmtime(time.time() - (int(days) - 1) * 86400))
            taken = []
            for _ in range(20 if options.quick else 100):
                began = time.monotonic()
                answer = node.body("GET", f"/v1/links/many/stats?{question}")
                taken.append(time.monotonic() - began)
            times[what] = {"clicks": json.loads(answer)["clicks"], "bytes": len(answer), "seconds": sorted(taken)}
            progress(f"statistics, {what}: {span(1e6 * statistics.median(taken))}")
    finally:
        node.stop()
    lines += [f"| statistics of a link with {clicks:,} clicks | clicks in the answer | KiB | median | p99 | goal |", "|---|---|---|---|---|---|"]
    lines += [f"| {what} | {one['clicks']:,} | {one['bytes'] / 1024:.0f} | {span(1e6 * statistics.median(one['seconds']))} | "
              f"{span(1e6 * one['seconds'][int(len(one['seconds']) * 0.99)])} | {span(1e6 * GOALS['stats'])} |" for what, one in times.items()]
    lines.append("")
    data["statistics"] = times


def measure(options, folder, lines, data):
    many = options.links
    empty, full = Node("empty", folder, options), Node("full", folder, options)
    made = {"in an empty store": [], f"beside {many:,}": []}
    before, beside = made
    times = {"after an orderly stop": [], "after a kill while links were created": []}
    try:
        empty.start()
        nothing = empty.memory()[0]
        full.start()  # makes the tables of this version
        full.stop()
        began = time.monotonic()
        fill(full.folder / "links.db", many)
        progress(f"filled in {time.monotonic() - began:.1f} s")
        path = path_of(many // 2)
        full.begin(path)  # whatever a first start with them does
        full.stop()
        for turn in range(options.rounds):
            times["after an orderly stop"].append(full.begin(path))
            progress(f"restart, round {turn + 1} of {options.rounds}: {times['after an orderly stop'][-1]:.3f} s")
            if turn + 1 < options.rounds:
                full.stop()
        held = full.memory()
        rng = random.Random(1)
        paths = folder / "paths"
        paths.write_text("".join(path_of(rng.randint(1, many)) + "\n" for _ in range(min(many, 1_000_000))))
        asked = redirects(full, options, paths)
        warm = full.memory()
        if wanted("create", options.rows):
            for _ in range(options.rounds):
                creates(empty, options, before, made[before])
                creates(full, options, beside, made[beside])
        if wanted("restart", options.rows):
            for turn in range(options.rounds):
                times["after a kill while links were created"].append(restart_under_load(full, options, path))
    finally:
        for node in (empty, full):
            node.stop()

    if made[before]:
        lines += ["| create | links/s | CPU µs a link | p50 | p99 | goal |", "|---|---|---|---|---|---|"]
        lines += [create_row(what, results) for what, results in made.items()] + [""]
    lines += [f"| restart with {many:,} links | median | slowest | goal |", "|---|---|---|---|"]
    lines += [f"| {what} | {statistics.median(list_):.3f} s | {max(list_):.3f} s | {GOALS['restart']:g} s |"
              for what, list_ in times.items() if list_]
    mib = 2 ** 20
    lines += ["", f"| memory with {many:,} links | anonymous | of the file | anonymous bytes a link beyond an empty store's | goal |",
              "|---|---|---|---|---|",
              f"| empty store | {nothing / mib:.1f} MiB | | | |",
              f"| after a restart | {held[0] / mib:.1f} MiB | {held[1] / mib:.1f} MiB | {(held[0] - nothing) / many:.1f} | {GOALS['bytes']} |",
              f"| after {asked['answers']:,} redirects, cache of 64 MiB included | {warm[0] / mib:.1f} MiB | {warm[1] / mib:.1f} MiB | "
              f"{(warm[0] - nothing) / many:.1f} | |"]
    size = (full.folder / "links.db").stat().st_size
    lines += ["", f"The file has {size / mib:,.0f} MiB, {size / many:.0f} bytes a link. Its pages in memory are the kernel's to drop.", ""]
    data |= {"creates": made, "restarts": times, "memory": {"empty": nothing, "restarted": held, "read": warm}}


def main(argv):
    made = parser("links-store", __doc__)
    made.add_argument("--links", type=int, default=10_000_000)
    options = parse(made, argv)
    if options.quick:
        options.links = min(options.links, 20_000)
    folder = Path(tempfile.mkdtemp(prefix="links-store-", dir=options.folder))
    lines, data = [], {}
    try:
        probe = sync_micros(folder)
        if any(wanted(part, options.rows) for part in ("create", "restart", "memory")):
            measure(options, folder, lines, data)
        if wanted("import", options.rows):
            imports(options, folder, lines, data)
        if wanted("stats", options.rows):
            statistics_of(options, folder, lines, data)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    measured = {"create": data.get("creates", {}), "import": {"trellis": data.get("imports", [])}}
    lines += footer("links-store", options, measured,
                    [f"To write 4 KiB behind a file and sync them took {span(probe)} (median of 200)."])
    publish("links-store", options, lines, data)
    return 0
