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
NL='
'

say() { printf 'berth: %s\n' "$*" >&2 || :; }
die() {
	say "$*"
	exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
# sum FILE: its SHA-256.
sum() { sha256sum "$1" 2>/dev/null | { read -r HASH _ || :; [ -z "$HASH" ] || echo "$HASH"; }; }
label() { ! have restorecon || restorecon "$1" 2>/dev/null || :; }

# flush FILE: writes it out to the disk. Without "sync FILE" all is written.
flush() { sync "$1" 2>/dev/null || sync; }

# put FILE MODE: replaces FILE atomically with stdin, also where the power fails: some filesystems would have the new name
# on the disk before the content. Nothing is touched when content and mode are right already.
put() {
	cat >"$1.berth-tmp" && chmod "$2" "$1.berth-tmp" || return 1
	if [ -e "$1" ] && cmp -s "$1" "$1.berth-tmp" && [ -n "$(find "$1" -prune -perm "$2")" ]; then
		rm -f "$1.berth-tmp"
	else
		flush "$1.berth-tmp"
		mv -f "$1.berth-tmp" "$1" && label "$1"
	fi
}

# The manifest: lines "KEY VALUE". A line is written before the thing it names is made, so that a remove after any
# partial apply finds it. The shell reads it by itself: a step asks dozens of times, and a process takes longer than its answer.
mf_get() {
	[ -f "$MANIFEST" ] || return 0
	while read -r KEY VALUE; do [ "$KEY" != "$1" ] || printf '%s\n' "$VALUE"; done <"$MANIFEST"
}
mf_has() { case $NL$(mf_get "$1")$NL in *"$NL$2$NL"*) ;; *) return 1 ;; esac; }

# mf_write KEYS [LINES]: the manifest without what it says of these keys, and with these lines. Of a full disk cat alone tells in every shell.
mf_write() {
	{
		[ ! -f "$MANIFEST" ] || while read -r KEY VALUE; do case " $1 " in *" $KEY "*) ;; *) printf '%s\n' "$KEY $VALUE" ;; esac; done <"$MANIFEST"
		[ -z "${2-}" ] || printf '%s\n' "$2"
	} | cat >"$MANIFEST.berth-tmp" || return 1
	flush "$MANIFEST.berth-tmp"
	mv -f "$MANIFEST.berth-tmp" "$MANIFEST"
}
mf_drop() { [ -z "$(mf_get "$1")" ] || mf_write "$1"; }

# mf_set KEY VALUE [KEY VALUE]...: all of them in one write, since each is flushed.
mf_set() {
	KEYS='' MORE=''
	while [ $# != 0 ]; do
		[ "$(mf_get "$1")" = "$2" ] || KEYS="$KEYS $1" MORE="$MORE${MORE:+$NL}$1 $2"
		shift 2
	done
	[ -z "$KEYS" ] || mf_write "$KEYS" "$MORE"
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
