#!/bin/bash
# md and raidkit beside each other, in one boot of one kernel, over the same RAM disks, by turns; with INTEGRITY=1 each of them also with
# what finds damage: dm-integrity below each member of md's, with its journal and with its bitmap, and checksums of raidkit's.
#
#   job.sh [SHARE]     SHARE (default /share): `params` there may set what is listed below; samples are added to `samples.txt` there.
#
# Needs root; brd, nbd, raid1, raid10 and raid456; mdadm, fio, jq and nbd-client; for LEVELS=one nbdkit too, for INTEGRITY=1
# dmsetup. It takes /dev/ram*, /dev/md0 and /dev/nbd0: run it in a guest, or on a machine where they are not in use. What the
# samples mean: benchmarks/README.md.
set -u
SHARE=${1:-/share}
ROUNDS=8                           # every level, and each contender of it, once a round
LEVELS="one raid1 raid5 raid10 raid6"
INTEGRITY=                         # 1: each contender with and without
WORKLOADS="randread:4k randwrite:4k read:128k write:128k"
DEPTH=32                           # requests in flight
RAMP=0.5                           # seconds of each measurement that do not count
SECONDS_EACH=1.5                   # and those that do
RAM_MIB=64                         # size of each of the six RAM disks
RAIDKIT=                           # a built tree; default: the one that this script lies in
NODE=node
DAEMON_OPTIONS="--memory 256"
FIO_OPTIONS=                       # more options of fio
[ -e "$SHARE/params" ] && . "$SHARE/params"
RAIDKIT=${RAIDKIT:-$(cd "$(dirname "$0")/../.." && pwd)}

declare -A MEMBERS=([one]=1 [raid1]=2 [raid5]=5 [raid10]=4 [raid6]=6)
WORK=$(mktemp -d)
NBD_SOCKET=$WORK/nbd.sock
SAMPLES=$SHARE/samples.txt
server=

fail() {
  echo "$*" >&2
  exit 1
}

rams() { # RAM disks of a level
  local i
  for ((i = 0; i < MEMBERS[$1]; i++)); do echo "/dev/ram$i"; done
}

# What an array keeps about itself lies in the first and last megabytes of its members.
forget() { # LEVEL
  local disk
  for disk in $(rams "$1"); do
    dd if=/dev/zero of="$disk" bs=1M count=4 conv=fsync 2>/dev/null
    dd if=/dev/zero of="$disk" bs=1M seek=$((RAM_MIB - 1)) count=1 conv=fsync 2>/dev/null
  done
}

# No region is to be written for the first time, and nothing to be run for the first time, while it is measured.
warm_up() { # DEVICE
  dd if=/dev/zero of="$1" bs=1M oflag=direct 2>/dev/null
  run_fio "$1" 1 randread:4k randwrite:4k >/dev/null
}

run_fio() { # DEVICE SECONDS WORKLOAD...: fio's JSON
  local device=$1 seconds=$2 workload jobs=()
  shift 2
  for workload in "$@"; do
    jobs+=(--name="$workload" --stonewall --rw="${workload%%:*}" --bs="${workload##*:}")
    jobs+=(--filename="$device" --ioengine=libaio --direct=1 --iodepth="$DEPTH" --norandommap)
    # As an application that has much to do: begun and ended several at a time.
    jobs+=(--iodepth_batch_submit=16 --iodepth_batch_complete_min=8 --iodepth_batch_complete_max="$DEPTH")
    jobs+=(--time_based --runtime="${seconds}s" --ramp_time="${RAMP}s" --clocksource=cpu)
  done
  # shellcheck disable=SC2086
  fio --output-format=json $FIO_OPTIONS "${jobs[@]}" 2>>"$WORK/fio.log" | sed -n '/^{/,$p'
}

