#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# memsync-nbd mount with the real kernel client: direct and managed, by netlink
# and by ioctl, bytes compared, fsync durable at the source, a file system on
# it, many at once, peers and daemons that die, and nothing left behind.
#
# needs-kernel: nbd
set -u
nbd=$BIN/memsync-nbd
failures=0
pids=()
[ "$(id -u)" = 0 ] || { echo "needs root"; exit 77; }

complain() {
	echo "FAILED: $1"
	for f in "$TMP"/out "$TMP"/err; do [ -f "$f" ] && tail -n 15 "$f" | sed 's/^/    /'; done
	failures=$((failures + 1))
}

# shellcheck disable=SC2317 # called by the trap
cleanup() {
	umount "$TMP/mnt" 2>/dev/null
	for p in "${pids[@]}"; do kill -9 "$p" 2>/dev/null; done
	wait 2>/dev/null
	for s in /sys/block/nbd*/pid; do
		[ -e "$s" ] && d=${s#/sys/block/} && "$nbd" detach "/dev/${d%/pid}" 2>/dev/null
	done
}
trap cleanup EXIT

attached() { # how many devices
	local n=0
	for s in /sys/block/nbd*/pid; do [ -e "$s" ] && n=$((n + 1)); done
	echo $n
}
[ "$(attached)" = 0 ] || { echo "devices are attached already"; exit 1; }

# mount_it NAME ARGUMENTS...: in the background; $device and $pid
mount_it() {
	local name=$1
	shift
	"$nbd" mount "$@" >"$TMP/$name.out" 2>"$TMP/$name.err" &
	pid=$!
	pids+=("$pid")
	for _ in $(seq 200); do
		device=$(sed -n 's/^mounted on //p' "$TMP/$name.out")
		[ -n "$device" ] && return 0
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.05
	done
	complain "$name: is not mounted: $(cat "$TMP/$name.err")"
	return 1
}

# leave NAME PID WANT: end it by SIGTERM and look at its status
leave() {
	kill -TERM "$2"
	wait "$2"
	local status=$?
	[ $status = "$3" ] || complain "$1: status $status, not $3: $(cat "$TMP/$1.err")"
}

# source_it NAME ARGUMENTS...: a source; $uri
source_it() {
	local name=$1
	shift
	"$nbd" source "$@" >"$TMP/$name.out" 2>"$TMP/$name.err" &
	source_pid=$!
	pids+=("$source_pid")
	for _ in $(seq 100); do
		uri=$(sed -n 's/^listening on //p' "$TMP/$name.out")
		[ -n "$uri" ] && return 0
		sleep 0.05
	done
	complain "$name: does not listen"
}

# A size that is a multiple of nothing.
head -c $((3 * 1048576 + 777)) /dev/urandom >"$TMP/region"
cp "$TMP/region" "$TMP/before"

# --- every way to mount reads what is there ----------------------------------

for way in "--direct" "--managed" "--direct --variant=thesis" "--managed --variant=thesis" \
	"--managed --ready=sysfs --connections=3" "--direct --attach=ioctl --ready=uevent" \
	"--managed --pull-workers=0" "--managed --pull-first" "--direct --read-only"; do
	# shellcheck disable=SC2086
	mount_it read $way "file:path=$TMP/region" || continue
	cmp -n $((3 * 1048576 + 777)) "$device" "$TMP/before" >"$TMP/out" 2>&1 || complain "$way: bytes differ"
	[ "$(blockdev --getsize64 "$device")" -ge $((3 * 1048576 + 777)) ] || complain "$way: too small"
	[ "$(tail -c +$((3 * 1048576 + 778)) "$device" | tr -d '\0' | wc -c)" = 0 ] || complain "$way: padding is not zero"
	leave read "$pid" 0
	[ "$(attached)" = 0 ] || complain "$way: the device is left"
done
cmp -s "$TMP/region" "$TMP/before" || complain "reading changed the region"

# --- what fsync acknowledged is at the source --------------------------------

source_it src --listen=tcp://127.0.0.1:0 "file:path=$TMP/region"
for way in "--managed --push-interval=never" "--direct"; do
	head -c 1048576 /dev/urandom >"$TMP/new"
	# shellcheck disable=SC2086
	mount_it write $way "$uri" || continue
	dd if="$TMP/new" of="$device" bs=64K seek=3 conv=fsync,notrunc status=none || complain "$way: dd"
	cmp -s -n 1048576 -i $((3 * 65536)):0 "$TMP/region" "$TMP/new" || complain "$way: fsync, and it is not at the source"
	# and what nobody synced, after the end
	printf 'last words' | dd of="$device" bs=1 seek=100 conv=notrunc status=none
	leave write "$pid" 0
	[ "$(tail -c +101 "$TMP/region" | head -c 10)" = 'last words' ] || complain "$way: what was written last is lost"
done
[ "$(stat -c %s "$TMP/region")" = $((3 * 1048576 + 777)) ] || complain "the padding was sent"

kill -TERM "$source_pid"
wait "$source_pid"

# --- read-only ---------------------------------------------------------------

cp "$TMP/region" "$TMP/before"
if mount_it ro --read-only "file:path=$TMP/region"; then
	dd if=/dev/zero of="$device" bs=4096 count=1 conv=fsync status=none 2>/dev/null && complain "read-only was written"
	leave ro "$pid" 0
fi
cmp -s "$TMP/region" "$TMP/before" || complain "read-only changed the region"

# --- a file system, its files mapped -----------------------------------------

truncate -s 64M "$TMP/image"
mkdir -p "$TMP/mnt"
source_it fs --listen=tcp://127.0.0.1:0 "file:path=$TMP/image"
if command -v mkfs.ext4 >/dev/null && mount_it ext4 --managed "$uri"; then
	if ! mkfs.ext4 -q "$device" || ! mount "$device" "$TMP/mnt"; then complain "ext4"; fi
	cp -r /etc "$TMP/mnt/" 2>/dev/null
	head -c 5000000 /dev/urandom >"$TMP/mnt/mapped"
	sync "$TMP/mnt/mapped"
	find "$TMP/mnt" -type f -exec cat {} + | sha256sum >"$TMP/sum"
	umount "$TMP/mnt" || complain "umount"
	leave ext4 "$pid" 0
	fsck.ext4 -fn "$TMP/image" >"$TMP/out" 2>&1 || complain "fsck at the source"
	mount -o loop,ro "$TMP/image" "$TMP/mnt"
	find "$TMP/mnt" -type f -exec cat {} + | sha256sum | cmp -s - "$TMP/sum" || complain "files at the source differ"
	umount "$TMP/mnt"
fi

# --- many at once, each its own device ---------------------------------------

many=()
for i in 1 2 3 4 5 6; do
	attach=netlink
	[ $((i % 2)) = 0 ] && attach=ioctl
	"$nbd" mount --direct --attach=$attach "memory:size=${i}M,seed=$i" >"$TMP/many$i.out" 2>"$TMP/many$i.err" &
	many+=($!)
	pids+=($!)
done
for _ in $(seq 200); do
	[ "$(cat "$TMP"/many*.out | grep -c '^mounted on')" = 6 ] && break
	sleep 0.05
done
[ "$(cat "$TMP"/many*.out | sort -u | grep -c '^mounted on')" = 6 ] || complain "six at once: $(cat "$TMP"/many*.out "$TMP"/many*.err)"
for i in 1 2 3 4 5 6; do
	d=$(sed -n 's/^mounted on //p' "$TMP/many$i.out")
	if [ -z "$d" ] || [ "$(blockdev --getsize64 "$d")" != $((i * 1048576)) ]; then complain "six at once: $i has the wrong size"; fi
done
kill -TERM "${many[@]}"
wait "${many[@]}"
[ "$(attached)" = 0 ] || complain "six at once: devices are left"

# --- a command on the device -------------------------------------------------

# shellcheck disable=SC2016
"$nbd" mount --direct "file:path=$TMP/region" -- sh -c 'head -c 100 "$MEMSYNC_NBD"; exit 5' >"$TMP/out" 2>"$TMP/err"
[ $? = 5 ] || complain "command: status"
cmp -s -n 100 "$TMP/out" "$TMP/region" || complain "command: bytes"
"$nbd" mount --managed --json --workload=seq-read --pattern-seed=3 "pattern:size=4M,seed=3" >"$TMP/out" 2>"$TMP/err" || complain "workload"
grep -q '"verified":1' "$TMP/out" || complain "workload: not verified"

# --- the daemon dies, the peer dies ------------------------------------------

if mount_it killed --direct "file:path=$TMP/region"; then
	kill -9 "$pid"
	wait "$pid" 2>/dev/null
	timeout 20 dd if="$device" of=/dev/null bs=4096 count=1 iflag=direct status=none 2>/dev/null && complain "a dead daemon's device still reads"
	timeout 20 "$nbd" detach "$device" 2>"$TMP/err" || [ ! -e "/sys/block/${device#/dev/}/pid" ] || complain "a dead daemon's device cannot be detached"
	[ "$(attached)" = 0 ] || complain "a dead daemon's device is left"
fi
source_it dies --listen=tcp://127.0.0.1:0 "file:path=$TMP/region"
if mount_it orphan --direct "remote:uri=$uri,dead-after=2s"; then
	kill -9 "$source_pid"
	timeout 60 dd if="$device" of=/dev/null bs=4096 count=1 iflag=direct status=none 2>/dev/null && complain "a dead source's device still reads"
	kill -TERM "$pid"
	timeout 60 tail --pid="$pid" -f /dev/null || complain "a mount of a dead source does not end"
	wait "$pid"
	[ "$(attached)" = 0 ] || complain "a dead source's device is left"
fi

# --- numbers -----------------------------------------------------------------

if mount_it stats --managed --stats="$TMP/stats" "pattern:size=4M,seed=1"; then
	cat "$device" >/dev/null
	perl -MIO::Socket::UNIX -e 'print IO::Socket::UNIX->new(shift)->getlines' "$TMP/stats" >"$TMP/out"
	grep -q '^local_bytes 4194304$' "$TMP/out" || complain "stats"
	leave stats "$pid" 0
	[ ! -e "$TMP/stats" ] || complain "the stats' socket is left"
fi

# --- wrong usage -------------------------------------------------------------

usage() { # WHAT PATTERN ARGUMENTS...
	local what=$1 pattern=$2
	shift 2
	"$nbd" mount "$@" >"$TMP/out" 2>"$TMP/err"
	[ $? = 2 ] || complain "$what: not 2"
	if [ "$(wc -l <"$TMP/err")" != 1 ] || ! grep -q -- "$pattern" "$TMP/err"; then
		complain "$what: not one line with $pattern"
	fi
}
usage "both kinds" "exclude" --direct --managed "memory:size=1M"
usage "workers" "--pull-workers takes" --pull-workers=many "memory:size=1M"
usage "interval" "--push-interval takes" --push-interval=often "memory:size=1M"
usage "an empty region" "empty" "memory:size=0"
usage "a block" "512, 1K" --block=1000 "memory:size=1M"

exit $((failures > 0))
