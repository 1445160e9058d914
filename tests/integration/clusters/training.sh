#!/usr/bin/env bash
# Two machines and one training, as launch/nodes-2.yaml says: `accelerate launch` trains a tiny config on both; the second
# loses its cable and its power, and the first ends with a line about it; then `torchrun` goes on at the last checkpoint
# and ends. The machines are virtual (machines.sh). Needs root, iproute2 and util-linux; takes 2 to 6 minutes.
#   sudo tests/integration/clusters/training.sh FOLDER
set -euo pipefail
cd "$(dirname "$0")/../../.."
source tests/integration/clusters/machines.sh "$1"
steps=${STEPS:-200}
run=$folder/run
program=(distgan/train.py)

make_tiny_settings
settings+=("run_dir=$run" "train.steps=$steps" train.report_every=10 train.checkpoint_every=5 train.sample_every=1000000
  engine.timeout=60)
.venv/bin/python -m distgan.train "${settings[@]}" --stages prepare,encoder,encode,cluster,bank >"$folder/before.log" 2>&1 ||
  fail "the stages before the GAN"
program+=("${settings[@]}" --stages gan)
boot_machine 1
boot_machine 2
connect_machines

# ---- accelerate, until the second machine is lost
with_accelerate() { # with_accelerate NUMBER
  on "$1" .venv/bin/accelerate launch --config_file launch/nodes-2.yaml --num_processes 2 --machine_rank $(($1 - 1)) \
    --main_process_ip 10.77.0.1 "${program[@]}" >"$folder/accelerate-$1.log" 2>&1
}
with_accelerate 1 & first=$!
with_accelerate 2 & second=$!
begun=$SECONDS
newest() { # the step of the newest checkpoint, 0 if there is none
  { find "$run/gan/checkpoints" -name 'step-*' 2>/dev/null | grep -o '[0-9]*$'; echo 0; } | sort -n | tail -n 1
}
trains() { [ "$(newest)" -ge 20 ] || ! kill -0 "$first"; }
until_true 600 "no checkpoint" trains
kill -0 "$first" || fail "accelerate launch ended before its first checkpoints"
cut_cable 2
kill_machine 2
echo "lost the second machine after $((SECONDS - begun)) s"
wait "$second" && fail "the second machine was not lost"
code=0
wait "$first" || code=$?
[ "$code" != 0 ] || fail "the first machine trained on alone"
lost=$(grep -oE "process 0 of 2 (lost process 1|waited)[^.]*" "$folder/accelerate-1.log" | head -n 1)
[ -n "$lost" ] || fail "the first machine does not say what it lost"
stood=$(newest)
echo "the first machine ended after $((SECONDS - begun)) s with code $code, at checkpoint $stood: $lost"
[ "$stood" -lt "$steps" ] || fail "the training ended before a machine was lost"

# ---- torchrun, from the checkpoint to the end
boot_machine 2
connect_machines
with_torchrun() { # with_torchrun NUMBER
  on "$1" .venv/bin/torchrun --nnodes 2 --nproc_per_node 1 --rdzv_backend c10d --rdzv_endpoint machine1:29500 \
    --max_restarts 3 "${program[@]}" >"$folder/torchrun-$1.log" 2>&1
}
begun=$SECONDS
with_torchrun 1 & first=$!
with_torchrun 2 & second=$!
wait "$first" || fail "torchrun on the first machine"
wait "$second" || fail "torchrun on the second machine"
echo "ended after another $((SECONDS - begun)) s"

# ---- what must hold: on at the step, every line once, both processes
.venv/bin/python - "$run" "$stood" "$steps" <<'END'
import json, re, sys
from pathlib import Path

run, stood, steps = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
lines = [json.loads(line)["step"] for line in (run / "gan/metrics.jsonl").read_text().splitlines()]
assert lines == list(range(10, steps + 1, 10)), lines
facts = json.loads((run / f"gan/checkpoints/step-{steps}/manifest.json").read_text())["facts"]
assert facts["world_size"] == 2, facts["world_size"]
said = [path.read_text() for path in sorted(run.parent.glob("torchrun-?.log"))]
shown = [int(step) for step in re.findall(rf"step (\d+)/{steps}", "".join(said))]
assert shown and min(shown) > stood, (shown, stood)
print(f"OK: lost a machine after step {stood}, went on, {steps} steps by two processes on two machines, each step once")
END
