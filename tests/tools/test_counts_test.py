"""tools/test_counts.py on reports as GoogleTest, ctest and pytest write them."""
import json
import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).resolve().parents[2] / "tools/test_counts.py"


def counts(*args):
    done = subprocess.run([sys.executable, TOOL, *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def gtest(folder, program, *cases):
    (folder / f"{program}.json").write_text(json.dumps({"testsuites": [{"testsuite": list(cases)}]}))


def ctest(folder, **programs):
    rows = "".join(f'<testcase name="{name}" status="{"run" if ok else "fail"}">{"" if ok else "<failure/>"}</testcase>'
                   for name, ok in programs.items())
    path = folder / "ctest.xml"
    path.write_text(f"<testsuite>{rows}</testsuite>")
    return path


GOOD = {"status": "RUN", "result": "COMPLETED"}
BAD = {"status": "RUN", "result": "COMPLETED", "failures": [{"failure": "x"}]}
SKIPPED = {"status": "RUN", "result": "SKIPPED"}


def test_sums_the_cases_of_all_programs(tmp_path):
    gtest(tmp_path, "unit_a", GOOD, GOOD, SKIPPED)
    gtest(tmp_path, "unit_b", GOOD, BAD)
    assert counts("gtest", tmp_path, ctest(tmp_path, unit_a=True, unit_b=False)) == "3 1 1"


def test_a_program_that_crashed_counts_as_a_failure(tmp_path):
    assert counts("gtest", tmp_path, ctest(tmp_path, unit_a=False)) == "0 1 0"


def test_a_program_that_crashed_after_its_report_counts_as_a_failure(tmp_path):
    gtest(tmp_path, "unit_a", GOOD)
    assert counts("gtest", tmp_path, ctest(tmp_path, unit_a=False)) == "1 1 0"


def test_reads_junit(tmp_path):
    path = tmp_path / "junit.xml"
    path.write_text('<testsuites><testsuite><testcase name="a"/><testcase name="b"><failure/></testcase>'
                    '<testcase name="c"><error/></testcase><testcase name="d"><skipped/></testcase></testsuite></testsuites>')
    assert counts("junit", path) == "1 2 1"
