#!/usr/bin/env bash
# Train ResiDual on WMT-14 English-German with the paper's settings, 6 + 6 layers.
#
#   bash examples/wmt14_en_de/train.sh DATA MODEL [options of fairseq-train]
#
# --encoder-layers 18 --decoder-layers 18 is the paper's deeper model, --residual post or pre a baseline;
# the paper trains with --amp, which needs a GPU.
# DATA is prepare.py's --out, MODEL the folder for checkpoints; options given here win. Killed, it goes
# on from MODEL/checkpoint_last.pt when the same command is given again.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../common/arguments.sh"

exec fairseq-train "$DATA/data-bin" --source-lang en --target-lang de --user-dir "$PLUGIN" \
    --arch resdual_transformer_wmt_en_de \
    --criterion label_smoothed_cross_entropy --label-smoothing 0.1 \
    --optimizer adam --adam-betas '(0.9, 0.98)' --weight-decay 1e-4 --clip-norm 0 \
    --lr 1e-3 --lr-scheduler inverse_sqrt --warmup-updates 4000 --warmup-init-lr 1e-7 \
    --max-tokens 4096 --update-freq 16 --max-update 50000 --required-batch-size-multiple 1 --seed 1 \
    --update-epoch-batch-itr True \
    --save-dir "$MODEL" --keep-last-epochs 10 --log-format simple --log-interval 100 "$@"
