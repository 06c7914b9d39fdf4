package scripts

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

const (
	ourConfDir  = "etc/containerd/conf.d"
	ourConf     = ourConfDir + "/zz-berth.toml"
	theirConfig = "etc/containerd/config.toml"
	ourImport   = "# BEGIN berth\nimports = [\"/etc/containerd/conf.d/zz-berth*.toml\"]\n# END berth\n"
	tableOf2    = "[plugins.\"io.containerd.grpc.v1.cri\".registry]\n"
	tableOf3    = "[plugins.\"io.containerd.cri.v1.images\".registry]\n"
	folderLine  = "config_path = \"/etc/containerd/certs.d\"\n"
)

// configDump2 shows a configuration as containerd 2.x does: with the files that its own list names and none else, merged key by key. A file
// that is named and missing is an error. A file of version 2 has the table under its old name; one without a version is made into one of
// the latest at once. A drop-in of a later version than the file's hides what the file says in the terms of its own.
const configDump2 = `
[ -e "$2" ] || set -- - /dev/null
set -f
list=$2
for p in $(awk '/^[ \t]*\[/ { exit } { sub(/#.*/, "") } sub(/^[ \t]*imports[ \t]*=/, "") { on = 1 } on { line = $0; gsub(/[]["\047,]/, " ", line); print line; if (/\]/) exit }' "$2"); do
	case $p in /*) ;; *) p=/etc/containerd/$p ;; esac
	case $p in
	*\**)
		set +f
		for f in "$FAKE${p%/*}"/${p##*/}; do [ ! -e "$f" ] || list="$list $f"; done
		set -f
		;;
	*)
		[ -e "$FAKE$p" ] || exit 1
		list="$list $FAKE$p"
		;;
	esac
done
awk -v old='[plugins."io.containerd.grpc.v1.cri".registry]' -v new='[plugins."io.containerd.cri.v1.images".registry]' '
	FNR == 1 { split("", tables); split("", keys); table = ""; nth++ }
	{ sub(/^[ \t]+/, ""); sub(/[ \t]*#.*/, ""); gsub(/\047/, "\"") }
	/^version/ { version[nth] = $3; if (nth > 1 && version[1] > 1 && $3 > version[1]) later = 1; next }
	/^imports/ && table == "" { if (seen[FILENAME]++) exit failed = 1; list = !/\]/; next }
	list { list = !/\]/; next }
	$0 == "" { next }
	/^\[/ { if (tables[$0]++) exit failed = 1; table = $0; if (table == old || table == new) next }
	table == old && version[1] != 2 { next }
	table == old || table == new { if ($1 in keys) exit failed = 1; keys[$1]; all[$1] = $0; next }
	{ other[++n] = $0 }
	END {
		if (failed) exit 1
		print "version = 3"
		print "imports = [\"/etc/containerd/conf.d/*.toml\"]"
		for (i = 1; i <= n; i++) if (!later) print "  " other[i]
		if (!("config_path" in all)) all["config_path"] = "config_path = \"\""
		print "  " new
		for (key in all) print "    " all[key]
	}' $list | tr '"' "'"
`

func containerd2Script() string {
	return strings.Replace(containerdScript("2.2.9", 0, "cri"), configDump, configDump2, 1)
}

// newNode2 is a node whose package brings a containerd of 2.x, with this configuration.
func newNode2(t *testing.T, shell []string, config string) *node {
	t.Helper()
	n := newAccessNode(t, shell)
	n.packages2()
	n.write(theirConfig, config, 0o640)
	return n
}

// packages2 has the package bring a containerd of 2.x.
func (n *node) packages2() {
	n.t.Helper()
	n.write("usr/bin/containerd", containerd2Script(), 0o755)
	n.patched = "2.2.9+berth.1"
}

