# SLURM on two virtual machines (machines.sh): munge, a controller on the first, a node of two CPUs on each. Sourced by the
# scripts beside, after machines.sh. Needs Debian's packages slurmctld, slurmd, slurm-client and munge besides.
export SLURM_CONF=$folder/slurm.conf
start_slurm() {
  mkdir -p "$folder"/{munge,state,spool-machine1,spool-machine2}
  chmod 700 "$folder/munge"
  head -c 1024 /dev/urandom >"$folder/munge/key"
  chmod 600 "$folder/munge/key"
  cat >"$SLURM_CONF" <<END
ClusterName=distgan
SlurmctldHost=machine1(10.77.0.1)
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
NodeName=machine1 NodeHostname=machine1 NodeAddr=10.77.0.1 Port=16818 CPUs=2 State=UNKNOWN
NodeName=machine2 NodeHostname=machine2 NodeAddr=10.77.0.2 Port=16819 CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
  on 1 munged --foreground --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
    --pid-file="$folder/munge/pid" --log-file="$folder/munge.log" --seed-file="$folder/munge/seed" \
    >>"$folder/daemons.log" 2>&1 &
  until_true 60 "munge does not answer" test -S "$folder/munge/socket"
  on 1 slurmctld -D -i -L "$folder/slurmctld.log" >>"$folder/daemons.log" 2>&1 &
  for number in 1 2; do
    on "$number" slurmd -D -N "machine$number" -L "$folder/machine$number.log" >>"$folder/daemons.log" 2>&1 &
  done
  until_true 120 "the two nodes are not idle" two_idle
  on 1 sinfo --Node
}
two_idle() { [ "$(on 1 sinfo --noheader --Node --states=idle | wc -l)" = 2 ]; }
requeued() { on 1 scontrol show job "$job" | grep -q "Restarts=1"; }
completed() { on 1 scontrol show job "$job" | grep -q "JobState=COMPLETED"; }
