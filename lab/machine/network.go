package machine

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"berth/lab/run"
)

// Network is the bridge on the host that the machines are plugged into. Nothing leaves it: the host neither forwards nor masks.
type Network struct {
	Bridge string       // name of the interface, e.g. berth0
	Prefix netip.Prefix // the host's own address on it, e.g. 10.99.0.1/24
}

// forwardRule lets bridged traffic pass a host whose packet filter sees it (br_netfilter, as Docker sets it).
func (n Network) forwardRule(verb string) []string {
	return []string{
		"iptables", "-w", verb, "FORWARD", "-i", n.Bridge, "-o", n.Bridge,
		"-m", "comment", "--comment", "berth lab", "-j", "ACCEPT",
	}
}

// Up makes the bridge, or leaves it as it is where it exists.
func (n Network) Up(ctx context.Context) error {
	if !n.exists() {
		if err := run.Do(ctx, "ip", "link", "add", n.Bridge, "type", "bridge"); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"ip", "address", "replace", n.Prefix.String(), "dev", n.Bridge},
		{"ip", "link", "set", n.Bridge, "up"},
	} {
		if err := run.Do(ctx, args...); err != nil {
			return err
		}
	}
	filtered, err := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-iptables")
	if err != nil || strings.TrimSpace(string(filtered)) != "1" {
		return nil //nolint:nilerr // No such file: the bridge is not filtered.
	}
	if run.Do(ctx, n.forwardRule("-C")...) == nil {
		return nil
	}
	return run.Do(ctx, n.forwardRule("-I")...)
}

// Down removes the bridge with its addresses and routes, and the packet filter rule. It succeeds where nothing is left.
func (n Network) Down(ctx context.Context) error {
	if _, err := os.Stat("/proc/sys/net/bridge/bridge-nf-call-iptables"); err == nil {
		for run.Do(ctx, n.forwardRule("-D")...) == nil {
			continue // Each call removes one copy of the rule.
		}
	}
	if !n.exists() {
		return nil
	}
	if err := run.Do(ctx, "ip", "link", "delete", n.Bridge); err != nil {
		return fmt.Errorf("removing the bridge: %w", err)
	}
	return nil
}

func (n Network) exists() bool {
	_, err := os.Stat("/sys/class/net/" + n.Bridge)
	return err == nil
}
