#!/usr/bin/env bash
# Install, prepare real English-German text, then train a ResiDual model from German to English,
# translate and score, with fairseq's own commands, each shown as it is run. Most of it is training.
#
#   bash scripts/demo.sh
#
# Run again it keeps what is done; interrupted anywhere, it goes on from there. Settings:
#   RESDUAL_DEMO_DIR      where everything goes        (default: runs/quickstart in the repository)
#   RESDUAL_DEMO_MINUTES  minutes after which training ends at the latest    (default: 6)
#   RESDUAL_DEMO_UPDATES  training updates      (default: what the machine does in those minutes)
#   RESDUAL_DEMO_ALPHA    the model's --residual-alpha: 1 as published, 0 learns faster     (default: 0)
#   RESDUAL_DEMO_WHEEL    a homeassistant 2026.11.0 wheel on disk     (default: pip fetches it)
#   RESDUAL_VENV, RESDUAL_PYTHON: see scripts/environment.sh
set -euo pipefail
case "${1:-}" in
    "") ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit ;;
    *) echo "error: unknown argument $1; bash scripts/demo.sh --help lists the settings" >&2; exit 2 ;;
esac

source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
STARTED=$(date +%s)
# 8 is the terminal even while a command's messages go through a filter, which Ctrl-C ends too.
exec 8>&2
trap 'printf "\ninterrupted; run the same command again to go on\n" >&8; exit 130' INT

RUN="${RESDUAL_DEMO_DIR:-$ROOT/runs/quickstart}"
MINUTES="${RESDUAL_DEMO_MINUTES:-6}"
UPDATES="${RESDUAL_DEMO_UPDATES:-}"
ALPHA="${RESDUAL_DEMO_ALPHA:-0}"
number='^[0-9]*[1-9][0-9]*([.][0-9]+)?$'
[[ "$MINUTES" =~ $number ]] ||
    fail "RESDUAL_DEMO_MINUTES=$MINUTES is not a number of minutes; give 1 or more, such as 1.5"
[[ "$UPDATES" =~ ^([1-9][0-9]*)?$ ]] ||
    fail "RESDUAL_DEMO_UPDATES=$UPDATES is not a number of updates; give a whole number above 0"
[[ "$ALPHA" =~ ^[0-9]+([.][0-9]+)?$ ]] ||
    fail "RESDUAL_DEMO_ALPHA=$ALPHA is not a weight of 0 or more; give a number such as 0, 0.25 or 1"
install quickstart
mkdir -p "$RUN" || fail "cannot make the folder $RUN; choose another in RESDUAL_DEMO_DIR"
RUN="$(cd "$RUN" && pwd)"
# The commands below hold this lock too: one that outlives a killed demo still writes into the folder.
exec 9>"$RUN/.lock"
lock() { python -c "import fcntl; fcntl.flock(9, fcntl.LOCK_EX | $1)" 2>/dev/null; }
lock fcntl.LOCK_NB || { echo "waiting for another demo in $RUN to end"; lock 0; }
DATA="$RUN/data"
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

# stage NAME COMMAND...: run it once, and note how long it took and in how many calls.
stage() {
    local name="$1" began
    shift
    if [ -e "$MODEL/$name.seconds" ]; then
        say "$name: done already"
        return
    fi
    say "$name"
    echo call >>"$MODEL/$name.calls"
    began=$(date +%s)
    "$@"
    echo $(($(date +%s) - began)) >"$MODEL/$name.unfinished"
    mv "$MODEL/$name.unfinished" "$MODEL/$name.seconds"
}

prepare() {
    run python examples/quickstart/prepare.py --languages de en --out "$DATA" \
        ${RESDUAL_DEMO_WHEEL:+--wheel "$RESDUAL_DEMO_WHEEL"}
}

# fit OPTION...: train, or go on.
fit() {
    run_fairseq fairseq-train "$DATA/data-bin" --source-lang de --target-lang en \
        --user-dir resdual_fairseq --arch resdual_transformer --residual-alpha "$ALPHA" \
        --encoder-layers 6 --decoder-layers 6 --share-all-embeddings \
        --encoder-embed-dim 128 --encoder-ffn-embed-dim 256 \
        --encoder-attention-heads 4 --decoder-attention-heads 4 --dropout 0 \
        --criterion cross_entropy --optimizer fused_adam --adam-betas '(0.9, 0.98)' \
        --max-tokens 500 --required-batch-size-multiple 1 --update-epoch-batch-itr True --seed 1 \
        --num-workers 0 --data-buffer-size 0 \
        --save-dir "$MODEL" --save-interval-updates 400 --keep-interval-updates 2 \
        --no-epoch-checkpoints --validate-interval 1000 --validate-interval-updates 1000 \
        --max-tokens-valid 4000 --log-format simple --log-interval 50 "$@"
}

