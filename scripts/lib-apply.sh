# shellcheck shell=sh
# Common to the scripts that install something.

# mf_add KEY VALUE [KEY VALUE]...: adds those that are not there yet, all of them in one write.
mf_add() {
	MORE=''
	while [ $# != 0 ]; do
		mf_has "$1" "$2" || MORE="$MORE${MORE:+$NL}$1 $2"
		shift 2
	done
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

# removed: sets MARK to that of the last remove, "SECONDS 0 PID"; a remove by hand leaves SECONDS out. It lies under
# /run: a reboot ends marks and orphans alike.
removed() {
	MARK=
	[ ! -f "$REMOVED" ] || IFS='' read -r MARK <"$REMOVED" || :
}

# claim WHAT CHECK [KEY VALUE]...: lock and ownership for an apply, and in between what else must hold before anything is changed; then the
# manifest gets these, too. After a killed pulumi an apply may wait behind a remove, or arrive after it (dials are bounded: 300 s); neither
# may act, or the node would be changed with nobody left to clean it.
claim() {
	[ "$(id -u)" = 0 ] || [ -n "$ROOT" ] || die "not root on this node: use root or a user with passwordless sudo"
	removed
	FOUND=$MARK
	lock 300 "$1"
	removed
	[ "$MARK" = "$FOUND" ] || die "berth was removed from this node while this step waited: nothing is changed; run pulumi up again"
	SINCE=${MARK%% *}
	AGE=300
	[ -z "$SINCE" ] || AGE=$(($(date +%s) - SINCE))
	[ "$AGE" -lt 0 ] || [ "$AGE" -ge 300 ] ||
		die "berth was removed from this node $AGE s ago: nothing is changed; run pulumi up again in $((300 - AGE)) s"
	HOLDER=$(mf_get owner)
	[ -z "$HOLDER" ] || [ "${HOLDER%/*}" = "${OWNER%/*}" ] ||
		die "this node belongs to $HOLDER: destroy that stack, or run berth-remove on the node, before $OWNER takes it"
	$2
	shift 2
	mkdir -p "$STATE"
	chmod 700 "$STATE"
	# Every apply is another one: a repair asked for after this count is asked for once.
	mf_set owner "$OWNER" applies $(($(mf_get applies) + 1)) "$@"
}
