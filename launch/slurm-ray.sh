#!/usr/bin/env bash
# SLURM: a sweep on many nodes. Ray runs inside the job and ends with it; the sweep runs on the first node. Stopped ahead
# of the time limit, it is queued again and goes on. Run on two virtual nodes without GPUs (`make clusters`), not on a
# cluster of real machines yet.
#   sbatch launch/slurm-ray.sh --config configs/sweep.yaml run_dir=SHARED/sweep sweep.resources.gpus=1
# SHARED is a disk that all nodes see. The token below is the job's own: without it Ray's ports answer nobody. They are
# open inside the cluster's network all the same; the dashboard is not started.
#SBATCH --job-name=distgan-sweep
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
umask 077
sweep="" stopping=""
stop() {   # ahead of the time limit, also while Ray starts
  stopping=1
  if [ -n "$sweep" ]; then kill -TERM "$sweep" 2> /dev/null; else scontrol requeue "$SLURM_JOB_ID"; fi
}
trap stop TERM
keys="$PWD/.ray-$SLURM_JOB_ID"
mkdir -p "$keys"
trap 'rm -rf "$keys"' EXIT
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$keys/token"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$keys/token" RAY_USAGE_STATS_ENABLED=0
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"   # srun does not take it from the job (SLURM 22.05 and later)
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
last=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | tail -n 1)
# As another node knows the first: to itself its name may be 127.0.1.1.
address=$(srun --nodes=1 --ntasks=1 --nodelist="$last" getent ahostsv4 "$first" | awk 'NR == 1 {print $1}')
port=$((20000 + SLURM_JOB_ID % 10000))
# Ray gives its processes 30 s to start, which a busy node exceeds: three attempts.
ray() {   # ray NODES OPTIONS-OF-SRUN -- OPTIONS-OF-RAY
  local nodes=$1 where=()
  shift
  while [ "$1" != -- ]; do where+=("$1"); shift; done
  srun --overlap --nodes="$nodes" --ntasks="$nodes" "${where[@]}" bash -c '
    for attempt in 1 2 3; do .venv/bin/ray start "$@" && exit; done
    exit 1' ray "${@:2}" --num-cpus "${SLURM_CPUS_PER_TASK:-1}" --num-gpus "${SLURM_GPUS_ON_NODE:-0}" --block &
  steps+=("$!")
}
nodes_joined() {
  .venv/bin/python -c '
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print(sum(node["Alive"] for node in ray.nodes()))' "$address:$port" 2> /dev/null
}
wait_for() {   # wait_for NODES
  until [ "$(nodes_joined)" = "$1" ]; do
    for step in "${steps[@]}"; do
      kill -0 "$step" 2> /dev/null || { echo "Ray did not start on every node ($address:$port)" >&2; exit 1; }
    done
    sleep 2
  done
}
steps=()
ray 1 --nodelist="$first" -- --head --node-ip-address="$address" --port="$port" --include-dashboard=false
wait_for 1
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
  ray "$((SLURM_JOB_NUM_NODES - 1))" --exclude="$first" -- --address="$address:$port"
  wait_for "$SLURM_JOB_NUM_NODES"
fi
code=0
.venv/bin/distgan sweep "$@" "sweep.address=$address:$port" &
sweep=$!
wait "$sweep" || code=$?
if [ -n "$stopping" ]; then   # the first wait ended by the signal
  code=0
  wait "$sweep" || code=$?
fi
if [ "$code" -eq 75 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
