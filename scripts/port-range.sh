# shellcheck shell=sh
# The range of NodePorts that the API server of this control-plane node gives out, widened so that 443 is in it: one argument in the static
# pod manifest of kubeadm, where all else stays byte for byte. The kubelet runs every file in the manifest's folder, also a copy or
# half of one: a new manifest is written beside the folder and renamed into it. This script stays as $UNDO, for a removal of berth
# that comes when the step itself is in no state.

PORT=443
USUAL=30000-32767
FLAG=--service-node-port-range
API=/etc/kubernetes/manifests/kube-apiserver.yaml
NEW=/etc/kubernetes/kube-apiserver.yaml.berth-tmp
UNDO=$STATE/undo-api
COMMAND='^( *- )([^ ]*/)?kube-apiserver *$'

# argument NAME: what the manifest has for it.
argument() { sed -nE "s/^ *- [\"']?--$1=([^\"' ]*).*/\1/p" "$ROOT$API"; }

# wider RANGE: the same with PORT in it. Kubernetes takes one range, not two.
wider() {
	FROM=${1%-*} TO=${1#*-}
	[ "$FROM" -le "$PORT" ] || FROM=$PORT
	[ "$TO" -ge "$PORT" ] || TO=$PORT
	echo "$FROM-$TO"
}

# api PATH [OPTION...]: this API server, at its own address. No secret is sent, and the kubelet's probe asks for no proof either.
api() {
	WHAT=$1
	shift
	AT=$(argument advertise-address)
	case $AT in *:*) AT="[$AT]" ;; esac
	SECURE=$(argument secure-port)
	curl -q -sS -k --noproxy '*' "$@" "https://${AT:-127.0.0.1}:${SECURE:-6443}$WHAT"
}

# list PATH: what the API server says to its own client certificate, without blanks. It ends with "failed" where that is not all.
list() {
	{
		api "$1" -f --max-time 120 --cert "$ROOT$(argument kubelet-client-certificate)" --key "$ROOT$(argument kubelet-client-key)" ||
			echo '"failed"'
	} | tr -d ' \n'
}

# runs RANGE: a process has it.
runs() {
	case " $(cat "$ROOT"/proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' ')" in *" $FLAG=$1 "*) ;; *) return 1 ;; esac
}

# wait_for TRIES RANGE OLD: until the API server serves with RANGE in place of OLD, either of which may be none. The process is looked at
# first: the kubelet starts it when the old one is gone, so that what answers then is the new one.
wait_for() {
	TRY=0
	while :; do
		if [ "$2" != none ] && ! runs "$2"; then
			PROBLEM="does not run with $FLAG=$2"
		elif [ "$3" != none ] && runs "$3"; then
			PROBLEM="still runs with $FLAG=$3"
		elif SAID=$(api /readyz --max-time 2 2>&1) && [ "$SAID" = ok ]; then
			return 0
		else
			PROBLEM="is not ready: $(oneline "$SAID" | cut -c1-600)"
		fi
		TRY=$((TRY + 1))
		[ "$TRY" -lt "$1" ] || return 1
		sleep 2
	done
}

