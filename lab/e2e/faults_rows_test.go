package e2e

// The steps, by the words of their command lines.
const (
	uploadStep    = "sftp-server"
	importStep    = "-s -- apply image"
	preflightStep = "-s -- preflight"
	baseStep      = "-s -- apply base"
	switchStep    = "-s -- apply containerd"
	removeStep    = "-s -- remove"
)

// What makes a step necessary on a node that stands.
const (
	dropInGone = `rm /etc/systemd/system/containerd.service.d/zz-berth.conf
`
	binaryChanged = `for b in /usr/local/bin/containerd-berth-*; do cp -p "$b" ` + doorDir + `/binary; echo >>` + doorDir + `/binary; mv ` + doorDir + `/binary "$b"; done
`
	artifactGone = `rm /var/lib/berth/artifact-*
`
)

// What a run of pulumi says of a step that ended so.
var (
	saysKilled   = []string{"signal KILL"}
	saysCut      = []string{"without exit status"}
	saysUnit     = []string{"berth: the switch to containerd", "failed"}
	saysReadOnly = []string{"Read-only file system"}
)

// rounds are the faults of the test, two nodes at a time. Each begins where the one before ended.
var rounds = []round{
	{
		name: "upload", run: "up", next: "destroy", workers: true,
		faults: map[string]fault{
			"master1": {phase: "upload", what: "cut", step: uploadStep, bytes: "3000000", says: []string{"registry-image-upload"}},
			"worker1": {phase: "preflight", what: "kill", step: preflightStep, at: "ss *", do: killed, says: saysKilled},
			"worker2": {phase: "preflight-stdin", what: "cut", step: preflightStep, bytes: "2000", says: saysCut},
		},
	},
	{
		name: "import", run: "up", next: "up", workers: true,
		faults: map[string]fault{
			"master1": {phase: "import", what: "kill", step: importStep, at: "ctr *images import*", do: killed, says: saysKilled},
			"worker1": {
				phase: "preflight", what: "read-only-etc", step: preflightStep, before: readOnlyEtc, after: writable("/etc"),
				says: []string{"/etc is mounted read-only", "nothing is changed on this node"},
			},
		},
	},
	{
		name: "trial", run: "up", next: "up", workers: true,
		faults: map[string]fault{
			"worker1": {phase: "try", what: "kill", step: switchStep, before: dropInGone, at: "systemd-run *--version", do: killed, says: saysKilled},
			"worker2": {
				phase: "trial-written", what: "kill", step: switchStep, before: dropInGone,
				at: "mv *berth-trial.conf.berth-tmp *", do: killed, says: saysUnit,
			},
		},
	},
	{
		name: "power", run: "up", next: "up", workers: true,
		faults: map[string]fault{
			"worker1": {phase: "restart", what: "power", step: switchStep, before: dropInGone, at: "systemctl restart*", do: held, power: true, says: saysCut},
			"worker2": {
				phase: "made-permanent", what: "power", step: switchStep, before: dropInGone,
				at: "mv *zz-berth.conf.berth-tmp *", do: held, power: true, says: saysCut,
			},
		},
	},
	{
		name: "broken", run: "up", next: "up", workers: true,
		faults: map[string]fault{
			"worker1": {
				phase: "restart", what: "kill-and-no-start", step: switchStep, before: dropInGone, at: "systemctl restart*", do: brokenAndKilled, says: saysUnit,
			},
			"worker2": {
				phase: "made-permanent", what: "read-only-etc", step: switchStep, before: dropInGone,
				at: "sync /usr/local/bin/*", do: readOnlyEtc, after: writable("/etc"), says: []string{"zz-berth.conf cannot be written", "runs again"},
			},
		},
	},
	{
		name: "connection", run: "up", next: "up", workers: true,
		faults: map[string]fault{
			"worker1": {phase: "restart", what: "cut", step: switchStep, before: dropInGone, at: "systemctl restart*", do: cut, says: saysCut},
			"worker2": {
				phase: "healthy", what: "kill-outside", step: switchStep, before: dropInGone, at: "sync /usr/local/bin/*", do: killedOutside, says: saysKilled,
			},
		},
	},
	{
		name: "disk", run: "up", next: "up", workers: true,
		faults: map[string]fault{
			"worker1": {
				phase: "unpack", what: "full-disk", step: switchStep, before: binaryChanged + full("/usr/local/bin"), after: writable("/usr/local/bin"),
				says: []string{"the disk is full"},
			},
			"worker2": {
				phase: "fetch", what: "full-disk", step: switchStep, before: binaryChanged + artifactGone + full("/var/lib/berth"), after: writable("/var/lib/berth"),
				says: []string{"berth: fetching"},
			},
		},
	},
	{
		name: "remove-restart", run: "up", next: "up",
		faults: map[string]fault{
			"worker1": {phase: "remove-restart", what: "kill", step: removeStep, at: "systemctl restart*", do: killed, says: saysKilled},
			"worker2": {phase: "remove-restart", what: "power", step: removeStep, at: "systemctl restart*", do: held, power: true, says: saysCut},
		},
	},
	{
		name: "base", run: "up", next: "up", workers: true,
		faults: map[string]fault{
			"worker1": {phase: "hosts", what: "kill", step: baseStep, at: "mv *hosts.berth-tmp *", do: killed, says: saysKilled},
			"worker2": {phase: "trust", what: "power", step: baseStep, at: "openssl x509 *-subject_hash*", do: held, power: true, says: saysCut},
		},
	},
	{
		name: "remove-files", run: "up", next: "up",
		faults: map[string]fault{
			"worker1": {phase: "remove-hosts", what: "kill", step: removeStep, at: "mv *hosts.berth-tmp *", do: killed, says: saysKilled},
			"worker2": {phase: "remove-trust", what: "cut", step: removeStep, at: "update-ca-certificates*", do: cut, says: saysCut},
		},
	},
	{
		name: "install", run: "up", next: "up", workers: true,
		faults: map[string]fault{
			"worker1": {phase: "fetch", what: "kill", step: switchStep, at: "curl *", do: killed, says: saysKilled},
			"worker2": {phase: "tidy", what: "kill", step: switchStep, at: "ln -sf /usr/local/bin/ctr-*", do: killed, says: saysKilled},
		},
	},
	{
		name: "remove-etc", run: "up", next: "up",
		faults: map[string]fault{
			"worker1": {phase: "remove-trust", what: "read-only-etc", step: removeStep, before: readOnlyEtc, after: writable("/etc"), says: saysReadOnly},
			"worker2": {phase: "remove-folders", what: "kill", step: removeStep, at: "rmdir /etc/systemd/*", do: killed, says: saysKilled},
		},
	},
	{
		name: "base-etc", run: "up", next: "up", workers: true,
		faults: map[string]fault{
			"worker1": {phase: "base-stdin", what: "cut", step: baseStep, bytes: "2000", says: saysCut},
			"worker2": {
				phase: "trust", what: "read-only-etc", step: baseStep, at: "openssl x509 *-subject_hash*", do: readOnlyEtc, after: writable("/etc"),
				says: saysReadOnly,
			},
		},
	},
	{
		name: "destroy", run: "destroy", next: "destroy", workers: true,
		faults: map[string]fault{
			"worker1": {phase: "remove-images", what: "kill-shell", step: removeStep, at: "ctr *images ls*", do: killedAlone, says: saysKilled},
			"worker2": {phase: "remove-drop-ins", what: "kill", step: removeStep, at: "rmdir /run/systemd/*", do: killed, says: saysKilled},
		},
	},
}
