#!/bin/sh
# The program that Pulumi runs (Pulumi.yaml, options.binary). Left to itself, Pulumi links it anew at every preview and up, which takes
# seconds; here it is built when a file that it is made of has changed since, and needs no Go otherwise.
set -eu

home=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
bin=$home/bin/berth

# The time of the last change of a file's entry, not of its content: an unpacked archive brings the latter along.
changed=$(cd "$home" && find ./*.go go.mod go.sum components internal scripts -cnewer "$bin" ! -name '*_test.go' ! -path '*/testdata*' 2>&1) ||
	changed=unknown

if [ ! -x "$bin" ] || [ -n "$changed" ]; then
	echo "berth: compiling the program" >&2
	mkdir -p "$home/bin"
	new=$bin.$$
	trap 'rm -f "$new" "$new.began"' EXIT
	# What changes during the build is newer than the program.
	: >"$new.began"
	(cd "$home" && go build -o "$new" .) || {
		echo "berth: the program does not compile: see above" >&2
		exit 1
	}
	touch -r "$new.began" "$new"
	mv -f "$new" "$bin"
	rm -f "$new.began"
	trap - EXIT
fi
exec "$bin" "$@"