# last_words: of the API server that did not start.
last_words() {
	# shellcheck disable=SC2012 # names in that folder are plain
	LOG=$(ls -t "$ROOT"/var/log/pods/kube-system_kube-apiserver-*/kube-apiserver/*.log 2>/dev/null | sed 1q)
	[ -z "$LOG" ] || tail -n 5 "$LOG" | cut -c1-300 >&2 || :
}

# write RANGE: the manifest with that argument; none takes it out. The copy keeps mode, owner and label.
write() {
	case $1,$(argument "${FLAG#--}") in
	none,*) set -- "/^ *- [\"']?$FLAG=/d" ;;
	*,) set -- "s|$COMMAND|&\\
\1$FLAG=$1|" ;;
	*) set -- "s/^( *- [\"']?$FLAG=)[0-9]+-[0-9]+/\1$1/" ;;
	esac
	# shellcheck disable=SC2015 # whatever fails, the file is as it was
	cp -a "$ROOT$API" "$ROOT$NEW" && sed -E "$1" "$ROOT$API" >"$ROOT$NEW" && flush "$ROOT$NEW" && mv -f "$ROOT$NEW" "$ROOT$API" || {
		rm -f "$ROOT$NEW"
		die "$API cannot be written, and is as it was: is the disk full?"
	}
}

# check: sets NOW, the range in the manifest, and WANT.
check() {
	have curl || bad "curl is missing: install it"
	OTHER="take another berth:access.mode"
	if [ -f "$ROOT$API" ] && [ ! -L "$ROOT$API" ]; then
		check_manifest
		[ -n "$FAILED$(mf_get range-trial)" ] || check_server
	else
		bad "no file $API, as kubeadm writes it on control-plane nodes: correct controlPlane in berth:nodes, or $OTHER"
	fi
	passed
}

check_manifest() {
	NOW=$(argument "${FLAG#--}")
	case $(grep -v '^ *#' "$ROOT$API" | grep -c -e "$FLAG" || :):$NOW in
	*[!0-9:-]* | *-*-*) READ= ;;
	0:) READ=$(grep -cE "$COMMAND" "$ROOT$API" || :) ;;
	1:[0-9]*-[0-9]*) READ=1 ;;
	*) READ= ;;
	esac
	[ "$READ" = 1 ] || {
		bad "$API has another form than kubeadm's: write $FLAG=FROM-TO as one line of its command, or $OTHER"
		return 0
	}
	WANT=$(wider "${NOW:-$USUAL}")
	# A file moved from another filesystem would be there by halves.
	[ "$(stat -c %d "$ROOT${NEW%/*}")" = "$(stat -c %d "$ROOT${API%/*}")" ] ||
		bad "${API%/*} is a filesystem of its own, where no file can be replaced at once: $OTHER"
}

# check_server: before an API server is changed for the first time, whether it is well, all of them are known, and nobody has the port.
check_server() {
	[ "$WANT" != "$NOW" ] || return 0
	wait_for 5 none none || {
		bad "the API server of this node $PROBLEM: repair it first"
		return 0
	}
	FOUND=$(list /apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes | grep -oE '"addresses":\["[^"]*"|"failed"' | sort -u)
	# shellcheck disable=SC2020 # busybox knows no [x*]
	HELD=$(list /api/v1/pods | tr '{},' '\n\n\n' | awk -F '"' -v port="$PORT" '
		$2 == "failed" { print $2 }
		was == "\"metadata\":" && $2 == "name" { pod = $4; space = "" }
		$2 == "namespace" && space == "" { space = $4 }
		$2 == "hostPort" && $3 == (":" port) { print space "/" pod }
		{ was = $0 }' | sort -u)
	case $FOUND,$HELD in
	*failed*)
		bad "the API server does not show its API servers and pods to $(argument kubelet-client-certificate): $OTHER"
		return 0
		;;
	esac
	[ "$(echo "$FOUND" | wc -l)" -le "$SERVERS" ] ||
		bad "API servers run at $(echo "$FOUND" | cut -d'"' -f4 | tr '\n' ' ' | sed 's/ $//'): list all of them in berth:nodes, with controlPlane: true"
	[ -z "$HELD" ] || bad "pods have port $PORT of their nodes, which a Service would take from them ($(oneline "$HELD")): move them, or $OTHER"
}

# back TO FROM: the API server as it was.
back() {
	WHY=$PROBLEM
	last_words
	write "$1"
	wait_for 100 "$1" "$2" || die "THE API SERVER OF THIS NODE IS NOT WELL: it $PROBLEM; before that it $WHY; see $API"
	say "the API server runs again as before"
}

apply() {
	claim "port-range apply" check
	RANGE=$(mf_get range)
	if [ "$WANT" != "$NOW" ]; then
		RANGE="$WANT ${NOW:-none}"
		printf "ROOT='%s'\nOWNER='%s'\nset -- undo\n%s\n" "$ROOT" "$OWNER" "$SELF" | put "$UNDO" 700
		mf_set range "$RANGE"
		mf_set range-trial 1
		say "the API server gets $FLAG=$WANT in place of ${NOW:-$USUAL}, and starts again"
		write "$WANT"
	elif [ "${RANGE% *}" != "$NOW" ]; then
		# Somebody else has widened it: it is theirs.
		mf_drop range
		RANGE=''
	fi
	WAS=${RANGE#* }
	wait_for 100 "$WANT" "${WAS:-none}" || {
		[ -n "$(mf_get range-trial)" ] || die "the API server of this node $PROBLEM: repair it first"
		back "$WAS" "$WANT"
		mf_drop range
		mf_drop range-trial
		rm -f "$UNDO"
		die "with $FLAG=$WANT the API server $WHY"
	}
	mf_drop range-trial
	echo "node-ports=$WANT"
}

# outside RANGE: NodePorts of Services which are not in it.
outside() {
	list /api/v1/services | grep -oE '"(healthCheckN|n)odePort":[0-9]+|"failed"' | awk -F: -v from="${1%-*}" -v to="${1#*-}" '
		/failed/ { print "nobody tells which" }
		/:/ && ($2 < from + 0 || $2 > to + 0) { print $2 }' | sort -u
}

# restore: the argument as it was before us. Where somebody else has changed it since, theirs stays.
restore() {
	rm -f "$ROOT$NEW"
	RANGE=$(mf_get range)
	[ -z "$RANGE" ] || [ ! -f "$ROOT$API" ] || take_back
	mf_drop range
	mf_drop range-trial
	rm -f "$UNDO"
}
take_back() {
	OURS=${RANGE% *} WAS=${RANGE#* }
	NOW=$(argument "${FLAG#--}")
	[ "$NOW" = "$OURS" ] || {
		[ "${NOW:-none}" = "$WAS" ] || say "$API has $FLAG=$NOW, which is not berth's $OURS: it stays"
		return 0
	}
	# What a killed apply left may not even run.
	[ -n "$(mf_get range-trial)" ] || {
		wait_for 5 none none || die "the API server of this node $PROBLEM: repair it first, or take $FLAG back in $API yourself"
		HELD=$(case $WAS in none) outside "$USUAL" ;; *) outside "$WAS" ;; esac)
		[ -z "$HELD" ] || die "Services have NodePorts that are outside of the range to come ($(oneline "$HELD")): change them first"
	}
	say "the API server goes back from $FLAG=$OURS to $WAS, and starts again"
	write "$WAS"
	wait_for 100 "$WAS" "$OURS" || {
		back "$OURS" "$WAS"
		die "with $FLAG taken back to $WAS the API server $WHY"
	}
}

# remove: the step's own end. An apply that still waits here may not act any more.
remove() {
	[ "$(id -u)" = 0 ] || [ -n "$ROOT" ] || die "not root on this node: use root or a user with passwordless sudo"
	lock 900 "port-range remove"
	HOLDER=$(mf_get owner)
	[ -z "$HOLDER" ] || [ "$OWNER" = "$HOLDER" ] || {
		echo "skip remove: owner is $HOLDER"
		return 0
	}
	echo " 0 $$" >"$REMOVED"
	restore
	echo "removed: port-range"
}

main() {
	case ${1-} in
	apply | remove) "$1" ;;
	undo) restore ;;
	*) die "usage: apply | remove" ;;
	esac
}
main "$@" </dev/null
