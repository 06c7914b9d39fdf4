# shellcheck shell=sh
# Takes berth off a node: exactly what the manifest lists, after any partial apply.

# images: refs of berth's own images by each name that the registry had, and of what it imported, and the bare digests that
# nothing else uses.
images() {
	printf '%s\n' "$LIST" | awk -v list="$({ mf_get image; mf_get registry | sed 's|$|/berth/|'; } | tr '\n' ' ')" '
		BEGIN { n = split(list, l, " "); for (i = 1; i <= n; i++) want[l[i]] = 1 }
		NR == 1 { next }
		{ ref[NR] = $1; digest[NR] = $3; key = $1; sub(/\/berth\/.*/, "/berth/", key) }
		$1 in want || key in want { print $1; ours[$3] = 1; next }
		$1 !~ /^sha256:/ { other[$3] = 1 }
		END { for (i in ref) if (ref[i] ~ /^sha256:/ && ours[digest[i]] && !other[digest[i]]) print ref[i] }'
}
images_remove() {
	LIST=$(timeout 30 ctr -n k8s.io images ls) || {
		say "containerd does not list its images: they stay"
		return 0
	}
	REFS=$(images)
	# shellcheck disable=SC2086 # one word per image
	[ -z "$REFS" ] || timeout 60 ctr -n k8s.io images rm --sync $REFS >/dev/null || say "some images stay: $REFS"
}

# containerd_back: the packaged containerd, restarted only where ours runs or nothing does.
containerd_back() {
	facts
	case $(fact DropInPaths) in *berth*) OURS=1 ;; *) OURS= ;; esac
	[ ! -e "$ROOT$TRIAL" ] && [ ! -e "$ROOT$DROPIN" ] || OURS=1
	untry
	rm -f "$ROOT$DROPIN"
	case $(exe) in *containerd-berth-*) OURS=restart ;; esac
	[ -n "$OURS" ] || return 0
	if [ "$OURS" = restart ] || [ "$(fact ActiveState)" != active ]; then
		say "restarting the packaged containerd"
		restart || :
		healthy stock "$(cat "$STATE/plugins" 2>/dev/null || :)" || {
			last_words
			die "the packaged containerd is not healthy: $PROBLEM"
		}
	else
		ctl daemon-reload
	fi
}

remove() {
	# Longer than any apply holds the lock: all its waits together stay below 870 s.
	lock 900 remove
	HOLDER=$(mf_get owner)
	[ -z "$OWNER" ] || [ -z "$HOLDER" ] || [ "$OWNER" = "$HOLDER" ] || {
		echo "skip remove: owner is $HOLDER"
		return 0
	}
	[ -z "$OWNER" ] || case $(mf_get identity) in
	"" | "$IDENTITY") ;;
	*)
		echo "skip remove: owner is $HOLDER of another Pulumi state"
		return 0
		;;
	esac
	# By hand (no owner given) nothing is known to be on its way here: only what waits already is stopped.
	echo "${OWNER:+$(date +%s)} 0 $$" >"$REMOVED"
	# By hand, the copy that the next base installs stays.
	LEFT=${OWNER:+$ROOT/run/berth-remove}
	# An upload that was cut is in no manifest.
	rm -f "$ROOT/tmp/berth-registry-image.tar"
	[ -f "$MANIFEST" ] || {
		rm -rf "$STATE" ${LEFT:+"$LEFT"}
		echo "removed: nothing was left"
		return 0
	}
	untrust
	images_remove
	# What steps left for this; nothing is pulled from the registry any more.
	for FILE in "$STATE"/undo*; do [ ! -f "$FILE" ] || GOING=1 /bin/sh "$FILE"; done
	containerd_back
	hosts_remove
	mf_get link | while read -r LINK TARGET; do
		rm -f "$ROOT$LINK.berth-tmp"
		[ "$(readlink "$ROOT$LINK" || :)" != "$TARGET" ] || rm -f "$ROOT$LINK"
	done
	mf_get file | while read -r FILE; do rm -f "$ROOT$FILE" "$ROOT$FILE.berth-tmp"; done
	mf_get dir | sed '1!G;h;$!d' | while read -r DIR; do rmdir "$ROOT$DIR" 2>/dev/null || :; done
	rm -rf "$STATE" ${LEFT:+"$LEFT"}
	echo "removed: $HOLDER"
}
