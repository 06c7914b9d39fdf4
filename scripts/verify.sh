# shellcheck shell=sh
# Says how this node differs from what berth installed on it, and changes nothing. The first line is "applies N", where N
# is another number after every apply, or "absent N" where nothing of berth is here. The others are "base REASON", "containerd
# REASON" or "port-range REASON" for what that step repairs, and "note REASON" for what people must look at.

# token: in place of the count of applies that went with the manifest; another one after every such loss.
token() {
	{
		cat "$ROOT/etc/machine-id" "$ROOT/proc/sys/kernel/random/boot_id" "$REMOVED" 2>/dev/null || :
		stat -c %Y "$STATE" 2>/dev/null || stat -c %Y "$ROOT/var/lib"
	} | cksum | cut -d' ' -f1
}
traces() {
	for FILE in "$ROOT$PORTS" "$ROOT$DROPIN" "$ROOT$SCOPED" "$ROOT"/usr/local/bin/containerd-berth-*; do
		[ ! -e "$FILE" ] || return 0
	done
	[ -n "$(hosts_now)" ]
}

# off STEP PATH NAME
off() {
	if [ -e "$ROOT$2" ] || [ -L "$ROOT$2" ]; then echo "$1 $3 is changed"; else echo "$1 $3 is missing"; fi
}

# check_ca: fails where containerd, too, may have started without the CA.
check_ca() {
	CA=$(ca_path)
	[ "$(sum "$ROOT$CA")" = "$(mf_get ca-sum)" ] || {
		off base "$CA" "CA file $CA"
		return 1
	}
	[ -n "$(mf_get ca)" ] || return 0
	store || {
		echo "base the tool of the trust store is missing"
		return 1
	}
	trusted "$ROOT$CA" || {
		echo "base the CA is missing in $BUNDLE"
		return 1
	}
}

check_base() {
	[ "$HOLDER" = "$OWNER" ] || echo "base the node belongs to $HOLDER"
	SERVED=$(mf_get ports)
	[ -n "$SERVED" ] || {
		echo "base the step is not complete"
		return 0
	}
	check_ca || echo "containerd it may have started without the CA"
	ENTRY=$(mf_get hosts)
	if [ -n "$ENTRY" ] && [ "$(hosts_now)" != "$(hosts_block "$ENTRY")" ]; then
		if [ -n "$(hosts_now)" ]; then echo "base the block in /etc/hosts is changed"; else echo "base the block in /etc/hosts is missing"; fi
	fi
	! mf_has file "$PORTS" || [ "$(cat "$ROOT$PORTS" 2>/dev/null)" = "$(mapping "$SERVED")" ] || off base "$PORTS" "port mapping $PORTS"
	[ -e "$ROOT$REMOVER" ] || if [ -e "$ROOT/run/berth-remove" ]; then
		echo "base $REMOVER is missing"
	else
		echo "note $REMOVER is missing: the next change of the anchor brings it"
	fi
}

# check_binaries: the files, by what was installed.
check_binaries() {
	programs
	intact || {
		SUMS=$(mf_get sums)
		[ "$(sums "$ROOT$BIN")" = "${SUMS% *}" ] || off containerd "$BIN" "binary $BIN"
		[ "$(sums "$ROOT$CTR")" = "${SUMS#* }" ] || off containerd "$CTR" "binary $CTR"
	}
	LINK=$(mf_get link)
	LINK=${LINK% *}
	[ -z "$LINK" ] || [ -e "$ROOT$LINK" ] || [ -L "$ROOT$LINK" ] || echo "containerd link $LINK is missing"
}

