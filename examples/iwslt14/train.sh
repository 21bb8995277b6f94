#!/usr/bin/env bash
# Train ResiDual on IWSLT-14 German-English with the paper's settings, 6 + 6 layers.
#
#   bash examples/iwslt14/train.sh DATA MODEL [options of fairseq-train]
#
# --encoder-layers 12 --decoder-layers 12 is the paper's deeper model, --residual post or pre a baseline.
# DATA is prepare.py's --out, MODEL the folder for checkpoints; options given here win. Killed, it goes
# on from MODEL/checkpoint_last.pt when the same command is given again.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../common/arguments.sh"

exec fairseq-train "$DATA/data-bin" --source-lang de --target-lang en --user-dir "$PLUGIN" \
    --arch resdual_transformer_iwslt_de_en \
    --criterion label_smoothed_cross_entropy --label-smoothing 0.1 \
    --optimizer adam --adam-betas '(0.9, 0.98)' --weight-decay 1e-4 --clip-norm 0 \
    --lr 5e-4 --lr-scheduler inverse_sqrt --warmup-updates 4000 --warmup-init-lr 1e-7 \
    --max-tokens 4096 --required-batch-size-multiple 1 --seed 1 \
    --update-epoch-batch-itr True \
    --eval-bleu --eval-bleu-args '{"beam": 5, "max_len_a": 1.2, "max_len_b": 10}' \
    --eval-bleu-detok moses --eval-bleu-remove-bpe \
    --best-checkpoint-metric bleu --maximize-best-checkpoint-metric --patience 20 \
    --save-dir "$MODEL" --keep-last-epochs 10 --log-format simple --log-interval 100 "$@"
