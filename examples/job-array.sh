#!/usr/bin/env bash
# Score in eight shards, each a job of its own; a job that reaches its time limit keeps its progress and goes on later.
#   sbatch examples/job-array.sh
# Then:  culnig merge scores/part-*.safetensors --out scores/neur.safetensors
#SBATCH --array=1-8
#SBATCH --time=01:00:00
#SBATCH --gres=gpu:1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120

# The signal reaches this shell, which hands it on.
culnig score --model "${MODEL:-smollm2-135m}" --items "${ITEMS:-everyday:neur}" --shard "$SLURM_ARRAY_TASK_ID/8" \
  --out "scores/part-$SLURM_ARRAY_TASK_ID.safetensors" &
work=$!
trap 'kill -USR1 "$work"' USR1
trap 'kill -TERM "$work"' TERM

code=0
wait "$work" || code=$?
while kill -0 "$work" 2>/dev/null; do  # a trap ends `wait` before the command has ended
  code=0
  wait "$work" || code=$?
done
if [ "$code" -eq 75 ]; then
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit "$code"
