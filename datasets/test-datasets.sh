#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The dataset generators, for real and at small sizes: what each makes is of
# the kind its name says, repeats as far as it claims, agrees with its
# manifest, is used again only while it does, and leaves nothing behind.
# shellcheck disable=SC2317 # functions called by way of check

set -u
export LC_ALL=C
top=${TOP:-$(cd -P -- "$(dirname -- "$0")/.." && pwd)}
tmp=${TMP:-$(mktemp -d)}/datasets-$$
[[ -n ${TMP:-} ]] || trap 'rm -rf -- "$tmp" "${tmp%/*}"' EXIT
PATH=$PATH:/usr/sbin:/sbin
out=$tmp/out
fails=0
status=0

for tool in perl openssl redis-cli sqlite3 mke2fs debugfs e2fsck setpriv; do
	if ! type -P "$tool" >/dev/null; then
		echo "no $tool here (make deps installs it)"
		exit 77
	fi
done
mkdir -p "$tmp"

check()
{
	local what=$1

	shift
	"$@" && return
	printf 'FAIL: %s (status %s)\n' "$what" "$status"
	sed 's/^/  /' "$tmp/err" 2>/dev/null
	fails=$((fails + 1))
}

is()
{
	[[ $1 == "$2" ]]
}

has()
{
	[[ $1 == *"$2"* ]]
}

gen()
{
	"$top/datasets/generate" "$@" >"$tmp/stdout" 2>"$tmp/err" </dev/null
	status=$?
}

# A value of a manifest, read by something that is not its writer.
field()
{
	sed -n 's/^ *"'"$2"'" : "\{0,1\}\([^",]*\)"\{0,1\},\{0,1\}$/\1/p' "$1"
}

hash_of()
{
	sha256sum <"$1" | sed 's/ .*//'
}

# between VALUE LEAST MOST, all decimal fractions
between()
{
	perl -e 'exit !($ARGV[0] =~ /^[0-9.]+$/ && $ARGV[0] >= $ARGV[1] &&
		$ARGV[0] <= $ARGV[2])' -- "$@"
}

# made BASE BYTES: the last run made or found this dataset.
made()
{
	local base=$1 manifest=$out/$1.json

	check "$base: ok" is "$status" 0
	check "$base: stdout is the path" is "$(cat "$tmp/stdout")" \
		"$out/$base.bin"
	check "$base: size" is "$(stat -c %s "$out/$base.bin")" "$2"
	check "$base: size in the manifest" is \
		"$(field "$manifest" size_bytes)" "$2"
	check "$base: hash in the manifest" is \
		"$(field "$manifest" sha256)" "$(hash_of "$out/$base.bin")"
	check "$base: nothing but data and manifest" clean
}

clean()
{
	[[ -z $(find "$out" -mindepth 1 ! -name '*.bin' ! -name '*.json') ]]
}

# repeats NAME SIZE BASE: made anew it is the same, of another seed not.
repeats()
{
	local before

	before=$(hash_of "$out/$3.bin")
	gen "$1" --size "$2" --out "$tmp/again"
	check "$3: repeats" is "$before" "$(hash_of "$tmp/again/$3.bin")"
	gen "$1" --size "$2" --out "$tmp/again" --seed 2
	check "$3: another seed, other bytes" \
		[ "$before" != "$(hash_of "$tmp/again/${3%-1}-2.bin")" ]
	rm -rf -- "$tmp/again"
}

test_incompressible()
{
	local manifest=$out/incompressible-1M-1.json

	gen incompressible --size 1M --out "$out"
	made incompressible-1M-1 1048576
	check 'incompressible: does not compress' between \
		"$(field "$manifest" zlib1_ratio)" 1.0 1.01
	check 'incompressible: no zero page' is \
		"$(field "$manifest" zero_page_share)" 0
	# Its bytes are a promise: results of years refer to them.
	check 'incompressible: the bytes of version 1' is \
		"$(field "$manifest" sha256)" "$(expected_stream)"
	repeats incompressible 1M incompressible-1M-1
	gen incompressible --size 4097 --out "$out"
	made incompressible-4097-1 4097
	cmp -s -n 4097 "$out/incompressible-4097-1.bin" \
		"$out/incompressible-1M-1.bin"
	check 'incompressible: a smaller one is the beginning' is $? 0
	gen incompressible --size 1 --out "$out"
	made incompressible-1-1 1
}

