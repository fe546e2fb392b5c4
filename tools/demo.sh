#!/usr/bin/env bash
# The main job end to end on this machine: phantom -> pack -> study of three arms -> comparison table. All of it lies in demo/.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
say() { printf '\n== %s\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }

started=$SECONDS
rm -rf demo

say "1 of 5: scans of children, made up: hips with their masks, trunks with organs to pretrain on"
run hipseg phantom demo/data --patients 12 --slices 24 --matrix 256
run hipseg phantom demo/organs --organs --patients 4 --slices 24 --matrix 256

say "2 of 5: pack"
run hipseg-pack demo/data -o demo/shards --salt-file demo/private/salt
run hipseg-pack demo/organs -o demo/shards-pretrain --salt-file demo/private/salt \
  --roi liver=1 --roi bladder=2 --roi lungs=3 --roi kidneys=4 --roi bone=5

say "3 of 5: the study: pretraining, three arms, two folds each, table, page"
run hipseg submit --local --config configs/demo.yaml --folds 2

say "4 of 5: one run by two Horovod ranks, a few epochs (on two cores it is slower than one process with two threads)"
run hipseg submit --local --config configs/demo.yaml --folds 2 --arm modified-unet --fold 0 --ranks 2 --epochs 3 --results demo/ranks

say "5 of 5: what came out"
run hipseg status demo/results
run hipseg aggregate demo/results
printf '\n%s\n' "Done in $((SECONDS - started)) s. The table: demo/results/comparison.md (also csv, json, tex)." \
  "The page, with every case's slices: demo/results/report.html" \
  "One fold's weights, learning curve, scores and predicted masks: demo/results/modified-unet/fold_0/" \
  "The packed scans: hipseg inspect demo/shards. As NIfTI, for a viewer: hipseg unpack demo/shards -o demo/nifti"
