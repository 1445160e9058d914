#!/usr/bin/env bash
# Two hosts on one machine: two network namespaces with addresses of their own, joined by a virtual cable. The same
# two-process training runs across them under torchrun; with --cut, one host's cable is pulled for a while and put
# back, and both sides come back from the last checkpoint. Needs root and iproute2; touches nothing outside.
#   sudo tests/integration/hosts.sh FOLDER [STEPS] [--cut]
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$1 steps=${2:-40} cut=${3:-}
python=${PYTHON:-.venv/bin/python}
one=distgan-$$-1 two=distgan-$$-2
cleanup() {
  for name in "$one" "$two"; do
    ip netns pids "$name" 2>/dev/null | xargs -r kill -9 2>/dev/null || true
    ip netns del "$name" 2>/dev/null || true
  done
}
trap cleanup EXIT
ip netns add "$one"
ip netns add "$two"
ip link add veth1 netns "$one" type veth peer name veth2 netns "$two"
number=0
for name in "$one" "$two"; do
  number=$((number + 1))
  ip -n "$name" link set lo up
  ip -n "$name" addr add "10.77.0.$number/24" dev "veth$number"
  ip -n "$name" link set "veth$number" up
done
host() {   # the training's half on host 1 or 2
  ip netns exec "$([ "$1" = 1 ] && echo "$one" || echo "$two")" env GLOO_SOCKET_IFNAME="veth$1" OMP_NUM_THREADS=1 \
    DRILL_TIMEOUT=10 PYTHONPATH=. "$python" -m torch.distributed.run --nnodes 2 --nproc_per_node 1 \
    --node_rank $(($1 - 1)) --rdzv_backend static --rdzv_endpoint 10.77.0.1:29511 --max_restarts 0 \
    tests/integration/drill.py --rank "$folder" "$steps"
}
both() { # run both halves; the worse exit code
  local first second code=0
  host 1 & first=$!
  host 2 & second=$!
  if [ "${1:-}" = cut ]; then
    until compgen -G "$folder/gan/checkpoints/step-*" >/dev/null; do sleep 0.2; done
    ip -n "$two" link set veth2 down
    echo "cut off"
  fi
  wait "$first" || code=$?
  wait "$second" || code=$?
  return "$code"
}
if [ "$cut" = --cut ]; then
  both cut && { echo "the training ended before it was cut off"; exit 1; }
  ip -n "$two" link set veth2 up
  echo "brought back"
fi
both
echo "done: $steps steps on two hosts"
