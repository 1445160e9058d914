#!/usr/bin/env bash
# A Ray cluster of two machines, started by the very commands of launch/ray-cluster.yaml (without the part of `ray up` that
# reaches them by ssh), and a sweep on it: a trial trains on each; the second machine loses its cable and its power; its
# trial goes on at its checkpoint on the first machine, and the sweep ends with all trials. The machines are virtual
# (machines.sh). Needs root, iproute2 and util-linux; takes 4 to 10 minutes.
#   sudo tests/integration/clusters/ray.sh FOLDER
set -euo pipefail
cd "$(dirname "$0")/../../.."
source tests/integration/clusters/machines.sh "$1"
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
boot_machine 1
boot_machine 2
connect_machines

# ---- the cluster: a checkout in each home, a token that `ray up` would copy, and the commands of the launch file
for number in 1 2; do ln -sfn "$root" "$folder/machine$number/home/distgan"; done
on 1 .venv/bin/ray get-auth-token --generate >"$folder/token.log" 2>&1 || fail "no token"
install -D -m 600 "$folder/machine1/home/.ray/auth_token" "$folder/machine2/home/.ray/auth_token"
start_ray() { # start_ray NUMBER KEY: by the commands below that key, for a node of one CPU
  .venv/bin/python - "$2" >"$folder/start-$1" <<'END'
import re, sys

import yaml

for command in yaml.safe_load(open("launch/ray-cluster.yaml"))[sys.argv[1]]:
    command = re.sub(r"--autoscaling-config=\S+", "", command)  # of `ray up`, which starts workers by ssh
    print(command + (" --num-cpus=1 --object-store-memory=100000000" if "ray start" in command else ""))
END
  for _ in 1 2 3 4 5 6 7 8; do # Ray gives its own processes 30 s to start, which a busy machine exceeds
    on "$1" bash -c 'cd && export RAY_HEAD_IP=10.77.0.1 && set -e && source "$1"' ray "$folder/start-$1" \
      >"$folder/start-$1.log" 2>&1 && return
  done
  fail "ray does not start on machine $1"
}
start_ray 1 head_start_ray_commands
start_ray 2 worker_start_ray_commands

# ---- the sweep, from the head
begun=$SECONDS
on 1 bash -c 'cd && cd distgan && exec .venv/bin/python -m distgan.cli sweep "$@"' sweep --config "$folder/sweep.yaml" \
  run_dir="$run" sweep.address=auto "${settings[@]}" >"$folder/sweep.log" 2>&1 &
sweep=$!
trial_on() { # trial_on NUMBER: name of the trial that trains there, if its checkpoint is beyond the first
  local lock
  for lock in "$run"/trials/*/.lock; do
    if grep -q " on machine$1 " "$lock" 2>/dev/null && compgen -G "${lock%/.lock}/gan/checkpoints/step-?0" >/dev/null; then
      basename "${lock%/.lock}"
      return 0
    fi
  done
  return 1
}
both_train() { ! kill -0 "$sweep" || { trial_on 1 && trial_on 2; }; }
until_true 900 "no trial trains on one of the machines" both_train
kill -0 "$sweep" 2>/dev/null || fail "the sweep ended before both machines trained"
moved=$(trial_on 2)
cut_cable 2
kill_machine 2
at=$(find "$run/trials/$moved/gan/checkpoints" -name 'step-*' | grep -o '[0-9]*$' | sort -n | tail -n 1)
echo "after $((SECONDS - begun)) s a trial trains on each machine; the second lost at step $at of its trial"
wait "$sweep" || fail "the sweep did not go on"
echo "ended after $((SECONDS - begun)) s"

# ---- what must hold: all trials whole, the lost one went on at its checkpoint, elsewhere
.venv/bin/python - "$run" "$moved" "$at" "$steps" <<'END'
import json, re, sys
from pathlib import Path

run, moved, at, steps = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
events = [json.loads(line) for line in (run / "states.jsonl").read_text().splitlines()]
last = {event["trial"]: event["state"] for event in events if event["trial"]}
assert list(last.values()) == ["ended"] * 3, last
assert "retried" in [event["state"] for event in events if event["trial"] == moved], events
for folder in (run / "trials").iterdir():
    (look,) = json.loads((folder / "trial.json").read_text())["looks"]
    assert look["step"] == steps and not look["gate"], look
    lines = [json.loads(line)["step"] for line in (folder / "gan/metrics.jsonl").read_text().splitlines()]
    assert lines == list(range(10, steps + 1, 10)), lines
assert " on machine1 " in (run / "trials" / moved / ".lock").read_text()
shown = [int(step) for step in re.findall(rf"step (\d+)/{steps}", (run / "trials" / moved / "console.log").read_text())]
assert shown.count(10) == 1 and len(shown) - len(set(shown)) <= 1, shown  # at most what came after its checkpoint
print(f"OK: a trial on each of two machines, one machine lost at step {at} of its trial, 3 whole trials of {steps} steps")
END
