package config

import (
	"context"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// namespace is what stands before the colon of every key of ours. It is the project's name in Pulumi.yaml.
const namespace = "berth"

// Rules are the checks that other packages own.
type Rules struct {
	// SupportedVersion says why an upstream containerd version, x.y.z, cannot be built, or nil. Nil checks nothing.
	SupportedVersion func(version string) error
}

// Load reads the stack's settings, and what they refer to on the operator's machine: the kubeconfig, the image archive
// and the SSH agent. Its error lists every mistake, one a line, each with its path and remedy; no secret stands in it.
//
// Keys that the schema lacks can be found only where the engine started the program, since the SDK does not list keys.
func Load(ctx *pulumi.Context, rules Rules) (*Config, error) {
	raw := settings(ctx.GetConfig, os.Getenv(pulumi.EnvConfig))
	return parse(ctx.Context(), raw, environment{
		project: ctx.Project(),
		stack:   ctx.Stack(),
		root:    ctx.RootDirectory(),
		getenv:  os.Getenv,
		home:    os.UserHomeDir,
		now:     time.Now(),
		given: func(at *place) {
			if !ctx.IsConfigSecret(at.group()) {
				_ = ctx.Log.Warn(at.text+" stands in plain text in the stack's file; encrypt it with: pulumi config set --secret --path "+at.argument(), nil)
			}
		},
	}, rules)
}

// environment is what a stack's settings are judged against.
type environment struct {
	project, stack string
	root           string // folder of Pulumi.yaml; "" is the working directory
	getenv         func(string) string
	home           func() (string, error)
	now            time.Time
	given          func(at *place) // is told of each secret that the stack's settings hold
}

// settings gathers our keys, without the namespace: those of the schema from the SDK, others from what the engine gave.
func settings(get func(key string) (string, bool), engine string) map[string]string {
	raw := map[string]string{}
	var all map[string]string
	if json.Unmarshal([]byte(engine), &all) == nil {
		for key, value := range all {
			if name, ours := strings.CutPrefix(key, namespace+":"); ours {
				raw[name] = value
			}
		}
	}
	for _, name := range keys(reflect.TypeFor[Config]()) {
		if value, ok := get(namespace + ":" + name); ok {
			raw[name] = value
		}
	}
	return raw
}

func parse(ctx context.Context, raw map[string]string, env environment, rules Rules) (*Config, error) {
	c := &checker{cfg: &Config{}, env: env, rules: rules, root: root()}
	decode(raw, c.cfg, &c.mistakes)
	if env.given != nil {
		secrets(c.root, reflect.ValueOf(c.cfg).Elem(), env.given)
	}
	c.complete()
	c.check(ctx)
	if err := c.mistakes.err("stacks/Pulumi." + env.stack + ".yaml"); err != nil {
		return nil, err
	}
	return c.cfg, nil
}

// secrets tells of each secret that is set below a place.
func secrets(at *place, value reflect.Value, tell func(at *place)) {
	switch value.Kind() { //nolint:exhaustive // the kinds that hold others
	case reflect.Pointer:
		if !value.IsNil() {
			secrets(at, value.Elem(), tell)
		}
	case reflect.Slice:
		for i := range value.Len() {
			secrets(at.item(i), value.Index(i), tell)
		}
	case reflect.Struct:
		for _, f := range fields(value.Type()) {
			child, field := at.child(f.Tag.Get("key")), value.FieldByIndex(f.Index)
			if f.Tag.Get("secret") != "" && !field.IsZero() {
				tell(child)
			}
			secrets(child, field, tell)
		}
	}
}

// complete fills in the defaults that depend on other settings.
func (c *checker) complete() {
	cfg := c.cfg
	if cfg.Certificate.Trust == "" {
		cfg.Certificate.Trust = TrustOS
		if cfg.Certificate.CA == CACluster {
			cfg.Certificate.Trust = TrustContainerd
		}
	}
	if cfg.Kubernetes.ClusterIdentifier == "" {
		cfg.Kubernetes.ClusterIdentifier = c.env.project + "/" + c.env.stack
	}
	for i := range cfg.Nodes {
		n := &cfg.Nodes[i]
		if n.ContainerdVersion == "" {
			n.ContainerdVersion = cfg.Containerd.Version
		}
		if n.User == "" {
			n.User = cfg.SSH.User
		}
		if n.Port == 0 {
			n.Port = cfg.SSH.Port
		}
		if n.InternalIP == "" && isNodeIP(n.Address) {
			n.InternalIP = n.Address
		}
		if ip, ok := nodeIP(n.InternalIP); ok {
			n.InternalIP = ip
		}
	}
	if ip, ok := nodeIP(cfg.Registry.Address); ok {
		cfg.Registry.Address = ip
	}
}
