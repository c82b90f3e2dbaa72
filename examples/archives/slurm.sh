#!/bin/sh
# A Slurm array: eight jobs of one core each share an archive. Submitted again, the jobs do what is
# left.
#
#   sbatch examples/archives/slurm.sh LIST FOLDER
#
#SBATCH --job-name=monet
#SBATCH --array=0-7
#SBATCH --cpus-per-task=1
#SBATCH --mem=256M
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@60
set -eu
list=$1 folder=$2
mkdir -p "$folder/masks" "$folder/figures"
# `exec`: Slurm's signal reaches monet itself, which ends within a second and leaves nothing half
# done.
exec monet segment --list "$list" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --skip-done \
  -o "$folder/masks" --stats "$folder/figures" --threads "${SLURM_CPUS_PER_TASK:-1}" --quiet
