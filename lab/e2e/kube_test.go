package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// kubectl runs the lab's kubectl.
type kubectl struct{ env []string }

func (k *kubectl) run(ctx context.Context, stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	if path := lookPath("kubectl", k.env); path != "" {
		cmd.Path, cmd.Err = path, nil
	}
	cmd.Env, cmd.Stdin = k.env, strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

func (k *kubectl) must(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := k.run(context.WithoutCancel(t.Context()), stdin, args...)
	if err != nil {
		t.Fatalf("%v%s", err, out)
	}
	return strings.TrimSpace(out)
}

// pod is a Pod of this test, pinned to a node.
type pod struct {
	name, node, image string
	pullSecret        string
	policy            string // imagePullPolicy; default Always
	restart           string // restartPolicy; default Never
	command           []string
}

func (p pod) manifest(t *testing.T) string {
	t.Helper()
	if p.policy == "" {
		p.policy = "Always"
	}
	if p.restart == "" {
		p.restart = "Never"
	}
	container := map[string]any{"name": "main", "image": p.image, "imagePullPolicy": p.policy}
	if len(p.command) > 0 {
		container["command"] = p.command
	}
	spec := map[string]any{
		"nodeName":                      p.node,
		"tolerations":                   []any{map[string]any{"operator": "Exists"}},
		"restartPolicy":                 p.restart,
		"terminationGracePeriodSeconds": 0,
		"automountServiceAccountToken":  false,
		"containers":                    []any{container},
	}
	if p.pullSecret != "" {
		spec["imagePullSecrets"] = []any{map[string]any{"name": p.pullSecret}}
	}
	text, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"name": p.name, "namespace": "default", "labels": map[string]any{"e2e": "pod"}},
		"spec":     spec,
	})
	check(t, err)
	return string(text)
}

func (k *kubectl) create(t *testing.T, p pod) {
	t.Helper()
	k.must(t, p.manifest(t), "create", "-f", "-")
}

// unique makes a name that no pod had before: events outlive their pods, and are found by name.
func unique(name string) string { return name + "-" + strings.ToLower(rand.Text()[:8]) }

func (k *kubectl) remove(t *testing.T, name string) {
	t.Helper()
	k.must(t, "", "delete", "pod", name, "-n", "default", "--ignore-not-found", "--grace-period=0", "--force")
	// Forced deletion returns before the kubelet is done with the name.
	k.must(t, "", "wait", "--for=delete", "pod/"+name, "-n", "default", "--timeout=60s")
}

// running creates the pods at once and waits until all run.
func (k *kubectl) running(t *testing.T, pods ...pod) {
	t.Helper()
	for _, p := range pods {
		k.create(t, p)
	}
	for _, p := range pods {
		_, err := k.run(t.Context(), "", "wait", "--for=jsonpath={.status.phase}=Running", "pod/"+p.name, "-n", "default", "--timeout=90s")
		if err != nil {
			t.Fatalf("pod %s with %s on %s: %v\n%s", p.name, p.image, p.node, err,
				k.must(t, "", "describe", "pod", p.name, "-n", "default"))
		}
	}
}

// events returns what the kubelet said about a pod.
func (k *kubectl) events(t *testing.T, name string) string {
	t.Helper()
	return k.must(t, "", "get", "events", "-n", "default", "--field-selector", "involvedObject.name="+name,
		"-o", `jsonpath={range .items[*]}{.reason}: {.message}{"\n"}{end}`)
}

// fleeting are kinds that come and go, or change, without anybody's doing.
var fleeting = map[string]bool{
	"events": true, "events.events.k8s.io": true, "leases.coordination.k8s.io": true, "pods": true,
	"endpoints": true, "endpointslices.discovery.k8s.io": true, "componentstatuses": true, "nodes": true,
	"csinodes.storage.k8s.io": true, "certificatesigningrequests.certificates.k8s.io": true, "controllerrevisions.apps": true,
}

// objects lists what the cluster holds, of every kind, with the version of each object.
func (k *kubectl) versions(t *testing.T) map[string]string {
	t.Helper()
	var kinds []string
	for _, kind := range lines(k.must(t, "", "api-resources", "--verbs=list", "-o", "name")) {
		if !fleeting[kind] {
			kinds = append(kinds, kind)
		}
	}
	all := map[string]string{}
	text := k.must(t, "", "get", strings.Join(kinds, ","), "--all-namespaces", "--ignore-not-found",
		"-o", `jsonpath={range .items[*]}{.kind}/{.metadata.namespace}/{.metadata.name} {.metadata.resourceVersion}{"\n"}{end}`)
	for _, line := range lines(text) {
		name, version, _ := strings.Cut(line, " ")
		all[name] = version
	}
	for _, name := range lines(k.must(t, "", "get", "pods", "--all-namespaces", "-l", "!e2e", "-o",
		`jsonpath={range .items[*]}Pod/{.metadata.namespace}/{.metadata.name}{"\n"}{end}`)) {
		all[name] = ""
	}
	return all
}

func (k *kubectl) objects(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for name := range k.versions(t) {
		all[name] = true
	}
	return all
}

// containers returns the ids of the containers of all pods, by "namespace/pod".
func (k *kubectl) containers(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	text := k.must(t, "", "get", "pods", "--all-namespaces", "-o",
		`jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name}={range .status.containerStatuses[*]}{.containerID} restarts {.restartCount};{end}{"\n"}{end}`)
	for _, line := range lines(text) {
		name, ids, _ := strings.Cut(line, "=")
		all[name] = ids
	}
	return all
}