# check_unit: what runs, and what would run after the next start.
check_unit() {
	facts
	RUNS=$(exe)
	if [ "$(fact ActiveState)" != active ]; then
		echo "containerd containerd.service is $(fact ActiveState)"
	elif [ "$RUNS" != "$ROOT$BIN" ]; then
		echo "containerd ${RUNS#"$ROOT"} runs in place of $BIN"
	fi
	[ ! -e "$ROOT$TRIAL" ] || echo "containerd trial drop-in ${TRIAL##*/} is left"
	[ ! -e "$STATE/switch" ] || echo "containerd the step was interrupted"
	# The operator has been asked about these, and nothing else looks at the word.
	# shellcheck disable=SC2034
	ALLOW=gpu
	stock || :
	unit_problems | sed 's/^/note /'
	[ -n "$STOCK" ] || return 0
	if [ "$(cat "$ROOT$DROPIN" 2>/dev/null)" != "$(dropin "$BIN")" ]; then
		off containerd "$DROPIN" "drop-in ${DROPIN##*/}"
	else
		case $(fact ExecStart) in
		*"path=$BIN "*) ;;
		*) echo "note the next start of containerd is not berth's: a drop-in overrides ${DROPIN##*/}, or systemctl daemon-reload is due" ;;
		esac
	fi
	PACKAGED=$(timeout 10 "$ROOT$STOCK" --version 2>/dev/null | awk '{ sub(/^v/, "", $3); print $3 }') || :
	printf '%s\n' "$PACKAGED" "$VERSION" | awk -F. '
		{ number[NR] = $1 * 1000000 + $2 * 1000 + $3; name[NR] = $0 }
		END { if (number[1] > number[2]) print "note the package brings containerd " name[1] ": berth:containerd.version is behind" }'
}

# check_access: the packaged containerd, and what leads it to the registry.
check_access() {
	facts
	[ "$(fact ActiveState)" = active ] || echo "containerd containerd.service is $(fact ActiveState)"
	case $(exe) in */containerd-berth-*) echo "containerd the patched containerd runs" ;; esac
	mf_get entry | while read -r FILE SERVER; do
		[ "$(cat "$ROOT$FILE" 2>/dev/null)" = "$(hosts_toml "$SERVER" "$(ca_path)")" ] || off containerd "$FILE" "entry $FILE"
	done
	config_lost | sed 's/^/containerd /'
	case $(mf_get roots) in
	"os $(mf_get ca-sum)" | certs) ;;
	*) echo "containerd the restart after a change of trust is missing" ;;
	esac
}

# check_range: an upgrade by kubeadm writes the API server's manifest anew.
check_range() {
	RANGE=$(mf_get range)
	RANGE=${RANGE% *}
	[ -n "$RANGE" ] || return 0
	if [ "$(mf_get access)" != port-range ]; then
		echo "note the API server still has NodePorts $RANGE: a change of the access mode was interrupted; go to port-range and away again"
	elif ! grep -qsw -e "service-node-port-range=$RANGE" "$ROOT/etc/kubernetes/manifests/kube-apiserver.yaml"; then
		echo "port-range the NodePorts $RANGE are not in kube-apiserver.yaml"
	fi
}

check_containerd() {
	[ ! -f "$STATE/undo" ] || {
		if [ -n "$(mf_get access)" ]; then check_access; else echo "containerd a change of the access mode is not complete"; fi
		return 0
	}
	VERSION=$(mf_get version)
	[ -n "$VERSION" ] || {
		echo "containerd the step is not complete"
		return 0
	}
	TRUST=containerd
	[ -z "$(mf_get ca)" ] || TRUST=os
	[ -z "$SERVED" ] || [ "$(mf_get roots)" = "$TRUST $(mf_get ca-sum)" ] || echo "containerd the restart after a change of trust is missing"
	check_binaries
	check_unit
}

verify() {
	[ "$(id -u)" = 0 ] || [ -n "$ROOT" ] || die "not root on this node: use root or a user with passwordless sudo"
	if [ ! -s "$MANIFEST" ]; then
		if traces; then
			echo "applies $(token)"
			echo "base the manifest is gone"
			echo "containerd the manifest is gone"
		else
			echo "absent $(token)"
		fi
		return 0
	fi
	APPLIES=$(mf_get applies)
	echo "applies ${APPLIES:-0}"
	HOLDER=$(mf_get owner)
	[ "${HOLDER%/*}" = "${OWNER%/*}" ] || {
		echo "note this node belongs to $HOLDER"
		return 0
	}
	check_base
	check_range
	check_containerd
}

main() {
	case ${1-} in
	verify) verify ;;
	*) die "usage: verify" ;;
	esac
}
main "$@" </dev/null
