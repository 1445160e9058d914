#!/usr/bin/env bash
# SLURM on two virtual machines (slurm-nodes.sh, machines.sh). launch/slurm.sh trains a tiny config on both nodes, is
# signalled in the middle, saves, queues itself again, goes on at its step and ends.
# Needs root, iproute2, util-linux and Debian's packages slurmctld, slurmd, slurm-client and munge; takes 3 to 6 minutes,
# of which SLURM waits two before it starts a job again. Nothing outside FOLDER is written.
#   sudo tests/integration/clusters/slurm.sh FOLDER
set -euo pipefail
cd "$(dirname "$0")/../../.."
source tests/integration/clusters/machines.sh "$1"
source tests/integration/clusters/slurm-nodes.sh
boot_machine 1
boot_machine 2
connect_machines
start_slurm

# ---- the training: the stages before the GAN first, by one process
run=$folder/run
make_tiny_settings
settings+=("run_dir=$run" train.steps=400 train.report_every=10 train.checkpoint_every=20
  train.sample_every=1000000 engine.timeout=120)
.venv/bin/python -m distgan.train "${settings[@]}" --stages prepare,encoder,encode,cluster,bank >"$folder/before.log" 2>&1 ||
  fail "the stages before the GAN"
job=$(on 1 sbatch --parsable --nodes=2 --ntasks-per-node=1 --cpus-per-task=1 --gpus-per-node=0 --time=30 \
  --output="$folder/job.log" launch/slurm.sh "${settings[@]}" --stages gan)
echo "job $job"
begun=$SECONDS
has_checkpoint() { compgen -G "$run/gan/checkpoints/step-*"; }
until_true 600 "no checkpoint" has_checkpoint
on 1 scancel --signal=USR1 "$job"
echo "signalled after $((SECONDS - begun)) s"
until_true 120 "the job was not queued again" requeued
grep "stopped at step" "$folder/job.log" || fail "no process said where it stopped"
stopped=$(grep -o "stopped at step [0-9]*" "$folder/job.log" | head -n 1 | grep -o "[0-9]*$")
echo "queued again after $((SECONDS - begun)) s, at step $stopped"
ended() { test -e "$run/done/gan.json"; }
until_true 1200 "the training did not end" ended
until_true 60 "the job did not complete" completed
echo "ended after $((SECONDS - begun)) s"

# ---- what must hold: on at the step, every line once, both processes
.venv/bin/python - "$run" "$stopped" <<'END'
import json, sys
from pathlib import Path

run, stopped = Path(sys.argv[1]), int(sys.argv[2])
steps = [json.loads(line)["step"] for line in (run / "gan/metrics.jsonl").read_text().splitlines()]
assert steps == list(range(10, 401, 10)), steps
saved = sorted((run / "gan/checkpoints").glob("step-*"), key=lambda path: int(path.name[5:]))[-1]
facts = json.loads((saved / "manifest.json").read_text())["facts"]
assert 0 < stopped < 400 and saved.name == "step-400", (stopped, saved)
assert facts["world_size"] == 2, facts["world_size"]
print(f"OK: stopped at {stopped}, went on, 400 steps by two processes on two nodes, each step once")
END
