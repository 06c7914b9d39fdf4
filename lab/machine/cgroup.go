package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	cgroupRoot = "/sys/fs/cgroup"
	// cgroupName is the control group that holds one group per machine. Whatever a machine starts stays below its group,
	// which is how all of it is found again, also after a crash.
	cgroupName = "berth-lab"
)

// parent keeps the removal of the common group, when it seems to be empty, out of the making of a group in it.
var parent sync.Mutex

// unified tells whether the host has control groups v2 alone.
func unified() bool {
	_, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers"))
	return err == nil
}

// UnifiedHierarchy is the value of systemd-nspawn's SYSTEMD_NSPAWN_UNIFIED_HIERARCHY on this host.
func UnifiedHierarchy() string {
	if unified() {
		return "1"
	}
	return "0"
}

// hierarchies returns the mounted control group hierarchies: one folder on v2, one per controller on v1.
func hierarchies() ([]string, error) {
	if unified() {
		return []string{cgroupRoot}, nil
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, fmt.Errorf("reading control groups: %w", err)
	}
	var dirs []string
	for _, e := range entries {
		dir := filepath.Join(cgroupRoot, e.Name())
		// "cpu,cpuacct" is mounted once and linked twice: follow no links.
		if !e.IsDir() {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil {
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) == 0 {
		return nil, errors.New("no control groups are mounted below " + cgroupRoot)
	}
	return dirs, nil
}

// createCgroups makes the group of the machine name in every hierarchy and returns their folders.
func createCgroups(name string) ([]string, error) {
	roots, err := hierarchies()
	if err != nil {
		return nil, err
	}
	parent.Lock()
	defer parent.Unlock()
	var dirs []string
	for _, root := range roots {
		common := filepath.Join(root, cgroupName)
		dir := filepath.Join(common, name)
		if unified() {
			if err := os.MkdirAll(common, 0o755); err != nil {
				return nil, fmt.Errorf("creating a control group: %w", err)
			}
			if err := delegateControllers(root, common); err != nil {
				return nil, err
			}
		}
		for _, d := range []string{common, dir} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				return nil, fmt.Errorf("creating a control group: %w", err)
			}
			// A cpuset without processors and memory nodes takes no process.
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				if err := inherit(d, file); err != nil {
					return nil, err
				}
			}
		}
		dirs = append(dirs, dir)
	}
	return dirs, nil
}

// inherit copies a v1 cpuset file from the parent group, where there is one.
func inherit(dir, file string) error {
	if unified() {
		return nil
	}
	value, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, file), value, 0o644)
	}
	if err != nil {
		return fmt.Errorf("preparing control group %s: %w", dir, err)
	}
	return nil
}

// delegateControllers hands v2 controllers down from each of dirs to its children.
func delegateControllers(dirs ...string) error {
	for _, dir := range dirs {
		available, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		if err != nil {
			return fmt.Errorf("reading control group %s: %w", dir, err)
		}
		for c := range strings.FieldsSeq(string(available)) {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644); err != nil {
				return fmt.Errorf("handing controller %s down from %s: %w", c, dir, err)
			}
		}
	}
	return nil
}

// CPUTime is how long the machine has kept processors busy since it was started.
func (m *Machine) CPUTime() (time.Duration, error) {
	file, unit := filepath.Join(cgroupRoot, "cpuacct", cgroupName, m.Name, "cpuacct.usage"), time.Nanosecond
	if unified() {
		file, unit = filepath.Join(cgroupRoot, cgroupName, m.Name, "cpu.stat"), time.Microsecond
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("reading the processor time of machine %s: %w", m.Name, err)
	}
	n, err := strconv.ParseInt(strings.Fields(strings.TrimPrefix(string(text), "usage_usec "))[0], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading the processor time of machine %s: %w", m.Name, err)
	}
	return time.Duration(n) * unit, nil
}

// killCgroups ends every process in the groups of the machine name and removes the groups.
func killCgroups(name string) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		alive := 0
		for _, root := range roots {
			for _, pid := range processesBelow(filepath.Join(root, cgroupName, name)) {
				alive++
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if alive == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes of machine %s do not end", alive, name)
		}
		time.Sleep(50 * time.Millisecond)
	}
	for _, root := range roots {
		if err := removeTree(filepath.Join(root, cgroupName, name)); err != nil {
			return fmt.Errorf("removing the control groups of machine %s: %w", name, err)
		}
	}
	parent.Lock()
	defer parent.Unlock()
	for _, root := range roots {
		// The common group goes with the last machine; until then it is not empty.
		_ = os.Remove(filepath.Join(root, cgroupName))
	}
	return nil
}

// processesBelow returns the processes in the group dir and all groups below it.
func processesBelow(dir string) []int {
	var pids []int
	groups := os.DirFS(dir)
	_ = fs.WalkDir(groups, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "cgroup.procs" {
			return nil //nolint:nilerr // A group that vanishes while it is read has no processes left.
		}
		data, _ := fs.ReadFile(groups, path)
		for field := range strings.FieldsSeq(string(data)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

// removeTree removes the group dir and the groups below it, deepest first; only the folders can be removed.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	// A group stays busy for a moment after its last process has ended.
	for range 40 {
		if err = os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}
