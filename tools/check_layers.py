#!/usr/bin/env python3
"""Holds the includes of src/ to the room table.

The table is the trellis_room(NAME ROOMS ...) lines of CMakeLists.txt; there is no other. A room may include itself, the
rooms it names and what those name. Fails on any other include, on cycles (of rooms and of headers), on `proxy` and
`services` meeting, and on folders without a subject (common, util, misc). Warns about files and rooms that want a split.

    tools/check_layers.py [--root DIR] [--list]
"""
import argparse
import re
import sys
from pathlib import Path

MAX_LINES = 800
MAX_SOURCES = 30
STRANGERS = ("proxy", "services")  # both speak http::Handler; app joins them
VAGUE = {"common", "util", "utils", "misc", "helpers"}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.M)
ROOM = re.compile(r"^[ \t]*trellis_room\(\s*(\w+)([^)]*)\)", re.M)


def room_table(cmake_text):
    """{room: [rooms it names]} in the order of the file."""
    table = {}
    for name, rest in ROOM.findall(re.sub(r"#.*", "", cmake_text)):
        words = rest.split()
        rooms = []
        if "ROOMS" in words:
            for word in words[words.index("ROOMS") + 1:]:
                if word.isupper():
                    break
                rooms.append(word)
        table[name] = rooms
    return table


def find_cycle(graph):
    """A list of nodes that leads back to its first, or None. Works for any depth."""
    done = set()
    for start in graph:
        if start in done:
            continue
        path, on_path = [start], {start}
        stack = [iter(graph[start])]
        while stack:
            for node in stack[-1]:
                if node in on_path:
                    return path[path.index(node):] + [node]
                if node not in done and node in graph:
                    path.append(node)
                    on_path.add(node)
                    stack.append(iter(graph[node]))
                    break
            else:
                stack.pop()
                node = path.pop()
                on_path.discard(node)
                done.add(node)
    return None


def reachable(table, room):
    seen, todo = {room}, [room]
    while todo:
        for other in table.get(todo.pop(), ()):
            if other not in seen:
                seen.add(other)
                todo.append(other)
    return seen


def check(root):
    """(errors, warnings), each a list of lines."""
    errors, warnings = [], []
    src = root / "src"
    table = room_table((root / "CMakeLists.txt").read_text())
    if not table:
        return ["CMakeLists.txt: no trellis_room() line found"], []

    for room, named in table.items():
        for other in named:
            if other not in table:
                errors.append(f"CMakeLists.txt: room {room} names {other}, which is no room")
    cycle = find_cycle(table)
    if cycle:
        errors.append(f"CMakeLists.txt: rooms in a circle: {' -> '.join(cycle)}")
    for one, other in (STRANGERS, STRANGERS[::-1]):
        if one in table and other in reachable(table, one):
            errors.append(f"CMakeLists.txt: {one} reaches {other}; the two meet only in app, through http::Handler")

    files = sorted(p for p in src.rglob("*") if p.suffix in (".h", ".cc"))
    for folder in sorted(p for p in src.rglob("*") if p.is_dir() and p.name in VAGUE):
        errors.append(f"{folder.relative_to(root)}: a folder is named after its subject, not {folder.name}/")

    allowed = {room: reachable(table, room) for room in table}
    headers = {}
    sources = {}
    for path in files:
        name = path.relative_to(root).as_posix()
        inside = path.relative_to(src)
        room = inside.parts[0]
        text = path.read_text(errors="replace")
        lines = text.count("\n")
        if lines > MAX_LINES:
            warnings.append(f"{name}: {lines} lines; over {MAX_LINES} it wants a split")
        if path.suffix == ".cc":
            folder = inside.parent.as_posix()
            sources[folder] = sources.get(folder, 0) + 1
        if len(inside.parts) == 1 or room not in table:
            errors.append(f"{name}: not in a room; CMakeLists.txt has no trellis_room({room})")
            continue
        includes = []
        for match in INCLUDE.finditer(text):
            target = match.group(1)
            at = f"{name}:{text.count(chr(10), 0, match.start()) + 1}"
            first = target.split("/")[0]
            if (src / target).is_file():
                includes.append(target)
            elif (path.parent / target).is_file():
                errors.append(f'{at}: "{target}" is written from src/: "{(inside.parent / target).as_posix()}"')
                continue
            if first in table and "/" in target and first not in allowed[room]:
                errors.append(f'{at}: {room} may not include "{target}" (it may use: {", ".join(sorted(allowed[room]))})')
        if path.suffix == ".h":
            headers[inside.as_posix()] = [i for i in includes if i.endswith(".h")]
    cycle = find_cycle(headers)
    if cycle:
        errors.append(f"src/{cycle[0]}: headers in a circle: {' -> '.join(cycle)}")
    for folder, count in sorted(sources.items()):
        if count > MAX_SOURCES:
            warnings.append(f"src/{folder}: {count} sources; over {MAX_SOURCES} it wants a split")
    return errors, warnings


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--list", action="store_true", help="print what each room may include")
    args = parser.parse_args()
    if args.list:
        table = room_table((args.root / "CMakeLists.txt").read_text())
        for room in table:
            print(f"{room}: {' '.join(sorted(reachable(table, room) - {room}))}")
        return 0
    errors, warnings = check(args.root)
    for line in warnings:
        print(f"warning: {line}")
    for line in errors:
        print(f"error: {line}")
    print(f"layers: {len(errors)} errors, {len(warnings)} warnings")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
