#!/usr/bin/env bash
# An evaluation as a Slurm job array: each task takes a part of the pictures, a last job puts the parts together.
#
#   MODEL=resnet50.elucid DATA=imagenet FORMAT=imagenet RUN=runs/insdel sbatch --array=0-15 host/recipes/slurm.sh
#   RUN=runs/insdel sbatch --dependency=afterok:JOBID host/recipes/slurm.sh
#
# A task that is preempted, times out or is requeued goes on where it was: the same command on the same folder. To run some of
# the tasks again, say how many parts there are: PARTS=16 ... sbatch --array=3,7 host/recipes/slurm.sh
#SBATCH --job-name=elucid
#SBATCH --cpus-per-task=4
#SBATCH --mem=2G
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

RUN=${RUN:?RUN names the folder of the run}
mkdir -p "$RUN"

if [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
    exec elucid eval merge "$RUN"/part-* -o "$RUN/whole"
fi

# What is measured and how: everything after `eval`.
read -ra WHAT <<<"${WHAT:-insdel --method lrp --method gradcam}"
exec elucid eval "${WHAT[@]}" \
    --model "${MODEL:?MODEL names the model file}" \
    --data "${DATA:?DATA names the folder of the data set}" --format "${FORMAT:-folder}" \
    --threads "${SLURM_CPUS_PER_TASK:-1}" \
    --shard "$SLURM_ARRAY_TASK_ID/${PARTS:-$SLURM_ARRAY_TASK_COUNT}" \
    -o "$RUN/part-$SLURM_ARRAY_TASK_ID"