# sample CONTENDER LEVEL ROUND WORKLOAD IOPS MIB/S P50-µs P99-µs
measure() { # CONTENDER LEVEL ROUND DEVICE
  # shellcheck disable=SC2086
  run_fio "$4" "$SECONDS_EACH" $WORKLOADS | jq -r --arg head "sample $1 $2 $3" '
    .jobs[] | (if .read.total_ios > 0 then .read else .write end) as $d |
    "\($head) \(.jobname) \($d.iops | floor) \($d.bw_bytes / 1048576 | floor) \(($d.clat_ns.percentile["50.000000"] // 0) / 1000 | floor) \(($d.clat_ns.percentile["99.000000"] // 0) / 1000 | floor)"' |
    tee -a "$SAMPLES"
}

attach() { # EXPORT: waits for the server, too
  local i
  for ((i = 0; i < 200; i++)); do
    nbd-client -unix "$NBD_SOCKET" /dev/nbd0 -N "$1" -nonetlink -b 4096 >"$WORK/nbd-client.log" 2>&1 && return
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
  done
  cat "$WORK/nbd-client.log" "$WORK/server.log" >&2
  fail "no NBD device of $1"
}

detach() {
  nbd-client -d /dev/nbd0 -nonetlink >/dev/null 2>&1 || nbd-client -d /dev/nbd0 >/dev/null 2>&1
  kill "$server"
  wait "$server" 2>/dev/null
  server=
}

run_ram() { # LEVEL ROUND: the RAM disk alone
  warm_up /dev/ram0
  measure ram "$1" "$2" /dev/ram0
}

run_nbdkit() { # LEVEL ROUND
  nbdkit -f -U "$NBD_SOCKET" file /dev/ram0 >"$WORK/server.log" 2>&1 &
  server=$!
  attach ''
  warm_up /dev/nbd0
  measure nbdkit "$1" "$2" /dev/nbd0
  detach
}

# Formats a member for dm-integrity, writes all of it, so that each block has its checksum, and prints the device above it.
add_integrity() { # DISK MODE
  local name=integrity-${1##*/} table="integrity $1 0 4 $2 2 internal_hash:crc32c block_size:4096" sectors
  dd if=/dev/zero of="$1" bs=4k count=1 conv=fsync 2>/dev/null
  # The kernel formats a disk without a superblock when it is opened with any size; how much there is stands in the superblock then.
  dmsetup create "$name" --table "0 8 $table" && dmsetup remove --retry "$name" || return 1
  sectors=$(od -An -t u8 -j 16 -N 8 "$1" | tr -d ' ')
  dmsetup create "$name" --table "0 $sectors $table" && dmsetup mknodes "$name" && [ -b "/dev/mapper/$name" ] || return 1
  dd if=/dev/zero of="/dev/mapper/$name" bs=1M oflag=direct 2>/dev/null
  echo "/dev/mapper/$name"
}

remove_integrity() { # LEVEL
  local disk
  for disk in $(rams "$1"); do dmsetup remove --retry "integrity-${disk##*/}" 2>/dev/null; done
}

run_md() { # LEVEL ROUND [MODE: J, B]: of dm-integrity
  local level=$1 chunk=--chunk=64 disks disk contender=md
  disks=$(rams "$level")
  if [ -n "${3:-}" ]; then
    contender=$([ "$3" = J ] && echo md-journal || echo md-bitmap)
    disks=
    for disk in $(rams "$level"); do disks+=" $(add_integrity "$disk" "$3")" || fail "no dm-integrity on $disk"; done
  fi
  [ "$level" = raid1 ] && chunk=
  # shellcheck disable=SC2086
  mdadm --create /dev/md0 --run --level="$level" --raid-devices="${MEMBERS[$level]}" $chunk --bitmap=internal --metadata=1.2 \
    --assume-clean $disks >"$WORK/mdadm.log" 2>&1 || { cat "$WORK/mdadm.log" >&2; fail "no $level of md's"; }
  case $level in raid5 | raid6) echo 8192 >/sys/block/md0/md/stripe_cache_size ;; esac
  warm_up /dev/md0
  measure "$contender" "$level" "$2" /dev/md0
  mdadm --stop /dev/md0 >/dev/null 2>&1
  remove_integrity "$level"
  forget "$level"
}

