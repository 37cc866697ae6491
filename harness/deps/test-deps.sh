#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The installer of packages against programs that stand in for dpkg-query,
# apt, id and sudo: what it asks of them, what it says, and what it leaves
# behind. Nothing is installed and nothing is asked of the network.
# shellcheck disable=SC2317 # functions called by way of check
# shellcheck disable=SC2016 # the bodies of the stand-ins

set -u
top=${TOP:-$(cd -P -- "$(dirname -- "$0")/../.." && pwd)}
tmp=${TMP:-$(mktemp -d)}/deps-$$
[[ -n ${TMP:-} ]] || trap 'rm -rf -- "$tmp" "${tmp%/*}"' EXIT
fails=0
status=0

check()
{
	local what=$1

	shift
	"$@" && return
	printf 'FAIL: %s (status %s)\n' "$what" "$status"
	sed 's/^/  /' "$tmp/err" "$tmp/calls" 2>/dev/null
	fails=$((fails + 1))
}

is()
{
	[[ $1 == "$2" ]]
}

# A program of the test: its name, then its body on stdin.
fake()
{
	{ printf '#!%s\n' "$BASH" && cat; } >"$tmp/bin/$1"
	chmod 755 "$tmp/bin/$1"
}

# The state a test starts from: root on a Debian machine that has "one".
fresh()
{
	local tool

	rm -rf -- "$tmp"
	mkdir -p "$tmp/bin" "$tmp/deps" "$tmp/sbin"
	: >"$tmp/calls"
	cp "$top/harness/deps/install" "$tmp/deps/"
	printf '# a list\none # because\ntwo | zwei # because\n' \
		>"$tmp/deps/build.txt"
	printf 'one # because\n' >"$tmp/deps/bench.txt"
	for tool in cat chmod dirname flock grep mktemp rm sed sleep tee touch \
		setsid; do
		ln -s "$(type -P "$tool")" "$tmp/bin/$tool"
	done
	echo one >"$tmp/installed"
	echo two >"$tmp/known"
	fake id <<<'echo 0'
	fake dpkg-query <<'END'
for p; do grep -qx "$p" "$STATE/installed" && echo "ii |$p|"; done
exit 1
END
	fake apt-cache <<'END'
grep -qx "$2" "$STATE/known" && printf '%s:\n  Candidate: 1\n' "$2"
exit 0
END
	fake apt-get <<'END'
echo "apt-get $*" >>"$STATE/calls"
echo "env $DEBIAN_FRONTEND" >>"$STATE/calls"
for a; do
	case $a in
	install)
		[[ ! -x $DEPS_SBIN/policy-rc.d ]] || {
			"$DEPS_SBIN/policy-rc.d" redis start
			echo "policy $?" >>"$STATE/calls"
		}
		[[ ! -f $STATE/stuck ]] || exec sleep 30
		echo two >>"$STATE/installed" ;;
	esac
done
END
}

deps()
{
	STATE=$tmp PATH=$tmp/bin DEPS_SBIN=$tmp/sbin DEPS_LOCK_WAIT=1 \
		"$BASH" "$tmp/deps/install" "$@" \
		>"$tmp/out" 2>"$tmp/err" </dev/null
	status=$?
}

last_line()
{
	tail -n 1 "$tmp/err"
}

nothing_left()
{
	[[ -z $(ls -A "$tmp/sbin") && $(last_line) != *'cannot'* ]]
}

test_nothing_to_do()
{
	fresh
	deps bench
	check 'all there: ok' is "$status" 0
	check 'all there: silent' is "$(cat "$tmp/out" "$tmp/err")" ''
	check 'all there: apt not called' is "$(cat "$tmp/calls")" ''
	echo zwei >>"$tmp/installed"
	deps build bench
	check 'an alternative counts' is "$status$(cat "$tmp/calls")" 0
	fake dpkg-query <<<'printf "rc |one|\nhi |two|\n"; exit 1'
	deps --dry-run build
	check 'removed is missing, held is not' is "$(last_line)" \
		'install: going to install: one'
}

