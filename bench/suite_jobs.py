"""Jobs in SQLite: enqueued (each on disk before it is acknowledged), done by a worker whose handlers do nothing, and the time
from the call that enqueues to the begin of the handler.

Beside them a Redis stream as a queue with `appendfsync always`: XADD, then XREADGROUP, XACK and XDEL by as many connections as
we do jobs at once. It knows no retries with backoff, priorities, delays or dead letters, and its jobs are no part of anybody's
transaction. All processes share the same cores; our CPU is that of producers, worker and store, which are one process.
"""
import shutil
import socket
import tempfile
from pathlib import Path

from measuring import footer, interleaved, medians, parse, parser, progress, publish, run_json, span, sync_micros, wanted
from servers import BUILD, Redis

SUMMARY = "jobs in SQLite: enqueued, done and begun at 1, 16 and 64 at once; us, a Redis stream as a queue"
LOAD = BUILD / "bench/trellis_queue_load"
SIZE = 100
AT_ONCE = (1, 16, 64)
OURS = "trellis"
PUBLISHED = """\
Published elsewhere, on other machines and with other promises, as a scale only: graphile-worker on PostgreSQL does about
183,000 jobs/s in batches of 500 and adds 202,000/s in batches, 4.2 ms from one to the other (worker.graphile.org/docs/performance);
with 128 workers on PostgreSQL 17 awa did 6,481/s, pg-boss 2,957, river 344, oban 265 (hardbyte/postgresql-job-queue-benchmarking,
1 May 2026)."""


class Row:
    def __init__(self, verb, *args, redis=None):
        self.verb = verb
        self.args = args
        self.redis = redis  # verb and arguments of the same for Redis


def rows_of(options):
    rows = {f"enqueue from {n}": Row("jobs-enqueue", "--producers", n, redis=("redis-add", "--producers", n)) for n in AT_ONCE}
    rows["enqueue 100 together"] = Row("jobs-enqueue", "--producers", 1, "--batch", 100)
    rows |= {f"do {n} at once": Row("jobs-perform", "--workers", n, redis=("redis-perform", "--producers", n)) for n in AT_ONCE}
    rows["do 16 at once with 500 ahead"] = Row("jobs-perform", "--workers", 16, "--ahead", 500,
                                               redis=("redis-perform", "--producers", 1, "--batch", 500))
    rows |= {f"begin of {n}": Row("jobs-begin", "--producers", n, "--workers", 64) for n in AT_ONCE}
    return {name: row for name, row in rows.items() if wanted(name, options.rows)}


def fill_redis(server, count):
    """A group and so many entries for it."""
    server.ask("XGROUP", "CREATE", "bench", "workers", "0", "MKSTREAM")
    one = b"*5\r\n$4\r\nXADD\r\n$5\r\nbench\r\n$1\r\n*\r\n$1\r\nv\r\n$%d\r\n%b\r\n" % (SIZE, b"x" * SIZE)
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection, connection.makefile("rb") as answers:
        for first in range(0, count, 1000):
            now = min(1000, count - first)
            connection.sendall(one * now)
            for _ in range(2 * now):
                answers.readline()


def measure(options, folder, redis, row, system):
    warmup = min(0.5, options.seconds)
    common = ["--size", SIZE, "--seconds", options.seconds, "--warmup", warmup]
    backlog = int(60_000 * (options.seconds + warmup))
    command = ["taskset", "-c", options.cores, LOAD]
    if system == OURS:
        place = folder / "jobs"
        shutil.rmtree(place, ignore_errors=True)
        return run_json([*command, row.verb, *row.args, *common, "--folder", place, "--backlog", backlog], options.seconds)
    redis.fresh()
    if row.redis[0] == "redis-perform":
        fill_redis(redis, backlog)
    result = run_json([*command, *row.redis, *common, "--port", redis.port, "--cpu-of", redis.pid], options.seconds)
    redis.stop()
    return result


def table(raw):
    lines = ["| what | system | jobs/s | CPU µs a job | p50 | p99 | its jobs/s to ours | its CPU to ours |", "|---|---|---|---|---|---|---|---|"]
    found = {row: {name: medians(results) for name, results in by_system.items() if results} for row, by_system in raw.items()}
    for row, by_system in found.items():
        us = by_system.get(OURS)
        for name, s in by_system.items():
            s["total"] = s["cpu"] if name == OURS else s["cpu"] + s["client"]
            ratios = f"{s['rate'] / us['rate']:.2f} | {s['total'] / us['total']:.2f}" if us and name != OURS else "– | –"
            times = "– | –" if row.startswith("do ") else f"{span(s['p50'])} | {span(s['p99'])}"
            lines.append(f"| {row} | {name} | {s['rate']:,.0f} | {s['total']:.1f} | {times} | {ratios} |")
    return lines, found


def main(argv):
    options = parse(parser("jobs", __doc__), argv)
    folder = Path(tempfile.mkdtemp(prefix="jobs-", dir=options.folder))
    redis = Redis(folder, options.cores)
    systems = [OURS]
    if redis.available():
        systems.append(redis.name)
    else:
        progress(f"{redis.name}: {redis.binary} is not there, left out")
    systems = [name for name in systems if wanted(name, options.only)]
    rows = rows_of(options)
    try:
        probe = sync_micros(folder)
        raw = {}
        for name, row in rows.items():
            here = [system for system in systems if system == OURS or row.redis]
            raw |= interleaved([name], here, options, lambda _, system, row=row: measure(options, folder, redis, row, system))
    finally:
        redis.stop()
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    lines, found = table(raw)
    lines += footer("jobs", options, raw, [
        "Times: of an acknowledgement, and at \"begin\" from the call that enqueues to the begin of the handler.",
        f"To write 4 KiB behind a file and sync them took {span(probe)} (median of 200).", PUBLISHED, f"{redis.version()}."])
    publish("jobs", options, lines, {"found": found, "raw": raw})
    return 0
