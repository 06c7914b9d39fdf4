package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/lab/cluster"
)

// TestFaults interrupts what berth does to nodes, phase by phase and in every way that nodes and connections know. After each fault
// containerd serves without help, running pods go on, and the next run makes the node right, to the byte.
func TestFaults(t *testing.T) { //nolint:paralleltest // one cluster, one order
	if testing.Short() {
		t.Skip("needs root, a cluster and minutes")
	}
	f := newFaults(t)
	for _, r := range rounds { //nolint:paralleltest // each begins where the one before ended
		t.Run(r.name, func(t *testing.T) { f.round(t, r) })
		if f.stuck {
			t.FailNow()
		}
		if r.name == "import" {
			t.Run("operators", func(t *testing.T) { f.operators(t) })
		}
	}
}

// fault is what happens to one node while pulumi works on it.
type fault struct {
	phase, what   string // its row in the table: what the step was doing, and what came
	step          string // words of the step's command line
	at, do        string // the call of a tool at which it comes, as a shell pattern, and what the call then does
	bytes         string // in their place: of standard input that many bytes come through before the connection is cut
	before, after string // what is done to the node before the run, and after it
	power         bool   // when the call is made, the machine loses its power
	says          []string
}

// round is one run of pulumi with its faults, and the next one, which has to succeed.
type round struct {
	name      string
	run, next string // up or destroy
	workers   bool   // the config names the workers; without them an up cleans them
	faults    map[string]fault
}

// faults is what the rounds share.
type faults struct {
	*suite
	configs   map[bool]string     // with the workers, without them
	bare      map[string]snapshot // every node without berth
	standing  map[string]snapshot // every node with it, once it was so
	watches   map[string]*watch
	witnesses map[string]string // a pod that runs on a node
	stuck     bool              // nothing healed the last fault: later rounds would only say so again
}

func newFaults(t *testing.T) *faults {
	t.Helper()
	f := &faults{
		suite: newSuite(t, newLeaks()), configs: map[bool]string{}, bare: map[string]snapshot{}, watches: map[string]*watch{}, witnesses: map[string]string{},
	}
	f.configs[true] = f.pulumi.config
	f.configs[false] = filepath.Join(f.temporary, "Pulumi.alone.yaml")
	check(t, os.WriteFile(f.configs[false], []byte(readFile(t, f.configs[true])), 0o600))
	alone := *f.pulumi
	alone.config = f.configs[false]
	for i := len(f.cluster.Nodes) - 1; i > 0; i-- {
		alone.must(t, "config", "rm", "--path", fmt.Sprintf("berth:nodes[%d]", i))
	}
	var pods []pod
	for _, n := range f.cluster.Nodes {
		openDoor(t, n)
		f.watches[n.Name] = watchContainerd(t, n)
		f.bare[n.Name] = f.stateOf(t, n)
		f.witnesses[n.Name] = unique("witness-" + n.Name)
		pods = append(pods, pod{
			name: f.witnesses[n.Name], node: n.Name, image: busyboxImage, policy: "Never", restart: "Always", command: []string{"sleep", "1000000"},
		})
	}
	f.kube.running(t, pods...)
	f.clean = f.snapshots(t)
	return f
}

// round has the faults come, looks at what they left, and has the next run put it right.
func (f *faults) round(t *testing.T, r round) {
	t.Helper()
	f.stuck = true
	containers := f.containers(t)
	names := slices.Sorted(maps.Keys(r.faults))
	for _, name := range names {
		n := f.node(t, name)
		arm(t, n, r.faults[name])
		t.Cleanup(func() { disarm(t, n, r.faults[name]) })
		f.watches[name].begin()
	}
	f.pulumi.config = f.configs[r.workers]
	begin := time.Now()
	run := f.pulumi.start(t, r.run, "--yes", "--skip-preview", "--continue-on-error")
	f.losePower(t, r, run)
	if err := <-run.done; err == nil {
		t.Errorf("%s had to fail:\n%s", r.run, run.output.String())
	}
	t.Logf("pulumi %s: %.1f s", r.run, time.Since(begin).Seconds())
	outcomes := map[string]string{}
	for _, name := range names {
		outcomes[name] = f.afterFault(t, name, r.faults[name], run.output.String())
	}
	noTrace(t, run.output.String())

	f.pulumi.must(t, r.next, "--yes", "--skip-preview")
	f.stuck = false
	f.isRight(t, r)
	now := f.containers(t)
	for _, n := range f.cluster.Nodes {
		if !r.faults[n.Name].power && now[n.Name] != containers[n.Name] {
			t.Errorf("the container of %s was %s and is %s", f.witnesses[n.Name], containers[n.Name], now[n.Name])
		}
	}
	for _, name := range names {
		outcome := outcomes[name] + "," + r.next + "-heals"
		if t.Failed() {
			outcome = "FAILED"
		}
		row(r.faults[name].phase, r.faults[name].what, outcome, f.watches[name].outage())
	}
	if t.Failed() {
		t.Logf("the run with the faults said:\n%s", run.output.String())
	}
}