# Two thirds of the time with a rate that falls slowly ...
train() {
    local total=4000 until=(--max-update 3500 --stop-time-hours "$(hours "$MINUTES * 2 / 3")")
    if [ -n "$UPDATES" ]; then
        total="$UPDATES" until=(--max-update $((UPDATES * 2 / 3 + 1)))
    fi
    fit --lr 2e-3 --lr-scheduler polynomial_decay --warmup-updates 200 \
        --total-num-update "$total" "${until[@]}"
}

# ... then it falls to 0, over as many updates as the speed so far lets expect.
cool_down() {
    local done last rate until=()
    [ -e "$MODEL/cooldown" ] ||
        run python examples/quickstart/cooldown.py "$MODEL/checkpoint_last.pt" \
            "$(minutes "$MINUTES / 3")" "$MODEL/cooldown" ${UPDATES:+--until "$UPDATES"}
    read -r done last rate <"$MODEL/cooldown"
    [ -n "$UPDATES" ] || until=(--stop-time-hours "$(hours "$MINUTES")")
    # fairseq takes one update more where a call that was killed had come to the end.
    [ "$(updates)" -ge "$last" ] 2>/dev/null && return
    fit --lr "$rate" --lr-scheduler polynomial_decay --warmup-updates "$done" \
        --total-num-update "$last" --max-update "$last" ${until[@]+"${until[@]}"}
}

updates() {
    PYTHONPATH=examples python -c \
        'import sys; from quickstart import report; print(report.updates(report.Path(sys.argv[1])))' \
        "$MODEL/checkpoint_last.pt" 2>/dev/null
}

minutes() { python -c "print(round($1, 3))"; }
hours() { python -c "print(round(($1) / 60, 5))"; }

translate() {
    rm -rf "$OUT.unfinished"
    run_fairseq fairseq-generate "$DATA/data-bin" --source-lang de --target-lang en \
        --gen-subset test \
        --user-dir resdual_fairseq --path "$MODEL/checkpoint_last.pt" \
        --beam 5 --lenpen 1.2 --no-repeat-ngram-size 2 --max-len-a 1.2 --max-len-b 5 \
        --max-tokens 4000 --required-batch-size-multiple 1 \
        --tokenizer moses --bpe subword_nmt --bpe-codes "$DATA/bpe.codes" \
        --results-path "$OUT.unfinished" --log-format tqdm
    run python examples/quickstart/hypotheses.py "$OUT.unfinished/generate-test.txt" \
        "$DATA/text/test.en" "$OUT.unfinished/hypotheses.en"
    rm -rf "$OUT"
    mv "$OUT.unfinished" "$OUT"
}

score() {
    run sacrebleu "$DATA/text/test.en" -i "$OUT/hypotheses.en" -m bleu chrf -w 2 -f json |
        tee "$OUT/scores.json"
}

# The text is shared by runs of different lengths, and knows by itself what is done.
say "prepare"
began=$(date +%s)
mkdir -p "$DATA"
[ -e "$DATA/prepare.seconds" ] || echo call >>"$DATA/prepare.calls"
prepare
[ -e "$DATA/prepare.seconds" ] || echo $(($(date +%s) - began)) >"$DATA/prepare.seconds"
MODEL="$RUN/model-${UPDATES:-$MINUTES-minutes}"
[ "$ALPHA" = 0 ] || MODEL="$MODEL-alpha-$ALPHA"
OUT="$MODEL/test"
mkdir -p "$MODEL"
stage train train
stage cool-down cool_down
stage translate translate
stage score score

say "result"
run python examples/quickstart/report.py --data "$DATA" --model "$MODEL" --out "$RUN/report.txt"
printf '\nThis call took %d seconds. The report is in %s\n' $(($(date +%s) - STARTED)) "$RUN/report.txt"
echo
echo "Next, translate lines of your own (end with Ctrl-D):"
echo
printf '  source %q\n' "$VENV/bin/activate"
printf '  fairseq-interactive %q --source-lang de --target-lang en \\\n' "$DATA/data-bin"
printf '    --user-dir %q --path %q \\\n' "$ROOT/resdual_fairseq" "$MODEL/checkpoint_last.pt"
printf '    --tokenizer moses --bpe subword_nmt --bpe-codes %q --beam 5\n' "$DATA/bpe.codes"