# The definition again, without the driver.
expected_stream()
{
	local key

	key=$(printf 'memsync incompressible 1' | sha256sum | sed 's/ .*//')
	head -c 1048576 /dev/zero |
		openssl enc -aes-256-ctr -K "$key" -iv "$(printf %032d 0)" | sha256sum |
		sed 's/ .*//'
}

test_zero()
{
	gen zero --size 100K --out "$out"
	made zero-100K-1 102400
	cmp -s -n 102400 "$out/zero-100K-1.bin" /dev/zero
	check 'zero: zeros' is $? 0
	check 'zero: share in the manifest' is \
		"$(field "$out/zero-100K-1.json" zero_page_share)" 1
}

test_sparse()
{
	local share data

	gen sparse --size 16M --out "$out"
	made sparse-16M-1 16777216
	check 'sparse: three quarters of the pages are zero' is \
		"$(field "$out/sparse-16M-1.json" zero_page_share)" 0.75
	repeats sparse 16M sparse-16M-1
	gen sparse:share=10,run=16 --size 16M --out "$out"
	share=sparse-run=16-share=10-16M-1
	made "$share" 16777216
	data=$((4096 * 10 / 100))
	check 'sparse: one tenth is data' is \
		"$(field "$out/$share.json" zero_page_share)" \
		"$(perl -e 'printf "%.6f", 1 - shift() / 4096' "$data" |
			sed 's/0*$//')"
	# A file system may round extents up, hence not exactly.
	check 'sparse: the holes are real' between \
		"$(field "$out/$share.json" allocated_bytes)" \
		$((data * 4096)) $((data * 4096 * 2))
	gen sparse:share=99,run=1048576 --size 64K --out "$out"
	made sparse-run=1048576-share=99-64K-1 65536
}

test_redis_heap()
{
	local bin=$out/redis-heap-8M-1.bin

	gen redis-heap --size 8M --out "$out"
	made redis-heap-8M-1 8388608
	check 'redis-heap: says that it repeats in kind' is \
		"$(field "$out/redis-heap-8M-1.json" reproducible)" kind
	# What the workload wrote is found in the memory.
	check 'redis-heap: holds the sessions' grep -qa 'session:1[0-9]' "$bin"
	check 'redis-heap: holds the users' grep -qa '@example.org' "$bin"
	check 'redis-heap: not mostly zeros' between \
		"$(field "$out/redis-heap-8M-1.json" zero_page_share)" 0 0.5
	check 'redis-heap: compresses as memory does' between \
		"$(field "$out/redis-heap-8M-1.json" zlib1_ratio)" 0.1 0.8
	check 'redis-heap: no server left' [ -z "$(servers)" ]
}

# The workload itself repeats, though addresses do not.
test_redis_load()
{
	local load=$top/datasets/kinds/redis-load.pl

	perl -I"$top/datasets" "$load" 1 0 500 >"$tmp/load-a"
	perl -I"$top/datasets" "$load" 1 0 250 >"$tmp/load-b"
	perl -I"$top/datasets" "$load" 1 250 250 >>"$tmp/load-b"
	perl -I"$top/datasets" "$load" 2 0 500 >"$tmp/load-c"
	cmp -s "$tmp/load-a" "$tmp/load-b"
	check 'redis workload: the same in one piece and in two' is $? 0
	cmp -s "$tmp/load-a" "$tmp/load-c"
	check 'redis workload: another seed, other commands' is $? 1
}

