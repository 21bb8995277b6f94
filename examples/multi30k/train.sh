#!/usr/bin/env bash
# Train a small ResiDual model on Multi30k, English to German.
#
#   bash examples/multi30k/train.sh DATA MODEL [options of fairseq-train]
#
# DATA is prepare.py's --out, MODEL the folder for checkpoints; options given here win. Killed, it goes
# on from MODEL/checkpoint_last.pt when the same command is given again.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../common/arguments.sh"

exec fairseq-train "$DATA/data-bin" --source-lang en --target-lang de --user-dir "$PLUGIN" \
    --arch resdual_transformer_iwslt_de_en --encoder-embed-dim 256 --encoder-ffn-embed-dim 512 \
    --criterion label_smoothed_cross_entropy --label-smoothing 0.1 \
    --optimizer adam --adam-betas '(0.9, 0.98)' --weight-decay 1e-4 \
    --lr 1e-3 --lr-scheduler inverse_sqrt --warmup-updates 2000 \
    --max-tokens 4096 --max-epoch 40 --required-batch-size-multiple 1 --seed 1 \
    --update-epoch-batch-itr True \
    --save-dir "$MODEL" --keep-last-epochs 5 --log-format simple --log-interval 50 "$@"
