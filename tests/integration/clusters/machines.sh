# Two virtual machines on one: namespaces of network, processes, mounts, names and memory, joined by a virtual cable with
# 10.77.0.1 and 10.77.0.2. Each has its own host name (machine1, machine2), home, /tmp, /dev/shm and processes; the disk is
# shared. As on Debian, a machine's own name is 127.0.1.1 to itself. Sourced by the scripts beside, from the root of the
# repository; needs root, iproute2 and util-linux. Nothing outside FOLDER is written, and the machines end with the script.
#   source machines.sh FOLDER
root=$PWD
folder=$(mkdir -p "$1" && cd "$1" && pwd)
declare -A machines=() # number -> the process outside that holds the machine
cleanup_machines() {
  for process in "${machines[@]}"; do kill -KILL "$process" 2>/dev/null || true; done
  wait 2>/dev/null || true
}
trap cleanup_machines EXIT

fail() { # the last lines of every log, and code 1
  echo "FAILED: $1"
  tail -n 20 "$folder"/*.log 2>/dev/null || true
  exit 1
}
until_true() { # until_true SECONDS WHAT COMMAND...
  local left=$1 what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || fail "$what"
    sleep 1
  done
}
boot_machine() { # boot_machine NUMBER: without its cable
  local number=$1 other=$((3 - $1)) place=$folder/machine$1
  mkdir -p "$place/home"
  printf '127.0.0.1 localhost\n127.0.1.1 machine%s\n10.77.0.%s machine%s\n' "$number" "$other" "$other" >"$place/hosts"
  rm -f "$place/booted"
  unshare --net --pid --fork --kill-child --mount --mount-proc --uts --ipc bash -c '
    set -e
    hostname "machine$1"
    mount -t tmpfs tmpfs /dev/shm
    mount --bind "$2/machine$1/hosts" /etc/hosts
    mount -t tmpfs -o mode=1777 tmpfs /mnt # the new /tmp, with what the machines share in it
    for shared in "$2" "$3"; do
      [[ $shared == /tmp/* ]] || continue
      mkdir -p "/mnt/${shared#/tmp/}"
      mount --bind "$shared" "/mnt/${shared#/tmp/}"
    done
    mount --rbind /mnt /tmp
    touch "$2/machine$1/booted"
    sleep infinity & wait' machine "$number" "$folder" "$root" &
  machines[$number]=$!
  until_true 60 "machine $number does not start" test -e "$place/booted"
}
inside() { # inside NUMBER: process 1 of the machine, as the host numbers it
  pgrep --parent "${machines[$1]}" | head -n 1
}
on() { # on NUMBER COMMAND...: runs it there
  local number=$1
  shift
  nsenter --target "$(inside "$number")" --net --pid --mount --uts --ipc \
    env --chdir="$root" HOME="$folder/machine$number/home" OMP_NUM_THREADS=1 PYTHONPATH="$root" "$@"
}
connect_machines() { # also again, once one of them was booted anew
  nsenter --target "$(inside 1)" --net ip link del cable1 2>/dev/null || true
  nsenter --target "$(inside 1)" --net ip link add cable1 type veth peer name cable2 netns "$(inside 2)"
  for number in 1 2; do
    on "$number" ip link set lo up
    on "$number" ip addr add "10.77.0.$number/24" dev "cable$number"
    on "$number" ip link set "cable$number" up
    on "$number" ip route add default dev "cable$number"
  done
}
cut_cable() { on "$1" ip link set "cable$1" down; } # the machine's, which says nothing to the other
kill_machine() { # every process there at once, as if its power failed
  kill -KILL "$(inside "$1")"
  wait "${machines[$1]}" 2>/dev/null || true
  unset "machines[$1]"
}
make_tiny_settings() { # settings of a training of seconds, into the array `settings`; its data is $folder/homes.csv
  .venv/bin/python - "$folder/homes.csv" >"$folder/settings" <<'END'
import sys

from tests.helpers.households import population
from tests.helpers.settings import TINY

population().to_csv(sys.argv[1], index=False)
print("\n".join(TINY))
END
  mapfile -t settings <"$folder/settings"
  settings+=("data.source=$folder/homes.csv" engine.trackers=[])
}
