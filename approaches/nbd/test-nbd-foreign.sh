#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# memsync-nbd serve among clients of others: libnbd's programs and its Python
# module, QEMU, nbdkit, fio, nbd-client, each over its own implementation of
# the protocol; TLS with and without certificates of clients.
# sanitizers: yes
set -u
nbd=$BIN/memsync-nbd
cd "$TMP" || exit 1
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; wait 2>/dev/null' EXIT
# The distribution's Python has the module; another one in PATH has not.
PATH=/usr/bin:/usr/sbin:$PATH

for p in nbdinfo nbdcopy nbdsh qemu-img qemu-io nbdkit fio nbd-client openssl jq; do
	command -v $p >/dev/null || {
		echo "$p is not installed"
		exit 77
	}
done

fail() {
	echo "test-nbd-foreign: $*" >&2
	exit 1
}

# expect STATUS COMMAND...: the output is in ./out, the errors in ./err
expect() {
	local want=$1 got
	shift
	timeout 60 "$@" >out 2>err
	got=$?
	[ "$got" = "$want" ] ||
		fail "exit $got instead of $want: $* $(cat out err)"
}

has() { # FILE TEXT
	grep -qF -- "$2" "$1" || fail "no \"$2\" in: $(cat "$1")"
}

# start NAME OPTIONS...: a server at ./NAME.sock; sets $pid, $uri
start() {
	local name=$1
	shift
	: >"$name.out"
	"$nbd" serve --listen "unix://$TMP/$name.sock" "$@" >"$name.out" 2>"$name.err" &
	pid=$!
	pids+=("$pid")
	for _ in $(seq 200); do
		uri=$(sed -n 's/^listening on //p' "$name.out")
		[ -n "$uri" ] && return
		kill -0 "$pid" 2>/dev/null || fail "$name: $(cat "$name.err")"
		sleep 0.05
	done
	fail "$name does not listen"
}

# stop: the last one started, which must end well
stop() {
	kill -TERM "$pid"
	wait "$pid"
	local status=$?
	[ $status = 0 ] || fail "the server ended with $status: $(cat ./*.err)"
	[ ! -e "${sock:-/nonexistent}" ] || fail "$sock is left over"
}

size=4198777 # a multiple of nothing
head -c $size /dev/urandom >data
truncate -s 1M sparse
printf x | dd of=sparse bs=1 seek=500000 conv=notrunc status=none

# --- libnbd's programs ------------------------------------------------------------
cp data file
start plain --description "A disk" "disk=file:path=$TMP/file" \
	"sparse=file:path=$TMP/sparse" odd=memory:size=1000001,seed=3
sock=$TMP/plain.sock
expect 0 nbdinfo --json --list "$uri"
[ "$(jq -r '[.exports[]."export-name"] | join(" ")' out)" = "disk sparse odd" ] ||
	fail "exports: $(cat out)"
jq -e '.protocol == "newstyle-fixed" and .structured and (.TLS | not)' out >/dev/null ||
	fail "protocol: $(cat out)"
jq -e --argjson size $size '.exports[0] | .description == "A disk" and
	."export-size" == $size and .can_flush and .can_fua and .can_trim and .can_zero and
	.can_cache and .can_df and .can_multi_conn and .can_fast_zero and
	(.is_read_only | not) and (.contexts | index("base:allocation")) and
	.block_size_minimum == 1 and .block_size_preferred == 4096 and
	.block_size_maximum == 33554432' out >/dev/null || fail "export: $(cat out)"
expect 0 nbdinfo --size "nbd+unix:///odd?socket=$sock"
has out 1000001
expect 0 nbdinfo --map --json "nbd+unix:///sparse?socket=$sock"
jq -e '([.[].length] | add) == 1048576 and any(.type == 3) and any(.type == 0)' out >/dev/null ||
	fail "map: $(cat out)"
expect 1 nbdinfo "nbd+unix:///none?socket=$sock"

expect 0 nbdcopy "$uri" copy
cmp data copy || fail "nbdcopy read other bytes"
# Every way that nbdcopy has of going about it.
for how in --synchronous --request-size=4096 --connections=1 --no-extents --allocated; do
	tac data | head -c $size >other
	expect 0 nbdcopy $how --flush other "$uri"
	cmp other file || fail "nbdcopy $how wrote other bytes"
	expect 0 nbdcopy $how "$uri" copy
	cmp other copy || fail "nbdcopy $how read other bytes"
done
truncate -s $size holes # zeros by WRITE_ZEROES
expect 0 nbdcopy --destination-is-zero holes "$uri"
cmp other file || fail "nothing was to be written"
expect 0 nbdcopy holes "$uri"
cmp holes file || fail "zeros were not written"
expect 0 nbdcopy data "$uri"

