# Shared by the scripts beside it; sourced, never run. Gives: the repository's root, plain messages, help from a script's own
# head comment, the number of jobs, and a Python that has what the tests need.
# shellcheck shell=bash
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

say() { printf '%s\n' "$*" >&2; }
die() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit "${2:-1}"
}

# Prints the comment block at the head of the calling script: that block is its --help.
usage() { awk 'NR > 1 && /^#/ { sub(/^# ?/, ""); print; next } NR > 1 { exit }' "$0"; }

jobs() { printf '%s' "${JOBS:-$(nproc)}"; }

# Debian's own Python first: its packages are what script/setup installs.
python() {
  local candidate
  for candidate in /usr/bin/python3 python3; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import pytest' 2>/dev/null; then
      printf '%s' "$candidate"
      return
    fi
  done
  printf 'python3'
}
