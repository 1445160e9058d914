#!/usr/bin/env bash
# SLURM on two virtual machines (slurm-nodes.sh, machines.sh). launch/slurm-ray.sh runs a sweep on both nodes; stopped in the
# middle, as ahead of its time limit, the job is queued again, and the sweep goes on and ends with all trials.
# Needs root, iproute2, util-linux and Debian's packages slurmctld, slurmd, slurm-client and munge; takes 5 to 12 minutes,
# of which SLURM waits two before it starts a job again. Nothing outside FOLDER and .ray-JOB of the checkout is written.
#   sudo tests/integration/clusters/slurm-ray.sh FOLDER
set -euo pipefail
cd "$(dirname "$0")/../../.."
source tests/integration/clusters/machines.sh "$1"
source tests/integration/clusters/slurm-nodes.sh
boot_machine 1
boot_machine 2
connect_machines
start_slurm

steps=${STEPS:-200}
run=$folder/run
make_tiny_settings
settings+=("train.steps=$steps" train.report_every=10 train.checkpoint_every=10 train.sample_every=1000000 generate.count=8)
cat >"$folder/sweep.yaml" <<'END'
sweep:
  space: {train.generator_rate: {loguniform: [1e-4, 2e-3]}}
  trials: 3
  scheduler: none
  confirm: 0
END
job=$(on 1 sbatch --parsable --nodes=2 --ntasks-per-node=1 --cpus-per-task=1 --gpus-per-node=0 --time=60 \
  --output="$folder/job.log" launch/slurm-ray.sh --config "$folder/sweep.yaml" run_dir="$run" "${settings[@]}")
echo "job $job"
begun=$SECONDS
trial_on() { # trial_on NUMBER: whether a trial trains there and has a checkpoint
  local lock
  for lock in "$run"/trials/*/.lock; do
    grep -q " on machine$1 " "$lock" 2>/dev/null && compgen -G "${lock%/.lock}/gan/checkpoints/step-*" >/dev/null && return 0
  done
  return 1
}
both_train() { trial_on 1 && trial_on 2; }
until_true 1200 "no trial trains on one of the nodes" both_train
on 1 scancel --batch --signal=TERM "$job"
echo "a trial trains on each node; signalled after $((SECONDS - begun)) s"
until_true 300 "the job was not queued again" requeued
[ ! -e "$run/done/sweep.json" ] || fail "the sweep ended before it was stopped"
grep -c "" "$run/states.jsonl" >"$folder/events"
echo "queued again after $((SECONDS - begun)) s"
ended() { test -e "$run/done/sweep.json"; }
until_true 1800 "the sweep did not end" ended
until_true 120 "the job did not complete" completed
echo "ended after $((SECONDS - begun)) s"

# ---- what must hold: two beginnings, all trials whole, every step once, no key left
.venv/bin/python - "$run" "$steps" <<'END'
import json, sys
from pathlib import Path

run, steps = Path(sys.argv[1]), int(sys.argv[2])
events = [json.loads(line) for line in (run / "states.jsonl").read_text().splitlines()]
assert [event["state"] for event in events if not event["trial"]] == ["begun", "begun"], events
last = {event["trial"]: event["state"] for event in events if event["trial"]}
assert list(last.values()) == ["ended"] * 3, last
for folder in (run / "trials").iterdir():
    (look,) = json.loads((folder / "trial.json").read_text())["looks"]
    assert look["step"] == steps and not look["gate"], look
    lines = [json.loads(line)["step"] for line in (folder / "gan/metrics.jsonl").read_text().splitlines()]
    assert lines == list(range(10, steps + 1, 10)), lines
print(f"OK: a sweep on two nodes, stopped and queued again, 3 whole trials of {steps} steps, each step once")
END
[ ! -e ".ray-$job" ] || fail "the job's token is still there"
