package release

import (
	"fmt"
	"time"
)

// endings are when containerd's maintainers stop to fix a line: RELEASES.md of containerd 2.4.2. Where it names a month, it is that
// month's last day. The ends of 1.7 and 2.0 are those of the extended support for one vendor's Kubernetes.
var endings = map[string]string{
	"1.6": "2025-08-23",
	"1.7": "2026-09-30",
	"2.0": "2027-03-31",
	"2.1": "2026-07-03",
	"2.2": "2026-11-06",
	"2.3": "2028-04-30",
	"2.4": "2027-05-16",
}

// soon is how long before its end a line is warned of.
const soon = 90 * 24 * time.Hour

// Ending warns of a version whose line gets no fixes any more, or will not in 90 days; it is empty where neither holds.
func Ending(upstream string, now time.Time) string {
	line := lineName(upstream)
	end, err := time.Parse(time.DateOnly, endings[line])
	if err != nil {
		return ""
	}
	const then = "choose a line that lives (RELEASES.md of containerd lists them) and set berth:containerd.allowMinorUpgrade"
	switch {
	case !now.Before(end.AddDate(0, 0, 1)):
		return fmt.Sprintf("containerd %s has had no fixes since %s, the end of its line's life: %s", line, endings[line], then)
	case end.Sub(now) < soon:
		return fmt.Sprintf("containerd %s gets no fixes after %s, the end of its line's life: %s", line, endings[line], then)
	}
	return ""
}
