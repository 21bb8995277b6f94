#!/usr/bin/env bash
# Train a small language model with dual residual connections.
#
#   bash examples/language_model/train.sh DATA_BIN MODEL [options of fairseq-train]
#
# DATA_BIN is what fairseq-preprocess --only-source made, MODEL the folder for checkpoints; options
# given here win (--residual pre, --decoder-layers 24, ...). Killed, it goes on from
# MODEL/checkpoint_last.pt when the same command is given again.
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit ;; esac
[ $# -ge 2 ] || { echo "error: give DATA_BIN and MODEL; --help says what they are" >&2; exit 2; }
PLUGIN="$(cd "$(dirname "$0")/../../resdual_fairseq" && pwd)"
DATA_BIN="$1" MODEL="$2"
shift 2

exec fairseq-train "$DATA_BIN" --task language_modeling --user-dir "$PLUGIN" \
    --sample-break-mode none --tokens-per-sample 128 --max-tokens 1024 \
    --arch resdual_transformer_lm_gpt --decoder-layers 12 \
    --decoder-embed-dim 128 --decoder-ffn-embed-dim 512 --decoder-attention-heads 4 \
    --dropout 0.1 --attention-dropout 0 --share-decoder-input-output-embed \
    --optimizer fused_adam --adam-betas '(0.9, 0.98)' --weight-decay 0.01 --clip-norm 1.0 \
    --lr 1e-3 --lr-scheduler polynomial_decay --warmup-updates 150 \
    --total-num-update 1500 --max-update 1500 --required-batch-size-multiple 1 --seed 1 \
    --update-epoch-batch-itr True \
    --save-dir "$MODEL" --no-epoch-checkpoints --num-workers 0 --data-buffer-size 0 \
    --log-format simple --log-interval 50 "$@"
