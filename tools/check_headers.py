#!/usr/bin/env python3
"""Checks that every header of src/ compiles alone, so that whoever includes it needs nothing before it.

A header that passed is remembered by the content of all it includes, so a second run compiles only what changed.

    tools/check_headers.py [--jobs N] [--build DIR] [HEADER...]
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.M)
COMPILER = os.environ.get("CXX", "g++")
FLAGS = ["-std=c++23", "-fcoroutines", "-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wnon-virtual-dtor",
         "-Wno-missing-field-initializers", "-fsyntax-only"]


class Headers:
    def __init__(self, paths):
        self.paths = paths  # include paths
        self.text = {}

    def find(self, name):
        for base in self.paths:
            path = base / name
            if path.is_file():
                return path
        return None

    def read(self, path):
        if path not in self.text:
            self.text[path] = path.read_bytes()
        return self.text[path]

    def key(self, header, salt):
        """Hash of the header and of every header of ours that it reaches."""
        seen, todo = {header}, [header]
        while todo:
            for name in INCLUDE.findall(self.read(todo.pop()).decode(errors="replace")):
                path = self.find(name)
                if path and path not in seen:
                    seen.add(path)
                    todo.append(path)
        digest = hashlib.sha256(salt)
        for path in sorted(seen):
            digest.update(str(path).encode() + b"\0" + hashlib.sha256(self.read(path)).digest())
        return digest.hexdigest()


def compile_alone(header, paths):
    command = [COMPILER, *FLAGS, *(f"-I{p}" for p in paths), "-x", "c++", "-"]
    # Twice, so that a missing `#pragma once` shows as well.
    line = f'#include "{header.relative_to(ROOT / "src").as_posix()}"\n'
    done = subprocess.run(command, input=line * 2, capture_output=True, text=True, cwd=ROOT)
    return done.returncode == 0, done.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--build", type=Path, default=ROOT / "build/release", help="where generated headers are")
    parser.add_argument("headers", nargs="*", type=Path)
    args = parser.parse_args()

    paths = [ROOT / "src", args.build.resolve() / "generated"]
    headers = Headers(paths)
    wanted = sorted(h.resolve() for h in args.headers) or sorted((ROOT / "src").rglob("*.h"))
    version = subprocess.run([COMPILER, "--version"], capture_output=True, text=True).stdout
    salt = (version + " ".join(FLAGS)).encode()

    stamp_file = ROOT / "build/headers.json"
    try:
        stamps = json.loads(stamp_file.read_text())
    except (OSError, ValueError):
        stamps = {}
    keys = {str(h.relative_to(ROOT)): headers.key(h, salt) for h in wanted}
    todo = [h for h in wanted if stamps.get(str(h.relative_to(ROOT))) != keys[str(h.relative_to(ROOT))]]

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for header, (ok, output) in zip(todo, pool.map(lambda h: compile_alone(h, paths), todo)):
            name = str(header.relative_to(ROOT))
            if ok:
                stamps[name] = keys[name]
            else:
                failed += 1
                stamps.pop(name, None)
                print(f"error: {name} does not compile alone:\n{output.rstrip()}")
    stamp_file.parent.mkdir(exist_ok=True)
    stamp_file.write_text(json.dumps({n: k for n, k in stamps.items() if (ROOT / n).exists()}, indent=0, sort_keys=True))
    print(f"headers: {len(wanted)} checked ({len(todo)} compiled), {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