test_install()
{
	fresh
	deps build
	check 'installs' is "$status" 0
	check 'says what' is "$(head -n 1 "$tmp/err")" \
		'install: going to install: two or zwei'
	check 'no update' grep -qv 'update' "$tmp/calls"
	check 'once' is "$(grep -c '^apt-get' "$tmp/calls")" 1
	check 'the known alternative, no recommends' grep -q \
		'^apt-get .*install --no-install-recommends two$' "$tmp/calls"
	check 'asks nothing' grep -qx 'env noninteractive' "$tmp/calls"
	check 'services are refused meanwhile' grep -qx 'policy 101' "$tmp/calls"
	check 'nothing left' nothing_left
}

test_dry_run()
{
	fresh
	deps --dry-run build
	check 'dry run: 1 when missing' is "$status" 1
	check 'dry run: apt not called' is "$(cat "$tmp/calls")" ''
}

test_update()
{
	fresh
	: >"$tmp/known"
	deps build
	check 'unknown package: 1' is "$status" 1
	check 'unknown package: named' is "$(last_line)" \
		'install: no package source has: two or zwei'
	check 'unknown package: one update' is \
		"$(grep -c '^apt-get.* update$' "$tmp/calls")" 1
	check 'unknown package: nothing left' nothing_left
	fake apt-get <<'END'
echo "apt-get $*" >>"$STATE/calls"
case $* in
*update) touch "$STATE/new" ;;
*) [[ -f $STATE/new ]] || { echo '404 Not Found'; exit 100; }
	echo two >>"$STATE/installed" ;;
esac
END
	echo two >"$tmp/known"
	: >"$tmp/calls"
	deps build
	check 'old lists: ok after an update' is "$status" 0
	check 'old lists: three calls' is "$(grep -c . "$tmp/calls")" 3
	check 'old lists: nothing left' nothing_left
}

test_failures()
{
	fresh
	fake apt-get <<<'echo "E: broken"; exit 100'
	deps build
	check 'apt fails: 1' is "$status" 1
	check 'apt fails: update named' is "$(last_line)" \
		'install: apt-get update failed (above is why)'
	check 'apt fails: nothing left' nothing_left
	fake apt-get <<<'exit 0'
	deps build
	check 'apt lies: 1' is "$status" 1
	check 'apt lies: said' is "$(last_line)" \
		'install: still missing: two or zwei'
	fake apt-get <<<'echo "E: Could not get lock /var/x"; exit 100'
	deps build
	check 'lock held: 1' is "$status" 1
	check 'lock held: said' is "$(last_line)" \
		"install: another process has held apt's lock for 1 s"
	check 'lock held: nothing left' nothing_left
	fake apt-get <<'END'
[[ -f $STATE/second ]] && echo two >>"$STATE/installed" && exit 0
touch "$STATE/second"
echo "E: Could not get lock /var/x"
exit 100
END
	deps build
	check 'lock let go: ok' is "$status" 0
}

test_no_root()
{
	fresh
	fake id <<<'echo 1000'
	deps bench
	check 'no root needed when all is there' is "$status" 0
	deps build
	check 'no sudo: 1' is "$status" 1
	check 'no sudo: line' is "$(last_line)" \
		'install: needs root to install, and there is no sudo; missing: two or zwei'
	fake sudo <<<'echo "sudo: a password is required" >&2; exit 1'
	deps build
	check 'sudo password: 1' is "$status" 1
	check 'sudo password: line' is "$(last_line)" \
		'install: needs root to install, and sudo wants a password; missing: two or zwei'
	check 'no root: apt not called' is "$(cat "$tmp/calls")" ''
	fake sudo <<'END'
[[ $1 == -n ]] && exit 0
[[ $1 == -- ]] && shift
exec "$@"
END
	deps build
	check 'sudo without effect: 1, no loop' is "$status" 1
	check 'sudo without effect: line' is "$(last_line)" \
		'install: sudo did not give root; missing: two or zwei'
	fake id <<<'[[ -f $STATE/root ]] && echo 0 || echo 1000'
	fake sudo <<'END'
[[ $1 == -n ]] && exit 0
touch "$STATE/root"
shift
exec "$@"
END
	deps build
	check 'sudo works: ok' is "$status" 0
	check 'sudo works: said once' is "$(grep -c 'going to' "$tmp/err")" 1
}