# --- libnbd from Python: every command, every order --------------------------------
cat >script.py <<'EOF'
import errno, random
assert h.get_structured_replies_negotiated()
size = h.get_size()
want = bytearray(open("data", "rb").read())
assert size == len(want)
# Structured reads tell where each byte belongs.
chunks = []
def chunk(part, offset, status, error):
    chunks.append((bytes(part), offset, status))
h.pread_structured(70000, 33, chunk)
assert b"".join(c[0] for c in sorted(chunks, key=lambda c: c[1])) == want[33:70033]
chunks.clear()
h.pread_structured(70000, 33, chunk, nbd.CMD_FLAG_DF)
assert len(chunks) == 1 and chunks[0][0] == want[33:70033]
# Writes of every kind.
for flags in (0, nbd.CMD_FLAG_FUA):
    h.pwrite(b"abc", 7, flags); want[7:10] = b"abc"
    h.zero(1000, 4000, flags); want[4000:5000] = bytes(1000)
    h.zero(1000, 6000, flags | nbd.CMD_FLAG_NO_HOLE); want[6000:7000] = bytes(1000)
    h.trim(65536, 65536, flags)
    got = h.pread(65536, 65536)
    assert got in (bytes(65536), want[65536:131072])
    want[65536:131072] = got
h.zero(10, 0, nbd.CMD_FLAG_FAST_ZERO); want[0:10] = bytes(10)
h.cache(size, 0)
h.flush()
assert h.pread(200000, 0) == want[:200000]
# Many at once, in whatever order they complete, on several parts.
random.seed(1)
bufs = []
for i in range(500):
    n = random.randrange(1, 60000)
    at = random.randrange(0, size - n)
    b = nbd.Buffer(n)
    bufs.append((h.aio_pread(b, at), b, at, n))
random.shuffle(bufs)
for cookie, b, at, n in bufs:
    while not h.aio_command_completed(cookie):
        h.poll(-1)
    assert b.to_bytearray() == want[at:at + n], at
# Block status adds up.
seen = []
def extent(context, offset, entries, error):
    assert context == "base:allocation"
    seen.extend(entries)
h.block_status(size, 0, extent)
assert sum(seen[0::2]) <= size and seen[0] > 0
seen.clear()
h.block_status(size, 0, extent, nbd.CMD_FLAG_REQ_ONE)
assert len(seen) == 2
# Errors, and that the connection goes on behind each. The client's own checks
# are off, so that it is the server which answers.
h.set_strict_mode(0)
def fails(code, f, *args):
    try:
        f(*args)
    except nbd.Error as e:
        assert e.errnum == code, (e.errnum, code)
    else:
        raise AssertionError("no error")
    assert h.pread(10, 20) == want[20:30]
