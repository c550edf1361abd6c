#!/usr/bin/env bash
# A SLURM of two nodes with two cores each on this machine, to try sweeps with and for `pytest -m slurm`.
# Needs root on Debian or Ubuntu, and apt-get install slurm-wlm munge.
#   tests/slurm.sh start DIR      then export SLURM_CONF=DIR/slurm.conf
#   tests/slurm.sh stop DIR
set -euo pipefail

fail() { echo "slurm.sh: $*" >&2; exit 2; }
[ $# -eq 2 ] || fail "give start or stop, and a folder"
folder=$(realpath -m "$2")
host=$(hostname -s)
names="127.0.0.1 n1 n2 # of $folder"

stop() {
    local file
    for file in slurmctld n1 n2 munged; do
        [ ! -f "$folder/$file.pid" ] || kill "$(cat "$folder/$file.pid")" 2>/dev/null || true
    done
    # /etc/hosts may be a mount, which is written and not replaced
    grep -vxF "$names" /etc/hosts >"$folder/hosts" || true
    cat "$folder/hosts" >/etc/hosts
}

start() {
    local name
    for name in slurmctld slurmd munged; do
        command -v "$name" >/dev/null || fail "$name is not there: apt-get install slurm-wlm munge"
    done
    mkdir -p "$folder/state" "$folder/n1" "$folder/n2" "$folder/munge"
    chmod 711 "$folder/munge"
    grep -qxF "$names" /etc/hosts || echo "$names" >>/etc/hosts
    [ -f "$folder/munge/key" ] || (umask 377 && head -c 1024 /dev/urandom >"$folder/munge/key")
    configure >"$folder/slurm.conf"
    export SLURM_CONF=$folder/slurm.conf
    munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
    slurmctld -f "$SLURM_CONF"
    for name in n1 n2; do slurmd -N $name -f "$SLURM_CONF"; done
    for _ in {1..30}; do
        [ "$(sinfo --noheader --format=%T 2>/dev/null | sort -u)" != idle ] || break
        sleep 1
    done
    sinfo
    echo "export SLURM_CONF=$SLURM_CONF"
}

configure() {
    cat <<END
ClusterName=here
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/%n.pid
SlurmctldPort=16817
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/%n
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/%n.log
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=17001 CPUs=2 RealMemory=8000 State=UNKNOWN
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=17002 CPUs=2 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=60 DefaultTime=10 State=UP
END
}

case $1 in
    start) start ;;
    stop) stop ;;
    *) fail "$1: must be start or stop" ;;
esac