test_sqlite()
{
	local bin=$out/sqlite-1M-1.bin size

	gen sqlite --size 1M --out "$out"
	made sqlite-1M-1 1048576
	check 'sqlite: passes the check of SQLite' is \
		"$(sqlite3 "$bin" 'PRAGMA integrity_check')" ok
	check 'sqlite: orders have lines' is "$(sqlite3 "$bin" \
		'SELECT count(*) > 1000 FROM orders JOIN line ON orders.id = orders')" 1
	check 'sqlite: customers can be found' is "$(sqlite3 "$bin" \
		"SELECT count(*) > 50 FROM customer WHERE mail LIKE '%@%.example'")" 1
	repeats sqlite 1M sqlite-1M-1
	for size in 256K 260K 300K 420K 1000K; do
		gen sqlite --size "$size" --out "$out"
		check "sqlite: exactly $size" is "$status" 0
	done
}

test_ext4()
{
	local bin=$out/ext4-fill=50-32M-1.bin

	gen ext4:fill=50 --size 32M --out "$out"
	made 'ext4-fill=50-32M-1' 33554432
	e2fsck -f -n "$bin" >"$tmp/fsck" 2>&1
	check 'ext4: passes e2fsck' is $? 0
	dumpe2fs -h "$bin" >"$tmp/super" 2>/dev/null
	check 'ext4: half full' between "$(sed -n \
		's/^Free blocks: *//p' "$tmp/super")" 2000 4096
	# The same bytes from a tree that another file system lists otherwise.
	repeats ext4:fill=50 32M 'ext4-fill=50-32M-1'
	[[ -d /dev/shm && -w /dev/shm ]] || return
	gen ext4:fill=50 --size 32M --out "/dev/shm/memsync-datasets-$$"
	check 'ext4: the same on another file system' is "$(hash_of "$bin")" \
		"$(hash_of "/dev/shm/memsync-datasets-$$/ext4-fill=50-32M-1.bin")"
	rm -rf -- "/dev/shm/memsync-datasets-$$"
}

test_elf_tree()
{
	gen elf-tree --size 4M --out "$out"
	made elf-tree-4M-1 4194304
	head -c 516 "$out/elf-tree-4M-1.bin" | tail -c 4 >"$tmp/magic"
	printf '\177ELF' | cmp -s - "$tmp/magic"
	check 'elf-tree: the first file is ELF' is $? 0
	repeats elf-tree 4M elf-tree-4M-1
	gen elf-tree --size 900G --out "$out"
	check 'elf-tree: more than there is: 1' is "$status" 1
	check 'elf-tree: more than there is: left nothing' clean
}

test_reuse()
{
	local bin=$out/incompressible-1M-1.bin before

	before=$(stat -c %i "$bin")
	gen incompressible --size 1024K --out "$out"
	check 'used again' is "$before" "$(stat -c %i "$bin")"
	check 'used again: said' has "$(cat "$tmp/err")" 'there and unchanged'
	gen incompressible --size 1M --out "$out" --force
	check 'forced: made anew' [ "$before" != "$(stat -c %i "$bin")" ]
	gen --check "$out/incompressible-1M-1.json"
	check 'check: ok' is "$status" 0
	# One byte in the middle changes, size and time do not matter.
	printf 'X' | dd of="$bin" bs=1 seek=500000 conv=notrunc status=none
	gen --check "$out/incompressible-1M-1.json"
	check 'check of a damaged one: 1' is "$status" 1
	check 'check of a damaged one: one line' is "$(cat "$tmp/err")" \
		"generate: $bin: differs from its manifest"
	gen incompressible --size 1M --out "$out"
	made incompressible-1M-1 1048576
	check 'a damaged one is made anew' is "$(hash_of "$bin")" \
		"$(expected_stream)"
	sed -i 's/"generator_version" : 1/"generator_version" : 0/' \
		"$out/incompressible-1M-1.json"
	gen incompressible --size 1M --out "$out"
	check 'one of another version is made anew' has \
		"$(cat "$tmp/err")" 'making incompressible'
	echo '{"file": "../x"' >"$out/broken.json"
	gen --check "$out/broken.json"
	check 'check of no manifest: 1' is "$status" 1
	rm "$out/broken.json"
}

