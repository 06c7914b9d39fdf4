package config

import "time"

const (
	leastGrace = time.Second
	longest    = 24 * time.Hour
)

func (c *checker) checkDrain(p *place) {
	c.checkDuration(p.child("timeout"), c.cfg.Drain.Timeout, "write for instance timeout: 5m")
	if c.cfg.Drain.GracePeriod != "" {
		c.checkDuration(p.child("gracePeriod"), c.cfg.Drain.GracePeriod, "write for instance gracePeriod: 30s, or leave it out")
	}
}

// checkDuration checks a time in whole seconds, as the API server counts them.
func (c *checker) checkDuration(p *place, value, remedy string) {
	switch d, err := time.ParseDuration(value); {
	case c.mistakes.has(p):
	case err != nil:
		c.bad(p, "%s is not a duration; %s", show(value), remedy)
	case d < leastGrace || d > longest || d%time.Second != 0:
		c.bad(p, "%s is not a time of whole seconds between 1s and 24h; %s", show(value), remedy)
	}
}

// Limits are Timeout, and GracePeriod or 0 where each pod says its own.
func (d Drain) Limits() (time.Duration, time.Duration) {
	// Load has refused what is no duration.
	timeout, _ := time.ParseDuration(d.Timeout)
	grace, _ := time.ParseDuration(d.GracePeriod)
	return timeout, grace
}
