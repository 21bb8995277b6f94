#!/usr/bin/env bash
# Train ResiDual on OPUS-100, every language both ways to English, with the paper's settings.
#
#   bash examples/opus100/train.sh DATA MODEL [options of fairseq-train]
#
# The paper trains with --fp16, which needs a GPU.
# DATA is prepare.py's --out, MODEL the folder for checkpoints; options given here win. Killed, it goes
# on from MODEL/checkpoint_last.pt when the same command is given again.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../common/arguments.sh"

TOOLS="$HERE/../multilingual"
# A killed run goes on with the same batches: this task draws each epoch's anew by itself, and leaves
# fairseq's --update-epoch-batch-itr, with which the other recipes do, unread.
exec fairseq-train "$DATA/data-bin" --user-dir "$PLUGIN" \
    --task translation_multi_simple_epoch --encoder-langtok tgt \
    --langs "$(python "$TOOLS/directions.py" languages "$DATA")" \
    --lang-pairs "$(python "$TOOLS/directions.py" pairs "$DATA")" \
    --sampling-method temperature --sampling-temperature 5 \
    --arch resdual_transformer_opus100 \
    --criterion label_smoothed_cross_entropy --label-smoothing 0.1 \
    --optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 1.0 \
    --lr 4e-3 --lr-scheduler inverse_sqrt --warmup-updates 8000 --warmup-init-lr 1e-7 \
    --max-tokens 4096 --update-freq 16 --max-update 100000 --required-batch-size-multiple 1 --seed 1 \
    --save-dir "$MODEL" --save-interval-updates 2000 --keep-interval-updates 10 \
    --log-format simple --log-interval 100 "$@"