// row prints a line of the table.
func row(phase, fault, outcome string, outage time.Duration) {
	fmt.Printf("fault %s %s %s outage=%.1fs\n", phase, fault, outcome, outage.Seconds())
}

// losePower turns the machines of such faults off when their calls come, and on again.
func (f *faults) losePower(t *testing.T, r round, run *started) {
	t.Helper()
	var off sync.WaitGroup
	for name, fault := range r.faults {
		if !fault.power {
			continue
		}
		n := f.node(t, name)
		eventually(t, 5*time.Minute, func() string {
			if happened(n) || run.ended() {
				return ""
			}
			return fault.step + " did not come to " + fault.at + " on " + name
		})
		if !happened(n) {
			t.Fatalf("%s ended before %s on %s:\n%s", r.run, fault.at, name, run.output.String())
		}
		check(t, n.Kill(t.Context()))
		off.Go(func() {
			if err := n.Start(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	off.Wait()
}

// afterFault wants the node to serve without help, and pulumi to have said what happened. It returns what runs on the node.
func (f *faults) afterFault(t *testing.T, name string, fault fault, said string) string {
	t.Helper()
	n := f.node(t, name)
	if !fault.power && fault.at+fault.bytes != "" && !happened(n) {
		t.Errorf("%s did not come to %s on %s", fault.step, fault.at, name)
	}
	disarm(t, n, fault)
	f.watches[name].serves(t, name)
	contains(t, "the run with the fault on "+name, said, fault.says...)
	if name != "master1" {
		contains(t, "the run with the fault on "+name, said, "node-"+name)
	}
	if containerdOf(t, n).exe == stockContainerd {
		return "stock-serves"
	}
	return "berth-serves"
}

// isRight compares the nodes with what they have to be after a round.
func (f *faults) isRight(t *testing.T, r round) {
	t.Helper()
	if r.next == "destroy" {
		f.asBefore(t)
	}
	first := f.standing == nil && r.next == "up"
	if first {
		f.standing = map[string]snapshot{}
	}
	for _, n := range f.cluster.Nodes {
		want := f.standing[n.Name]
		if r.next == "destroy" || !r.workers && n.Name != "master1" {
			want = f.bare[n.Name]
		}
		now := f.stateOf(t, n)
		if first {
			f.standing[n.Name] = now
		} else if diff := want.diff(now); len(diff) > 0 {
			t.Errorf("%s is not as it has to be:\n%s", n.Name, strings.Join(diff, "\n"))
		}
	}
}

// kept are the folders of a node with what berth keeps there. What it counts, what the last apply changed and which inodes the programs
// have is left out, and so is the order of notes.
const kept = `[ ! -d /var/lib/berth ] || { find /var/lib/berth -printf '%p %m\n' | sort; grep -vE '^(applies|restarts|did|inodes) ' /var/lib/berth/manifest | sort; }
ls -d /tmp/*berth* 2>/dev/null || :`

// stateOf is all of a node that berth changes.
func (f *faults) stateOf(t *testing.T, n *cluster.Node) snapshot {
	t.Helper()
	state, err := takeSnapshot(n.Root())
	check(t, err)
	state["what berth keeps"] = run(t, n, kept)
	state["containerd's unit"] = unit(t, n)
	state["containerd"] = containerdOf(t, n).exe
	return state
}

// containers returns the containers of the witnesses, by node, when all run.
func (f *faults) containers(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, n := range f.cluster.Nodes {
		eventually(t, 2*time.Minute, func() string {
			all[n.Name] = run(t, n, "crictl ps --quiet --state running --label io.kubernetes.pod.name="+f.witnesses[n.Name])
			if all[n.Name] == "" {
				return "the witness of " + n.Name + " does not run"
			}
			return ""
		})
	}
	return all
}
