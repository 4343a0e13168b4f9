"""The benchmarks run to their end in their quick form. No figure is looked at: that would test the machine."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build/release"


def bench(tmp_path, *args):
    done = subprocess.run([sys.executable, ROOT / "bench/run.py", *args, "--quick", "--folder", tmp_path], capture_output=True,
                          text=True, timeout=300, cwd=tmp_path, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(tmp_path.iterdir())  # scratch files are gone
    return done.stdout


def rows(text):
    return [line for line in text.split("\n") if line.startswith("| ") and not line.startswith("|--")][1:]


needs_queue_load = pytest.mark.skipif(not (BUILD / "bench/trellis_queue_load").exists(), reason="trellis_queue_load is not built")


def test_lists_what_there_is():
    done = subprocess.run([sys.executable, ROOT / "bench/run.py"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert {"links", "http", "log", "jobs", "cache", "links-store"} <= {line.split()[0] for line in done.stdout.split("\n")[1:] if line}


@needs_queue_load
def test_log(tmp_path):
    text = bench(tmp_path, "log", "--rows", "100 B from 16")
    assert rows(text)[0].startswith("| 100 B from 16 | trellis |")
    assert "Machine: " in text and "Quick: " in text


@needs_queue_load
def test_jobs(tmp_path):
    text = bench(tmp_path, "jobs", "--rows", "from 16,do 16 at once,begin of 16")
    assert [line.split(" | ")[0] for line in rows(text) if " | trellis | " in line] == [
        "| enqueue from 16", "| do 16 at once", "| do 16 at once with 500 ahead", "| begin of 16"]


@pytest.mark.skipif(not (BUILD / "bench/trellis_load").exists(), reason="trellis_load is not built")
def test_edge_cache(tmp_path):
    text = bench(tmp_path, "edge-cache", "--only", "trellis", "--rows", "hit 1 KiB,miss,stampede")
    assert [line.split(" | ")[0] for line in rows(text) if " | trellis | " in line] == ["| hit 1 KiB, 64", "| miss 1 KiB, 64"]
    assert any(line.startswith("| trellis | 1 | ") for line in text.split("\n")), "one fetch"


@needs_queue_load
def test_cache_beside_redis(tmp_path):
    text = bench(tmp_path, "cache", "--rows", "redis")
    if Path("/usr/bin/redis-server").exists():
        assert [line.split(" | ")[0] for line in rows(text)] == ["| GET over 1 connection", "| GET over 64 connections"]


@pytest.mark.skipif(not (BUILD / "bench/trellis_hit_ratios").exists(), reason="trellis_hit_ratios is not built")
def test_hit_ratios_count_objects_and_bytes():
    def ratios(*args, text):
        done = subprocess.run([BUILD / "bench/trellis_hit_ratios", *args], input=text, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return [line.split() for line in done.stdout.split("\n") if line]

    # 1 2 1 3 1: with room for two, lru hits 1 twice; fifo lost it when 3 came.
    assert ratios("lru:2", "fifo:2", text="1\n2\n1\n3\n1\n") == [["lru", "2", "0.4000", "0.4000"], ["fifo", "2", "0.2000", "0.2000"]]
    assert ratios("--zipf", "1.0:1:4", "fifo:1", text="") == [["fifo", "1", "0.7500", "0.7500"]]
    assert ratios("--bytes", "lru:100", text="1 60\n2 300\n1 60\n") == [["lru", "100", "0.3333", "0.1429"]]
    assert subprocess.run([BUILD / "bench/trellis_hit_ratios", "best:2"], capture_output=True).returncode == 2


@pytest.mark.skipif(not (BUILD / "trellis").exists() or not (BUILD / "bench/trellis_load").exists(), reason="not built")
def test_proxy(tmp_path):
    text = bench(tmp_path, "proxy", "--only", "trellis-epoll", "--load-core", "0", "--origin-core", "0")
    assert "errors)" not in text
    for row in ("small, 256", "1 MiB, 64", "POST 16 KiB, 64", "connection per request, 64",
                "WebSocket echo 100 bytes, 64", "relay small, 64", "100 idle connections"):
        assert f"| {row} | trellis-epoll | " in text
    slow = next(line for line in text.split("\n") if line.startswith("| trellis-epoll | "))
    assert slow.endswith(" | 200 |")


@pytest.mark.skipif(not (BUILD / "trellis").exists() or not (BUILD / "bench/trellis_load").exists(), reason="not built")
def test_links_store(tmp_path):
    text = bench(tmp_path, "links-store", "--links", "2000")
    assert [line.split(" | ")[0] for line in text.split("\n") if line.startswith("| ") and " s | " in line] == [
        "| after an orderly stop", "| after a kill while links were created"]
    assert "| beside 2,000 | " in text
    assert "| import of 200 links | " in text
