"""The cache in memory: operations a second by policy on one and two threads, hit ratios on real traces beside the expected
ones, and GET of Redis over a socket.

Redis is asked over a connection, as a cache of several nodes must be; ours is in the process and needs no question. That is
what the two figures compare: not two caches, but a cache at hand with one across a socket. The traces and the expected ratios
are looked for in TRELLIS_DATA or ../shared/data.
"""
import csv
import lzma
import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from measuring import (ROOT, calmly, footer, interleaved, medians, parse, parser, progress, publish, run_json, span, wanted)
from servers import BUILD, Redis

SUMMARY = "the memory cache: operations a second by policy, hit ratios on real traces beside the expected ones; us, Redis"
MICRO = BUILD / "bench/bench_cache_memory_cache"
RATIOS = BUILD / "bench/trellis_hit_ratios"
LOAD = BUILD / "bench/trellis_queue_load"
POLICIES = ("s3fifo", "w_tinylfu", "lru", "fifo", "random", "ttl")  # in the order of the micro benchmark
KEYS = 10_000
CONNECTIONS = (1, 64)
# Of our policies: the published ones that they are, by name and implementation, in the tables of objects and of bytes.
PUBLISHED = {"s3fifo": ("s3-fifo", "libCacheSim"), "w_tinylfu": ("w-tinylfu-adaptive", "caffeine-sim-3.2.0"), "lru": ("lru", "own"),
             "fifo": ("fifo", "libCacheSim")}
PUBLISHED_BYTES = {"s3fifo": "S3FIFO-0.1000-2", "w_tinylfu": "WTinyLFU-w0.01-SLRU", "lru": "LRU", "fifo": "FIFO"}
LEAST = 20  # objects: below, the small queue of libCacheSim's S3-FIFO rounds to nothing
# The short form shows these; --all-sizes everything.
SHOWN = {("web07", 1024), ("web12", 1376), ("arc-oltp", 5000), ("lirs-multi3", 1491), ("lirs-ps", 154), ("accesslog", 139)}


# --- Operations a second ---

def micro(options, name):
    seconds = options.seconds / 4
    found = run_json(["taskset", "-c", options.cores, MICRO, f"--benchmark_filter=^{name}$", f"--benchmark_min_time={seconds}",
                      "--benchmark_format=json"], 600)["benchmarks"]
    return {"rate": found[0]["items_per_second"], "cpu": found[0]["cpu_time"]} if found else None


def operations(options):
    cases = {}
    for number, policy in enumerate(POLICIES):
        for threads in (1, 2):
            cases[f"hit, uniform keys, {threads} thread{'s' if threads > 1 else ''}", policy] = \
                f"hit/policy:{number}/zipf:0/real_time/threads:{threads}"
            cases[f"hit, Zipf, {threads} thread{'s' if threads > 1 else ''}", policy] = \
                f"hit/policy:{number}/zipf:1/real_time/threads:{threads}"
        cases["put into a full cache, 1 thread", policy] = f"put/policy:{number}"
    results = {case: [] for case in cases}
    for turn in range(options.rounds):
        for case, name in cases.items():
            results[case].append(calmly(options, lambda: micro(options, name)))
        progress(f"operations, round {turn + 1} of {options.rounds}")
    rows = sorted({case[0] for case in cases})
    lines = ["| operations/s (CPU ns each) | " + " | ".join(POLICIES) + " |", "|---|" + "---|" * len(POLICIES)]
    for row in rows:
        cells = []
        for policy in POLICIES:
            rate = statistics.median(r["rate"] for r in results[row, policy])
            cpu = statistics.median(r["cpu"] for r in results[row, policy])
            cells.append(f"{rate / 1e6:.2f} M ({cpu:.0f})")
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return lines, {"operations": {f"{row}, {policy}": list_ for (row, policy), list_ in results.items()}}


# --- Hit ratios ---

def data_folder():
    return Path(os.environ.get("TRELLIS_DATA", ROOT / "../shared/data"))


def ratios_of(trace, pairs, by_bytes, largest=None):
    """{(policy, capacity): (hit ratio, byte hit ratio)}. `largest`: the share of the capacity that an object may have."""
    text = lzma.decompress((data_folder() / f"traces/{trace}.keys.xz").read_bytes())
    done = subprocess.run([RATIOS, *(["--bytes"] if by_bytes else []), *(["--largest", str(largest)] if largest else []), *(f"{policy}:{size}" for policy, size in pairs)], input=text,
                          capture_output=True, check=True)
    lines = [line.split() for line in done.stdout.decode().split("\n") if line]
    return {(policy, int(size)): (float(hits), float(by)) for policy, size, hits, by in lines}


