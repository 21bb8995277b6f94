#!/usr/bin/env bash
# Install what is needed, then run ruff, mypy and the tests.
#
#   bash scripts/test.sh                    everything
#   bash scripts/test.sh -m "not slow"      the quick part (under 90 seconds)
#   bash scripts/test.sh tests/unit -k eps  any of pytest's arguments
#
# RESDUAL_VENV and RESDUAL_PYTHON: see scripts/environment.sh.
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit ;; esac

source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
install dev
cd "$ROOT"

say "ruff"
ruff check .
ruff format --check .
say "mypy"
mypy
say "tests"
# One thread a process: on two cores, several processes of two threads slow one another down.
OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
