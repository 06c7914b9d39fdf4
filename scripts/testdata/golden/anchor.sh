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
images() {
printf '%s\n' "$LIST" | awk -v prefix="$(mf_get registry)/berth/" -v list="$(mf_get image | tr '\n' ' ')" '
BEGIN { n = split(list, l, " "); for (i = 1; i <= n; i++) want[l[i]] = 1 }
NR == 1 { next }
{ ref[NR] = $1; digest[NR] = $3 }
prefix != "/berth/" && index($1, prefix) == 1 || $1 in want { print $1; ours[$3] = 1; next }
$1 !~ /^sha256:/ { other[$3] = 1 }
END { for (i in ref) if (ref[i] ~ /^sha256:/ && ours[digest[i]] && !other[digest[i]]) print ref[i] }'
}
images_remove() {
LIST=$(timeout 30 ctr -n k8s.io images ls) || {
say "containerd does not list its images: they stay"
return 0
}
REFS=$(images)
[ -z "$REFS" ] || timeout 60 ctr -n k8s.io images rm --sync $REFS >/dev/null || say "some images stay: $REFS"
}
containerd_back() {
facts
case $(fact DropInPaths) in *berth*) OURS=1 ;; *) OURS= ;; esac
for FILE in "$ROOT$TRIAL" "$ROOT$DROPIN"; do
[ ! -e "$FILE" ] || OURS=1
rm -f "$FILE"
done
rmdir "$ROOT${TRIAL%/*}" 2>/dev/null || :
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
have flock || die "flock is missing: install util-linux"
lock 900 remove
HOLDER=$(mf_get owner)
[ -z "$OWNER" ] || [ -z "$HOLDER" ] || [ "$OWNER" = "$HOLDER" ] || {
echo "skip remove: owner is $HOLDER"
return 0
}
echo "${OWNER:+$(date +%s)} 0 $$" >"$REMOVED"
[ -f "$MANIFEST" ] || {
rm -rf "$STATE"
echo "removed: nothing was left"
return 0
}
untrust
images_remove
containerd_back
hosts_remove
mf_get link | while read -r LINK TARGET; do
rm -f "$ROOT$LINK.berth-tmp"
[ "$(readlink "$ROOT$LINK" || :)" != "$TARGET" ] || rm -f "$ROOT$LINK"
done
mf_get file | while read -r FILE; do rm -f "$ROOT$FILE" "$ROOT$FILE.berth-tmp"; done
mf_get dir | sed '1!G;h;$!d' | while read -r DIR; do rmdir "$ROOT$DIR" 2>/dev/null || :; done
rm -rf "$STATE"
[ -z "$OWNER" ] || rm -f "$ROOT/run/berth-remove"
echo "removed: $HOLDER"
}
oneline() { printf '%s' "$1" | tr '\n' ' '; }
bad() {
say "preflight: $*"
FAILED=1
}
check_system() {
[ "$(id -u)" = 0 ] || [ -n "$ROOT" ] || bad "not root: use root or a user with passwordless sudo in berth:ssh"
[ -d "$ROOT/run/systemd/system" ] || bad "systemd does not run this machine, and berth needs it"
for TOOL in systemctl systemd-run ctr sha256sum tar awk flock timeout; do
have "$TOOL" || bad "$TOOL is missing: install it"
done
case $(uname -m) in
x86_64) IS=amd64 ;;
aarch64) IS=arm64 ;;
*) IS=$(uname -m) && bad "architecture $IS is not supported" ;;
esac
[ -z "$ARCH" ] || [ "$ARCH" = "$IS" ] || bad "the node is $IS: set arch in berth:nodes"
[ "$(cat "$ROOT/proc/sys/crypto/fips_enabled" 2>/dev/null)" != 1 ] || bad "FIPS mode: berth's containerd is not a FIPS build"
[ "$TRUST" != os ] || store || bad "no known trust store: install ca-certificates, or set berth:certificate.trust to containerd"
case $(lsattr -d "$ROOT/etc/hosts" 2>/dev/null | cut -d' ' -f1) in *i*) bad "/etc/hosts is immutable: chattr -i /etc/hosts" ;; esac
timeout 10 ip -o addr show 2>/dev/null | awk '{ sub("/.*", "", $4); print $4 }' | grep -qxF "$NODE_IP" ||
bad "$NODE_IP is no address of this machine: correct internalIP (or address) in berth:nodes"
room /usr/local 200
room /var/lib 150
}
room() {
FREE=$(df -Pk "$ROOT$1" 2>/dev/null | awk 'END { print int($4 / 1024) }')
[ "${FREE:-0}" -ge "$2" ] || bad "$1 has ${FREE:-0} MB left: $2 MB are needed"
case $1,$(findmnt -nro OPTIONS -T "$ROOT$1" 2>/dev/null), in *,ro,* | /usr*,noexec,*) bad "$1 is mounted read-only or noexec" ;; esac
}
check_owner() {
OUT="leave this node out of berth:nodes"
for PAIR in /var/lib/rancher/k3s:k3s /var/lib/rancher/rke2:rke2 /var/lib/k0s:k0s /var/snap/microk8s:microk8s \
/run/ostree-booted:ostree /etc/containerd/certs.d/_backup:spegel; do
[ ! -e "$ROOT${PAIR%%:*}" ] || bad "${PAIR#*:} owns containerd here (${PAIR%%:*}): $OUT"
done
case $(sed -n 's/^ID=//p' "$ROOT/etc/os-release" 2>/dev/null) in
*talos* | *flatcar* | *bottlerocket*) bad "this system replaces /usr on upgrade: $OUT" ;;
esac
HOLDER=$(mf_get owner)
[ -z "$HOLDER" ] || [ "${HOLDER%/*}" = "${OWNER%/*}" ] || bad "this node belongs to $HOLDER: destroy that stack, or run berth-remove here"
}
check_containerd() {
facts
WRONG=$(unit_problems)
[ -z "$WRONG" ] || while read -r LINE; do bad "$LINE"; done <<-LINES
$WRONG
LINES
[ "$(fact LoadState)" = loaded ] || return 0
WRONG=$(unhealthy any "")
[ -z "$WRONG" ] || bad "containerd is not healthy ($(oneline "$WRONG")): repair it first"
check_kubelet
check_config
}
check_kubelet() {
KUBELET=$(ctl show -p MainPID --value kubelet.service 2>/dev/null || :)
[ "${KUBELET:-0}" != 0 ] || return 0
SOCKET=$({ tr '\0' '\n' <"$ROOT/proc/$KUBELET/cmdline"; cat "$ROOT/var/lib/kubelet/config.yaml"; } 2>/dev/null |
sed -n -e 's/^--container-runtime-endpoint[= ]//p' -e 's/^containerRuntimeEndpoint: *//p' | tr -d "\"'" | sed 1q)
case $SOCKET in
"" | unix:///run/containerd/containerd.sock | unix:///var/run/containerd/containerd.sock | /run/containerd/containerd.sock) ;;
*) bad "the kubelet uses $SOCKET and not containerd: $OUT" ;;
esac
}
check_config() {
CONFIG=$(sed 's/^[[:space:]]*#.*//' "$ROOT/etc/containerd/config.toml" 2>/dev/null || :)
has() { printf '%s\n' "$CONFIG" | grep -qE "$1"; }
! has '^[[:space:]]*snapshotter *= *"btrfs"' || bad "snapshotter btrfs is not in a static containerd: use overlayfs"
CERTS=$(printf '%s\n' "$CONFIG" | sed -n 's/^[[:space:]]*config_path *= *["'\'']\([^"'\'']*\).*/\1/p')
case $CERTS in *:*) bad "config_path is a list ($CERTS): name one folder" ;; esac
if has 'registry\.mirrors'; then
[ -z "$CERTS" ] || bad "config.toml has both config_path and registry.mirrors: keep one"
! has "registry\.mirrors\.[\"']?${REGISTRY_HOST}[\"'\]]" || bad "config.toml sends $REGISTRY_HOST elsewhere by registry.mirrors: remove that table"
fi
for DIR in $(echo "$CERTS" | tr ':' ' ') /etc/containerd/certs.d; do
for TOML in "$DIR/$REGISTRY_HOST/hosts.toml" "$DIR/_default/hosts.toml"; do
TO=$(sed -n -e 's/^[[:space:]]*server *= *//p' -e 's/^[[:space:]]*\[host\.\(.*\)\].*/\1/p' "$ROOT$TOML" 2>/dev/null |
tr -d "\"'" | grep -vixE "(https://)?$REGISTRY_HOST(:443)?/?" || :)
[ -z "$TO" ] || bad "$TOML sends $REGISTRY_HOST to $(oneline "$TO"): remove that entry"
done
done
}
leave_remove() {
printf "#!/bin/sh\n# Takes berth off this node.\nROOT='%s'\nOWNER=\nset -- remove\n%s\n" "$ROOT" "$SELF" | put "$ROOT/run/berth-remove" 700
}
preflight() {
FAILED=
have flock && [ -d "$ROOT/run" ] && lock 120 preflight
check_system
check_owner
! have systemctl || check_containerd
[ -z "$FAILED" ] || die "preflight failed: nothing is changed on this node"
rm -f "$REMOVED"
leave_remove
echo "preflight ok: $IS, $(sed -n 's/^PRETTY_NAME=//p' "$ROOT/etc/os-release" | tr -d '"'), $(exe)"
}
main() {
case ${1-} in
preflight) preflight ;;
remove) remove ;;
*) die "usage: preflight | remove" ;;
esac
}
main "$@" </dev/null
