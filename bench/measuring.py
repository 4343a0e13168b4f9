"""What the benchmarks share: calm measurements, medians, the lines under a table, and where results go."""
import argparse
import datetime
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build/bench"


def progress(text):
    print(text, file=sys.stderr, flush=True)


def lower_quartile(values):
    values = sorted(values)
    if len(values) < 2:
        return values[0]
    return statistics.quantiles(values, n=4, method="inclusive")[0]


def span(micros):
    if micros < 1000:
        return f"{micros:.0f} µs"
    return f"{micros / 1000:.2f} ms" if micros < 1e6 else f"{micros / 1e6:.2f} s"


def stolen():
    """Time that the host took from the cores and time in all, in ticks since the start of the machine."""
    ticks = [int(t) for t in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[7], sum(ticks)


def calmly(options, measure):
    """measure() until the host took no more than --steal percent of the cores' time meanwhile, at most --tries times; the
    least disturbed result."""
    best = None
    for _ in range(options.tries):
        before = stolen()
        result = measure()
        after = stolen()
        result["steal"] = 100 * (after[0] - before[0]) / max(after[1] - before[1], 1)
        if best is None or result["steal"] < best["steal"]:
            best = result
        if best["steal"] <= options.steal:
            break
    return best


def machine():
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().split("\n"):
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}"


def commit():
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def version_of(program, *args):
    """The first line of what it says about itself; "" when it is not there."""
    try:
        done = subprocess.run([program, *args], capture_output=True, text=True)
    except OSError:
        return ""
    return (done.stdout or done.stderr).strip().split("\n")[0]


def parser(name, doc):
    """With the options that every benchmark of this kind has."""
    made = argparse.ArgumentParser(prog=f"script/bench {name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--seconds", type=float, default=3.0, help="length of one measurement")
    made.add_argument("--rows", help="rows whose name contains one of these, with commas between")
    made.add_argument("--only", help="systems whose name contains one of these, with commas between")
    made.add_argument("--cores", default=f"0-{os.cpu_count() - 1}", help="for all processes, as taskset takes them")
    made.add_argument("--steal", type=float, default=3.0, help="percent of the cores' time that the host may take")
    made.add_argument("--tries", type=int, default=4, help="measurements at most for one round")
    made.add_argument("--folder", type=Path, default=OUT, help="where scratch files go: on the disk that is to be measured")
    made.add_argument("--keep", action="store_true", help="keep the scratch folder")
    made.add_argument("--quick", action="store_true", help="one short round of everything, to see that it runs; no figures to quote")
    return made


def parse(made, argv):
    options = made.parse_args(argv)
    options.argv = argv
    if options.quick:
        options.rounds, options.seconds, options.tries = 1, 0.2, 1
    options.folder.mkdir(parents=True, exist_ok=True)
    return options


def wanted(name, parts):
    return not parts or any(part in name for part in parts.split(","))


def interleaved(rows, systems, options, measure):
    """{row: {system: [result of each round]}}. Systems innermost: a drift of the machine meets all of them alike."""
    raw = {row: {system: [] for system in systems} for row in rows}
    for row in rows:
        for turn in range(options.rounds):
            for system in systems:
                result = calmly(options, lambda: measure(row, system))
                if result.get("failed"):
                    sys.exit(f"{row}, {system}: {result['failed']} requests failed: {result.get('error', '')}")
                raw[row][system].append(result)
                progress(f"{row}, round {turn + 1} of {options.rounds}, {system}: {result['rate']:,.0f}/s, p50 "
                         f"{span(result['latency_us']['p50'])}, p99 {span(result['latency_us']['p99'])}, steal "
                         f"{result['steal']:.1f} %")
    return raw


def medians(results):
    middle = lambda get: statistics.median(get(r) for r in results)  # noqa: E731
    return {
        "rate": middle(lambda r: r["rate"]),
        "cpu": middle(lambda r: r["cpu_user_us"] + r["cpu_system_us"]),
        "client": middle(lambda r: r["own_cpu_us"]),
        "p50": middle(lambda r: r["latency_us"]["p50"]),
        "p99": middle(lambda r: r["latency_us"]["p99"]),
        "steal": max(r["steal"] for r in results),
    }


def run_json(command, seconds):
    """Runs a program that prints one line of JSON."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=seconds + 120)
    if done.returncode != 0 or not done.stdout:
        sys.exit(f"{shlex.join(str(word) for word in command)}\n{done.stderr}")
    return json.loads(done.stdout)


def sync_micros(folder):
    """The median of 200 times to write 4 KiB behind a file and to have them on disk: what a durable write costs at least."""
    path = folder / "sync-probe"
    times = []
    with path.open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(b"x" * 4096)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - began) * 1e6)
    path.unlink()
    return statistics.median(times)


def footer(name, options, raw, remarks):
    worst = max((r["steal"] for by_system in raw.values() for list_ in by_system.values() for r in list_), default=0)
    lines = ["", *remarks, f"The host took at most {worst:.1f} % of the cores' time during a measurement that counts; load of the "
             f"machine at the end {os.getloadavg()[0]:.1f}.",
             f"Machine: {machine()}. {datetime.date.today().isoformat()}, commit {commit()}.",
             f"Command: `script/bench {shlex.join([name, *options.argv])}` ({options.rounds} rounds of {options.seconds:g} s, cores "
             f"{options.cores})."]
    if options.quick:
        lines.append("Quick: this says that it runs, not how fast.")
    return lines


def publish(name, options, lines, data):
    """Prints the table and puts it, with what was measured, into build/bench."""
    text = "\n".join(lines) + "\n"
    print(text)
    if options.quick:
        return
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.md").write_text(text)
    (OUT / f"{name}.json").write_text(json.dumps(data, indent=1))