// TestDropIn sets config_path in configurations of all kinds, and gives them back with what somebody else wrote in between.
func TestDropIn(t *testing.T) {
	t.Parallel()
	const asKubeadmHasIt = "version = 2\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\"]\n    sandbox_image = \"pause\"\n" +
		"    [plugins.\"io.containerd.grpc.v1.cri\".registry]\n      config_path = \"\"\n"
	for name, c := range map[string]struct{ config, want, version, table string }{
		"version 2":             {"version = 2\n[a]\n  x = 1\n", ourImport + "version = 2\n[a]\n  x = 1\n", "2", tableOf2},
		"version 3":             {"# theirs\nversion = 3\n", ourImport + "# theirs\nversion = 3\n", "3", tableOf3},
		"no version":            {"[a]\n  x = 1\n", ourImport + "[a]\n  x = 1\n", "1", tableOf3},
		"empty":                 {"", ourImport, "1", tableOf3},
		"no end of line":        {"version = 3\n[a]\n  x = 1 # mine", ourImport + "version = 3\n[a]\n  x = 1 # mine", "3", tableOf3},
		"kubeadm's":             {asKubeadmHasIt, ourImport + asKubeadmHasIt, "2", tableOf2},
		"the default's imports": {"version = 3\nimports = ['/etc/containerd/conf.d/*.toml'] # all\n[a]\n", "", "3", tableOf3},
		"imports beside it":     {"version = 2\n  imports = [\"x.toml*\", \"conf.d/*.toml\"]\n", "", "2", tableOf2},
		"imports of others":     {"version = 3\nimports = [\"/etc/mine/*.toml\"]\n", "version = 3\nimports = [\"/etc/mine/*.toml\"]\n# BEGIN berth\n" + tableOf3 + ourPath, "", ""},
		"imports below":         {"version = 3\nimports = [\"/etc/*/*.toml\"]\n", "version = 3\nimports = [\"/etc/*/*.toml\"]\n# BEGIN berth\n" + tableOf3 + ourPath, "", ""},
		"no imports":            {"version = 3\nimports = []\n", "version = 3\nimports = []\n# BEGIN berth\n" + tableOf3 + ourPath, "", ""},
		"imports on lines": {
			"version = 2\nimports = [\n  \"/etc/containerd/conf.d/*.toml\",\n]\n",
			"version = 2\nimports = [\n  \"/etc/containerd/conf.d/*.toml\",\n]\n# BEGIN berth\n" + tableOf2 + ourPath, "", "",
		},
		"imports that are no setting": {
			"version = 2\n[a]\n  imports = [\"/etc/containerd/conf.d/*.toml\"]\n",
			ourImport + "version = 2\n[a]\n  imports = [\"/etc/containerd/conf.d/*.toml\"]\n", "2", tableOf2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, shell := range []string{"dash", "busybox"} {
				n := newNode2(t, shells(t)[shell], c.config)
				clean := n.snapshot()
				first := n.access("mirror", "containerd")
				want := c.want
				if want == "" {
					want = c.config
				}
				if got := n.read(theirConfig); got != want {
					t.Errorf("%s: the configuration is\n%s\nwant\n%s", shell, got, want)
				}
				if c.version == "" {
					if n.exists(ourConfDir) {
						t.Errorf("%s: there is a drop-in", shell)
					}
				} else if got := n.read(ourConf); got != "version = "+c.version+"\n"+c.table+folderLine {
					t.Errorf("%s: the drop-in is\n%s", shell, got)
				}
				installed := n.snapshot()
				if again := n.access("mirror", "containerd"); again != first || n.starts() != 1 {
					t.Errorf("%s: first %q, then %q, after %d starts", shell, first, again, n.starts())
				}
				n.same(installed)
				if _, rest := n.verifyIn(shell); rest != "" {
					t.Errorf("%s: verify says %q", shell, rest)
				}
				theirs := "\n# theirs\n[z]\n"
				n.write(theirConfig, "# theirs\n"+n.read(theirConfig)+theirs, 0o640)
				n.run(Anchor, "remove", anchorVars(owner))
				if got := n.read(theirConfig); got != "# theirs\n"+c.config+theirs {
					t.Errorf("%s: after the removal the configuration is\n%q\nwant\n%q", shell, got, "# theirs\n"+c.config+theirs)
				}
				n.write(theirConfig, c.config, 0o640)
				n.same(clean)
			}
		})
	}
	t.Run("no file", func(t *testing.T) {
		t.Parallel()
		n := newNode2(t, shells(t)["dash"], "")
		n.must(os.RemoveAll(n.root + "/etc/containerd"))
		clean := n.snapshot()
		n.access("mirror", "containerd")
		if got := n.read(theirConfig) + n.read(ourConf); got != ourImport+"version = 2\n"+"version = 2\n"+tableOf2+folderLine {
			t.Errorf("the configuration and the drop-in are %q", got)
		}
		n.run(Anchor, "remove", anchorVars(owner))
		n.same(clean)
	})
	t.Run("drop-ins of others", func(t *testing.T) {
		t.Parallel()
		n := newNode2(t, shells(t)["dash"], "version = 3\n")
		// It was not imported, and is not now.
		n.write("etc/containerd/conf.d/10-others.toml", "version = 3\n[b]\nx = 1\n", 0o644)
		clean := n.snapshot()
		n.access("mirror", "containerd")
		if !n.exists(ourConf) {
			t.Error("there is no drop-in")
		}
		n.run(Anchor, "remove", anchorVars(owner))
		n.same(clean)
	})
	t.Run("broken", func(t *testing.T) {
		t.Parallel()
		n := newNode2(t, shells(t)["dash"], "version = 3\n"+tableOf3+"x = 1\n"+tableOf3)
		clean := n.snapshot()
		n.run(Base, "apply", baseVars(owner, Var{"MODE", "mirror"}))
		for _, verb := range []string{"stage", "apply"} {
			n.fail(Access, verb, accessVars("mirror"), "containerd does not read /etc/containerd/config.toml")
			if n.exists(ourConfDir) || strings.Contains(n.read(theirConfig), "berth") || n.starts() != 0 {
				t.Errorf("%s has changed something", verb)
			}
		}
		n.run(Anchor, "remove", anchorVars(owner))
		n.same(clean)
	})
}

