#!/usr/bin/env bash
# Install, prepare real text, and run a whole small study with its report: 20 minutes on two cores.
#
#   bash examples/study/smoke.sh
#
# Interrupted anywhere, it goes on from there when it is run again.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/environment.sh"
install quickstart,study
cd "$ROOT"
export PYTHONWARNINGS=ignore
SPEC=examples/study/smoke.yaml

say "Preparing the quickstart's text"
python examples/quickstart/prepare.py --languages de en --out runs/quickstart/data \
    ${RESDUAL_DEMO_WHEEL:+--wheel "$RESDUAL_DEMO_WHEEL"}
say "Running the study"
resdual-study plan "$SPEC"
resdual-study run "$SPEC" --workers "${RESDUAL_STUDY_WORKERS:-2}"
say "Writing its report"
resdual-study report "$SPEC"
resdual-study report "$SPEC" --lang ja
