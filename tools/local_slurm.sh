#!/bin/bash
# A real Slurm cluster on this one machine, for the tests and for newcomers: accounting, preemption, and several nodes that
# are apart as on a cluster (each with its own host name, network and address). Graphics cards are device files that do nothing.
#
#   tools/local_slurm.sh install             Debian's packages that it takes
#   tools/local_slurm.sh up [DIR]            start what does not run, and print what a shell has to know of the cluster
#   eval "$(tools/local_slurm.sh up)"        the same, and let this shell know it: now `sinfo`, `sbatch`, `hipseg submit` work
#   tools/local_slurm.sh kill NODE [DIR]     end every process of a node at once, as when its power fails; `up` starts it again
#   tools/local_slurm.sh down [DIR]          end everything; only DIR with its logs is left
#
# DIR holds all files of one cluster (default: .cache/slurm of the repository). Several clusters can live side by side.
# Read when DIR is new: HIPSEG_SLURM_NODES (2), and of each node HIPSEG_SLURM_CPUS (16), HIPSEG_SLURM_GPUS (2),
# HIPSEG_SLURM_MEMORY_MB (65536). They are what Slurm counts, not what the machine has, and nothing enforces them.
#
# Needs root, as the nodes are namespaces. What is missing on a machine is said, and the exit code is 3 then.
set -euo pipefail

PACKAGES="slurmctld slurmd slurm-client slurmdbd munge mariadb-server-core iproute2"
MISSING=3       # exit code: this machine cannot run a cluster
LIMIT_S=90      # for anything to start or end, on a busy machine

main() {
  local action=${1:-} node=
  case $action in
    install) install_packages; return ;;
    up | down) shift ;;
    kill) node=${2:?which node, such as node1?}; shift 2 ;;
    *) sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
  dir=${1:-$(cd "$(dirname "$0")/.." && pwd)/.cache/slurm}
  [ "$action" != up ] || check_machine
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd -P)
  # Slurm's files take neither blanks nor quotes within a path, and the name of a socket no more than 107 characters.
  [[ $dir/munge/socket =~ ^[A-Za-z0-9._/+-]{1,107}$ ]] || fail "Slurm cannot use a folder called $dir; name another, of up to 90 letters, digits and . _ + - /"
  exec 9> "$dir/lock"
  flock -w "$LIMIT_S" 9 || fail "another $0 is at work on $dir"
  case $action in
    up) bring_up ;;
    kill) load_facts; end_node "$node" ;;
    down) bring_down ;;
  esac
}

fail() { echo "local_slurm: $1" >&2; exit "${2:-1}"; }

is_installed() {
  missing=
  local program
  for program in munged mariadbd slurmdbd slurmctld slurmd sbatch ip nsenter unshare; do
    command -v "$program" > /dev/null || missing="$missing $program"
  done
  [ -z "$missing" ]
}

