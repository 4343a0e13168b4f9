"""The embedded event log beside Redis Streams and NATS JetStream: events that are on disk before they are acknowledged.

Producers have one event on its way each. Redis runs with `appendfsync always`; NATS with `sync_interval: always` where it
knows it, and is named "nats (not synced)" where it does not: then it acknowledges before the disk has the event, which the
others never do. All processes share the same cores. The log is in the process of its producers, so its CPU is that of
both; the others have theirs in a process of their own, whose CPU stands beside the server's.
"""
import shutil
import tempfile
from pathlib import Path

from measuring import (footer, interleaved, medians, parse, parser, progress, publish, run_json, span, sync_micros, wanted)
from servers import BUILD, Nats, Redis

SUMMARY = "the event log, synced before the acknowledgement, at 1, 16 and 64 producers; us, Redis Streams, NATS JetStream"
LOAD = BUILD / "bench/trellis_queue_load"
SIZES = (100, 1024)
PRODUCERS = (1, 16, 64)
OURS = "trellis"


def rows_of(options):
    rows = {f"{size} B from {n}": (size, n) for size in SIZES for n in PRODUCERS}
    return {name: row for name, row in rows.items() if wanted(name, options.rows)}


def measure(options, folder, server, partitions, size, producers):
    command = ["taskset", "-c", options.cores, LOAD]
    common = ["--producers", producers, "--size", size, "--seconds", options.seconds, "--warmup", min(0.5, options.seconds)]
    if server is None:
        place = folder / "log"
        shutil.rmtree(place, ignore_errors=True)
        return run_json([*command, "log", *common, "--folder", place, "--partitions", partitions], options.seconds)
    server.fresh()
    verb = "redis-add" if isinstance(server, Redis) else "nats-publish"
    result = run_json([*command, verb, *common, "--port", server.port, "--cpu-of", server.pid], options.seconds)
    server.stop()
    return result


def table(raw, ours):
    lines = ["| events, producers | system | events/s | CPU µs an event: server | with its producers | acknowledged p50 | p99 | its events/s to ours | its CPU to ours |",
             "|---|---|---|---|---|---|---|---|---|"]
    found = {row: {name: medians(results) for name, results in by_system.items()} for row, by_system in raw.items()}
    for row, by_system in found.items():
        us = by_system.get(ours)
        for name, s in by_system.items():
            embedded = name.startswith(ours)
            total = s["cpu"] if embedded else s["cpu"] + s["client"]
            s["total"] = total
            ratios = f"{s['rate'] / us['rate']:.2f} | {total / us['total']:.2f}" if us and name != ours else "– | –"
            lines.append(f"| {row} | {name} | {s['rate']:,.0f} | {'–' if embedded else format(s['cpu'], '.1f')} | {total:.1f} | "
                         f"{span(s['p50'])} | {span(s['p99'])} | {ratios} |")
    return lines, found


def main(argv):
    options = parse(parser("log", __doc__), argv)
    folder = Path(tempfile.mkdtemp(prefix="log-", dir=options.folder))
    systems = {OURS: (None, 1), f"{OURS} in 4 partitions": (None, 4)}
    others = [Redis(folder, options.cores), Nats(folder, options.cores)]
    for server in others:
        if not server.available():
            progress(f"{server.name}: {server.binary} is not there, left out")
            continue
        systems[server.name if server.durable else f"{server.name} (not synced)"] = (server, 1)
    systems = {name: system for name, system in systems.items() if wanted(name, options.only)}
    rows = rows_of(options)
    try:
        probe = sync_micros(folder)
        raw = interleaved(rows, systems, options, lambda row, name: measure(options, folder, *systems[name], *rows[row]))
    finally:
        for server in others:
            server.stop()
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    lines, found = table(raw, OURS)
    versions = "; ".join(server.version() for server in others if server.available())
    lines += footer("log", options, raw, [f"To write 4 KiB behind a file and sync them took {span(probe)} (median of 200).", f"{versions}."])
    publish("log", options, lines, {"found": found, "raw": raw})
    return 0
