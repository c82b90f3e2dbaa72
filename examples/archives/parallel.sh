#!/bin/sh
# GNU parallel on one machine: as many shares as there are cores, each a process.
#
#   examples/archives/parallel.sh LIST FOLDER [SHARES]
set -eu
list=$1 folder=$2 shares=${3:-$(nproc)}
mkdir -p "$folder/masks" "$folder/figures"
seq 0 "$((shares - 1))" | parallel --jobs "$shares" --halt never --retries 5 \
  monet segment --list "'$list'" --shard "{}/$shares" --skip-done \
  -o "'$folder/masks'" --stats "'$folder/figures'" --quiet