fails(errno.EINVAL, h.pread, 10, size)
fails(errno.ENOSPC, h.pwrite, b"x" * 10, size - 9)
fails(errno.ENOSPC, h.zero, 10, size - 9)
fails(errno.EINVAL, h.trim, 10, size - 9)
fails(errno.EINVAL, h.block_status, 0, 0, extent)
fails(errno.ENOTSUP, h.zero, 10, 0, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
h.shutdown()
EOF
context() { # URI SCRIPT: libnbd with block status
	expect 0 nbdsh -c 'h.add_meta_context("base:allocation")' \
		-c 'h.set_uri_allow_local_file(True)' \
		-c "h.connect_uri('$1')" -c "exec(open('$2').read())"
}
context "$uri" script.py
# The oldest client that it can play: no structured replies, EXPORT_NAME.
expect 0 nbdsh -c 'h.set_request_structured_replies(False)' -c 'h.set_handshake_flags(0)' \
	-c "h.connect_uri('nbd+unix:///odd?socket=$sock')" \
	-c 'assert h.get_size() == 1000001 and not h.can_df()' \
	-c 'h.pwrite(b"old", 999998); assert h.pread(3, 999998) == b"old"' \
	-c 'h.flush(); h.shutdown()'
# Two handles: what one has written and flushed the other one sees.
expect 0 nbdsh -c 'g = nbd.NBD()' -c "h.connect_uri('$uri'); g.connect_uri('$uri')" \
	-c 'assert h.can_multi_conn()' \
	-c 'h.pwrite(b"seen", 12345); h.flush(); assert g.pread(4, 12345) == b"seen"'

# --- QEMU -----------------------------------------------------------------------
truncate -s 4194304 raw
start qemu "disk=file:path=$TMP/raw"
q=$pid qu=$uri
head -c 4194304 /dev/urandom >image
expect 0 qemu-img info "$qu"
has out "4 MiB (4194304 bytes)"
expect 0 qemu-img convert -n -f raw -O raw image "$qu"
cmp image raw || fail "qemu-img wrote other bytes"
expect 0 qemu-img compare -f raw -F raw image "$qu"
expect 0 qemu-img convert -f raw -O qcow2 "$qu" image.qcow2
expect 0 qemu-img compare -f raw -F qcow2 "$qu" image.qcow2
expect 0 qemu-img map --output=json -f raw "nbd+unix:///sparse?socket=$sock"
jq -e 'any(.zero) and any(.data)' out >/dev/null || fail "qemu-img map: $(cat out)"
expect 0 qemu-io -f raw "$qu" -c 'write -P 0x11 512 100k' -c 'read -P 0x11 512 100k' \
	-c 'write -f -P 0x22 1M 64k' -c 'write -z 2M 64k' -c 'write -zu 2560k 64k' \
	-c 'discard 3M 64k' -c flush -c 'read -P 0x22 1M 64k' -c 'read -P 0 2M 64k' \
	-c 'read -P 0 2560k 64k'
grep -qi fail out && fail "qemu-io: $(cat out)"
expect 0 qemu-io -f raw "$qu" -c 'aio_write -P 1 0 1M' -c 'aio_write -P 2 1M 1M' \
	-c 'aio_read 2M 1M' -c aio_flush -c 'read -P 1 0 1M' -c 'read -P 2 1M 1M'
grep -qi fail out && fail "qemu-io: $(cat out)"

# --- nbdkit in front, fio, nbd-client -------------------------------------------
# shellcheck disable=SC2016 # nbdkit's shell replaces it
expect 0 nbdkit -U - nbd socket="$TMP/qemu.sock" export=disk \
	--run 'nbdcopy "$uri" through && cmp through '"$TMP"'/raw'
if fio --enghelp 2>/dev/null | grep -qw nbd; then
	expect 0 fio --name=v --ioengine=nbd --uri="$qu" --rw=randrw --bs=4k --iodepth=16 \
		--size=2M --verify=crc32c --verify_fatal=1 --do_verify=1 --randseed=1
fi
expect 0 nbd-client -l -u "$TMP/plain.sock"
has out odd
has out sparse
pid=$q sock=$TMP/qemu.sock
stop

# --- read-only, blocks, thesis, many connections --------------------------------
start ro --read-only "disk=file:path=$TMP/data"
sock=$TMP/ro.sock
expect 0 nbdinfo --json "$uri"
jq -e '.exports[0].is_read_only' out >/dev/null || fail "not read-only: $(cat out)"
cp data before
expect 0 nbdsh -u "$uri" -c 'import errno' -c 'h.set_strict_mode(0)' -c '
for f, args in ((h.pwrite, (b"x", 0)), (h.zero, (1, 0)), (h.trim, (1, 0))):
    try:
        f(*args)
    except nbd.Error as e:
        assert e.errnum == errno.EPERM, e
    else:
        raise AssertionError("written")
assert len(h.pread(10, 0)) == 10
h.flush()'
cmp data before || fail "a read-only region was changed"
stop
start blocks --minimum-block 512 --preferred-block 64K --maximum-block 1M --no-multi-conn \
	odd=memory:size=1000001,seed=3
sock=$TMP/blocks.sock
expect 0 nbdinfo --json "$uri"
jq -e '.exports[0] | ."export-size" == 1000448 and .block_size_minimum == 512 and
	.block_size_preferred == 65536 and .block_size_maximum == 1048576 and
	(.can_multi_conn | not)' out >/dev/null || fail "blocks: $(cat out)"
expect 0 nbdsh -u "$uri" -c 'h.set_strict_mode(0)' -c '
for n, at in ((511, 0), (512, 1), (2097152, 0)):
    try:
        h.pread(n, at)
    except nbd.Error as e:
        continue
    raise AssertionError("served")
assert h.pread(512, 1000448 - 512)[65:] == bytes(512 - 65)'
expect 0 qemu-img info "$uri"
has out "1000448 bytes"
stop
start thesis --variant thesis disk=memory:size=1M,seed=1
sock=$TMP/thesis.sock
expect 2 nbdinfo --can multi-conn "$uri" # which is no
expect 0 nbdcopy "$uri" copy
expect 0 nbdcopy copy "$uri"
stop

# --- TLS ---------------------------------------------------------------------
mkdir ca alien
authority() { # FOLDER
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
		-subj "/CN=$1" -keyout "$1/ca-key.pem" -out "$1/ca-cert.pem" 2>/dev/null
}
signed() { # FOLDER WHO
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
		-keyout "$1/$2-key.pem" -out "$1/$2.csr" 2>/dev/null &&
		openssl x509 -req -in "$1/$2.csr" -CA "$1/ca-cert.pem" -CAkey "$1/ca-key.pem" \
			-CAcreateserial -days 2 -out "$1/$2-cert.pem" \
			-extfile <(echo "subjectAltName=DNS:localhost,IP:127.0.0.1") 2>/dev/null
}
for folder in ca alien; do
	if ! authority $folder || ! signed $folder client; then fail "openssl"; fi
done
signed ca server || fail "openssl"
tls=(--tls-cert ca/server-cert.pem --tls-key ca/server-key.pem)
tcp=(--listen nbd://localhost:0/)
cp data secret
start tls "${tcp[@]}" --tls require "${tls[@]}" --tls-ca ca/ca-cert.pem \
	"disk=file:path=$TMP/secret" odd=memory:size=1000001,seed=3
port=$(grep -oE ':[0-9]+' <<<"$uri" | tr -d :)
[ "${uri%%:*}" = nbds ] || fail "the address of a server that wants TLS: $uri"
secure() { # FOLDER: a URI with the certificates in it
	echo "nbds://localhost:$port/?tls-certificates=$TMP/$1"
}
expect 0 nbdinfo --json "$(secure ca)"
jq -e .TLS out >/dev/null || fail "no TLS: $(cat out)"
expect 0 nbdcopy "$(secure ca)" copy
cmp copy data || fail "TLS: other bytes were read"
tac data | head -c $size >other.data
expect 0 nbdcopy --flush other.data "$(secure ca)"
cmp other.data secret || fail "TLS: other bytes were written"
cp other.data data
context "$(secure ca)" script.py
mkdir qca && cp ca/ca-cert.pem ca/client-cert.pem ca/client-key.pem qca/
creds=(--object "tls-creds-x509,id=t,dir=$TMP/qca,endpoint=client,verify-peer=on")
expect 0 qemu-img info "${creds[@]}" --image-opts \
	"driver=nbd,host=localhost,port=$port,export=odd,tls-creds=t"
# What comes in the clear: an option is refused, the oldest one ends it, and
# what lies behind STARTTLS is not taken for something said under TLS.
expect 0 python3 -c "
import socket, struct
def option(kind, data=b''):
    return b'IHAVEOPT' + struct.pack('>II', kind, len(data)) + data
def talk(data):
    s = socket.create_connection(('localhost', $port), 10)
    got = b''
    while len(got) < 18:
        got += s.recv(18 - len(got))
    s.sendall(struct.pack('>I', 3) + data)
    s.shutdown(socket.SHUT_WR)
    got = b''
    while True:
        part = s.recv(4096)
        if not part:
            return got
        got += part
assert struct.unpack('>QIII', talk(option(3))[:20])[2] == 0x80000005
assert talk(option(1, b'disk')) == b''
assert talk(option(5) + option(3)) == b''
assert struct.unpack('>QIII', talk(option(5))[:20])[2] == 1
"
# In the clear, with a foreign certificate, with none: no.
expect 1 nbdinfo "nbd://localhost:$port/"
expect 1 nbdinfo "$(secure alien)"
mkdir none && cp ca/ca-cert.pem none/
expect 1 nbdinfo "$(secure none)"
expect 0 nbdinfo --size "$(secure ca)"
kill -TERM "$pid"
wait "$pid" || fail "the TLS server ended with $?"
# One that leaves it to its clients, and asks for no certificate.
start choice "${tcp[@]}" --tls on "${tls[@]}" disk=memory:size=64K
port=$(grep -oE ':[0-9]+' <<<"$uri" | tr -d :)
expect 0 nbdinfo --size "nbd://localhost:$port/"
expect 0 nbdinfo --size "$(secure none)"
expect 1 nbdinfo --size "$(secure alien)"
kill -TERM "$pid"
wait "$pid" || fail "the TLS server ended with $?"

# --- a server that is killed, wrong usage ---------------------------------------
start killed disk=memory:size=64M
expect 0 nbdinfo --size "$uri"
kill -KILL "$pid"
wait "$pid" 2>/dev/null
expect 1 nbdinfo --size "$uri"
start killed disk=memory:size=64K # the socket left over is no obstacle
stop
expect 2 "$nbd" serve
expect 2 "$nbd" serve --listen nbd://localhost:0/name memory:size=1M
has err "is not nbd://"
expect 2 "$nbd" serve --listen tcp://localhost:0/name memory:size=1M
has err "names an export"
expect 2 "$nbd" serve --minimum-block 3 memory:size=1M
expect 2 "$nbd" serve --tls on memory:size=1M
has err certificate
expect 2 "$nbd" serve --tls-cert x memory:size=1M
expect 2 "$nbd" serve a=memory:size=1M a=memory:size=1M
has err "two regions are called a"
expect 2 "$nbd" nothing
expect 1 "$nbd" serve --listen unix:///nonexistent/s memory:size=1M
expect 1 "$nbd" serve "file:path=$TMP/nonexistent"
expect 0 "$nbd" --help
has out serve
exit 0
