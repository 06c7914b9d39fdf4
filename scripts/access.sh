# shellcheck shell=sh
# The roads to the registry on which containerd stays as its package brings it. MODE mirror: an entry of certs.d names the port. MODE cluster-ip
# and MODE port-range: the name leads to an address that serves port 443, one of the cluster or the node's own. The new road is opened before the one of another mode is closed, so that
# the node can pull at every moment. This script stays as $UNDO, for those who close this road: a removal, and the patched containerd.

UNDO=$STATE/undo

mf_cut() { { grep -vxF "$1" "$MANIFEST" || :; } | put "$MANIFEST" 600; }

# dirs_drop DIR: DIR and its parents, where we made them and nothing is in them.
dirs_drop() {
	DIR=$1
	# shellcheck disable=SC2153 # ROOT is no misspelt ROOTS
	while mf_has dir "$DIR" && rmdir "$ROOT$DIR" 2>/dev/null; do
		mf_cut "dir $DIR"
		DIR=${DIR%/*}
	done
}
drop() {
	rm -f "$ROOT$1" "$ROOT$1.berth-tmp"
	dirs_drop "${1%/*}"
}

# entry NAME SERVER: containerd goes to SERVER for NAME.
entry() {
	PLACE=$FOLDER/$1/hosts.toml
	[ ! -e "$ROOT$PLACE" ] || grep -q '^# Written by berth' "$ROOT$PLACE" || case $NL$(mf_get entry) in *"$NL$PLACE "*) ;; *) false ;; esac ||
		die "$PLACE is not from berth: move it away"
	KEEP="$KEEP
$PLACE $2
"
	mf_add entry "$PLACE $2"
	our_dir "${PLACE%/*}"
	hosts_toml "$2" "$CA" | put "$ROOT$PLACE" 644
}

# entries: for each name; with its port it is another name to containerd, and may be asked for as well.
entries() {
	# shellcheck disable=SC2153 # NAMES is no misspelt NAME
	for NAME in $NAMES; do
		case $MODE in
		mirror) entry "$NAME" "$NAME:$NODE_PORT" ;;
		*) entry "$NAME" "$NAME" ;;
		esac
		entry "${NAME}_${NODE_PORT}_" "$NAME:$NODE_PORT"
	done
}

# entries_drop: all that are not in KEEP.
entries_drop() {
	mf_get entry | while read -r PLACE SERVER; do
		case $KEEP in
		*"
$PLACE $SERVER
"*) continue ;;
		*"
$PLACE "*) ;;
		*) drop "$PLACE" ;;
		esac
		mf_cut "entry $PLACE $SERVER"
	done
}

# lead IP: the names in /etc/hosts lead there.
lead() {
	[ -n "$1" ] || return 0
	sed "s/^hosts [^ ]* /hosts $1 /" "$MANIFEST" | put "$MANIFEST" 600
	sed "/^# BEGIN berth$/,/^# END berth$/s/^[^# ][^ ]* /$1 /" "$ROOT/etc/hosts" | rewrite "$ROOT/etc/hosts"
}

forget() {
	say "waiting 6 s, until containerd reads /etc/hosts again"
	sleep 6
}

# open_address: the names lead to the address that serves port 443, once it has answered here.
open_address() {
	[ "$(mf_get hosts-at)" != "$ADDRESS" ] || return 0
	! have curl || SAID=$(curl -q -sS -o /dev/null --noproxy '*' --max-time 10 --retry 5 --retry-connrefused --cacert "$ROOT$CA" \
		--resolve "${NAMES%% *}:443:$ADDRESS" "https://${NAMES%% *}/" 2>&1) ||
		die "the registry does not answer at $ADDRESS:443: see route and kube-proxy of this node: $SAID"
	mf_set hosts-at "$ADDRESS"
	lead "$ADDRESS"
	# containerd remembers /etc/hosts for five seconds, or until it is restarted: for as long, the road that it may be on stays.
	case $AGAIN,$(mf_get entry) in 1,) ;; *) forget ;; esac
}
close_address() {
	[ -n "$(mf_get hosts-at)" ] || return 0
	mf_drop hosts-at
	lead "$(mf_get hosts-own)"
	# The address is served until all nodes have left it, which containerd has when it has forgotten the old /etc/hosts.
	[ -n "${GOING-}" ] || forget
}

rollback() {
	trap - EXIT
	say "access mode $MODE is taken back: $PROBLEM"
	last_words
	[ ! -e "$STATE/dropin" ] || {
		RELOAD=1
		mv -f "$STATE/dropin" "$ROOT$DROPIN"
	}
	[ -z "$ADDED" ] || config_undo
	[ -z "$CUT" ] || (config_add "$CUT") || :
	restart || :
	healthy any "" || die "CONTAINERD IS NOT HEALTHY ON THIS NODE: $PROBLEM"
	die "$(exe) runs again"
}

# switch: the packaged containerd with its new configuration.
switch() {
	facts
	stock
	case $(exe) in
	*/containerd-berth-*) PLUGINS=$(cat "$STATE/plugins" 2>/dev/null || :) ;;
	*) PLUGINS=$(plugins) ;;
	esac
	PROBLEM="systemctl restart failed, or was interrupted"
	trap rollback EXIT
	trap 'exit 1' HUP INT TERM
	[ -z "$CUT" ] || config_undo
	untry
	[ ! -e "$ROOT$DROPIN" ] || {
		cp -p "$ROOT$DROPIN" "$STATE/dropin"
		rm -f "$ROOT$DROPIN"
	}
	restart && healthy stock "$PLUGINS" || exit 1
	trap - EXIT
	mf_set roots "$ROOTS"
	rm -f "$STATE/dropin"
}

