#!/usr/bin/env bash
# SLURM on one machine: munge, a controller and two virtual nodes in a folder of their own. launch/slurm.sh trains a tiny
# config on both nodes, is signalled in the middle, saves, queues itself again, goes on at its step and ends.
# Needs root and Debian's packages slurmctld, slurmd, slurm-client and munge; takes 3 to 6 minutes, of which SLURM waits
# two before it starts a job again. Starts its own daemons and ends them; nothing outside FOLDER is written.
#   sudo tests/integration/clusters/slurm.sh FOLDER
set -euo pipefail
cd "$(dirname "$0")/../../.."
root=$PWD
mkdir -p "$1"
folder=$(cd "$1" && pwd)
export SLURM_CONF=$folder/slurm.conf PYTHONPATH=$root OMP_NUM_THREADS=1
export MASTER_ADDR=127.0.0.1 # no name server knows the virtual nodes
daemons=()
cleanup() {
  scancel --me 2>/dev/null || true
  for _ in $(seq 30); do
    [ -n "$(squeue --noheader 2>/dev/null)" ] || break
    sleep 1
  done
  for process in "${daemons[@]}"; do kill "$process" 2>/dev/null || true; done
  wait 2>/dev/null || true
}
trap cleanup EXIT

fail() { echo "FAILED: $1"; tail -n 20 "$folder"/*.log 2>/dev/null; exit 1; }
until_true() { # until_true SECONDS WHAT COMMAND...
  local left=$1 what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || fail "$what"
    sleep 1
  done
}

# ---- the cluster
mkdir -p "$folder"/{munge,state,spool-node1,spool-node2}
chmod 700 "$folder/munge"
head -c 1024 /dev/urandom > "$folder/munge/key"
chmod 600 "$folder/munge/key"
host=$(hostname -s)
cat > "$SLURM_CONF" <<END
ClusterName=distgan
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool-%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
JobRequeue=1
NodeName=node1 NodeHostname=$host NodeAddr=127.0.0.1 Port=16818 CPUs=2 State=UNKNOWN
NodeName=node2 NodeHostname=$host NodeAddr=127.0.0.1 Port=16819 CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
munged --foreground --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
  --pid-file="$folder/munge/pid" --log-file="$folder/munge.log" --seed-file="$folder/munge/seed" \
  >>"$folder/daemons.log" 2>&1 &
daemons+=($!)
until_true 20 "munge does not answer" test -S "$folder/munge/socket"
slurmctld -D -i -L "$folder/slurmctld.log" >>"$folder/daemons.log" 2>&1 &
daemons+=($!)
for node in node1 node2; do
  slurmd -D -N "$node" -L "$folder/$node.log" >>"$folder/daemons.log" 2>&1 &
  daemons+=($!)
done
two_idle() { [ "$(sinfo --noheader --Node --states=idle | wc -l)" = 2 ]; }
until_true 60 "the two nodes are not idle" two_idle
sinfo --Node

# ---- the training: the stages before the GAN first, by one process
run=$folder/run
.venv/bin/python - "$folder/homes.csv" >"$folder/settings" <<'END'
import sys

from tests.helpers.households import population
from tests.helpers.settings import TINY

population().to_csv(sys.argv[1], index=False)
print("\n".join(TINY))
END
mapfile -t settings <"$folder/settings"
settings+=("data.source=$folder/homes.csv" "run_dir=$run" train.steps=400 train.report_every=10 train.checkpoint_every=20
  train.sample_every=1000000 engine.timeout=120 engine.trackers=[])
.venv/bin/python -m distgan.train "${settings[@]}" --stages prepare,encoder,encode,cluster,bank >"$folder/before.log" 2>&1 ||
  fail "the stages before the GAN"
job=$(sbatch --parsable --nodes=2 --ntasks-per-node=1 --cpus-per-task=1 --gpus-per-node=0 --time=30 \
  --output="$folder/job.log" launch/slurm.sh "${settings[@]}" --stages gan)
echo "job $job"
begun=$SECONDS
has_checkpoint() { compgen -G "$run/gan/checkpoints/step-*"; }
until_true 600 "no checkpoint" has_checkpoint
scancel --signal=USR1 "$job"
echo "signalled after $((SECONDS - begun)) s"
requeued() { scontrol show job "$job" | grep -q "Restarts=1"; }
until_true 120 "the job was not queued again" requeued
grep "stopped at step" "$folder/job.log" || fail "no process said where it stopped"
stopped=$(grep -o "stopped at step [0-9]*" "$folder/job.log" | head -n 1 | grep -o "[0-9]*$")
echo "queued again after $((SECONDS - begun)) s, at step $stopped"
ended() { test -e "$run/done/gan.json"; }
until_true 1200 "the training did not end" ended
completed() { scontrol show job "$job" | grep -q "JobState=COMPLETED"; }
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