// TestNoWayForADropIn: what is imported after ours says otherwise.
func TestNoWayForADropIn(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"dash", "busybox"} {
		n := newNode2(t, shells(t)[shell], "version = 3\nimports = [\"conf.d/*.toml\", \"/etc/mine.toml\"]\n")
		n.write("etc/mine.toml", "version = 3\n"+tableOf3+"config_path = \"\"\n", 0o644)
		clean := n.snapshot()
		n.run(Base, "apply", baseVars(owner, Var{"MODE", "mirror"}))
		config := n.read(theirConfig)
		for _, verb := range []string{"stage", "apply"} {
			n.fail(Access, verb, accessVars("mirror"), "/etc/containerd/config.toml takes no config_path without another change")
			if n.exists(ourConfDir) || n.read(theirConfig) != config || n.starts() != 0 {
				t.Errorf("%s has changed something", verb)
			}
		}
		n.run(Anchor, "remove", anchorVars(owner))
		n.same(clean)
	}
}

// TestVerifyDropIn takes away or changes one part after the other, and repairs it.
func TestVerifyDropIn(t *testing.T) {
	t.Parallel()
	const covered = "version = 3\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n"
	for name, c := range map[string]struct {
		config string
		change func(n *node)
		want   string
	}{
		"drop-in is gone": {"version = 2\n", func(n *node) { n.must(os.Remove(n.root + "/" + ourConf)) }, "drop-in /" + ourConf + " is missing"},
		"drop-in": {
			"version = 2\n", func(n *node) { n.write(ourConf, strings.ReplaceAll(n.read(ourConf), "certs.d", "other"), 0o644) },
			"drop-in /" + ourConf + " is changed",
		},
		"import is gone": {"version = 2\n", func(n *node) { n.write(theirConfig, "version = 2\n", 0o640) }, "the import of /" + ourConf + " in /" + theirConfig + " is missing"},
		"import": {
			"version = 2\n", func(n *node) { n.write(theirConfig, strings.Replace(n.read(theirConfig), "zz-berth", "yy", 1), 0o640) },
			"the import of /" + ourConf + " in /" + theirConfig + " is missing",
		},
		"import behind a table": {
			"version = 2\n", func(n *node) { n.write(theirConfig, "[z]\n"+n.read(theirConfig), 0o640) },
			"the import of /" + ourConf + " in /" + theirConfig + " is missing",
		},
		"import of others": {
			covered, func(n *node) { n.write(theirConfig, "version = 3\nimports = []\n", 0o640) },
			"the import of /" + ourConf + " in /" + theirConfig + " is missing",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, shell := range []string{"dash", "busybox"} {
				n := newNode2(t, shells(t)[shell], c.config)
				n.access("mirror", "containerd")
				c.change(n)
				if _, rest := n.verifyIn(shell); rest != "containerd "+c.want+"\n" {
					t.Errorf("verify says %q, want %q", rest, c.want)
				}
				starts := n.starts()
				n.access("mirror", "containerd")
				if _, rest := n.verifyIn(shell); rest != "" || n.starts() != starts+1 {
					t.Errorf("after the repair and %d starts: %q", n.starts()-starts, rest)
				}
				n.run(Anchor, "remove", anchorVars(owner))
				if n.exists(ourConfDir) || strings.Contains(n.read(theirConfig), "berth") {
					t.Errorf("something is left: %q", n.read(theirConfig))
				}
			}
		})
	}
}

