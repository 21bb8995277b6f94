#!/usr/bin/env bash
# Translate a recipe's test set with a checkpoint and score it with sacreBLEU.
#
#   bash examples/common/score.sh DATA SRC TGT CHECKPOINT OUT [options of fairseq-generate]
#
# DATA is the recipe's --out; OUT gets hypotheses.TGT and scores.json. Options given here win.
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit ;; esac
[ $# -ge 5 ] || { echo "error: give DATA SRC TGT CHECKPOINT OUT; --help says what they are" >&2; exit 2; }
EXAMPLES="$(cd "$(dirname "$0")/.." && pwd)"
DATA="$1" SRC="$2" TGT="$3" CHECKPOINT="$4" OUT="$5"
shift 5
[ -e "$DATA/text/test.$TGT" ] || { echo "error: $DATA has no text/test.$TGT; prepare it first" >&2; exit 1; }
mkdir -p "$OUT"

fairseq-generate "$DATA/data-bin" --source-lang "$SRC" --target-lang "$TGT" --gen-subset test \
    --user-dir "$EXAMPLES/../resdual_fairseq" --path "$CHECKPOINT" --beam 5 \
    --max-len-a 1.2 --max-len-b 10 --max-tokens 4000 --required-batch-size-multiple 1 \
    --tokenizer moses --bpe subword_nmt --bpe-codes "$DATA/bpe.codes" --results-path "$OUT" "$@"
python "$EXAMPLES/quickstart/hypotheses.py" "$OUT/generate-test.txt" "$DATA/text/test.$TGT" \
    "$OUT/hypotheses.$TGT"
sacrebleu "$DATA/text/test.$TGT" -i "$OUT/hypotheses.$TGT" -m bleu chrf -w 2 -f json >"$OUT/scores.unfinished"
mv "$OUT/scores.unfinished" "$OUT/scores.json"
cat "$OUT/scores.json"
