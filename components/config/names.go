package config

import (
	"net/netip"
	"regexp"
	"strings"
)

const (
	maxDNSName = 253
	maxLabel   = 63
	labelRule  = "write at most 63 lower-case letters, digits and hyphens, for instance default"
)

var (
	dnsLabel   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	allDigits  = regexp.MustCompile(`^[0-9]+$`)
	kubeLabel  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	loginName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$`)
	lineBreaks = regexp.MustCompile(`\s*[\r\n]+\s*`)
)

// isDNSName takes names in either case. One whose last label is all digits could only be a mistyped IP address.
func isDNSName(name string) bool {
	if len(name) > maxDNSName {
		return false
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if !dnsLabel.MatchString(label) {
			return false
		}
	}
	return !allDigits.MatchString(labels[len(labels)-1])
}

// isNodeName takes what Kubernetes takes for a Node: a lower-case DNS subdomain (RFC 1123).
func isNodeName(name string) bool {
	if len(name) > maxDNSName {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if !isLabel(label) {
			return false
		}
	}
	return true
}

// isLabel takes an RFC 1123 label, as namespaces are.
func isLabel(name string) bool { return len(name) <= maxLabel && kubeLabel.MatchString(name) }

func isIP(text string) bool {
	ip, err := netip.ParseAddr(text)
	return err == nil && ip.Zone() == ""
}

// nodeIP returns an address in its usual spelling when it can be that of a machine, as other machines see it.
func nodeIP(text string) (string, bool) {
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Zone() != "" {
		return "", false
	}
	ip = ip.Unmap()
	return ip.String(), ip.IsGlobalUnicast()
}

func isNodeIP(text string) bool {
	_, ok := nodeIP(text)
	return ok
}

// oneLine makes a foreign error's text fit a list of mistakes.
func oneLine(text string) string { return lineBreaks.ReplaceAllString(strings.TrimSpace(text), "; ") }
