#!/usr/bin/env python3
"""Takes a picture of a page.

    tests/scenario/screenshot.py http://localhost:8080 OUT.png [--width 1280] [--dark] [--phone] [--whole]
"""
import argparse
import sys
import time

import browser


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("out")
    parser.add_argument("--width", type=int, default=None, help="1280, or 390 with --phone")
    parser.add_argument("--height", type=int, default=None, help="900, or 844 with --phone")
    parser.add_argument("--dark", action="store_true", help="as for one who prefers dark colours")
    parser.add_argument("--phone", action="store_true", help="a touch screen at twice the density")
    parser.add_argument("--whole", action="store_true", help="the whole page, not only what fits the window")
    parser.add_argument("--scale", type=float, default=None, help="pixels a point: 1, or 2 with --phone")
    parser.add_argument("--wait", type=float, default=4, help="seconds for live figures to appear (4)")
    parser.add_argument("--run", default="", help="JavaScript to run before the picture")
    chosen = parser.parse_args()
    if browser.missing():
        print(f"screenshot: {browser.missing()}", file=sys.stderr)
        return 1
    width = chosen.width or (390 if chosen.phone else 1280)
    height = chosen.height or (844 if chosen.phone else 900)
    scale = chosen.scale or (2 if chosen.phone else 1)
    with browser.Browser(width, height, dark=chosen.dark, phone=chosen.phone, scale=scale) as page:
        page.open(chosen.url)
        time.sleep(chosen.wait)
        if chosen.run:
            page.run(chosen.run)
            time.sleep(1)
        page.screenshot(chosen.out, whole=chosen.whole)
    return 0


if __name__ == "__main__":
    sys.exit(main())
