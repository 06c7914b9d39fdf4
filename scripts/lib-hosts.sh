# shellcheck shell=sh
# Our block in /etc/hosts. Everything else in the file is others' and stays as it is.

# hosts_write: new content on stdin. The copy keeps mode, owner, label and ACL; a symlink is followed.
hosts_write() {
	HOSTS=$(readlink -f "$ROOT/etc/hosts")
	cp -a "$HOSTS" "$HOSTS.berth-tmp" && cat >"$HOSTS.berth-tmp" && flush "$HOSTS.berth-tmp" && mv -f "$HOSTS.berth-tmp" "$HOSTS"
}

# hosts_remove: without our block, and without the newline that we had to add in front of it. A block that lost its end
# mark loses its first line and our entry only.
hosts_remove() {
	ENTRY=$(mf_get hosts)
	[ -n "$ENTRY" ] || return 0
	rm -f "$(readlink -f "$ROOT/etc/hosts").berth-tmp"
	if grep -qx '# BEGIN berth' "$ROOT/etc/hosts" 2>/dev/null; then
		awk -v entry="$ENTRY" -v bare="$(mf_get hosts-bare)" -v open="$(tail -c 1 "$ROOT/etc/hosts")" '
			function out(line) { printf "%s%s", sep, line; sep = "\n" }
			{ last = 0 }
			$0 == "# BEGIN berth" && !on { on = 1; n = 0; next }
			on && $0 == "# END berth" { on = 0; last = 1; next }
			on { held[++n] = $0; next }
			{ out($0) }
			END {
				if (on) for (i = 1; i <= n; i++) if (held[i] != entry) out(held[i])
				if (sep != "" && (last ? bare == "" : open == "")) printf "\n"
			}' "$ROOT/etc/hosts" | hosts_write
	fi
	mf_drop hosts
	mf_drop hosts-bare
}
