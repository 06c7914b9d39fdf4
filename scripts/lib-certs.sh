# shellcheck shell=sh
# An entry of certs.d, and how containerd is told of its folder, for the script that writes them and the one that compares.

# CONF: our drop-in for containerd 2.x.
CONF=/etc/containerd/conf.d/zz-berth.toml

# hosts_toml SERVER CA: leads to the registry at SERVER, known by the CA in that file. containerd 1.6 reads no file without a host table.
hosts_toml() {
	printf '# Written by berth.\nserver = "https://%s"\ncapabilities = ["pull", "resolve", "push"]\nca = "%s"\n\n[host]\n' \
		"$1" "$2"
}

# imported CONFIG: "yes" where a line of it has containerd read CONF. Globs of containerd end at slashes, the shell's do not. A list in
# another form, on several lines for one, is taken to lack CONF.
imported() {
	awk '
		/^[ \t]*\[/ { exit }
		/^[ \t]*imports[ \t]*=[ \t]*\[[^]#]*\][ \t\r]*(#.*)?$/ { sub(/^[^=]*=[ \t]*\[/, ""); sub(/\].*/, ""); gsub(/[ \t"\047]/, ""); gsub(/,/, "\n"); print }
	' "$ROOT$1" 2>/dev/null | while read -r FROM; do
		case $FROM in /*) ;; *) FROM=${1%/*}/$FROM ;; esac
		[ "${FROM%/*}" = "${CONF%/*}" ] || continue
		# shellcheck disable=SC2254 # it is a pattern
		case ${CONF##*/} in ${FROM##*/}) echo yes && break ;; esac
	done
}

# config_lost: what is gone of config_path as we have set it, if anything.
config_lost() {
	EDITED=$(mf_get config)
	DROPPED=$(mf_get config-sum)
	if [ -z "$EDITED" ]; then
		:
	elif [ -z "$DROPPED" ]; then
		grep -qsx '# BEGIN berth' "$ROOT$EDITED" || echo "config_path in $EDITED is missing"
	elif [ "$(sum "$ROOT$CONF")" != "$DROPPED" ]; then
		if [ -e "$ROOT$CONF" ]; then echo "drop-in $CONF is changed"; else echo "drop-in $CONF is missing"; fi
	elif [ -z "$(imported "$EDITED")" ]; then
		echo "the import of $CONF in $EDITED is missing"
	fi
}
