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
UNIT=containerd.service
DROPIN=/etc/systemd/system/$UNIT.d/zz-berth.conf
TRIAL=/run/systemd/system/$UNIT.d/zzz-berth-trial.conf
BEGAN=$(date +%s)
ctl() { timeout 90 systemctl "$@"; }
facts() {
FACTS=$(ctl show -p LoadState -p ActiveState -p Type -p KillMode -p MainPID -p FragmentPath -p DropInPaths \
-p RequiredBy -p BoundBy -p ConsistsOf -p Environment -p ExecStart "$UNIT")
}
fact() { printf '%s\n' "$FACTS" | sed -n "s/^$1=//p"; }
exe() { readlink "$ROOT/proc/$(fact MainPID)/exe" || :; }
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
stock() {
ARGS=$(exec_start)
STOCK=${ARGS%%[ 	]*}
ARGS=${ARGS#"$STOCK"}
case $STOCK in
*[\"\'\\\$%]*) return 1 ;;
/*/containerd) ;;
*) return 1 ;;
esac
}
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
stock || echo "ExecStart of containerd.service is not one plain path with arguments: simplify it"
COUPLED="$(fact RequiredBy) $(fact BoundBy) $(fact ConsistsOf)"
[ -z "${COUPLED%% *}${COUPLED##* }" ] ||
echo "a restart of containerd would restart $COUPLED: use Wants= there in place of Requires=, BindsTo= or PartOf="
for FILE in "$ROOT"/dev/nvidia[0-9c]*; do
[ ! -e "$FILE" ] || {
echo "systemctl daemon-reload detaches NVIDIA GPUs from running pods: leave this node out of berth:nodes"
break
}
done
}
plugins() { timeout 20 ctr plugins ls 2>/dev/null | awk '$NF == "ok" && $2 != "btrfs" { printf "%s.%s ", $1, $2 }'; }
unhealthy() {
facts
[ "$(fact ActiveState)" = active ] || {
echo "containerd.service is $(fact ActiveState)"
return
}
case $1:$(exe) in
stock:*/containerd-berth-*) echo "berth's containerd still runs" ;;
stock:* | any:*) ;;
*) [ "$ROOT$1" = "$(exe)" ] || echo "$(exe) runs in place of $1" ;;
esac
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
healthy() {
UNTIL=$(($(date +%s) + 45))
while :; do
PROBLEM=$(unhealthy "$1" "$2")
[ -n "$PROBLEM" ] || return 0
[ "$(date +%s)" -lt "$UNTIL" ] || return 1
sleep 0.2 2>/dev/null || sleep 1
done
}
restart() {
ctl daemon-reload
ctl reset-failed "$UNIT" 2>/dev/null || :
mf_set restarts $(($(mf_get restarts) + 1))
ctl restart "$UNIT"
}
last_words() {
timeout 20 journalctl -u "$UNIT" --since "@$BEGAN" -o cat --no-pager 2>/dev/null |
grep -Ev 'level=(info|debug|warning)|^(Starting|Started|Stopping|Stopped) ' | tail -n 15 | cut -c1-300 >&2 || :
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
environment() { fact Environment | tr ' ' '\n' | sed -n "s/^\"*$1=//p" | tr -d '"'; }
dropin() {
echo "# Written by berth; berth-remove takes it away."
echo "[Service]"
if ! grep -s '^Environment="PATH=' "$ROOT$DROPIN"; then
WAY=$(environment PATH)
WAY=${WAY:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}
case :$WAY: in
*":${STOCK%/*}:"*) ;;
*) [ ! -e "$ROOT${STOCK%/*}/containerd-shim-runc-v2" ] || echo "Environment=\"PATH=$WAY:${STOCK%/*}\"" ;;
esac
fi
if [ "$TRUST" = containerd ]; then
FOLDERS=$(environment SSL_CERT_DIR)
FOLDERS=${FOLDERS:-/etc/ssl/certs:/etc/pki/tls/certs}
echo "Environment=\"SSL_CERT_DIR=${FOLDERS%:"$SCOPED"}:$SCOPED\""
fi
echo "ExecStart="
echo "ExecStart=$1$ARGS"
}
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
off() {
if [ -e "$ROOT$2" ] || [ -L "$ROOT$2" ]; then echo "$1 $3 is changed"; else echo "$1 $3 is missing"; fi
}
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
[ "$(cat "$ROOT$PORTS" 2>/dev/null)" = "$(mapping "$SERVED")" ] || off base "$PORTS" "port mapping $PORTS"
[ -e "$ROOT/usr/local/sbin/berth-remove" ] || if [ -e "$ROOT/run/berth-remove" ]; then
echo "base /usr/local/sbin/berth-remove is missing"
else
echo "note /usr/local/sbin/berth-remove is missing: the next change of the anchor brings it"
fi
}
check_binaries() {
SUMS=$(mf_get sums)
BIN=/usr/local/bin/containerd-berth-$VERSION
CTR=/usr/local/bin/ctr-berth-$VERSION
[ "$(sum "$ROOT$BIN")" = "${SUMS% *}" ] || off containerd "$BIN" "binary $BIN"
[ "$(sum "$ROOT$CTR")" = "${SUMS#* }" ] || off containerd "$CTR" "binary $CTR"
LINK=$(mf_get link)
LINK=${LINK% *}
[ -z "$LINK" ] || [ -e "$ROOT$LINK" ] || [ -L "$ROOT$LINK" ] || echo "containerd link $LINK is missing"
}
check_unit() {
facts
RUNS=$(exe)
if [ "$(fact ActiveState)" != active ]; then
echo "containerd containerd.service is $(fact ActiveState)"
elif [ "$RUNS" != "$ROOT$BIN" ]; then
echo "containerd ${RUNS#"$ROOT"} runs in place of $BIN"
fi
[ ! -e "$ROOT$TRIAL" ] || echo "containerd trial drop-in ${TRIAL##*/} is left"
unit_problems | sed 's/^/note /'
stock || return 0
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
check_containerd() {
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
if [ ! -f "$MANIFEST" ]; then
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
check_containerd
}
main() {
case ${1-} in
verify) verify ;;
*) die "usage: verify" ;;
esac
}
main "$@" </dev/null
