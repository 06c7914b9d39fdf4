set -eu
umask 077
LC_ALL=C
PATH="${PATH:-/bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export LC_ALL PATH
trap '' PIPE
STATE=$ROOT/var/lib/berth
MANIFEST=$STATE/manifest
LOCK=$ROOT/run/berth.lock
REMOVED=$ROOT/run/berth.removed
PORTS=/etc/containerd/berth.ports
SCOPED=/var/lib/berth/trust
say() { printf 'berth: %s\n' "$*" >&2 || :; }
die() {
say "$*"
exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
sum() { sha256sum "$1" 2>/dev/null | cut -d' ' -f1; }
label() { ! have restorecon || restorecon "$1" 2>/dev/null || :; }
put() {
cat >"$1.berth-tmp" && chmod "$2" "$1.berth-tmp" || return 1
if cmp -s "$1" "$1.berth-tmp" && [ -n "$(find "$1" -prune -perm "$2")" ]; then
rm -f "$1.berth-tmp"
else
mv -f "$1.berth-tmp" "$1" && label "$1"
fi
}
mf_get() { [ ! -f "$MANIFEST" ] || sed -n "s/^$1 //p" "$MANIFEST"; }
mf_drop() {
[ ! -f "$MANIFEST" ] || { grep -v "^$1 " "$MANIFEST" || :; } | put "$MANIFEST" 600
}
mf_set() {
[ "$(mf_get "$1")" != "$2" ] || return 0
{ [ ! -f "$MANIFEST" ] || grep -v "^$1 " "$MANIFEST" || :; printf '%s %s\n' "$1" "$2"; } | put "$MANIFEST" 600
}
lock() {
exec 9>>"$LOCK"
if ! flock -n 9; then
say "waiting up to $1 s for $(cat "$LOCK")"
flock -w "$1" 9 || die "this node is still held by $(cat "$LOCK") after $1 s; see whether it hangs"
fi
printf '%s\n' "$2 of $OWNER (pid $$, since $(date -u +%H:%M:%S) UTC)" >"$LOCK"
}
removed() { cat "$REMOVED" 2>/dev/null || :; }
mf_add() {
grep -qxF "$1 $2" "$MANIFEST" 2>/dev/null ||
{ [ ! -f "$MANIFEST" ] || cat "$MANIFEST"; printf '%s %s\n' "$1" "$2"; } | put "$MANIFEST" 600
}
our_dir() {
[ -n "$1" ] && [ ! -d "$ROOT$1" ] || return 0
our_dir "${1%/*}"
mf_add dir "$1"
mkdir "$ROOT$1" && chmod 755 "$ROOT$1" && label "$ROOT$1"
}
our_file() {
our_dir "${1%/*}"
mf_add file "$1"
put "$ROOT$1" "$2"
}
claim() {
[ "$(id -u)" = 0 ] || [ -n "$ROOT" ] || die "not root on this node: use root or a user with passwordless sudo"
MARK=$(removed)
lock 300 "$1"
[ "$MARK" = "$(removed)" ] || die "berth was removed from this node while this step waited: nothing is changed; run pulumi up again"
SINCE=${MARK%% *}
AGE=$(($(date +%s) - ${SINCE:-0}))
[ -z "$SINCE" ] || [ "$AGE" -lt 0 ] || [ "$AGE" -ge 300 ] ||
die "berth was removed from this node $AGE s ago: nothing is changed; run pulumi up again in $((300 - AGE)) s"
HOLDER=$(mf_get owner)
[ -z "$HOLDER" ] || [ "${HOLDER%/*}" = "${OWNER%/*}" ] ||
die "this node belongs to $HOLDER: destroy that stack, or run berth-remove on the node, before $OWNER takes it"
mkdir -p "$STATE"
chmod 700 "$STATE"
mf_set owner "$OWNER"
mf_set applies $(($(mf_get applies) + 1))
}
store() {
if have update-ca-trust && [ -d "$ROOT/etc/pki/ca-trust/source/anchors" ]; then
CA_FILE=/etc/pki/ca-trust/source/anchors/berth.crt
BUNDLE=/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem
UPDATE=update-ca-trust
elif have update-ca-trust && [ -d "$ROOT/etc/ca-certificates/trust-source/anchors" ]; then
CA_FILE=/etc/ca-certificates/trust-source/anchors/berth.crt
BUNDLE=/etc/ca-certificates/extracted/tls-ca-bundle.pem
UPDATE=update-ca-trust
elif have update-ca-certificates && [ -d "$ROOT/etc/pki/trust/anchors" ]; then
CA_FILE=/etc/pki/trust/anchors/berth.pem
BUNDLE=/var/lib/ca-certificates/ca-bundle.pem
UPDATE=update-ca-certificates
elif have update-ca-certificates && [ -d "$ROOT/etc/ssl/certs" ]; then
CA_FILE=/usr/local/share/ca-certificates/berth.crt
BUNDLE=/etc/ssl/certs/ca-certificates.crt
UPDATE=update-ca-certificates
else
return 1
fi
}
update_store() { SAID=$(timeout 120 "$UPDATE" 2>&1) || die "$UPDATE failed: $SAID"; }
links() { ls -l "$ROOT/etc/ssl/certs" | awk '$NF ~ /(^|\/|ca-cert-)berth\.(pem|crt)$/ { print $(NF - 2) }'; }
untrust() {
CA_WAS=$(mf_get ca)
[ -n "$CA_WAS" ] || return 0
store || die "the tool of the trust store is gone: install ca-certificates again"
rm -f "$ROOT$CA_WAS" "$ROOT$CA_WAS.berth-tmp"
if [ "$BUNDLE" = /etc/ssl/certs/ca-certificates.crt ]; then
for LINK in $(links) $(mf_get calink); do rm -f "$ROOT/etc/ssl/certs/$LINK"; done
update_store
[ ! -d "$ROOT/etc/ca-certificates/update.d" ] || ! have run-parts ||
run-parts --test -- "$ROOT/etc/ca-certificates/update.d" | while read -r HOOK; do
echo -/etc/ssl/certs/berth.pem | timeout 120 "$HOOK" >/dev/null 2>&1 || say "$HOOK failed"
done
else
update_store
fi
mf_drop ca
mf_drop calink
say "took the CA out of the trust store"
}
hosts_write() {
HOSTS=$(readlink -f "$ROOT/etc/hosts")
cp -a "$HOSTS" "$HOSTS.berth-tmp" && cat >"$HOSTS.berth-tmp" && mv -f "$HOSTS.berth-tmp" "$HOSTS"
}
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
say "took the entry out of /etc/hosts"
fi
mf_drop hosts
mf_drop hosts-bare
}
bodies() {
awk '/-----BEGIN (TRUSTED )?CERTIFICATE-----/ { body = ""; on = 1; next }
/-----END/ { if (on) print body; on = 0 }
on { gsub(/[ \t\r]/, ""); body = body $0 }' "$@"
}
trusted() { bodies "$ROOT$BUNDLE" | grep -qxF "$(bodies "$1" | sed 1q)"; }
ca_path() { CA_IN_STORE=$(mf_get ca) && echo "${CA_IN_STORE:-$SCOPED/berth.crt}"; }
hosts_block() { printf '# BEGIN berth\n%s\n# END berth\n' "$1"; }
hosts_now() { sed -n '/^# BEGIN berth$/,/^# END berth$/p' "$ROOT/etc/hosts" 2>/dev/null || :; }
mapping() { printf '# Ports that containerd dials in place of 443. Written by berth.\n%s\n' "$1"; }
unlisted() {
{
if [ "$BUNDLE" = /etc/ssl/certs/ca-certificates.crt ]; then
find -L "$ROOT/usr/share/ca-certificates" "$ROOT/usr/local/share/ca-certificates" -name '*.crt' 2>/dev/null |
while read -r FILE; do bodies "$FILE"; done
else
timeout 60 trust extract --overwrite --format=pem-bundle --filter=ca-anchors --purpose=server-auth "$STATE/bundle"
bodies "$STATE/bundle"
rm -f "$STATE/bundle"
fi | sed 's/^/source /'
bodies "$ROOT$BUNDLE" | sed 's/^/bundle /'
} | awk '$1 == "source" { known[$2] = 1; next } !($2 in known) && !seen[$2]++ { print $2 }'
}
subject() {
{ echo -----BEGIN CERTIFICATE-----; echo "$1" | fold -w 64; echo -----END CERTIFICATE-----; } |
openssl x509 -noout -subject 2>/dev/null || echo "certificate $(echo "$1" | cut -c1-64)..."
}
trust_os() {
store || die "the trust store of this system is not known: install ca-certificates, or set berth:certificate.trust to containerd"
CA_NOW=$(mf_get ca)
if [ "$CA_NOW" = "$CA_FILE" ] && [ "$(cat "$ROOT$CA_FILE" 2>/dev/null)" = "$CA_PEM" ] && trusted "$ROOT$CA_FILE"; then
return 0
fi
[ -n "$CA_NOW" ] || [ ! -e "$ROOT$CA_FILE" ] || [ "$(cat "$ROOT$CA_FILE")" = "$CA_PEM" ] ||
die "$CA_FILE is there and not from berth: move it away"
if [ -f "$ROOT$BUNDLE" ] && [ -z "$CA_NOW" ]; then
LOST=$(unlisted)
[ -z "$LOST" ] || {
for BODY in $LOST; do say "only in $BUNDLE: $(subject "$BODY")"; done
die "an update of the trust store would lose the certificates above: put each as a file into ${CA_FILE%/*}, run $UPDATE, then up again"
}
fi
mf_drop roots
untrust
mf_set ca "$CA_FILE"
our_dir "${CA_FILE%/*}"
WERE=$(ls "$ROOT/etc/ssl/certs" 2>/dev/null || :)
printf '%s\n' "$CA_PEM" | put "$ROOT$CA_FILE" 644
update_store
{ printf '%s\n' "$WERE"; echo; ls "$ROOT/etc/ssl/certs" 2>/dev/null || :; } | awk '$0 == "" { new = 1; next } !new { old[$0] = 1; next } !($0 in old)' |
while read -r LINK; do [ ! -L "$ROOT/etc/ssl/certs/$LINK" ] || mf_add calink "$LINK"; done
trusted "$ROOT$CA_FILE" || die "$UPDATE did not take $CA_FILE into $BUNDLE"
say "trusted the CA in $CA_FILE"
}
trust_scoped() {
untrust
mkdir -p "$ROOT$SCOPED"
[ "$(cat "$ROOT$SCOPED/berth.crt" 2>/dev/null)" = "$CA_PEM" ] || mf_drop roots
printf '%s\n' "$CA_PEM" | put "$ROOT$SCOPED/berth.crt" 600
}
hosts_apply() {
[ -n "$HOSTS_IP" ] || {
hosts_remove
return
}
FILE=$ROOT/etc/hosts
[ -f "$FILE" ] || die "/etc/hosts is missing"
ENTRY="$HOSTS_IP $REGISTRY_HOST"
COUNT=$(grep -cx -e '# BEGIN berth' -e '# END berth' "$FILE" || :)
[ "$COUNT" = 0 ] || [ "$COUNT" = 2 ] || die "/etc/hosts has half a berth block: remove the lines '# BEGIN berth' and '# END berth'"
OTHER=$(awk -v name="$REGISTRY_HOST" '
$0 == "# BEGIN berth" { on = 1 } $0 == "# END berth" { on = 0 }
{ sub(/#.*/, "") }
!on { for (i = 2; i <= NF; i++) if (tolower($i) == tolower(name)) print }' "$FILE")
[ -z "$OTHER" ] || die "/etc/hosts names $REGISTRY_HOST already ($OTHER): remove that line, or set berth:registry.hostsEntry to false"
if [ "$COUNT" = 0 ]; then
! grep -qsE '^[ ]*manage_etc_hosts: *["'\'']?([Tt]rue|template|localhost)' "$ROOT/etc/cloud/cloud.cfg" "$ROOT"/etc/cloud/cloud.cfg.d/*.cfg ||
die "cloud-init writes /etc/hosts anew at boot: set manage_etc_hosts to false, or berth:registry.hostsEntry to false"
[ ! -s "$FILE" ] || [ -z "$(tail -c 1 "$FILE")" ] || mf_set hosts-bare 1
mf_set hosts "$ENTRY"
{
cat "$FILE"
[ -z "$(mf_get hosts-bare)" ] || echo
hosts_block "$ENTRY"
} | hosts_write
elif [ "$(hosts_now)" != "$(hosts_block "$ENTRY")" ]; then
mf_set hosts "$ENTRY"
awk -v entry="$ENTRY" '
$0 == "# BEGIN berth" { print; print entry; on = 1; next }
$0 == "# END berth" { on = 0 }
!on' "$FILE" | hosts_write
else
mf_set hosts "$ENTRY"
return 0
fi
say "$REGISTRY_HOST is $HOSTS_IP in /etc/hosts"
}
leave_remove() {
if [ -f "$ROOT/run/berth-remove" ]; then
our_file /usr/local/sbin/berth-remove 700 <"$ROOT/run/berth-remove"
elif [ ! -f "$ROOT/usr/local/sbin/berth-remove" ]; then
say "berth-remove is not installed: the next change of the node's anchor brings it"
fi
}
apply() {
claim "base apply"
CA_PEM=$(printf '%s\n' "$CA_PEM")
mf_set registry "$REGISTRY_HOST"
leave_remove
case $TRUST in
os)
trust_os
rm -rf "$ROOT$SCOPED"
;;
containerd) trust_scoped ;;
*) die "TRUST is os or containerd" ;;
esac
hosts_apply
mapping "$REGISTRY_HOST $NODE_PORT" | our_file "$PORTS" 644
mf_set ca-sum "$(sum "$ROOT$(ca_path)")"
mf_set ports "$REGISTRY_HOST $NODE_PORT"
echo "base trust=$TRUST hosts=${HOSTS_IP:-none} port=$NODE_PORT"
}
main() {
case ${1-} in
apply) apply ;;
*) die "usage: apply" ;;
esac
}
main "$@" </dev/null
