#!/usr/bin/env python3
"""Runs a benchmark: us and the competitors in turn, on the same cores, in interleaved rounds.

    script/bench NAME [--rounds 5] [--seconds 3] [--only nginx,haproxy] [--rows small,files]

Servers are pinned to core 0, the load generator to core 1, the origin to core 1 as well (--origin-core 0 puts it beside the
server). The measure that lasts is CPU microseconds an answer, user and system, of the server's processes: rates depend on
whether the generator or the server is exhausted first. The table shows medians of the rounds and the lower quartile of CPU;
ratios are of lower quartiles, which a disturbed round moves least. On a virtual machine a measurement during which the host
took more of the cores' time than --steal percent is made again, and of --tries the least disturbed one counts.
"""
import argparse
import datetime
import importlib
import json
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import servers  # noqa: E402
from measuring import calmly, commit, lower_quartile, machine, progress, span  # noqa: E402

SUITES = {"links": "suite_links", "http": "suite_http", "log": "suite_log", "jobs": "suite_jobs", "cache": "suite_cache",
          "links-store": "suite_links_store", "proxy": "suite_proxy", "edge-cache": "suite_edge_cache"}
LOAD = servers.BUILD / "bench/trellis_load"


class Row:
    """One line of the comparison: what is asked for, how, and of whom."""

    def __init__(self, name, path, names, *args, rate_of=None, share=0.7, idle=0, relay=False):
        self.name = name
        self.path = path
        self.names = names      # servers that can answer it
        self.args = list(args)  # of trellis_load
        self.rate_of = rate_of  # open loop at `share` of the rate that this row's closed loop gave
        self.share = share
        self.idle = idle        # memory of this many idle connections instead
        self.relay = relay      # at the port where the server passes connections on unread


