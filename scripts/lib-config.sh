# shellcheck shell=sh
# config_path in containerd's configuration: a drop-in of ours, or our lines in a file of others, taken out again without a trace.

# config_file: sets CONFIG, which the command line of the unit names.
config_file() {
	CONFIG=$(echo "$ARGS" | tr -d "\"'" | sed -nE 's/.*[ \t]--?c(onfig)?[ =]+([^ ]+).*/\2/p')
	CONFIG=${CONFIG:-/etc/containerd/config.toml}
}

stock_version() { "$ROOT$STOCK" --version | awk '{ sub(/^v/, "", $3); print $3 }'; }

# settings FILE: what containerd makes of a configuration, "TABLE KEY = VALUE" a line and without quotes.
settings() {
	timeout 20 "$ROOT$STOCK" --config "$1" config dump 2>/dev/null | tr -d "\"'" | awk '
		{ sub(/^[ \t]+/, "") }
		/^\[/ { table = $0; next }
		/ = / && !/^imports = / { print table, $0 }'
}
FOLDERS='^\[plugins\.io\.containerd\.(grpc\.v1\.cri|cri\.v1\.images)\.registry\] config_path = '
folders() { settings "$1" | sed -nE "s/$FOLDERS//p"; }
others() { settings "$1" | grep -vE "$FOLDERS"; }

# rewrite FILE: new content on stdin. The copy keeps mode, owner, label and ACL; a symlink is followed.
rewrite() {
	REAL=$(readlink -f "$1")
	cp -a "$REAL" "$REAL.berth-tmp" && cat >"$REAL.berth-tmp" && flush "$REAL.berth-tmp" && mv -f "$REAL.berth-tmp" "$REAL"
}

# A last line without an end stays so.
OUT='function out(line) { printf "%s%s", sep, line; sep = "\n" }'

# with_path FILE TABLE FOLDER: FILE with our lines. A line that says nothing (config_path = "") is kept as a comment.
with_path() {
	awk -v table="[$2]" -v folder="$3" -v open="$(tail -c 1 "$1")" '
		'"$OUT"'
		function bare(line) { sub(/#.*/, "", line); gsub(/[ \t"\047]/, "", line); return line }
		function ours() { out("config_path = \"" folder "\""); out("# END berth") }
		!done && bare($0) == bare(table) { out($0); out("# BEGIN berth"); ours(); done = inside = 1; next }
		/^[ \t]*\[/ { inside = 0 }
		inside && bare($0) == "config_path=" { $0 = "# berth: " $0 }
		{ out($0) }
		END {
			if (!done) { out("# BEGIN berth"); out(table); ours() }
			if (!done || open == "") printf "\n"
		}' "$1"
}

# without_path FILE: the same without our lines, and without the newline that we had to add in front of them.
without_path() {
	awk -v added="$(mf_get config-bare)" -v open="$(tail -c 1 "$1")" '
		'"$OUT"'
		{ last = 0 }
		$0 == "# BEGIN berth" { on = 1; next }
		on && $0 == "# END berth" { on = 0; last = 1; next }
		on && /^(\[plugins\.|config_path = |imports = )/ { next }
		{ on = 0; sub(/^# berth: /, ""); out($0) }
		END { if (sep != "" && (last ? added == "" : open == "")) printf "\n" }' "$1"
}

# config_takes FOLDER: takes stdin for the configuration, if all that containerd makes of it, and of what it imports, is as it was but
# for FOLDER.
config_takes() {
	cat >"$ROOT$CONFIG.berth-try"
	[ "$(others "$ROOT$CONFIG.berth-try" && folders "$ROOT$CONFIG.berth-try")" = "$WERE$NL$1" ] || return 1
	{ cmp -s "$ROOT$CONFIG.berth-try" "$ROOT$CONFIG" || rewrite "$ROOT$CONFIG" <"$ROOT$CONFIG.berth-try"; } && rm -f "$ROOT$CONFIG.berth-try"
}

# drop_in FOLDER: the way of containerd 2.x, which merges drop-ins into the configuration, and reads those that it imports alone. 1.x takes
# the table of a plugin from one file as a whole. The import is a pattern: a file that is named and missing stops containerd.
drop_in() {
	case $(stock_version) in 1.*) return 1 ;; esac
	printf 'version = %s\n[%s]\nconfig_path = "%s"\n' "$RULES" "$TABLE" "$1" | our_file "$CONF" 644
	mf_set config-sum "$(sum "$ROOT$CONF")"
	{
		[ -n "$(imported "$CONFIG")" ] || printf '# BEGIN berth\nimports = ["%s*.toml"]\n# END berth\n' "${CONF%.toml}"
		cat "$ROOT$CONFIG"
	} | config_takes "$1"
}

# config_add FOLDER: containerd looks for certs.d in FOLDER from its next start on.
config_add() {
	# What a killed run left.
	config_undo
	RULES=$(sed -nE 's/^version *= *([0-9]+).*/\1/p' "$ROOT$CONFIG" 2>/dev/null || echo 2)
	# Of a later version than the file's, a drop-in would have the file read wrongly. A file without a version is read by 1.x
	# as it stands, and made into one of the latest version by 2.x at once.
	TABLE='plugins."io.containerd.cri.v1.images".registry'
	case $(stock_version),${RULES:=1} in 1.*,1 | *,2) TABLE='plugins."io.containerd.grpc.v1.cri".registry' ;; esac
	WERE=$(others "$ROOT$CONFIG") || die "containerd does not read $CONFIG: see containerd --config $CONFIG config dump"
	case $WERE in *.registry.mirrors.* | *.registry.configs.*.tls]*)
		die "registry.mirrors or configs.tls in $CONFIG bar config_path: move them to $1, or take another access.mode"
		;;
	esac
	mf_set config "$CONFIG"
	[ -e "$ROOT$CONFIG" ] || {
		mf_set config-made 1
		our_dir "${CONFIG%/*}"
		echo "version = $RULES" | put "$ROOT$CONFIG" 644
	}
	drop_in "$1" || {
		drop_in_undo
		[ -z "$(tail -c 1 "$ROOT$CONFIG")" ] || mf_set config-bare 1
		with_path "$ROOT$CONFIG" "$TABLE" "$1" | config_takes "$1" || {
			config_undo
			die "$CONFIG takes no config_path without another change: set it to $1 by hand, or take another access.mode"
		}
	}
}

drop_in_undo() {
	! mf_has file "$CONF" || drop "$CONF"
	mf_drop config-sum
	mf_cut "file $CONF"
}

# config_undo: somebody else's later lines stay.
config_undo() {
	EDITED=$(mf_get config)
	[ -n "$EDITED" ] || return 0
	rm -f "$ROOT$EDITED.berth-try" "$(readlink -f "$ROOT$EDITED").berth-tmp"
	if grep -qsE '^# (BEGIN berth$|berth: )' "$ROOT$EDITED"; then without_path "$ROOT$EDITED" | rewrite "$ROOT$EDITED"; fi
	drop_in_undo
	case $(mf_get config-made)$(cat "$ROOT$EDITED" 2>/dev/null || :) in
	"1version = "[0-9]) drop "$EDITED" ;;
	esac
	mf_write "config config-made config-bare"
}
