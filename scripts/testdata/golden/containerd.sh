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
case ${VERSION-}${ARTIFACT-x/x} in
*[!A-Za-z0-9.+~_/-]* | .* | *..*) die "VERSION or ARTIFACT has a form that is not expected" ;;
esac
BIN=/usr/local/bin/containerd-berth-$VERSION
CTR=/usr/local/bin/ctr-berth-$VERSION
LINK=/usr/local/bin/ctr
STAGED=$STATE/artifact-${DIGEST#sha256:}.tar.gz
quote() { printf "%s='%s'\n" "$1" "$(printf '%s' "$2" | sed "s/'/'\\\\''/g")"; }
text() { printf '%s\n' "$1" | tr -d "\"'\\\\" | tr -s ' \t' ' ' | sed 's/^ //;s/ $//'; }
fetch_curl() {
case $NODE_IP in *:*) NODE_IP="[$NODE_IP]" ;; esac
timeout 320 curl -q -fsSL -K - --noproxy '*' --proto =https --proto-redir =https --cacert "$CA" \
--resolve "$REGISTRY_HOST:$NODE_PORT:$NODE_IP" --connect-timeout 10 --max-time 300 --retry 8 --retry-max-time 60 \
--retry-connrefused -o "$STATE/fetch/blob" "https://$REGISTRY_HOST:$NODE_PORT/v2/$ARTIFACT/blobs/$DIGEST" <<-CONFIG
user = "$(printf '%s' "$PULL_USER:$PULL_PASSWORD" | sed 's/[\\"]/\\&/g')"
CONFIG
}
fetch_ctr() {
FROM=$REGISTRY_HOST:$NODE_PORT
case $(uname -m) in aarch64) TAG=arm64 ;; *) TAG=amd64 ;; esac
TAG=$(echo "$VERSION" | tr + -)-linux-$TAG
mkdir "$STATE/fetch/$FROM"
put "$STATE/fetch/$FROM/hosts.toml" 600 <<-CONFIG
server = "https://$FROM"
[host."https://$FROM"]
capabilities = ["pull", "resolve"]
ca = "$CA"
[host."https://$FROM".header]
Authorization = "Basic $(printf '%s' "$PULL_USER:$PULL_PASSWORD" | base64 | tr -d '\n')"
CONFIG
SAID=$(HTTPS_PROXY='' https_proxy='' timeout 300 ctr -n berth content fetch --hosts-dir "$STATE/fetch" "$FROM/$ARTIFACT:$TAG" 2>&1) || say "$SAID"
timeout 60 ctr -n berth content get "$DIGEST" >"$STATE/fetch/blob" || :
ctr -n berth images rm --sync "$FROM/$ARTIFACT:$TAG" >/dev/null 2>&1 || :
ctr namespaces rm berth >/dev/null 2>&1 || :
[ -s "$STATE/fetch/blob" ]
}
fetch() {
[ "sha256:$(sum "$STAGED")" != "$DIGEST" ] || return 0
trap 'rm -rf "$STATE/fetch"' EXIT
trap 'exit 1' HUP INT TERM
rm -rf "$STATE/fetch"
mkdir "$STATE/fetch"
say "fetching containerd $VERSION from $REGISTRY_HOST:$NODE_PORT at $NODE_IP"
if have curl; then fetch_curl; else fetch_ctr; fi || die "fetching $DIGEST from $REGISTRY_HOST:$NODE_PORT at $NODE_IP failed"
[ "sha256:$(sum "$STATE/fetch/blob")" = "$DIGEST" ] || die "what the registry sent is not $DIGEST"
mv -f "$STATE/fetch/blob" "$STAGED"
rm -rf "$STATE/fetch"
}
intact() {
[ "$(mf_get artifact) $(mf_get sums)" = "$DIGEST $(sum "$ROOT$BIN") $(sum "$ROOT$CTR")" ]
}
unpack() {
mf_add file "$2.new"
mf_add file "$2"
tar -xzOf "$STAGED" "$1" >"$ROOT$2.new" || die "$1 is missing in the artifact, or the disk is full"
chmod 755 "$ROOT$2.new"
label "$ROOT$2.new"
}
prepare() {
NEXT=$BIN
FRESH=
! intact || return 0
FRESH=1
fetch
our_dir /usr/local/bin
unpack bin/containerd "$BIN"
unpack bin/ctr "$CTR"
mv -f "$ROOT$CTR.new" "$ROOT$CTR"
if [ ! -e "$ROOT$BIN" ]; then
mv "$ROOT$BIN.new" "$ROOT$BIN"
elif [ "$(sum "$ROOT$BIN")" = "$(sum "$ROOT$BIN.new")" ]; then
rm -f "$ROOT$BIN.new"
else
NEXT=$BIN.new
fi
}
settled() {
[ "$NEXT" = "$BIN" ] && [ ! -e "$ROOT$TRIAL" ] && [ "$(fact ActiveState)" = active ] && [ "$(exe)" = "$ROOT$BIN" ] &&
[ "$(cat "$ROOT$DROPIN" 2>/dev/null)" = "$(dropin "$BIN")" ] && [ "$(mf_get roots)" = "$ROOTS" ]
}
try_run() {
SAID=$(timeout 60 systemd-run --wait --pipe --collect --quiet "$ROOT$NEXT" --version 2>&1) ||
die "containerd $VERSION does not run on this node: $SAID"
case $SAID in *"$VERSION"*) ;; *) die "the artifact is not containerd $VERSION: $SAID" ;; esac
WAS=$("$ROOT$STOCK" --version 2>/dev/null | awk '{ sub(/^v/, "", $3); split($3, v, /[.]/); print v[1] * 1000 + v[2] }') || :
NEW=$(echo "$VERSION" | awk -F. '{ print $1 * 1000 + $2 }')
[ "${WAS:-0}" -le "$NEW" ] ||
die "the node's package is of a newer line than $VERSION: choose that line in berth:containerd.version"
}
switch_in_unit() {
try_run
{
echo "exec 9<&0"
for NAME in ROOT OWNER VERSION DIGEST TRUST NEXT ROOTS; do eval "quote $NAME \"\$$NAME\""; done
printf '%s\n' "$SELF"
} | put "$STATE/switch" 600
say "switching containerd to $VERSION"
SWITCHED=0
timeout 420 systemd-run --unit=berth-switch --collect --quiet --pipe --wait /bin/sh "$STATE/switch" switch \
<&9 >"$STATE/switch.log" 2>&1 || SWITCHED=$?
cat "$STATE/switch.log" >&2 || :
rm -f "$STATE/switch" "$STATE/switch.log"
[ "$SWITCHED" = 0 ] || die "the switch to containerd $VERSION failed"
}
rollback() {
trap - EXIT
say "containerd $VERSION is not healthy: $PROBLEM"
last_words
rm -f "$ROOT$TRIAL"
rmdir "$ROOT${TRIAL%/*}" 2>/dev/null || :
[ "$NEXT" = "$BIN" ] || rm -f "$ROOT$NEXT"
restart || :
healthy "$BEFORE" "$PLUGINS" || {
say "what ran before is not healthy either: $PROBLEM"
rm -f "$ROOT$DROPIN"
restart || :
healthy stock "" || die "CONTAINERD IS NOT HEALTHY ON THIS NODE: $PROBLEM"
}
facts
die "$(exe) runs again"
}
switch() {
facts
stock || die "ExecStart of containerd.service cannot be read"
PLUGINS=$(plugins)
BEFORE=$(exe)
case $BEFORE in
"$ROOT"/*containerd-berth-*' (deleted)' | "") BEFORE=any ;;
*/containerd-berth-*) BEFORE=${BEFORE#"$ROOT"} ;;
*)
BEFORE=stock
echo "$PLUGINS" | put "$STATE/plugins" 600
;;
esac
PROBLEM="the switch was interrupted"
trap rollback EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$ROOT${TRIAL%/*}"
chmod 755 "$ROOT${TRIAL%/*}"
dropin "$NEXT" | put "$ROOT$TRIAL" 644
restart || {
PROBLEM="systemctl restart failed"
exit 1
}
healthy "$NEXT" "$PLUGINS" || exit 1
SEEN=$(facts && fact ExecStart | sed -n 's/.*argv\[\]=[^ ]*\(.*\) ; ignore_errors=.*/\1/p')
[ "$(text "$SEEN")" = "$(text "$ARGS")" ] || {
PROBLEM="its arguments are '$SEEN' in place of '$ARGS'"
exit 1
}
[ "$NEXT" = "$BIN" ] || mv -f "$ROOT$NEXT" "$ROOT$BIN"
our_dir "${DROPIN%/*}"
dropin "$BIN" | our_file "$DROPIN" 644
rm -f "$ROOT$TRIAL"
rmdir "$ROOT${TRIAL%/*}" 2>/dev/null || :
trap - EXIT
ctl daemon-reload
mf_set roots "$ROOTS"
say "containerd $VERSION runs"
}
tidy() {
[ -z "$FRESH" ] || {
mf_set artifact "$DIGEST"
mf_set sums "$(sum "$ROOT$BIN") $(sum "$ROOT$CTR")"
}
case $(readlink "$ROOT$LINK" || :) in
"$CTR") mf_set link "$LINK $CTR" ;;
/usr/local/bin/ctr-berth-*) link_ctr ;;
*) [ -e "$ROOT$LINK" ] || [ -L "$ROOT$LINK" ] || link_ctr ;;
esac
mf_get file | grep -e '-berth-[0-9]' | while read -r FILE; do
case $FILE in "$BIN" | "$CTR" | "$BIN.new" | "$CTR.new") ;; *) rm -f "$ROOT$FILE" ;; esac
done
for FILE in "$STATE"/artifact-*; do [ "$FILE" = "$STAGED" ] || rm -f "$FILE"; done
mf_set version "$VERSION"
}
link_ctr() {
mf_set link "$LINK $CTR"
ln -sf "$CTR" "$ROOT$LINK.berth-tmp" && mv -f "$ROOT$LINK.berth-tmp" "$ROOT$LINK"
}
apply() {
claim "containerd apply"
facts
WRONG=$(unit_problems)
[ -z "$WRONG" ] || die "containerd cannot be switched on this node: $WRONG"
stock
CA=$ROOT$(mf_get ca)
[ "$TRUST" = os ] || CA=$ROOT$SCOPED/berth.crt
[ "$(sum "$CA")" = "$CA_SHA256" ] || die "the CA on this node is not the one to be used: apply base first"
ROOTS="$TRUST $CA_SHA256"
prepare
settled || switch_in_unit
tidy
echo "containerd=$VERSION digest=$DIGEST restarts=$(mf_get restarts)"
}
main() {
case ${1-} in
apply) apply ;;
switch) switch ;;
*) die "usage: apply" ;;
esac
}
main "$@" </dev/null