run_md-journal() { run_md "$1" "$2" J; }
run_md-bitmap() { run_md "$1" "$2" B; }

run_raidkit() { # LEVEL ROUND [CONTENDER OPTIONS]: more of bdev_raid_create, in JSON
  local level=$1 contender=${3:-raidkit} options=${4:-} disk name calls= names= volume=vol strip=',"strip_size_kb":64'
  for disk in $(rams "$level"); do
    name=$(basename "$disk")
    calls+="{\"method\":\"bdev_aio_create\",\"params\":{\"name\":\"$name\",\"filename\":\"$disk\"}},"
    names+="\"$name\","
  done
  [ "$level" = raid1 ] && strip=
  if [ "$level" = one ]; then
    volume=ram0
    calls+='{"method":"raidkit_nbd_export","params":{"bdev_name":"ram0","name":"ram0"}}'
  else
    calls+="{\"method\":\"bdev_raid_create\",\"params\":{\"name\":\"vol\",\"raid_level\":\"${level/raid5/raid5f}\",\"superblock\":true$strip$options,\"base_bdevs\":[${names%,}]}}"
  fi
  echo "{\"subsystems\":[{\"subsystem\":\"bdev\",\"config\":[$calls]}]}" >"$WORK/config.json"
  # shellcheck disable=SC2086
  "$NODE" "$RAIDKIT/apps/daemon/dist/main.js" -r "$WORK/rpc.sock" --nbd "unix:$NBD_SOCKET" --config "$WORK/config.json" --strict \
    --disk-health 0 $DAEMON_OPTIONS >"$WORK/server.log" 2>&1 &
  server=$!
  attach "$volume"
  warm_up /dev/nbd0
  measure "$contender" "$level" "$2" /dev/nbd0
  detach
  forget "$level"
}

run_raidkit-checksums() { run_raidkit "$1" "$2" raidkit-checksums ',"integrity":true'; }

finish() {
  [ -n "$server" ] && detach
  [ -e /sys/block/md0 ] && mdadm --stop /dev/md0 >/dev/null 2>&1
  [ -n "$INTEGRITY" ] && remove_integrity raid6
  rm -rf "$WORK"
}
trap finish EXIT

[ "$(id -u)" = 0 ] || fail 'root alone may do this'
[ -e "$RAIDKIT/apps/daemon/dist/main.js" ] || fail "no built tree in $RAIDKIT"
[ -z "$INTEGRITY" ] || modprobe dm-integrity || fail 'no dm-integrity'
modprobe -a raid1 raid10 raid456 nbd || fail 'no modules of md or nbd'
[ -e /dev/ram0 ] && fail '/dev/ram0 is there already'
modprobe brd rd_nr=6 rd_size=$((RAM_MIB * 1024)) || fail 'no RAM disks'
# Memory is taken now, and not by the first contender that writes.
for disk in $(rams raid6); do dd if=/dev/zero of="$disk" bs=1M 2>/dev/null; done
echo "machine $(uname -r) $(nproc) processors, node $("$NODE" --version), fio $(fio --version)" | tee -a "$SAMPLES"

for ((round = 1; round <= ROUNDS; round++)); do
  for level in $LEVELS; do
    contenders=(md raidkit)
    [ -n "$INTEGRITY" ] && contenders=(md md-journal md-bitmap raidkit raidkit-checksums)
    [ "$level" = one ] && contenders=(ram nbdkit raidkit)
    # Who is first changes from round to round.
    for ((i = 0; i < ${#contenders[@]}; i++)); do
      "run_${contenders[((round + i) % ${#contenders[@]})]}" "$level" "$round"
    done
  done
done