def hit_ratios(options):
    """In objects: ours and the published one of each policy that has one, and the optimum."""
    table = data_folder() / "expected-hit-ratios.csv"
    if not table.exists():
        return [f"No traces in {data_folder()}: set TRELLIS_DATA for hit ratios."], {}
    expected = {}
    with table.open() as file:
        for row in csv.DictReader(file):
            expected[row["trace"], int(row["size_objects"]), row["policy"], row["implementation"]] = float(row["hit_ratio"])
    places = sorted({(trace, size) for trace, size, _, _ in expected})
    if options.quick:
        places = [place for place in places if place[0] == "accesslog"]
    found = {}
    for trace in sorted({trace for trace, _ in places}):
        sizes = [size for name, size in places if name == trace]
        ours = ratios_of(trace, [(policy, size) for policy in PUBLISHED for size in sizes], False)
        for (policy, size), (hits, _) in ours.items():
            found[trace, size, policy] = hits
        progress(f"hit ratios of {trace}")
    lines = ["", "| trace | objects | " + " | ".join(f"{policy}: ours, published" for policy in PUBLISHED) + " | optimum |",
             "|---|---|" + "---|" * (len(PUBLISHED) + 1)]
    for trace, size in places:
        if not options.all_sizes and not options.quick and (trace, size) not in SHOWN:
            continue
        cells = [f"{found[trace, size, policy]:.3f}, "
                 + ("–" if policy == "s3fifo" and size < LEAST else f"{expected[trace, size, *published]:.3f}")
                 for policy, published in PUBLISHED.items()]
        lines.append(f"| {trace} | {size} | " + " | ".join(cells) + f" | {expected[trace, size, 'opt', 'own']:.3f} |")
    fair = [place for place in places if place[1] >= LEAST]
    means = [f"{statistics.mean(found[place[0], place[1], policy] for place in fair):.3f}, "
             f"{statistics.mean(expected[place[0], place[1], *published] for place in fair):.3f}"
             for policy, published in PUBLISHED.items()]
    lines.append(f"| mean of {len(fair)} | | " + " | ".join(means)
                 + f" | {statistics.mean(expected[place[0], place[1], 'opt', 'own'] for place in fair):.3f} |")
    by = ", ".join(f"{policy} by {published[1]}" for policy, published in PUBLISHED.items() if policy != "lru")
    lines += ["", f"The means are those of {LEAST} objects and more.",
              f"Published: {by}; LRU and the optimum computed beside the traces."]
    return lines, {"hit_ratios": {f"{trace} {size} {policy}": ratio for (trace, size, policy), ratio in found.items()}}


def byte_ratios():
    """In bytes: ours and libCacheSim's, as hit ratio and byte hit ratio."""
    table = data_folder() / "expected-hit-ratios-bytes.csv"
    if not table.exists():
        return [], {}
    expected = {}
    with table.open() as file:
        for row in csv.DictReader(file):
            key = row["trace"], int(row["size_bytes"]), row["policy"]
            expected[key] = float(row["hit_ratio"]), float(row["byte_hit_ratio"])
    places = sorted({(trace, size) for trace, size, _ in expected})
    lines = ["", "| trace, by bytes | capacity | " + " | ".join(f"{policy}: hits, bytes (published)" for policy in PUBLISHED_BYTES) + " |",
             "|---|---|" + "---|" * len(PUBLISHED_BYTES)]
    found = {}
    for trace in sorted({trace for trace, _ in places}):
        sizes = [size for name, size in places if name == trace]
        ours = ratios_of(trace, [(policy, size) for policy in PUBLISHED_BYTES for size in sizes], True)
        for size in sizes:
            cells = []
            for policy, published in PUBLISHED_BYTES.items():
                hits, by = ours[policy, size]
                theirs = expected[trace, size, published]
                cells.append(f"{hits:.3f}, {by:.3f} ({theirs[0]:.3f}, {theirs[1]:.3f})")
                found[f"{trace} {size} {policy}"] = hits, by
            lines.append(f"| {trace} | {size / 2**20:,.2f} MiB | " + " | ".join(cells) + " |")
    lines += ["", "Published by bytes: libCacheSim, whose W-TinyLFU has a window of 1 % that does not move. For s3fifo and w_tinylfu "
              "objects of more than a tenth of the capacity pass by, as in its S3-FIFO; the cache itself refuses half of a shard."]
    return lines, {"byte_hit_ratios": found}


