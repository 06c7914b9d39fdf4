# shellcheck shell=sh
# Fetches the patched containerd and switches the node to it, in a transient unit (verb switch).

case ${VERSION-}${ARTIFACT-x/x} in
*[!A-Za-z0-9.+~_/-]* | .* | *..*) die "VERSION or ARTIFACT has a form that is not expected" ;;
esac
programs
LINK=/usr/local/bin/ctr
STAGED=$STATE/artifact-${DIGEST#sha256:}.tar.gz

text() { printf '%s\n' "$1" | tr -d "\"'\\\\" | tr -s ' \t' ' ' | sed 's/^ //;s/ $//'; }

fetch_curl() {
	case $NODE_IP in *:*) NODE_IP="[$NODE_IP]" ;; esac
	# The credentials go through a here-document, so they are in no argument and in no file.
	timeout 320 curl -q -fsSL -K - --noproxy '*' --proto =https --proto-redir =https --cacert "$CA" \
		--resolve "$REGISTRY_HOST:$NODE_PORT:$NODE_IP" --connect-timeout 10 --max-time 300 --speed-time 30 --retry 8 --retry-max-time 60 \
		--retry-connrefused -o "$STATE/fetch/blob" "https://$REGISTRY_HOST:$NODE_PORT/v2/$ARTIFACT/blobs/$DIGEST" <<-CONFIG
		user = "$(printf '%s' "$PULL_USER:$PULL_PASSWORD" | sed 's/[\\"]/\\&/g')"
	CONFIG
}

# fetch_ctr: for nodes without curl; the name must resolve there. ctr takes no layer by its digest, so it goes by the
# artifact's tag. Its progress is not worth a log.
fetch_ctr() {
	FROM=$REGISTRY_HOST:$NODE_PORT
	case $(uname -m) in aarch64) TAG=arm64 ;; *) TAG=amd64 ;; esac
	TAG=$(echo "$VERSION" | tr + -)-linux-$TAG
	mkdir "$STATE/fetch/$FROM"
	put "$STATE/fetch/$FROM/hosts.toml" 600 <<-CONFIG
		server = "https://$FROM"
		[host."https://$FROM"]
		capabilities = ["pull", "resolve"]
		ca = "$CA"
		[host."https://$FROM".header]
		Authorization = "Basic $(printf '%s' "$PULL_USER:$PULL_PASSWORD" | base64 | tr -d '\n')"
	CONFIG
	SAID=$(HTTPS_PROXY='' https_proxy='' timeout 300 ctr -n berth content fetch --hosts-dir "$STATE/fetch" "$FROM/$ARTIFACT:$TAG" 2>&1) || say "$SAID"
	timeout 60 ctr -n berth content get "$DIGEST" >"$STATE/fetch/blob" || :
	ctr -n berth images rm --sync "$FROM/$ARTIFACT:$TAG" >/dev/null 2>&1 || :
	ctr namespaces rm berth >/dev/null 2>&1 || :
	[ -s "$STATE/fetch/blob" ]
}

fetch() {
	[ ! -f "$STAGED" ] || [ "sha256:$(sums "$STAGED")" != "$DIGEST" ] || return 0
	trap 'rm -rf "$STATE/fetch"' EXIT
	trap 'exit 1' HUP INT TERM
	rm -rf "$STATE/fetch"
	mkdir "$STATE/fetch"
	say "fetching containerd $VERSION from $REGISTRY_HOST:$NODE_PORT at $NODE_IP"
	if have curl; then fetch_curl; else fetch_ctr; fi || die "fetching $DIGEST from $REGISTRY_HOST:$NODE_PORT at $NODE_IP failed"
	[ "sha256:$(sums "$STATE/fetch/blob")" = "$DIGEST" ] || die "what the registry sent is not $DIGEST"
	mv -f "$STATE/fetch/blob" "$STAGED"
	rm -rf "$STATE/fetch"
}

# unpack: both programs in one go, since each reads the archive to its end.
unpack() {
	rm -rf "$STATE/unpacked"
	mkdir "$STATE/unpacked"
	tar -xzof "$STAGED" -C "$STATE/unpacked" bin/containerd bin/ctr || die "the artifact is broken, or the disk is full"
	SUMS=$(sums "$STATE/unpacked/bin/containerd" "$STATE/unpacked/bin/ctr")
	mf_add file "$BIN.new" file "$BIN" file "$CTR.new" file "$CTR" file "$DROPIN"
	place containerd "$BIN"
	place ctr "$CTR"
	rm -rf "$STATE/unpacked"
}

