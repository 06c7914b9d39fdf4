package config

import "regexp"

var batchForm = regexp.MustCompile(`^([1-9]\d{0,4}|([1-9]\d?|100)%)$`)

func (c *checker) checkRollout(p *place) {
	c.checkUnique(p.child("canary"), c.cfg.Rollout.Canary, func(at *place, name string) {
		c.checkNodeName(at, name)
		if name == c.cfg.Registry.Node {
			c.bad(at, "%s keeps the registry, which goes last; write another node, or none", show(name))
		}
	})
	if !batchForm.MatchString(c.cfg.Rollout.Batch) {
		c.bad(p.child("batch"), "%s is neither a number from 1 nor a percentage from 1%% to 100%%; write for instance batch: 25%%",
			show(c.cfg.Rollout.Batch))
	}
}
