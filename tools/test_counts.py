#!/usr/bin/env python3
"""Counts test cases in the reports that the test programs leave behind.

    tools/test_counts.py gtest DIR CTEST_JUNIT   GoogleTest's JSON reports, and ctest's own report beside them
    tools/test_counts.py junit FILE              a JUnit file, as pytest writes it

Prints "PASSED FAILED SKIPPED". A program that failed without a failed case in its report (it crashed, it hung) counts as
one failed case.
"""
import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def gtest_report(path):
    passed = failed = skipped = 0
    for suite in json.loads(path.read_text()).get("testsuites", []):
        for case in suite.get("testsuite", []):
            if case.get("failures"):
                failed += 1
            elif case.get("result") == "SKIPPED" or case.get("status") == "NOTRUN":
                skipped += 1
            else:
                passed += 1
    return passed, failed, skipped


def count_gtest(folder, ctest_junit):
    total = [0, 0, 0]
    programs = {}
    for case in ElementTree.parse(ctest_junit).getroot().iter("testcase"):
        programs[case.get("name")] = case.find("failure") is None and case.get("status") != "fail"
    for program, ok in programs.items():
        try:
            counts = gtest_report(folder / f"{program}.json")
        except (OSError, ValueError):
            counts = (1, 0, 0) if ok else (0, 0, 0)
        if not ok and counts[1] == 0:
            counts = (counts[0], 1, counts[2])
        total = [a + b for a, b in zip(total, counts)]
    return total


def count_junit(path):
    passed = failed = skipped = 0
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "gtest":
        counts = count_gtest(Path(sys.argv[2]), sys.argv[3])
    elif len(sys.argv) == 3 and sys.argv[1] == "junit":
        counts = count_junit(sys.argv[2])
    else:
        print(__doc__, file=sys.stderr)
        return 2
    print(*counts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