install_packages() {
  ! is_installed || return 0
  [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null || fail "no$missing here, and only root on Debian can install $PACKAGES" $MISSING
  local options=(-qq -o DPkg::Lock::Timeout="$LIMIT_S" -o Acquire::Retries=1 -o Acquire::http::Timeout=20)
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086
  { apt-get "${options[@]}" update && apt-get "${options[@]}" install -y --no-install-recommends $PACKAGES; } > /dev/null \
    || fail "Debian's packages for Slurm could not be installed: $PACKAGES" $MISSING
}

check_machine() {
  [ "$(id -u)" = 0 ] || fail "root is needed, for the nodes' networks and for slurmd" $MISSING
  is_installed || fail "no$missing here; install Debian's packages with: $0 install" $MISSING
  unshare --net --uts --mount true 2> /dev/null || fail "this machine allows no namespaces, which make the nodes" $MISSING
}

# ---- what a cluster is made of ----

# A cluster's number makes its ports, its addresses and the names of its networks. The bridge is the claim on a number:
# making it either succeeds or fails, whoever else tries at the same time.
choose_number() {
  local number
  for number in $(seq 1 250); do
    if ip link add "hipseg$number" type bridge 2> /dev/null; then
      echo "$number"
      return
    fi
  done
  fail "no bridge can be made: root without CAP_NET_ADMIN, or 250 clusters are up (ip link show type bridge)" $MISSING
}

write_facts() {
  local number
  number=$(choose_number)
  cat > "$dir/facts" << FACTS
number=$number
nodes=${HIPSEG_SLURM_NODES:-2}
cpus=${HIPSEG_SLURM_CPUS:-16}
gpus=${HIPSEG_SLURM_GPUS:-2}
memory_mb=${HIPSEG_SLURM_MEMORY_MB:-65536}
FACTS
}

load_facts() {
  [ -e "$dir/facts" ] || fail "no cluster in $dir; start one with: $0 up $dir"
  # shellcheck source=/dev/null
  . "$dir/facts"
  network=10.213.$number
  head=$network.254
  local base=$((21000 + 10 * number))   # below what Linux gives to outgoing connections
  ctld_port=$base dbd_port=$((base + 1)) db_port=$((base + 2)) node_port=$((base + 3))
  names=$(seq -f 'node%.0f' 1 "$nodes")
  last_gpu=$((gpus - 1))
}

netns() { echo "hipseg$number-$1"; }

write_files() {
  mkdir -p "$dir"/{log,pid,state,spool,munge,db,dev}
  chmod 755 "$dir" "$dir/munge"
  [ -e "$dir/munge/key" ] || (umask 077 && head -c 1024 /dev/urandom > "$dir/munge/key")
  local gpu node
  for gpu in $(seq 0 "$last_gpu"); do
    [ -e "$dir/dev/gpu$gpu" ] || mknod -m 666 "$dir/dev/gpu$gpu" c 1 3 || fail "no device files can be made in $dir: root without CAP_MKNOD" $MISSING
  done
  { echo "127.0.0.1 localhost"
    echo "$head $(hostname)"
    for node in $names; do echo "$network.${node#node} $node"; done
  } > "$dir/hosts"
  : > "$dir/resolv.conf"   # the nodes reach no name server: none to ask beats waiting for one
  write_slurmdbd_conf
  write_slurm_conf
  if [ "$gpus" -gt 0 ]; then
    echo "NodeName=node[1-$nodes] Name=gpu File=$dir/dev/gpu[0-$last_gpu]" > "$dir/gres.conf"
  fi
}

write_slurmdbd_conf() {
  (umask 077 && cat > "$dir/slurmdbd.conf") << CONF
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
DbdHost=localhost
DbdPort=$dbd_port
SlurmUser=root
PidFile=$dir/pid/slurmdbd
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$db_port
StorageUser=root
StorageLoc=slurm
CONF
}

write_slurm_conf() {
  cat > "$dir/slurm.conf" << CONF
ClusterName=local
SlurmctldHost=$(hostname -s)($head)
SlurmctldPort=$ctld_port
SlurmUser=root
AuthType=auth/munge
# A requeued job may start again once its old credential has expired: after 120 s, unless this is short.
AuthInfo=socket=$dir/munge/socket,cred_expire=5
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/pid/slurmctld
SlurmdPidFile=$dir/pid/%n

# No cgroups, no MPI: nothing of the machine is needed but processes.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=256
GresTypes=gpu
SlurmdParameters=config_overrides

# Quick decisions, since the jobs are tests.
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
KillWait=5
SlurmdTimeout=20
MessageTimeout=30
ReturnToService=2

# Jobs give way to those of a higher partition: their own signal first (--signal), after the grace time requeued.
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal

JobCompType=jobcomp/filetxt
JobCompLoc=$dir/log/jobs.txt
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort=$dbd_port
AccountingStoragePass=$dir/munge/socket
AccountingStorageTRES=gres/gpu

$(for node in $names; do
  echo "NodeName=$node NodeAddr=$network.${node#node} Port=$node_port CPUs=$cpus RealMemory=$memory_mb$([ "$gpus" = 0 ] || echo " Gres=gpu:$gpus")"
done)
PartitionName=DEFAULT Nodes=ALL DefaultTime=01:00:00 State=UP
PartitionName=debug Default=YES PriorityTier=2 MaxTime=2-00:00:00 GraceTime=10
PartitionName=low PriorityTier=1 MaxTime=7-00:00:00 GraceTime=10 PreemptMode=REQUEUE
PartitionName=high PriorityTier=3 MaxTime=1-00:00:00 PreemptMode=OFF
CONF
}

# ---- up ----

bring_up() {
  [ -e "$dir/facts" ] || write_facts
  load_facts
  write_files
  export SLURM_CONF=$dir/slurm.conf
  ip link show "hipseg$number" > /dev/null 2>&1 || ip link add "hipseg$number" type bridge
  ip address replace "$head/24" dev "hipseg$number"
  ip link set "hipseg$number" up
  start_services
  local node
  for node in $names; do start_node "$node"; done
  # A node that was killed may count as down until its new slurmd has registered.
  wait_for "the nodes to register" nodes_are_up
  echo "export SLURM_CONF=$SLURM_CONF"
  echo "# nodes node1 to node$nodes; partitions debug, low, high; logs in $dir/log; end it with: $0 down $dir" >&2
}

# Each program stays in the foreground of a shell that gave up this script's lock, so that its number is known at once.
launch() {
  local name=$1
  shift
  setsid -f bash -c 'echo $$ > "$0" && exec "$@"' "$dir/pid/$name" "$@" 9>&- < /dev/null >> "$dir/log/$name.log" 2>&1
}

runs() {
  local pid
  pid=$(cat "$dir/pid/$1" 2> /dev/null) && [ -n "$pid" ] && kill -0 "$pid" 2> /dev/null && grep -q "$2" "/proc/$pid/comm" 2> /dev/null
}

start_services() {
  if ! runs munged munged; then
    rm -f "$dir/munge/socket"
    launch munged munged --foreground --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" \
      --pid-file="$dir/munge/pid" --seed-file="$dir/munge/seed" --num-threads=4
  fi
  # No user accounts, hence loopback only; durability is of no use here.
  runs mariadbd mariadbd || launch mariadbd mariadbd --no-defaults --user=root --datadir="$dir/db" --socket="$dir/db/socket" \
    --bind-address=127.0.0.1 --port="$db_port" --skip-grant-tables --pid-file="$dir/db/pid" \
    --innodb-buffer-pool-size=64M --innodb-log-file-size=16M --innodb-flush-log-at-trx-commit=0 --innodb-lock-wait-timeout=900
  wait_for "munge's socket" test -S "$dir/munge/socket"
  wait_for "the database" listens "$db_port"
  # slurmdbd reads no variable but this for its settings.
  runs slurmdbd slurmdbd || launch slurmdbd env "SLURM_CONF=$dir/slurm.conf" slurmdbd -D
  wait_for "slurmdbd" listens "$dbd_port"
  runs slurmctld slurmctld || launch slurmctld slurmctld -D -f "$dir/slurm.conf"
  wait_for "slurmctld" ctld_answers
}

listens() { (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }
ctld_answers() { timeout 5 scontrol ping 2> /dev/null | grep -q 'UP$'; }

# Each node has its slurmd, and none is down, drained or without an answer.
nodes_are_up() {
  local states node
  for node in $names; do runs "$node" slurmd || return 1; done
  states=$(timeout 5 sinfo --noheader --Node --format='%T' 2> /dev/null) && [ -n "$states" ] && ! grep -qv -E '^(idle|mixed|allocated|completing)$' <<< "$states"
}

start_node() {
  local node=$1 space
  space=$(netns "$node")
  runs "$node" slurmd && return
  if ! [ -e "/run/netns/$space" ]; then
    ip netns add "$space"
    ip link add "v$number-$node" type veth peer name eth0 netns "$space"
    ip link set "v$number-$node" master "hipseg$number" up
    ip -n "$space" address add "$network.${node#node}/24" dev eth0
    ip -n "$space" link set eth0 up
    ip -n "$space" link set lo up
    ip -n "$space" route add default via "$head"
  fi
  # Not `ip netns exec`: it mounts another /sys, without which slurmd does not start.
  launch "$node" nsenter --net="/run/netns/$space" unshare --uts --mount bash -c \
    'hostname "$0" && for one in hosts resolv.conf; do mount --bind "$1/$one" /etc/$one; done && exec slurmd -D -N "$0" -f "$1/slurm.conf"' \
    "$node" "$dir"
}

wait_for() {
  local what=$1 deadline=$((SECONDS + LIMIT_S))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || { tail -n 5 "$dir"/log/*.log >&2; fail "waited $LIMIT_S s for $what; the logs are in $dir/log"; }
    sleep 0.1
  done
}

# ---- down ----

# Every process of a node, whatever started it, is in the node's network.
end_node() {
  local space pids
  space=$(netns "$1")
  [ -e "/run/netns/$space" ] || fail "no node $1 in $dir"
  while pids=$(ip netns pids "$space") && [ -n "$pids" ]; do
    # shellcheck disable=SC2086
    kill -KILL $pids 2> /dev/null || true
    sleep 0.05
  done
  rm -f "$dir/pid/$1"
}

# At once: nothing of what they hold is kept.
end_service() {
  runs "$1" "$1" || return 0
  local pid
  pid=$(cat "$dir/pid/$1")
  kill -KILL "$pid"
  while kill -0 "$pid" 2> /dev/null; do sleep 0.05; done
}

bring_down() {
  [ -e "$dir/facts" ] || { echo "local_slurm: no cluster in $dir" >&2; return; }
  load_facts
  local node service
  for node in $names; do
    [ -e "/run/netns/$(netns "$node")" ] || continue
    end_node "$node"
    ip link del "v$number-$node"      # both ends of the cable; the kernel would do it some time after the network is gone
    ip netns del "$(netns "$node")"
  done
  for service in slurmctld slurmdbd mariadbd munged; do end_service "$service"; done
  ip link del "hipseg$number" 2> /dev/null || true
  rm -rf "$dir"/{facts,state,spool,db,munge,dev,pid,hosts,resolv.conf,slurm.conf,slurmdbd.conf,gres.conf}
}

main "$@"
