#!/usr/bin/env bash
# SLURM: one task per GPU, started by srun itself, so that a signal reaches every process and exit codes come through
# (torchrun and accelerate turn any into 1). Stopped by a signal ahead of the time limit, a training saves, exits with
# 75 and is queued again; it goes on at its exact step. Other stages die of the signal (138), and are queued again, too.
# Needs a .venv in the folder of submission, on a disk that all nodes see. Run on two virtual nodes without GPUs (`make
# clusters`): signalled, queued again, resumed at its step, ended. Not run on a cluster of real machines yet.
#   sbatch launch/slurm.sh --config configs/big.yaml run_dir=SHARED/big
#SBATCH --job-name=distgan
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
export MASTER_ADDR="${MASTER_ADDR:-$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)}"
export MASTER_PORT="${MASTER_PORT:-29500}"
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"   # srun does not take it from the job (SLURM 22.05 and later)
srun --kill-on-bad-exit=0 bash -c '
  export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
  export LOCAL_WORLD_SIZE=$((SLURM_NTASKS / SLURM_NNODES))
  exec .venv/bin/python -m distgan.train "$@"' distgan "$@" &
step=$!
code=0
wait "$step" || code=$?
if [ "$code" -eq 75 ] || [ "$code" -eq 138 ] || [ "$code" -eq 8 ]; then   # stopped, or another process was lost
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
