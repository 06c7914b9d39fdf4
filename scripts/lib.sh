# shellcheck shell=sh
# shellcheck disable=SC2034 # the parts that follow use what is set here
# Common to all scripts that change a node: paths, messages, manifest, lock, fence, atomic files.
# ROOT is empty on nodes; tests set it to a fake root. Paths in the manifest never contain it.

set -eu
umask 077
export LC_ALL=C PATH="${PATH:-/bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# A cut connection must not stop a script at its next message.
trap '' PIPE

STATE=$ROOT/var/lib/berth
MANIFEST=$STATE/manifest
LOCK=$ROOT/run/berth.lock
REMOVED=$ROOT/run/berth.removed
PORTS=/etc/containerd/berth.ports
SCOPED=/var/lib/berth/trust

say() { printf 'berth: %s\n' "$*" >&2 || :; }
die() {
	say "$*"
	exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
sum() { sha256sum "$1" 2>/dev/null | cut -d' ' -f1; }
label() { ! have restorecon || restorecon "$1" 2>/dev/null || :; }

# flush FILE: writes it out to the disk. Without "sync FILE" all is written.
flush() { sync "$1" 2>/dev/null || sync; }

# put FILE MODE: replaces FILE atomically with stdin, also where the power fails: some filesystems would have the new name
# on the disk before the content. Nothing is touched when content and mode are right already.
put() {
	cat >"$1.berth-tmp" && chmod "$2" "$1.berth-tmp" || return 1
	if cmp -s "$1" "$1.berth-tmp" && [ -n "$(find "$1" -prune -perm "$2")" ]; then
		rm -f "$1.berth-tmp"
	else
		flush "$1.berth-tmp"
		mv -f "$1.berth-tmp" "$1" && label "$1"
	fi
}

# The manifest: lines "KEY VALUE". A line is written before the thing it names is made, so that a remove after any
# partial apply finds it.
mf_get() { [ ! -f "$MANIFEST" ] || sed -n "s/^$1 //p" "$MANIFEST"; }
mf_drop() {
	[ ! -f "$MANIFEST" ] || { grep -v "^$1 " "$MANIFEST" || :; } | put "$MANIFEST" 600
}
mf_set() {
	[ "$(mf_get "$1")" != "$2" ] || return 0
	{ [ ! -f "$MANIFEST" ] || grep -v "^$1 " "$MANIFEST" || :; printf '%s %s\n' "$1" "$2"; } | put "$MANIFEST" 600
}

# lock SECONDS WHAT
lock() {
	exec 9>>"$LOCK"
	if ! flock -n 9; then
		say "waiting up to $1 s for $(cat "$LOCK")"
		flock -w "$1" 9 || die "this node is still held by $(cat "$LOCK") after $1 s; see whether it hangs"
	fi
	printf '%s\n' "$2 of $OWNER (pid $$, since $(date -u +%H:%M:%S) UTC)" >"$LOCK"
}
