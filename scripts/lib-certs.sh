# shellcheck shell=sh
# An entry of certs.d, for the script that writes it and the one that compares.

# hosts_toml SERVER CA: leads to the registry at SERVER, known by the CA in that file. containerd 1.6 reads no file without a host table.
hosts_toml() {
	printf '# Written by berth.\nserver = "https://%s"\ncapabilities = ["pull", "resolve", "push"]\nca = "%s"\n\n[host]\n' \
		"$1" "$2"
}