// TestChangesOfModeWithDropIn goes to and from the mode whose configuration is a drop-in, also where a start fails on the way.
func TestChangesOfModeWithDropIn(t *testing.T) {
	t.Parallel()
	eachAccessShell(t, func(t *testing.T, n *node) {
		n.packages2()
		clean := n.snapshot()
		n.access("patch", "containerd")
		n.access("mirror", "os")
		installed := n.installed()
		for _, mode := range []string{"cluster-ip", "patch"} {
			n.access(mode, "os")
			if n.exists(ourConf) || n.exists(ourConfDir) || n.read(theirConfig) != "version = 2\n" {
				t.Errorf("mode %s: something is left: %q", mode, n.read(theirConfig))
			}
			n.access("mirror", "os")
			if now := n.installed(); !maps.Equal(now, installed) {
				t.Errorf("after mode %s it is %v", mode, slices.Sorted(maps.Keys(now)))
			}
		}
		n.write("usr/bin/containerd", strings.Replace(containerd2Script(), "start)\n",
			"start)\n[ -e \"$SIM/failed\" ] || { echo 'level=fatal msg=\"no such config: BROKEN\"'; : >\"$SIM/failed\"; exit 1; }\n", 1), 0o755)
		config, dropIn := n.read(theirConfig), n.read(ourConf)
		n.run(Base, "apply", baseVars(owner, Var{"MODE", "cluster-ip"}, Var{"TRUST", "os"}))
		n.fail(Access, "apply", accessVars("cluster-ip", Var{"TRUST", "os"}), "access mode cluster-ip is taken back", "no such config: BROKEN")
		if n.read(theirConfig) != config || n.read(ourConf) != dropIn {
			t.Errorf("what was taken back is %q and %q", n.read(theirConfig), n.read(ourConf))
		}
		n.access("cluster-ip", "os")
		n.run(Anchor, "remove", anchorVars(owner))
		n.write("usr/bin/containerd", containerd2Script(), 0o755)
		n.same(clean)
	})
}
