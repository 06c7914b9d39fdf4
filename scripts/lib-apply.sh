# shellcheck shell=sh
# Common to the scripts that install something.

# mf_add KEY VALUE...: adds those that are not there yet.
mf_add() {
	OF=$1 MORE=''
	shift
	for VALUE; do mf_has "$OF" "$VALUE" || MORE="$MORE${MORE:+$NL}$OF $VALUE"; done
	[ -z "$MORE" ] || mf_write "" "$MORE"
}

# our_dir PATH: makes it and its missing parents; remove takes away what was made here and is empty then.
our_dir() {
	[ -n "$1" ] && [ ! -d "$ROOT$1" ] || return 0
	our_dir "${1%/*}"
	mf_add dir "$1"
	mkdir "$ROOT$1" && chmod 755 "$ROOT$1" && label "$ROOT$1"
}

# our_file PATH MODE: a file of ours with the content of stdin.
our_file() {
	our_dir "${1%/*}"
	mf_add file "$1"
	put "$ROOT$1" "$2"
}

# removed: the mark of the last remove, "SECONDS 0 PID"; a remove by hand leaves SECONDS out. It lies under
# /run: a reboot ends marks and orphans alike.
removed() { cat "$REMOVED" 2>/dev/null || :; }

# claim WHAT [CHECK]: lock and ownership for an apply, and in between what else must hold before anything is changed. After a killed pulumi an apply may wait behind a remove, or arrive after
# it (dials are bounded: 300 s); neither may act, or the node would be changed with nobody left to clean it.
claim() {
	[ "$(id -u)" = 0 ] || [ -n "$ROOT" ] || die "not root on this node: use root or a user with passwordless sudo"
	MARK=$(removed)
	lock 300 "$1"
	[ "$MARK" = "$(removed)" ] || die "berth was removed from this node while this step waited: nothing is changed; run pulumi up again"
	SINCE=${MARK%% *}
	AGE=$(($(date +%s) - ${SINCE:-0}))
	[ -z "$SINCE" ] || [ "$AGE" -lt 0 ] || [ "$AGE" -ge 300 ] ||
		die "berth was removed from this node $AGE s ago: nothing is changed; run pulumi up again in $((300 - AGE)) s"
	HOLDER=$(mf_get owner)
	[ -z "$HOLDER" ] || [ "${HOLDER%/*}" = "${OWNER%/*}" ] ||
		die "this node belongs to $HOLDER: destroy that stack, or run berth-remove on the node, before $OWNER takes it"
	${2-:}
	mkdir -p "$STATE"
	chmod 700 "$STATE"
	# Every apply is another one: a repair asked for after this count is asked for once.
	mf_set owner "$OWNER" applies $(($(mf_get applies) + 1))
}
