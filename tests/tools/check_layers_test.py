"""tools/check_layers.py on small trees made for each case."""
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools/check_layers.py"
CMAKE = """
trellis_room(base     LIBS fmt::fmt)
trellis_room(net      ROOMS base)
trellis_room(http     ROOMS net LIBS json)
trellis_room(proxy    ROOMS http)
trellis_room(services ROOMS http
                      LIBS sqlite)
trellis_room(app      ROOMS proxy services)
# trellis_room(ghost  ROOMS app)
"""


@pytest.fixture
def tree(tmp_path):
    def make(files, cmake=CMAKE):
        (tmp_path / "CMakeLists.txt").write_text(cmake)
        (tmp_path / "src").mkdir()
        for name, text in files.items():
            path = tmp_path / "src" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        done = subprocess.run([sys.executable, TOOL, "--root", tmp_path], capture_output=True, text=True)
        return done.returncode, done.stdout
    return make


BASE = {"base/error.h": "#pragma once\n", "net/stream.h": '#include "base/error.h"\n'}


def test_accepts_what_the_table_allows_even_at_a_distance(tree):
    code, out = tree({**BASE, "app/main.cc": '#include "net/stream.h"\n#include "base/error.h"\n'})
    assert code == 0, out
    assert "0 errors" in out


def test_refuses_an_include_upwards(tree):
    code, out = tree({**BASE, "base/bad.cc": '// a comment\n#include "net/stream.h"\n'})
    assert code == 1
    assert "src/base/bad.cc:2: base may not include" in out


def test_refuses_a_header_that_does_not_exist_yet_in_a_forbidden_room(tree):
    code, out = tree({**BASE, "net/x.cc": '#include "proxy/later.h"\n'})
    assert code == 1 and "net may not include" in out


def test_refuses_proxy_and_services_meeting(tree):
    code, out = tree({**BASE, "services/links/a.h": "", "proxy/b.cc": '#include "services/links/a.h"\n'})
    assert code == 1 and "src/proxy/b.cc:1" in out


def test_refuses_a_table_that_lets_proxy_and_services_meet(tree):
    code, out = tree(BASE, CMAKE.replace("proxy    ROOMS http", "proxy    ROOMS http services"))
    assert code == 1 and "proxy reaches services" in out


def test_refuses_rooms_in_a_circle(tree):
    code, out = tree(BASE, "trellis_room(base ROOMS net)\ntrellis_room(net ROOMS base)\n")
    assert code == 1 and "rooms in a circle" in out


def test_refuses_headers_in_a_circle(tree):
    code, out = tree({"base/a.h": '#include "base/b.h"\n', "base/b.h": '#include "base/a.h"\n'})
    assert code == 1 and "headers in a circle" in out


def test_refuses_a_folder_without_a_subject(tree):
    code, out = tree({"base/util/a.h": ""})
    assert code == 1 and "named after its subject" in out


def test_refuses_a_folder_that_is_no_room(tree):
    code, out = tree({"extra/a.h": ""})
    assert code == 1 and "not in a room" in out


def test_refuses_an_include_relative_to_its_own_folder(tree):
    code, out = tree({**BASE, "base/error.cc": '#include "error.h"\n'})
    assert code == 1 and '"base/error.h"' in out


def test_only_warns_about_a_long_file(tree):
    code, out = tree({"base/long.cc": "\n" * 900})
    assert code == 0 and "warning: src/base/long.cc: 900 lines" in out


def test_only_warns_about_a_full_room(tree):
    code, out = tree({f"base/f{i}.cc": "" for i in range(31)})
    assert code == 0 and "warning: src/base: 31 sources" in out
