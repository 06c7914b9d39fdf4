# shellcheck shell=sh
# The part of a step that restarts containerd runs as a transient unit (verb switch of the same script), so that a cut connection cannot
# stop it half way. It gets no secret.

quote() {
	case $2 in
	*\'*) printf "%s='%s'\n" "$1" "$(printf '%s' "$2" | sed "s/'/'\\\\''/g")" ;;
	*) printf "%s='%s'\n" "$1" "$2" ;;
	esac
}

# in_unit NAME...: with these variables as they are now.
in_unit() {
	{
		echo "exec 9<&0"
		for NAME; do eval "quote $NAME \"\$$NAME\""; done
		printf '%s\n' "$SELF"
	} | put "$STATE/switch" 600
	# The unit gets the lock's open file as its stdin, and with it the lock, also when this script is gone. systemd ends
	# what a switch began that was killed, and waits for none of the processes that it has left: one may hang.
	SWITCHED=0
	timeout 420 systemd-run --unit=berth-switch --collect --quiet --pipe --wait --property=TimeoutStopSec=300 --property=KillMode=process \
		--property=ExecStopPost="/bin/sh $STATE/switch killed" /bin/sh "$STATE/switch" switch \
		<&9 >"$STATE/switch.log" 2>&1 || SWITCHED=$?
	cat "$STATE/switch.log" >&2 || :
	return "$SWITCHED"
}

# plugins: the containerd plugins that are ok. btrfs is left out, since a static build cannot have it.
plugins() { timeout 20 ctr plugins ls 2>/dev/null | awk '$NF == "ok" && $2 != "btrfs" { printf "%s.%s ", $1, $2 }'; }