# usage WHAT LINE ARGUMENT...: exit 2 and this line first.
usage()
{
	local what=$1 line=$2

	shift 2
	gen "$@" --out "$tmp/none"
	check "$what: 2" is "$status" 2
	check "$what: line" is "$(cat "$tmp/err")" \
		"generate: $line (see --help)"
	check "$what: no folder made" [ ! -e "$tmp/none" ]
}

test_arguments()
{
	local size

	usage 'no name' 'no dataset named'
	usage 'unknown name' "no dataset 'nosuch' ('--list' names them)" \
		nosuch --size 1M
	usage 'path as name' "no dataset '../kinds/zero' ('--list' names them)" \
		../kinds/zero --size 1M
	usage 'no size' 'zero: --size is missing' zero
	for size in 0 -1 1.5M 1T 08 1MB '' x 99999999999999G; do
		[[ -z $size ]] && continue
		usage "size $size" \
			"'$size' is not a size (1 byte to 1 TiB; K, M, G)" \
			zero --size "$size"
	done
	for size in -1 4294967296 1x 01; do
		usage "seed $size" \
			"'$size' is not a seed (0 to 4294967295)" \
			zero --size 1M --seed "$size"
	done
	usage 'unknown option' "unknown option '--frob'" zero --frob
	usage 'two names' "one dataset at a time, not 'sparse' too" zero sparse
	usage 'no such parameter' "zero: no parameter 'share'" \
		zero:share=1 --size 1M
	usage 'not a parameter' "sparse: 'share' is not PARAM=VALUE" \
		sparse:share --size 1M
	usage 'share out of range' \
		"sparse: share must be a number from 1 to 99, not '100'" \
		sparse:share=100 --size 1M
	usage 'not a multiple' \
		'sqlite: size must be a multiple of 4096 bytes' \
		sqlite --size 1000001
	usage 'too small' 'redis-heap: size must be at least 1M' \
		redis-heap --size 64K
	gen --list
	check 'list: ok' is "$status" 0
	for size in incompressible sparse zero redis-heap sqlite ext4 elf-tree; do
		check "list names $size" grep -q "^$size " "$tmp/stdout"
		check "README names $size" grep -q "\`$size\`" \
			"$top/datasets/README.md"
	done
}

# The tools a machine may lack, and the disk it may have filled.
test_refusals()
{
	local tool

	mkdir "$tmp/bin"
	for tool in "$BASH" dirname basename env perl openssl setpriv flock; do
		ln -sf "$(type -P "$tool")" "$tmp/bin/"
	done
	PATH=$tmp/bin:/nonexistent "$BASH" "$top/datasets/generate" redis-heap \
		--size 1M --out "$tmp/none" >"$tmp/stdout" 2>"$tmp/err"
	status=$?
	check 'missing tool: 1' is "$status" 1
	check 'missing tool: one line' is "$(cat "$tmp/err")" \
		"generate: redis-heap: needs 'redis-cli', which is not installed ('make deps' installs what is missing)"
	gen zero --size 1M --out /proc/nowhere
	check 'folder cannot be made: 1' is "$status" 1
	check 'folder cannot be made: line' is "$(cat "$tmp/err")" \
		'generate: cannot create /proc/nowhere'
	gen zero --size 1000G --out "$tmp/full"
	check 'disk too small: 1' is "$status" 1
	check 'disk too small: one line' grep -qE \
		'^generate: .*/full: 1073741824000 bytes are needed and [0-9]+ are free$' \
		"$tmp/err"
	test_disk_full
}

