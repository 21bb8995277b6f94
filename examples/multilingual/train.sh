#!/usr/bin/env bash
# Train one ResiDual model on every direction of a folder that prepare.py made.
#
#   bash examples/multilingual/train.sh DATA MODEL [options of fairseq-train]
#
# DATA is prepare.py's --out, MODEL the folder for checkpoints; options given here win. Killed, it goes
# on from MODEL/checkpoint_last.pt when the same command is given again.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../common/arguments.sh"

# The recipe of OPUS-100, on a smaller model: English to and from every language, sampled with
# temperature 5, the target language told to the encoder.
# A killed run goes on with the same batches: this task draws each epoch's anew by itself, and leaves
# fairseq's --update-epoch-batch-itr, with which the other recipes do, unread.
exec fairseq-train "$DATA/data-bin" --user-dir "$PLUGIN" \
    --task translation_multi_simple_epoch --encoder-langtok tgt \
    --langs "$(python "$HERE/directions.py" languages "$DATA")" \
    --lang-pairs "$(python "$HERE/directions.py" pairs "$DATA")" \
    --sampling-method temperature --sampling-temperature 5 \
    --arch resdual_transformer_opus100 --encoder-layers 6 --decoder-layers 6 \
    --encoder-embed-dim 256 --encoder-ffn-embed-dim 512 \
    --encoder-attention-heads 4 --decoder-attention-heads 4 \
    --criterion label_smoothed_cross_entropy --label-smoothing 0.1 \
    --optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 1.0 \
    --lr 2e-3 --lr-scheduler inverse_sqrt --warmup-updates 1000 \
    --max-tokens 2000 --max-update 20000 --required-batch-size-multiple 1 --seed 1 \
    --save-dir "$MODEL" --save-interval-updates 1000 --keep-interval-updates 2 \
    --no-epoch-checkpoints --log-interval 50 --log-format simple "$@"
