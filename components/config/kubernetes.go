package config

import (
	"encoding/base64"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// kubeconfig is as much of a kubeconfig as berth looks at; clusters and users keep whatever they hold.
type kubeconfig struct {
	APIVersion     string         `yaml:"apiVersion"`
	Kind           string         `yaml:"kind"`
	CurrentContext string         `yaml:"current-context"`
	Contexts       []namedContext `yaml:"contexts"`
	Clusters       []namedCluster `yaml:"clusters"`
	Users          []namedUser    `yaml:"users"`
}

type namedContext struct {
	Name    string `yaml:"name"`
	Context struct {
		Cluster   string `yaml:"cluster"`
		User      string `yaml:"user"`
		Namespace string `yaml:"namespace,omitempty"`
	} `yaml:"context"`
}

type namedCluster struct {
	Name    string         `yaml:"name"`
	Cluster map[string]any `yaml:"cluster"`
}

type namedUser struct {
	Name string         `yaml:"name"`
	User map[string]any `yaml:"user"`
}

const setKubeconfig = "set it with: pulumi config set --secret --path berth:kubernetes.kubeconfig <~/.kube/config"

func (c *checker) checkKubernetes(p *place) {
	k := &c.cfg.Kubernetes
	at := p.child("kubeconfig")
	if c.mistakes.has(at) || c.mistakes.has(p.child("context")) {
		return
	}
	text, file, from := k.Kubeconfig, "", ""
	if text == "" {
		var ok bool
		if text, file, ok = c.defaultKubeconfig(at); !ok {
			return
		}
		from = "is not set, and " + show(file) + " "
	}
	var whole kubeconfig
	// What the parser says would quote the text, which is secret.
	if err := yaml.Unmarshal([]byte(text), &whole); err != nil || len(whole.Clusters) == 0 {
		c.bad(at, "%sis not a kubeconfig (YAML with clusters, users and contexts); %s", from, setKubeconfig)
		return
	}
	one, ok := c.chooseContext(p, &whole, from)
	if !ok || file == "" {
		return
	}
	c.embed(at, filepath.Dir(file), one, from)
	reduced, err := yaml.Marshal(one)
	if err != nil {
		c.bad(at, "%scannot be cut down to context %s; %s", from, show(k.Context), setKubeconfig)
		return
	}
	k.Kubeconfig = string(reduced)
}

// defaultKubeconfig reads the file that kubectl would.
func (c *checker) defaultKubeconfig(at *place) (string, string, bool) {
	file := c.env.getenv("KUBECONFIG")
	if files := filepath.SplitList(file); len(files) > 1 {
		c.bad(at, "is not set, and $KUBECONFIG names %d files; make them one with: kubectl config view --flatten --minify, and %s",
			len(files), setKubeconfig)
		return "", "", false
	}
	if file == "" {
		home, err := c.env.home()
		if err != nil {
			c.bad(at, "is not set, and there is no home directory with a .kube/config; %s", setKubeconfig)
			return "", "", false
		}
		file = filepath.Join(home, ".kube", "config")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		c.bad(at, "is not set, and %s cannot be read; point $KUBECONFIG to a file, or %s", show(file), setKubeconfig)
		return "", "", false
	}
	return string(text), file, true
}

// chooseContext settles the context, and returns a kubeconfig that holds nothing but it: then a change of another
// cluster's entry in the operator's file is no change of this stack. From is the start of what is said about a default file.
func (c *checker) chooseContext(p *place, whole *kubeconfig, from string) (*kubeconfig, bool) {
	k := &c.cfg.Kubernetes
	at, in := p.child("context"), p.child("kubeconfig")
	names, shown := make([]string, 0, len(whole.Contexts)), make([]string, 0, len(whole.Contexts))
	for _, one := range whole.Contexts {
		names, shown = append(names, one.Name), append(shown, show(one.Name))
	}
	choice := "write one of " + cut(strings.Join(shown, ", "), 300) // a few lines' worth
	if len(names) == 0 {
		c.bad(in, "%shas no context; %s", from, setKubeconfig)
		return nil, false
	}
	if k.Context == "" {
		k.Context = whole.CurrentContext
	}
	if k.Context == "" {
		c.bad(at, "is missing, and the kubeconfig has no current context; %s", choice)
		return nil, false
	}
	i := slices.Index(names, k.Context)
	if i < 0 {
		c.bad(at, "%s is not in the kubeconfig; %s", show(k.Context), choice)
		return nil, false
	}
	chosen := whole.Contexts[i]
	cluster := slices.IndexFunc(whole.Clusters, func(n namedCluster) bool { return n.Name == chosen.Context.Cluster })
	user := slices.IndexFunc(whole.Users, func(n namedUser) bool { return n.Name == chosen.Context.User })
	if cluster < 0 || user < 0 {
		c.bad(in, "%slacks the cluster or the user of context %s; %s", from, show(k.Context), setKubeconfig)
		return nil, false
	}
	if server, _ := whole.Clusters[cluster].Cluster["server"].(string); server == "" {
		c.bad(in, "%shas no server for the cluster of context %s; %s", from, show(k.Context), setKubeconfig)
		return nil, false
	}
	return &kubeconfig{
		APIVersion: "v1", Kind: "Config", CurrentContext: k.Context,
		Contexts: []namedContext{chosen},
		Clusters: []namedCluster{whole.Clusters[cluster]},
		Users:    []namedUser{whole.Users[user]},
	}, true
}

// embed takes in the files that a kubeconfig names, since it leaves the folder that they are relative to.
func (c *checker) embed(at *place, dir string, k *kubeconfig, from string) {
	absolute := func(file string) string {
		if filepath.IsAbs(file) {
			return file
		}
		return filepath.Join(dir, file)
	}
	for _, section := range []map[string]any{k.Clusters[0].Cluster, k.Users[0].User} {
		for _, key := range slices.Sorted(maps.Keys(section)) {
			file, _ := section[key].(string)
			switch {
			case file == "":
			case key == "certificate-authority" || key == "client-certificate" || key == "client-key":
				delete(section, key)
				if _, given := section[key+"-data"]; given {
					continue // which goes before the file
				}
				data, err := os.ReadFile(absolute(file))
				if err != nil {
					c.bad(at, "%snames the file %s, which cannot be read; %s", from, show(file), setKubeconfig)
					return
				}
				section[key+"-data"] = base64.StdEncoding.EncodeToString(data)
			case key == "tokenFile": // read anew at each use
				section[key] = absolute(file)
			}
		}
	}
	if exec, ok := k.Users[0].User["exec"].(map[string]any); ok {
		if command, _ := exec["command"].(string); strings.ContainsRune(command, filepath.Separator) {
			exec["command"] = absolute(command)
		}
	}
}