# place PROGRAM FILE: beside FILE, from where it is also tried. The packaged binaries are never written over.
place() {
	# shellcheck disable=SC2153 # ROOT is no misspelt ROOTS
	mv -f "$STATE/unpacked/bin/$1" "$ROOT$2.new" || die "the disk is full"
	chmod 755 "$ROOT$2.new"
	label "$ROOT$2.new"
}

# prepare: sets NEXT, the binary to try: BIN, or BIN.new while BIN is in use with other content.
prepare() {
	NEXT=$BIN
	FRESH=
	[ "$(mf_get artifact)" != "$DIGEST" ] || ! intact || return 0
	FRESH=1
	fetch
	our_dir /usr/local/bin
	unpack
	mv -f "$ROOT$CTR.new" "$ROOT$CTR"
	if [ ! -e "$ROOT$BIN" ]; then
		mv "$ROOT$BIN.new" "$ROOT$BIN"
	elif [ "$(sums "$ROOT$BIN")" = "${SUMS% *}" ]; then
		rm -f "$ROOT$BIN.new"
	else
		NEXT=$BIN.new
	fi
}

# settled: nothing asks for a restart.
settled() {
	[ "$NEXT" = "$BIN" ] && [ ! -e "$ROOT$TRIAL" ] && [ "$(fact ActiveState)" = active ] && [ "$(exe)" = "$ROOT$BIN" ] &&
		[ "$(cat "$ROOT$DROPIN" 2>/dev/null)" = "$(dropin "$BIN")" ] && [ "$(mf_get roots)" = "$ROOTS" ]
}

# try_run: from the final path and as a service, where SELinux, fapolicyd, noexec and the architecture count.
try_run() {
	SAID=$(timeout 60 systemd-run --wait --pipe --collect --quiet "$ROOT$NEXT" --version 2>&1) ||
		die "containerd $VERSION does not run on this node: $SAID"
	case $SAID in *"$VERSION"*) ;; *) die "the artifact is not containerd $VERSION: $SAID" ;; esac
	# A newer packaged minor version may have a configuration that an older one cannot read.
	WAS=$("$ROOT$STOCK" --version 2>/dev/null | awk '{ sub(/^v/, "", $3); split($3, v, /[.]/); print v[1] * 1000 + v[2] }') || :
	NEW=$(echo "$VERSION" | awk -F. '{ print $1 * 1000 + $2 }')
	[ "${WAS:-0}" -le "$NEW" ] ||
		die "the node's package is of a newer line than $VERSION: choose that line"
}

switch_in_unit() {
	try_run
	say "switching containerd to $VERSION"
	in_unit ROOT OWNER VERSION DIGEST TRUST NEXT ROOTS || die "the switch to containerd $VERSION failed"
}

# rollback: what ran before runs again before this returns; the packaged containerd if even that fails.
rollback() {
	trap - EXIT
	say "containerd $VERSION is taken back: $PROBLEM"
	last_words
	untry
	[ "$NEXT" = "$BIN" ] || rm -f "$ROOT$NEXT"
	restart || :
	healthy "$BEFORE" "$PLUGINS" || {
		say "what ran before is not healthy either: $PROBLEM"
		rm -f "$ROOT$DROPIN"
		restart || :
		healthy stock "" || die "CONTAINERD IS NOT HEALTHY ON THIS NODE: $PROBLEM"
	}
	die "$(exe) runs again"
}

# switch: a trial that a crash or reboot forgets, then the permanent drop-in.
switch() {
	facts
	stock || die "ExecStart of containerd.service cannot be read"
	PLUGINS=$(plugins)
	BEFORE=$(exe)
	case $BEFORE in
	"$ROOT"/*containerd-berth-*' (deleted)' | "") BEFORE=any ;;
	*/containerd-berth-*) BEFORE=${BEFORE#"$ROOT"} ;;
	*)
		BEFORE=stock
		echo "$PLUGINS" | put "$STATE/plugins" 600
		;;
	esac
	PROBLEM="the switch was interrupted"
	trap rollback EXIT
	trap 'exit 1' HUP INT TERM
	our_dir "${DROPIN%/*}"
	mf_add file "$DROPIN"
	dropin "$NEXT" | put "$ROOT$TRIAL" 644
	AS=$DROPIN
	[ ! -e "$ROOT$DROPIN" ] || AS=$OVER
	mkdir -p "$ROOT${AS%/*}"
	chmod 755 "$ROOT${AS%/*}"
	ln -sfn "../../../..$TRIAL" "$ROOT$AS"
	restart || {
		PROBLEM="systemctl restart failed"
		exit 1
	}
	KNEW=$FACTS
	healthy "$NEXT" "$PLUGINS" || exit 1
	SEEN=$(fact ExecStart | sed -n 's/.*argv\[\]=[^ ]*\(.*\) ; ignore_errors=.*/\1/p')
	[ "$(text "$SEEN")" = "$(text "$ARGS")" ] || {
		PROBLEM="its arguments are '$SEEN' in place of '$ARGS'"
		exit 1
	}
	# The drop-in is made from what was there before the trial.
	FACTS=$KNEW
	PROBLEM="$DROPIN cannot be written"
	[ "$NEXT" = "$BIN" ] || mv -f "$ROOT$NEXT" "$ROOT$BIN"
	# After a loss of power the drop-in may be on the disk and the binary not.
	flush "$ROOT$BIN"
	[ ! -L "$ROOT$DROPIN" ] || rm -f "$ROOT$DROPIN"
	dropin "$BIN" | put "$ROOT$DROPIN" 644
	# A file as old as the same text that systemd has read by this name is no news to it. Any other it must be told of, which is no harm:
	# GPU nodes, which a reload would harm, are refused.
	[ "$NEXT" != "$BIN" ] || touch -r "$ROOT$TRIAL" "$ROOT$DROPIN"
	untry
	trap - EXIT
	case $NEXT:$(ctl show -p NeedDaemonReload "$UNIT") in "$BIN:NeedDaemonReload=no") ;; *) ctl daemon-reload ;; esac
	mf_set roots "$ROOTS"
	say "containerd $VERSION runs"
}

