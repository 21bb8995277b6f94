#!/usr/bin/env bash
# Install, prepare real English-German text, then train, translate and score a ResiDual model
# with fairseq's own commands, each shown as it is run. About 8 minutes on two cores.
#
#   bash scripts/demo.sh
#
# Run again it keeps what is done; interrupted anywhere, it goes on from there. Settings:
#   RESDUAL_DEMO_DIR      where everything goes        (default: runs/quickstart in the repository)
#   RESDUAL_DEMO_UPDATES  training updates             (default: 2600)
#   RESDUAL_DEMO_MINUTES  training stops after these, finished or not (default: 6.5)
#   RESDUAL_DEMO_WHEEL    a homeassistant 2026.11.0 wheel on disk     (default: pip fetches it)
#   RESDUAL_VENV, RESDUAL_PYTHON: see scripts/environment.sh
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit ;; esac

source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
STARTED=$(date +%s)
install quickstart

RUN="${RESDUAL_DEMO_DIR:-$ROOT/runs/quickstart}"
UPDATES="${RESDUAL_DEMO_UPDATES:-2600}"
MINUTES="${RESDUAL_DEMO_MINUTES:-6.5}"
number='^[0-9]+([.][0-9]+)?$'
[[ "$UPDATES" =~ ^[1-9][0-9]*$ ]] ||
    fail "RESDUAL_DEMO_UPDATES=$UPDATES is not a number of updates; give a whole number above 0"
[[ "$MINUTES" =~ $number ]] ||
    fail "RESDUAL_DEMO_MINUTES=$MINUTES is not a number of minutes; give one such as 6.5"
mkdir -p "$RUN" || fail "cannot make the folder $RUN; choose another in RESDUAL_DEMO_DIR"
RUN="$(cd "$RUN" && pwd)"
DATA="$RUN/data"
MODEL="$RUN/model-$UPDATES"
OUT="$MODEL/test"
mkdir -p "$MODEL"
cd "$ROOT"

# Warnings of libraries about one another hide the progress. glibc is told to keep memory it has
# freed: fairseq frees and asks for the same large blocks at every update.
export PYTHONWARNINGS=ignore
export MALLOC_TRIM_THRESHOLD_=4294967296 MALLOC_MMAP_THRESHOLD_=4294967296
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"

run() {
    { printf '+'; printf ' %q' "$@"; printf '\n'; } >&2
    "$@"
}

# fairseq prints its whole configuration in one line of many thousand characters.
run_fairseq() { run "$@" 2> >(grep --line-buffered -v "{'_name': None, 'common'" >&2); }

# stage NAME COMMAND...: run it once, and note how long it took.
stage() {
    local name="$1" began
    shift
    if [ -e "$MODEL/$name.seconds" ]; then
        say "$name: done already"
        return
    fi
    say "$name"
    began=$(date +%s)
    "$@"
    echo $(($(date +%s) - began)) >"$MODEL/$name.unfinished"
    mv "$MODEL/$name.unfinished" "$MODEL/$name.seconds"
}

prepare() {
    run python examples/quickstart/prepare.py --languages en de --out "$DATA" \
        ${RESDUAL_DEMO_WHEEL:+--wheel "$RESDUAL_DEMO_WHEEL"}
}

# mend_checkpoint: fairseq copies its newest checkpoint to checkpoint_last.pt; a copy that a kill cut
# short is made again.
mend_checkpoint() {
    local last="$MODEL/checkpoint_last.pt" newest
    [ -e "$last" ] || return 0
    python -m zipfile -t "$last" >/dev/null 2>&1 && return
    for newest in $(ls -t "$MODEL"/checkpoint_*_*.pt 2>/dev/null); do
        if python -m zipfile -t "$newest" >/dev/null 2>&1; then
            echo "checkpoint_last.pt was cut short: going on from $(basename "$newest")"
            cp "$newest" "$last.unfinished"
            mv "$last.unfinished" "$last"
            return
        fi
    done
    echo "checkpoint_last.pt was cut short and there is no other: starting anew"
    rm "$last"
}

train() {
    mend_checkpoint
    run_fairseq fairseq-train "$DATA/data-bin" --source-lang en --target-lang de \
        --user-dir resdual_fairseq --arch resdual_transformer --residual resdual \
        --encoder-layers 6 --decoder-layers 6 --share-all-embeddings \
        --encoder-embed-dim 128 --encoder-ffn-embed-dim 256 \
        --encoder-attention-heads 4 --decoder-attention-heads 4 --dropout 0 \
        --criterion label_smoothed_cross_entropy --label-smoothing 0.1 \
        --optimizer adam --adam-betas '(0.9, 0.98)' --lr 4e-3 \
        --lr-scheduler polynomial_decay --warmup-updates 200 --total-num-update "$UPDATES" \
        --max-update "$UPDATES" --stop-time-hours "$(hours "$MINUTES")" \
        --max-tokens 1000 --required-batch-size-multiple 1 --seed 1 \
        --save-dir "$MODEL" --save-interval-updates 200 --keep-interval-updates 1 \
        --no-epoch-checkpoints --validate-interval 1000 --validate-interval-updates 1000 \
        --max-tokens-valid 4000 --log-format simple --log-interval 50 \
        --num-workers 0 --data-buffer-size 0
}

hours() { python -c 'import sys; print(round(float(sys.argv[1]) / 60, 5))' "$1"; }

translate() {
    rm -rf "$OUT.unfinished"
    run_fairseq fairseq-generate "$DATA/data-bin" --source-lang en --target-lang de --gen-subset test \
        --user-dir resdual_fairseq --path "$MODEL/checkpoint_last.pt" \
        --beam 4 --lenpen 1 --max-tokens 4000 --required-batch-size-multiple 1 \
        --tokenizer moses --bpe subword_nmt --bpe-codes "$DATA/bpe.codes" \
        --results-path "$OUT.unfinished" --log-format tqdm
    run python examples/quickstart/hypotheses.py "$OUT.unfinished/generate-test.txt" \
        "$DATA/text/test.de" "$OUT.unfinished/hypotheses.de"
    rm -rf "$OUT"
    mv "$OUT.unfinished" "$OUT"
}

score() {
    run sacrebleu "$DATA/text/test.de" -i "$OUT/hypotheses.de" -m bleu chrf -w 2 -f json |
        tee "$OUT/scores.json"
}

# The text is shared by runs of different lengths, and knows by itself what is done.
say "prepare"
began=$(date +%s)
prepare
[ -e "$DATA/prepare.seconds" ] || echo $(($(date +%s) - began)) >"$DATA/prepare.seconds"
stage train train
stage translate translate
stage score score

say "result"
run python examples/quickstart/report.py --data "$DATA" --model "$MODEL" --out "$RUN/report.txt"
printf '\nThis call took %d seconds. The report is in %s\n' $(($(date +%s) - STARTED)) "$RUN/report.txt"
cat <<EOF

Next, translate lines of your own (end with Ctrl-D):

  source $VENV/bin/activate
  fairseq-interactive $DATA/data-bin --source-lang en --target-lang de \\
    --user-dir $ROOT/resdual_fairseq --path $MODEL/checkpoint_last.pt \\
    --tokenizer moses --bpe subword_nmt --bpe-codes $DATA/bpe.codes --beam 4
EOF