def measure(server, row, options, extra):
    command = ["taskset", "-c", str(options.load_core), str(LOAD), "--json", "--seconds", str(options.seconds),
               "--threads", str(options.threads), "--cpu-of", str(server.pid), *row.args, *extra,
               f"http://127.0.0.1:{server.relay_port if row.relay else server.port}{row.path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=options.seconds + 120)
    nothing = done.returncode == 1 and done.stdout  # not one answer: wrong, but for a short look on a busy machine
    if not (done.returncode == 0 and done.stdout or nothing and options.quick):
        sys.exit(f"{row.name}, {server.name}: {shlex.join(command)}\n{done.stderr or 'no answer came'}")
    server.forget_logs()
    result = json.loads(done.stdout)
    result["note"] = done.stderr.strip()
    return result


def errors_of(result):
    status = result["status"]
    return (result["connect_errors"] + result["socket_errors"] + result["framing_faults"] + status["4xx"] + status["5xx"] +
            status["other"])


def summary(results):
    median = lambda get: statistics.median(get(r) for r in results)  # noqa: E731
    cpu = [r["cpu_user_us"] + r["cpu_system_us"] for r in results]
    return {
        "rate": median(lambda r: r["rate"]),
        "user": median(lambda r: r["cpu_user_us"]),
        "system": median(lambda r: r["cpu_system_us"]),
        "cpu": statistics.median(cpu),
        "cpu_low": lower_quartile(cpu),
        "busy": median(lambda r: r["cpu_cores"]),
        "memory": median(lambda r: r["resident_kib"]),
        "steal": max(r["steal"] for r in results),
        "p50": median(lambda r: r["latency_us"]["p50"]),
        "p99": median(lambda r: r["latency_us"]["p99"]),
        "p99_9": median(lambda r: r["latency_us"]["p99_9"]),
        "errors": sum(errors_of(r) for r in results),
        "unanswered": sum(r["unanswered"] for r in results),
    }


def load_table(rows, found, ours):
    lines = ["| what | server | answers/s | server busy | CPU µs an answer: user + system | lower quartile | one core could | p50 | p99 | "
             "memory | ratio to us |",
             "|---|---|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        for name, s in found.get(row.name, {}).items():
            # Where one of ours runs in another way for this row, it comes first.
            mine = ours if ours in found[row.name] else row.names[0]
            us = found[row.name].get(mine) if ours else None
            ratio = f"{s['cpu_low'] / us['cpu_low']:.2f}" if us and name != mine and us["cpu_low"] > 0 else "–"
            could = f"{1e6 / s['cpu_low']:,.0f}/s" if s["cpu_low"] > 0 else "–"
            wrong = f" ({s['errors']} errors)" if s["errors"] else ""
            if s["unanswered"]:
                wrong += f" ({s['unanswered']} late)"
            lines.append(f"| {row.name} | {name} | {s['rate']:,.0f}{wrong} | {s['busy']:.0%} | {s['user']:.2f} + {s['system']:.2f} = "
                         f"{s['cpu']:.2f} | {s['cpu_low']:.2f} | {could} | {span(s['p50'])} | "
                         f"{span(s['p99'])} | {s['memory'] / 1024:.0f} MiB | {ratio} |")
    return lines


def idle_table(rows, found, ours):
    lines = ["", "| what | server | connections open | memory before | memory with them | KiB a connection | ratio to us |",
             "|---|---|---|---|---|---|---|"]
    for row in rows:
        for name, s in found.get(row.name, {}).items():
            us = found[row.name].get(ours)
            ratio = f"{s['each'] / us['each']:.2f}" if us and name != ours and us["each"] > 0 else "–"
            lines.append(f"| {row.name} | {name} | {s['open']:,} | {s['before'] / 1024:.1f} MiB | {s['with'] / 1024:.1f} MiB | "
                         f"{s['each']:.2f} | {ratio} |")
    return lines


def run_rounds(suite, rows, running, options, found, raw):
    """Rounds outermost within a row, servers innermost: a drift of the machine meets all of them alike."""
    for row in rows:
        here = [s for s in running if s.name in row.names]
        results = {s.name: [] for s in here}
        for turn in range(options.rounds):
            for server in here:
                more = ["--rate", f"{found[row.rate_of][server.name]['rate'] * row.share:.0f}"] if row.rate_of else []
                result = calmly(options, lambda: measure(server, row, options, suite.arguments(row, server) + more))
                results[server.name].append(result)
                cpu = result["cpu_user_us"] + result["cpu_system_us"]
                progress(f"{row.name}, round {turn + 1} of {options.rounds}, {server.name}: {result['rate']:,.0f}/s, "
                         f"{cpu:.2f} µs, p99 {span(result['latency_us']['p99'])}, steal {result['steal']:.1f} %")
        found[row.name] = {name: summary(list_) for name, list_ in results.items() if list_}
        raw[row.name] = results


def run_idle(rows, running, options, found, raw):
    """Memory is measured on a server that has done nothing else."""
    for row in rows:
        found[row.name] = {}
        raw[row.name] = {}
        for server in [s for s in running if s.name in row.names]:
            server.stop()
            server.start()
            result = measure(server, row, options, ["--idle", str(row.idle), "--connections", "1"])
            raw[row.name][server.name] = [result]
            count = max(result["idle"], 1)
            found[row.name][server.name] = {
                "open": result["idle"], "before": result["resident_before_kib"], "with": result["resident_idle_kib"],
                "each": (result["resident_idle_kib"] - result["resident_before_kib"]) / count}
            progress(f"{row.name}, {server.name}: {result['idle']} open, {result['resident_before_kib']} KiB before, "
                     f"{result['resident_idle_kib']} KiB with them {result['note']}")


def main():
    # A suite that brings a main of its own is no comparison of web servers.
    if sys.argv[1:2] and sys.argv[1] in SUITES:
        suite = importlib.import_module(SUITES[sys.argv[1]])
        if hasattr(suite, "main"):
            return suite.main(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=sorted(SUITES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one measurement")
    parser.add_argument("--only", help="servers, by name, with commas between")
    parser.add_argument("--rows", help="rows whose name contains one of these, with commas between")
    parser.add_argument("--threads", type=int, default=1, help="threads of the load generator")
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--load-core", default="1", help="a core or a list, as taskset takes it")
    parser.add_argument("--origin-core", default="1")
    parser.add_argument("--steal", type=float, default=3.0, help="percent of the cores' time that the host may take")
    parser.add_argument("--tries", type=int, default=4, help="measurements at most for one round")
    parser.add_argument("--keep", action="store_true", help="keep the scratch folder with configurations and logs")
    parser.add_argument("--folder", help="where the scratch folder goes")
    parser.add_argument("--quick", action="store_true", help="one short round of everything, to see that it runs; no figures to quote")
    options = parser.parse_args()
    if options.name is None:
        print("Benchmarks:")
        for name, module in SUITES.items():
            print(f"  {name:12} {importlib.import_module(module).SUMMARY}")
        return 0

    if options.quick:
        options.rounds, options.seconds, options.tries = 1, 0.2, 1
    suite = importlib.import_module(SUITES[options.name])
    servers.open_files()
    folder = Path(tempfile.mkdtemp(prefix=f"trellis-bench-{options.name}-", dir=options.folder))
    folder.chmod(0o755)
    started = []
    try:
        candidates, rows = suite.prepare(folder, options, Row, started)
        if options.only:
            wanted = options.only.split(",")
            unknown = set(wanted) - {s.name for s in candidates}
            if unknown:
                sys.exit(f"no server named {', '.join(sorted(unknown))}; there are {', '.join(s.name for s in candidates)}")
            candidates = [s for s in candidates if s.name in wanted]
        for server in candidates:
            if not server.available():
                progress(f"{server.name}: {server.binary} is not there, left out")
        running = [s for s in candidates if s.available()]
        if not running:
            sys.exit("no server to measure")
        if options.rows:
            parts = options.rows.split(",")
            needed = {r.rate_of for r in rows if any(p in r.name for p in parts)}
            rows = [r for r in rows if any(p in r.name for p in parts) or r.name in needed]
        for server in running:
            server.start()
            started.append(server)
        suite.fill(folder, running)

        found, raw = {}, {}
        load_rows = [r for r in rows if not r.idle]
        idle_rows = [r for r in rows if r.idle]
        run_rounds(suite, load_rows, running, options, found, raw)
        run_idle(idle_rows, running, options, found, raw)
        further = suite.further(running, options, raw) if hasattr(suite, "further") else []
        versions = "; ".join(f"{s.name}: {s.version()}" for s in running if s.version())
    finally:
        for server in reversed(started):
            server.stop()
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)

    ours = running[0].name if isinstance(running[0], servers.Trellis) else None
    lines = load_table(load_rows, found, ours) if load_rows else []
    if idle_rows:
        lines += idle_table(idle_rows, found, ours)
    lines += [*further, "", *suite.remarks(found, ours)]
    worst = max((s["steal"] for by_name in found.values() for s in by_name.values() if "steal" in s), default=0)
    lines += [f"The host took at most {worst:.1f} % of the cores' time during a measurement that counts.",
              f"Machine: {machine()}. {datetime.date.today().isoformat()}, commit {commit()}. {versions}.",
              f"Command: `script/bench {shlex.join(sys.argv[1:])}` ({options.rounds} rounds of {options.seconds:g} s; server on "
              f"core {options.server_core}, load on {options.load_core}, origin on {options.origin_core})."]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.quick:
        return 0
    out = servers.ROOT / "build/bench"
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{options.name}.md").write_text(text)
    (out / f"{options.name}.json").write_text(json.dumps({"found": found, "raw": raw}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