# killed: runs when the unit's switch has ended. Only one that was killed leaves its trial.
killed() {
	[ -e "$ROOT$TRIAL" ] || return 0
	facts
	PLUGINS='' BEFORE=any PROBLEM="the switch was killed"
	rollback
}

# tidy: records what is installed, links ctr where the name is free, and drops what older builds left, but for the one before:
# the way back to it needs no registry.
tidy() {
	BEFORE=$(mf_get before)
	set -- inodes "$(inodes)" version "$VERSION"
	[ -z "$FRESH" ] || {
		WAS=$(mf_get artifact)
		[ "${WAS:-$DIGEST}" = "$DIGEST" ] || {
			BEFORE="$(mf_get version) $WAS"
			set -- "$@" before "$BEFORE"
		}
		flush "$ROOT$CTR"
		set -- "$@" artifact "$DIGEST" sums "$SUMS"
	}
	case $(readlink "$ROOT$LINK" || :) in
	"$CTR") mf_set link "$LINK $CTR" ;;
	/usr/local/bin/ctr-berth-*) link_ctr ;;
	*) [ -e "$ROOT$LINK" ] || [ -L "$ROOT$LINK" ] || link_ctr ;;
	esac
	mf_get file | grep -e '-berth-[0-9]' | while read -r FILE; do
		case $FILE in *-berth-"$VERSION" | *-berth-"${BEFORE% *}") ;; *) rm -f "$ROOT$FILE" ;; esac
	done
	OLD=
	for FILE in "$STATE"/artifact-*; do
		case $FILE in "$STAGED" | *-"${BEFORE#*:}".tar.gz) ;; *) OLD="$OLD $FILE" ;; esac
	done
	# shellcheck disable=SC2086 # one word per file
	rm -rf "$STATE"/switch* "$STATE/fetch" "$STATE/unpacked" $OLD
	mf_set "$@"
}
link_ctr() {
	mf_set link "$LINK $CTR"
	ln -sf "$CTR" "$ROOT$LINK.berth-tmp" && mv -f "$ROOT$LINK.berth-tmp" "$ROOT$LINK"
}

# begin VERB: all that comes before the switch. Nothing that runs is changed.
begin() {
	claim "containerd $1" :
	facts
	stock || :
	WRONG=$(unit_problems)
	[ -z "$WRONG" ] || die "containerd cannot be switched on this node: $WRONG"
	CA=$ROOT$(mf_get ca)
	[ "$TRUST" = os ] || CA=$ROOT$SCOPED/berth.crt
	[ "$(sum "$CA")" = "$CA_SHA256" ] || die "the CA on this node is not the one to be used: apply base first"
	ROOTS="$TRUST $CA_SHA256"
	prepare
}

# stage: what an apply does while the pods are still there. Says whether it will restart containerd.
stage() {
	begin stage
	if settled; then
		echo settled
	else
		try_run
		echo restart
	fi
}

apply() {
	begin apply
	settled || switch_in_unit
	tidy
	# The road of another access mode was needed until now.
	[ ! -f "$STATE/undo" ] || /bin/sh "$STATE/undo"
	echo "containerd=$VERSION digest=$DIGEST restarts=$(mf_get restarts)"
}

main() {
	case ${1-} in
	stage | apply | switch | killed) "$1" ;;
	*) die "usage: stage | apply" ;;
	esac
}
main "$@" </dev/null
