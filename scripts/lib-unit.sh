# shellcheck shell=sh
# shellcheck disable=SC2034 # the parts that follow use what is set here
# containerd's systemd unit: what it is, whether it may be switched, whether it is healthy.

UNIT=containerd.service
DROPIN=/etc/systemd/system/$UNIT.d/zz-berth.conf
# A drop-in on trial lies where a reboot forgets it, with a link to it among the drop-ins: as DROPIN while that is not there, else over it.
TRIAL=/run/systemd/berth-trial.conf
OVER=/run/systemd/system/$UNIT.d/zzz-berth-trial.conf
BEGAN=$(date +%s)

ctl() { timeout 90 systemctl "$@"; }
facts() {
	FACTS=$NL$(ctl show -p LoadState,ActiveState,Type,KillMode,MainPID,FragmentPath,DropInPaths,RequiredBy,BoundBy,ConsistsOf,Environment,ExecStart "$UNIT")
}
fact() {
	case $FACTS in
	*"$NL$1="*)
		FACT=${FACTS#*"$NL$1="}
		printf '%s\n' "${FACT%%"$NL"*}"
		;;
	esac
}
exe() { readlink "$ROOT/proc/$(fact MainPID)/exe" || :; }

# allowed WORD: ALLOW has it.
allowed() { case " $ALLOW " in *" $1 "*) ;; *) return 1 ;; esac; }

# exec_start: the command line of the unit without our drop-ins; nothing when there is not exactly one.
exec_start() {
	for FILE in $(fact FragmentPath) $(fact DropInPaths); do
		case $FILE in
		*/zz-berth.conf | */zzz-berth-trial.conf) ;;
		*) cat "$ROOT$FILE" && echo ;;
		esac
	done | awk '
		{ line = held $0; held = "" }
		line ~ /^[ \t]*[#;]/ { next }
		line ~ /\\$/ { sub(/\\$/, " ", line); held = line; next }
		line ~ /^\[/ { section = line; next }
		section == "[Service]" && line ~ /^[ \t]*ExecStart[ \t]*=/ {
			sub(/^[^=]*=[ \t]*/, "", line)
			if (line == "") n = 0; else { n++; command = line }
		}
		END { if (n == 1) print command }'
}

# stock: sets STOCK (the packaged binary) and ARGS from FACTS. Fails, with no STOCK, for a form that cannot be kept word for word.
stock() {
	ARGS=$(exec_start)
	STOCK=${ARGS%%[ 	]*}
	ARGS=${ARGS#"$STOCK"}
	case $STOCK in
	*[\"\'\\\$%]*) ;;
	/*/containerd) return 0 ;;
	esac
	STOCK=
	return 1
}

# unit_problems: one line, with its remedy, per reason not to switch the unit that facts and stock have seen.
unit_problems() {
	[ "$(fact LoadState)" = loaded ] || {
		echo "there is no containerd.service: install containerd"
		return
	}
	[ "$(fact KillMode)" = process ] ||
		echo "KillMode=$(fact KillMode) lets a restart kill all pods: set KillMode=process in containerd.service"
	case $(fact Type) in
	notify | notify-reload | simple | exec) ;;
	*) echo "Type=$(fact Type) of containerd.service is not supported: use notify" ;;
	esac
	[ -n "$STOCK" ] || echo "ExecStart of containerd.service is not one plain path with arguments: simplify it"
	COUPLED=$(printf '%s\n' "$FACTS" | sed -nE 's/^(RequiredBy|BoundBy|ConsistsOf)=(.+)/\2/p' | tr '\n' ' ')
	[ -z "$COUPLED" ] ||
		echo "a restart of containerd would restart $COUPLED: use Wants= there"
	# No drop-in counts without a reload, so there is no way around it: the operator empties the node first.
	allowed gpu || for FILE in "$ROOT"/dev/nvidia[0-9c]*; do
		[ ! -e "$FILE" ] || {
			echo "a reload of systemd detaches NVIDIA GPUs from pods: drain the node and set its reloadWithGPU"
			break
		}
	done
}

# unhealthy BINARY PLUGINS: prints what is wrong by FACTS. BINARY: the path that must run; "stock" means none of ours, "any" any.
unhealthy() {
	[ "$(fact ActiveState)" = active ] || {
		echo "containerd.service is $(fact ActiveState)"
		return
	}
	case $1:$(exe) in
	stock:*/containerd-berth-*) echo "berth's containerd still runs" ;;
	stock:* | any:*) ;;
	*) [ "$ROOT$1" = "$(exe)" ] || echo "$(exe) runs in place of $1" ;;
	esac
	# Release lines differ in their internal plugins, which may be gone. What others use may not.
	timeout 20 ctr plugins ls 2>/dev/null | awk -v want="$2 io.containerd.grpc.v1.cri" '
		{ state[$1 "." $2] = $NF }
		END {
			n = split(want, plugin, " ")
			for (i = 1; i <= n; i++) {
				s = state[plugin[i]]
				if (s == "" && plugin[i] ~ /\.(grpc|snapshotter|content|differ)\.v/) s = "missing"
				if (s != "" && s != "ok") print "plugin " plugin[i] " is " s
			}
		}'
}

# untry: no drop-in is on trial any more. A link that cannot be removed leads nowhere then, which is as good.
untry() {
	rm -f "$ROOT$OVER" "$ROOT$TRIAL"
	rmdir "$ROOT${OVER%/*}" 2>/dev/null || :
	[ ! -L "$ROOT$DROPIN" ] || rm -f "$ROOT$DROPIN" || :
}

# healthy BINARY PLUGINS: waits; sets PROBLEM when it gives up, and FACTS.
healthy() {
	UNTIL=$(($(date +%s) + 45))
	while :; do
		facts
		PROBLEM=$(unhealthy "$1" "$2")
		[ -n "$PROBLEM" ] || return 0
		[ "$(date +%s)" -lt "$UNTIL" ] || return 1
		sleep 0.2 2>/dev/null || sleep 1
	done
}

# restart: with the unit as it now lies on disk, unless RELOAD is empty: on a node with GPUs, a reload takes them from pods.
restart() {
	[ -z "${RELOAD-1}" ] || ctl daemon-reload
	ctl reset-failed "$UNIT" 2>/dev/null || :
	mf_set restarts $(($(mf_get restarts) + 1))
	ctl restart "$UNIT"
}

# last_words: what containerd and systemd said about a failed start, without the routine.
last_words() {
	timeout 20 journalctl -u "$UNIT" --since "@$BEGAN" -o cat --no-pager 2>/dev/null |
		grep -Ev 'level=(info|debug|warning)|^(Start|Stopp)(ing|ed) ' | tail -n 15 | cut -c1-300 >&2 || :
}