# A limit on the size of files is the nearest to a full disk that needs no
# root: the write fails in the middle.
test_disk_full()
{
	(
		ulimit -f 2048
		trap '' XFSZ
		gen incompressible --size 8M --out "$tmp/full"
		exit "$status"
	)
	status=$?
	check 'write fails: 1' is "$status" 1
	check 'write fails: one line after the first' is \
		"$(wc -l <"$tmp/err")" 2
	check 'write fails: the reason' grep -q '^generate: incompressible: .' \
		"$tmp/err"
	check 'write fails: left nothing' is "$(ls -A "$tmp/full")" ''
}

# Redis servers whose folder is ours (redis-server is one of two names).
servers()
{
	local dir

	for dir in /proc/[0-9]*; do
		[[ $(readlink "$dir/cwd") == "$tmp"* ]] &&
			[[ $(readlink "$dir/exe") =~ redis-(server|check-rdb) ]] &&
			echo "${dir#/proc/}"
	done 2>/dev/null
}

# wait_for COMMAND...: until it succeeds, for at most 20 s
wait_for()
{
	local tries=400

	until "$@"; do
		((--tries > 0)) || return 1
		sleep 0.05
	done
}

server_runs()
{
	[[ -n $(servers) ]]
}

no_server_runs()
{
	[[ -z $(servers) ]]
}

# The signal reaches the driver alone, as from a supervisor; a terminal's
# Ctrl-C is no different, as what makes the data is a group of its own.
test_interrupt()
{
	local signal code driver

	for signal in INT:130 TERM:143 HUP:129; do
		code=${signal#*:} signal=${signal%:*}
		# A shell's background jobs ignore SIGINT; env undoes that.
		env --default-signal=INT "$top/datasets/generate" redis-heap \
			--size 512M --out "$tmp/stop" \
			>"$tmp/stdout" 2>"$tmp/err" </dev/null &
		driver=$!
		check "$signal: redis came up" wait_for server_runs
		kill "-$signal" "$driver"
		wait "$driver"
		status=$?
		check "$signal: exit" is "$status" "$code"
		check "$signal: no server left" no_server_runs
		check "$signal: no file left" is "$(ls -A "$tmp/stop")" ''
	done
}

# Killed outright, driver and the server's parent cannot clean up: the server
# dies by its death signal, and the next run removes the folder.
test_killed()
{
	local driver parent

	"$top/datasets/generate" redis-heap --size 512M --out "$tmp/stop" \
		>"$tmp/stdout" 2>"$tmp/err" </dev/null &
	driver=$!
	check 'killed: redis came up' wait_for server_runs
	parent=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$(servers)/status")
	kill -KILL "$driver" "$parent"
	wait "$driver" 2>/dev/null
	check 'killed: no server left' wait_for no_server_runs
	gen zero --size 4K --out "$tmp/stop"
	check 'killed: next run ok' is "$status" 0
	check 'killed: next run cleans' is \
		"$(find "$tmp/stop" -mindepth 1 | wc -l)" 2
}

test_two_at_once()
{
	local first

	"$top/datasets/generate" incompressible --size 32M --out "$tmp/two" \
		>"$tmp/first" 2>&1 </dev/null &
	first=$!
	gen incompressible --size 32M --out "$tmp/two"
	wait "$first"
	check 'two at once: both ok' is "$status $?" "0 0"
	check 'two at once: made once' is \
		"$(cat "$tmp/first" "$tmp/err" | grep -c making)" 1
	gen --check "$tmp/two/incompressible-32M-1.json"
	check 'two at once: whole' is "$status" 0
}

test_incompressible
test_zero
test_sparse
test_redis_heap
test_redis_load
test_sqlite
test_ext4
test_elf_tree
test_reuse
test_arguments
test_refusals
test_interrupt
test_killed
test_two_at_once
rm -rf -- "$tmp"
((fails == 0)) || printf '%d checks failed\n' "$fails"
exit $((fails > 0))