# Zipf streams of 5 million requests for 10,000 keys: (s, capacity): (FIFO, LRU, LFU that is a W-TinyLFU, S3-FIFO with a ghost
# queue of the cache's size, the optimum for independent requests). The first four are those of foyer's bench_hit_ratio.rs.
ZIPF = {(0.9, 100): (.225, .257, .386, .384, .410), (0.9, 1000): (.510, .552, .638, .635, .671), (1.0, 50): (.265, .305, .443, .435, .460),
        (1.0, 100): (.343, .386, .507, .505, .530), (1.0, 500): (.540, .583, .668, .668, .694),
        (1.0, 1000): (.631, .671, .739, .737, .765), (1.1, 100): (.475, .524, .627, .625, .648), (1.5, 100): (.868, .896, .922, .922, .931)}


def zipf_ratios(options):
    policies = ("fifo", "lru", "w_tinylfu", "s3fifo")
    draws = 50_000 if options.quick else 5_000_000
    lines = ["", "| Zipf | objects of 10,000 | " + " | ".join(f"{policy}: ours, published" for policy in policies) + " | optimum |",
             "|---|---|" + "---|" * (len(policies) + 1)]
    found = {}
    for (s, capacity), published in ZIPF.items():
        done = subprocess.run([RATIOS, "--zipf", f"{s}:10000:{draws}", *(f"{policy}:{capacity}" for policy in policies)],
                              capture_output=True, text=True, check=True)
        ours = [float(line.split()[2]) for line in done.stdout.split("\n") if line]
        found[f"{s} {capacity}"] = ours
        cells = [f"{mine:.3f}, {theirs:.3f}" for mine, theirs in zip(ours, published)]
        lines.append(f"| {s} | {capacity} | " + " | ".join(cells) + f" | {published[-1]:.3f} |")
    lines += ["", f"{draws:,} requests each, from an empty cache. Published: foyer's bench_hit_ratio.rs."]
    return lines, {"zipf": found}


# --- Redis ---

def redis_gets(options, folder):
    server = Redis(folder, options.cores, durable=False)
    if not server.available():
        progress(f"{server.name}: {server.binary} is not there, left out")
        return [], {}
    try:
        server.fresh()
        for first in range(0, KEYS, 500):
            server.ask("MSET", *(word for i in range(first, first + 500) for word in (f"key{i}", "x" * 100)))
        rows = {f"GET over {n} connection{'s' if n > 1 else ''}": n for n in CONNECTIONS}
        raw = interleaved(rows, [server.name], options, lambda row, _: run_json(
            ["taskset", "-c", options.cores, LOAD, "redis-get", "--port", server.port, "--cpu-of", server.pid, "--producers", rows[row],
             "--keys", KEYS, "--seconds", options.seconds, "--warmup", 0.1], options.seconds))
    finally:
        server.stop()
    lines = ["", "| what | system | operations/s | CPU ns each: server | with its client | p50 | p99 |", "|---|---|---|---|---|---|---|"]
    for row, by_system in raw.items():
        for name, results in by_system.items():
            s = medians(results)
            lines.append(f"| {row} | {name} | {s['rate']:,.0f} | {1000 * s['cpu']:,.0f} | {1000 * (s['cpu'] + s['client']):,.0f} | "
                         f"{span(s['p50'])} | {span(s['p99'])} |")
    lines += ["", f"{KEYS:,} texts of 100 bytes, here as above. Redis answers over a connection, one request on its way on each; the cache "
              "above is called in its own process. It is for what several nodes share, ours for what one node needs at once.",
              f"{server.version()}."]
    return lines, {"redis": raw}


def main(argv):
    made = parser("cache", __doc__)
    made.add_argument("--all-sizes", action="store_true", help="hit ratios at every size that there is")
    options = parse(made, argv)
    folder = Path(tempfile.mkdtemp(prefix="cache-", dir=options.folder))
    lines, data = [], {}
    try:
        parts = {"operations": lambda: operations(options), "ratios": lambda: hit_ratios(options), "bytes": byte_ratios,
                 "zipf": lambda: zipf_ratios(options), "redis": lambda: redis_gets(options, folder)}
        for name, part in parts.items():
            if wanted(name, options.rows):
                more, found = part()
                lines += more
                data |= found
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    measured = data.get("redis", {}) | ({"operations": data["operations"]} if "operations" in data else {})
    lines += footer("cache", options, measured, [])
    publish("cache", options, lines, data)
    return 0