# killed: runs when the unit's switch has ended. Only one that was killed leaves the old drop-in aside.
killed() {
	[ -e "$STATE/dropin" ] || return 0
	facts
	stock || :
	PROBLEM="the switch was killed"
	rollback
}

# unpatch: what the patched containerd left.
unpatch() {
	mf_get link | while read -r LINK TARGET; do
		[ "$(readlink "$ROOT$LINK" || :)" != "$TARGET" ] || rm -f "$ROOT$LINK"
		rm -f "$ROOT$LINK.berth-tmp"
	done
	mf_get file | grep -e '-berth-[0-9]' -e "$DROPIN" -e "$PORTS" | while read -r FILE; do
		drop "$FILE"
		mf_cut "file $FILE"
	done
	rm -f "$STATE/plugins" "$STATE"/artifact-*
	for KEY in link artifact sums inodes version before; do mf_drop "$KEY"; done
}

# plan: sets FOLDER (of certs.d, where this mode uses it), ROOTS (what containerd must know from its start), and why it must be started again.
plan() {
	FOLDER='' ADDED='' CUT='' RELOAD='' AGAIN='' KEEP=''
	config_file
	SET=$(folders "$ROOT$CONFIG")
	ROOTS="$TRUST $CA_SHA256"
	case $MODE,$TRUST in
	mirror,* | *,containerd)
		ROOTS=certs
		FOLDER=${SET%%:*}
		if [ -z "$FOLDER" ]; then
			FOLDER=/etc/containerd/certs.d
			ADDED=$FOLDER
		fi
		# Ours is in force after a start alone; that of others is taken to be.
		case $(mf_get config),$(mf_get roots) in *,certs) ;; ,lost | ?*,*) AGAIN=1 ;; esac
		;;
	*)
		[ "$(mf_get roots)" = "$ROOTS" ] || AGAIN=1
		[ -z "$(mf_get config)" ] || CUT=$SET
		;;
	esac
	case "$(fact DropInPaths) " in *z-berth*) RELOAD=1 ;; esac
	[ ! -e "$ROOT$DROPIN" ] || RELOAD=1
	case $(exe) in */containerd-berth-*) AGAIN=1 ;; esac
	[ "$(fact ActiveState)" = active ] && [ -z "$ADDED$CUT$RELOAD" ] || AGAIN=1
}

# begin VERB: all that comes before a change.
begin() {
	claim "containerd $1" :
	facts
	stock || die "$(unit_problems)"
	CA=$(mf_get ca)
	CA=${CA:-$SCOPED/berth.crt}
	[ "$(sum "$ROOT$CA")" = "$CA_SHA256" ] || die "the CA on this node is not the one to be used: apply base first"
	# What is left of a configuration that somebody else has changed since goes, and the rest of the plan is as for a new node.
	[ -z "$(config_lost)" ] || {
		mf_set roots lost
		config_undo
	}
	plan
	# The unit changes only where the patched containerd has to go; unit_problems reads the word.
	# shellcheck disable=SC2034
	[ -n "$RELOAD" ] || ALLOW=gpu
	WRONG=$(unit_problems)
	[ -z "$AGAIN" ] || [ -z "$WRONG" ] || die "containerd cannot be restarted on this node: $WRONG"
}

# stay: leaves this script for those who close the road.
stay() { printf "ROOT='%s'\nOWNER='%s'\nset -- undo\n%s\n" "$ROOT" "$OWNER" "$SELF" | put "$UNDO" 700; }

# stage: says whether an apply would restart containerd, while the pods are still there. That containerd takes the configuration is tried.
stage() {
	begin stage
	[ -z "$ADDED" ] || {
		[ -e "$UNDO" ] || NEW=$UNDO
		stay
		config_add "$FOLDER"
		config_undo
		rm -f "${NEW-}"
	}
	if [ -n "$AGAIN" ]; then echo restart; else echo settled; fi
}

apply() {
	begin apply
	stay
	[ -z "$ADDED" ] || config_add "$FOLDER"
	[ -z "$ADDRESS" ] || open_address
	[ -z "$FOLDER" ] || entries
	[ -z "$AGAIN" ] || in_unit ROOT OWNER MODE ROOTS ADDED CUT RELOAD CONFIG || die "the switch to access mode $MODE failed"
	[ -n "$ADDRESS" ] || close_address
	entries_drop
	unpatch
	rm -f "$STATE"/switch*
	mf_set roots "$ROOTS" access "$MODE"
	COUNT=$(mf_get restarts)
	echo "containerd=$(stock_version) access=$MODE restarts=${COUNT:-0}"
}

# undo: somebody else has opened another road, or takes berth off this node.
undo() {
	facts
	KEEP='' RELOAD=''
	AGAIN=$(mf_get config)
	close_address
	config_undo
	entries_drop
	case $(mf_get ca),$(mf_get roots) in ,os*) AGAIN=1 ;; esac
	[ -z "$AGAIN" ] || {
		restart || :
		healthy any "" || {
			last_words
			die "CONTAINERD IS NOT HEALTHY ON THIS NODE: $PROBLEM"
		}
	}
	mf_drop access
	rm -f "$UNDO"
}

main() {
	case ${1-} in
	stage | apply | switch | killed | undo) "$1" ;;
	*) die "usage: stage | apply" ;;
	esac
}
main "$@" </dev/null