test_not_debian()
{
	fresh
	rm "$tmp/bin/dpkg-query"
	deps build
	check 'not Debian: 1' is "$status" 1
	check 'not Debian: one line' is "$(cat "$tmp/err")" \
		'install: not a Debian system (no dpkg-query and apt-get); needed, by their Debian names: one two or zwei'
}

test_policy()
{
	fresh
	echo 'exit 0' >"$tmp/sbin/policy-rc.d"
	deps build
	check 'own policy: ok' is "$status" 0
	check 'own policy: untouched' is "$(cat "$tmp/sbin/policy-rc.d")" 'exit 0'
	fresh
	# Killed by -9, the policy stays, allows everything and goes next time.
	touch "$tmp/stuck"
	STATE=$tmp PATH=$tmp/bin DEPS_SBIN=$tmp/sbin "$BASH" \
		"$tmp/deps/install" build >"$tmp/out" 2>"$tmp/err" </dev/null &
	victim=$!
	wait_for_policy
	kill -KILL "$victim"
	wait "$victim" 2>/dev/null
	check 'killed: policy allows' "$tmp/sbin/policy-rc.d" redis start
	kill_sleepers
	rm "$tmp/stuck"
	deps build
	check 'killed: next run ok' is "$status" 0
	check 'killed: next run refuses services' grep -qx 'policy 101' \
		"$tmp/calls"
	check 'killed: next run leaves nothing' nothing_left
}

test_interrupt()
{
	fresh
	touch "$tmp/stuck"
	STATE=$tmp PATH=$tmp/bin DEPS_SBIN=$tmp/sbin setsid "$BASH" \
		"$tmp/deps/install" build >"$tmp/out" 2>"$tmp/err" </dev/null &
	victim=$!
	wait_for_policy
	kill -TERM -- "-$victim"
	wait "$victim" 2>/dev/null
	status=$?
	check 'interrupted: 143' is "$status" 143
	check 'interrupted: nothing left' nothing_left
}

# Until the stand-in for apt runs, for at most 10 s.
wait_for_policy()
{
	local tries=200

	until grep -q '^policy' "$tmp/calls"; do
		if ((--tries == 0)); then
			check 'the installation started' false
			return
		fi
		sleep 0.05
	done
}

# The stand-in for apt that the killed installer left running.
kill_sleepers()
{
	local dir

	for dir in /proc/[0-9]*; do
		[[ $(tr '\0' ' ' <"$dir/cmdline") == 'sleep 30 ' ]] || continue
		[[ $(tr '\0' '\n' <"$dir/environ") == *"STATE=$tmp"* ]] || continue
		kill -KILL "${dir#/proc/}"
	done 2>/dev/null
}

test_arguments()
{
	fresh
	deps
	check 'no list: 2' is "$status" 2
	deps nosuch
	check 'unknown list: 2' is "$status" 2
	check 'unknown list: named' is "$(head -n 1 "$tmp/err")" \
		"install: no list 'nosuch'"
	deps ../deps/build
	check 'a path is no list' is "$status" 2
	deps --frob build
	check 'unknown option: 2' is "$status" 2
	echo 'one;reboot' >"$tmp/deps/build.txt"
	deps build
	check 'bad name in a list: 1' is "$status" 1
	check 'bad name: apt not called' is "$(cat "$tmp/calls")" ''
}

# The real lists: each package says why it is there, and none twice.
test_lists()
{
	local list names

	for list in build bench dev; do
		names=$(grep -v '^#' "$top/harness/deps/$list.txt" | grep .)
		check "$list.txt: every line says why" is \
			"$(grep -vE '^[a-z0-9.+| -]+[[:space:]]+# [^ ]' <<<"$names")" ''
	done
	check 'no package twice' is "$(cat "$top"/harness/deps/*.txt |
		sed 's/#.*//' | tr -d ' \t' | grep . | sort | uniq -d)" ''
}

test_nothing_to_do
test_install
test_dry_run
test_update
test_failures
test_no_root
test_not_debian
test_policy
test_interrupt
test_arguments
test_lists
rm -rf -- "$tmp"
((fails == 0)) || printf '%d checks failed\n' "$fails"
exit $((fails > 0))
