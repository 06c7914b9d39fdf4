package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"berth/components/node"
	"berth/components/remote"
	"berth/internal/graphtest"
)

const (
	password = "Abcd123456"
	digest   = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

func TestStepsAreAChainBehindTheAnchor(t *testing.T) {
	t.Parallel()
	g := up(t, nil)
	for _, name := range []string{"master1", "worker1", "worker2"} {
		anchor := g.Get("node-" + name + "-anchor")
		assert.Len(t, anchor.Request.GetDependencies(), 1, "an anchor depends on no node, so that destroy cleans all nodes at once")
		assert.True(t, anchor.DependsOn("identity"), "the nodes remember by which state they were set up")
		assert.True(t, strings.HasSuffix(anchor.Input("delete").StringValue(), " remove"), "the anchor's deletion removes")
		assert.True(t, g.Get("node-"+name+"-base").DependsOn("node-"+name+"-anchor"))
		assert.True(t, g.Get("node-"+name+"-base").DependsOn("registry-service"), "a pull is never sent to a port before it answers")
		assert.True(t, g.Get("node-"+name+"-base").DependsOn("registry-pull-berth-registry"), "nor before the pull secrets are there")
		containerd := g.Get("node-" + name + "-containerd")
		assert.True(t, containerd.DependsOn("node-"+name+"-base"))
		assert.True(t, containerd.DependsOn("publication-push"), "a node fetches what is published")
		assert.True(t, g.Get("node-"+name+"-verify").DependsOn("node-"+name+"-containerd"))
	}
}

func TestAWaveWaitsForTheOneBefore(t *testing.T) {
	t.Parallel()
	g := up(t, func(c stack) { c["rollout"] = map[string]any{"batch": 2} })
	last := g.Get("node-master1-containerd")
	for _, name := range []string{"worker1", "worker2"} {
		assert.True(t, last.DependsOn("node-"+name+"-verify"))
		assert.False(t, g.Get("node-"+name+"-containerd").DependsOn("node-master1-verify"))
	}
	canary := up(t, func(c stack) { c["rollout"] = map[string]any{"canary": []string{"worker2"}} })
	assert.True(t, canary.Get("node-worker1-containerd").DependsOn("node-worker2-verify"))
	for _, name := range []string{"anchor", "base"} {
		for _, urn := range canary.Get("node-worker1-" + name).Request.GetDependencies() {
			assert.NotContains(t, urn, "worker2", "the switch alone waits for other nodes")
		}
	}
}

func TestOlderBuildsGoWhenNoNodeHasThem(t *testing.T) {
	t.Parallel()
	g := up(t, func(c stack) { c["rollout"] = map[string]any{"batch": 1} })
	prune := g.Get("publication-prune")
	for _, name := range []string{"master1", "worker1", "worker2"} {
		assert.True(t, prune.DependsOn("node-"+name+"-verify"))
	}
	assert.Contains(t, prune.Input("stdin").StringValue(), `"prune":true`)
	assertNotPlain(t, prune)
	stock := up(t, func(c stack) { c["access"] = map[string]any{"mode": "mirror"} })
	assert.NotContains(t, stock.Names(), "publication-prune", "no build is current there")
}

func TestNodesOfSeveralLines(t *testing.T) {
	t.Parallel()
	g := up(t, func(c stack) {
		nodes := c["nodes"].([]any)
		nodes[0].(map[string]any)["containerdVersion"] = "1.6.38"
	})
	assert.Contains(t, g.Get("containerd-1.6.38-amd64").Input("create").StringValue(), "build containerd 1.6.38+berth.")
	assert.Contains(t, g.Get("containerd-1.7.36-amd64").Input("create").StringValue(), "build containerd 1.7.36+berth.")
	assert.Contains(t, g.Get("publication-push").Input("create").StringValue(), "publish containerd 1.6.38+berth.1, 1.7.36+berth.1")
	var other []string
	for _, name := range []string{"master1", "worker1", "worker2"} {
		if strings.Contains(g.Get("node-"+name+"-containerd").Input("create").StringValue(), " 1.6.38+berth.") {
			other = append(other, name)
		}
	}
	assert.Len(t, other, 1, "one node alone runs the other line")
}

func TestOrderOfNodesIsNoChange(t *testing.T) {
	t.Parallel()
	var nodes []any
	var key any
	forward := up(t, func(c stack) { nodes, key = slices.Clone(c["nodes"].([]any)), c["ssh"] })
	slices.Reverse(nodes)
	backward := up(t, func(c stack) { c["nodes"], c["ssh"] = nodes, key })
	for _, r := range forward.OfType("command:remote:Command") {
		other := backward.Get(r.Name)
		assert.True(t, r.Inputs.DeepEquals(other.Inputs), r.Name)
		assert.ElementsMatch(t, r.Request.GetDependencies(), other.Request.GetDependencies(), r.Name)
	}
}

// What must hold for every command that reaches a node.
func TestEveryRemoteCommand(t *testing.T) {
	t.Parallel()
	g := up(t, nil)
	commands := g.OfType("command:remote:Command")
	require.NotEmpty(t, commands)
	for _, r := range commands {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			assert.True(t, strings.HasPrefix(r.Input("connection", "hostKey").StringValue(), "ssh-ed25519 "), "host key pinned")
			assert.Positive(t, r.Input("connection", "dialErrorLimit").NumberValue(), "dials bounded")
			assert.Positive(t, r.Input("connection", "perDialTimeout").NumberValue(), "dials bounded")
			assert.True(t, r.Inputs["connection"].IsSecret(), "the connection is a secret")
			assert.False(t, r.Input("addPreviousOutputInEnv").BoolValue())
			assert.False(t, r.Inputs.HasValue("triggers"), "a trigger would replace, and the replaced one remove")
			assert.False(t, r.Inputs.HasValue("environment"), "sshd refuses what AcceptEnv does not list")
			assert.False(t, r.Inputs.HasValue("update"), "an update runs the same as a creation")
			assert.Contains(t, r.Request.GetIgnoreChanges(), "update", "what a repair left is no change")
			for _, line := range []string{r.Input("create").String(), r.Input("delete").String()} {
				assert.NotContains(t, line, password)
			}
			if stdin := r.Input("stdin").StringValue(); strings.Contains(stdin, password) {
				assert.True(t, r.Inputs["stdin"].IsSecret(), "stdin with the password is a secret")
				assert.Equal(t, "none", r.Input("logging").StringValue())
				assert.Subset(t, r.Request.GetAdditionalSecretOutputs(), []string{"stdout", "stderr"})
			}
			if strings.HasSuffix(r.Name, "-anchor") {
				return
			}
			assert.False(t, r.Inputs.HasValue("delete"), "the anchor alone removes")
		})
	}
}

func TestNoSecretStandsPlain(t *testing.T) {
	t.Parallel()
	g := up(t, nil)
	for _, token := range []string{
		"command:local:Command",
		"kubernetes:core/v1:Secret", "kubernetes:core/v1:ConfigMap", "kubernetes:apps/v1:Deployment", "kubernetes:batch/v1:Job",
		"pulumi:providers:kubernetes", "command:remote:Command",
	} {
		resources := g.OfType(token)
		require.NotEmpty(t, resources, token)
		for _, r := range resources {
			assertNotPlain(t, r)
		}
	}
}

// everyWayIn changes a stack so that its nodes are reached in every way there is, master1 with the registry through the bastion.
func everyWayIn(t *testing.T, c stack) {
	t.Helper()
	bastion := nodeConfig(t, "", 1)
	delete(bastion, "name")
	bastion["user"], bastion["password"] = "jump", "bastion-words"
	c["ssh"].(map[string]any)["bastion"] = bastion
	nodes := c["nodes"].([]any)
	own := nodes[1].(map[string]any)
	own["user"], own["password"], own["port"] = "ops", "worker-words", 2222
	nodes[2].(map[string]any)["bastion"] = map[string]any{}
}

func TestEveryWayIn(t *testing.T) {
	t.Parallel()
	g := up(t, func(c stack) { everyWayIn(t, c) })
	for _, step := range []string{"anchor", "base", "containerd"} {
		master1, worker1, worker2 := g.Get("node-master1-"+step), g.Get("node-worker1-"+step), g.Get("node-worker2-"+step)
		for _, r := range []graphtest.Resource{master1, worker1} {
			assert.Equal(t, "10.0.0.1", r.Input("connection", "proxy", "host").StringValue(), r.Name)
			assert.Equal(t, "jump", r.Input("connection", "proxy", "user").StringValue(), r.Name)
			assert.Equal(t, "bastion-words", r.Input("connection", "proxy", "password").StringValue(), r.Name)
			assert.True(t, strings.HasPrefix(r.Input("connection", "proxy", "hostKey").StringValue(), "ssh-ed25519 "), "the bastion's key is pinned")
			assert.Positive(t, r.Input("connection", "proxy", "dialErrorLimit").NumberValue(), r.Name)
		}
		assert.Contains(t, master1.Input("connection", "privateKey").StringValue(), "PRIVATE KEY")
		assert.True(t, master1.Input("connection", "password").IsNull())
		assert.Equal(t, "worker-words", worker1.Input("connection", "password").StringValue())
		assert.True(t, worker1.Input("connection", "privateKey").IsNull(), "a login of its own is the whole login")
		assert.InDelta(t, 2222, worker1.Input("connection", "port").NumberValue(), 0)
		assert.True(t, worker2.Input("connection", "proxy").IsNull(), "an empty map is no bastion")
		assert.True(t, strings.HasPrefix(worker1.Input("create").StringValue(), "sudo -n "))
	}
	var request struct {
		SSH remote.Connection `json:"ssh"`
	}
	require.NoError(t, json.Unmarshal([]byte(g.Get("publication-push").Input("stdin").StringValue()), &request))
	require.NotNil(t, request.SSH.Bastion, "the registry is published to through the bastion of its node")
	assert.Equal(t, "bastion-words", request.SSH.Bastion.Password)
	for _, r := range slices.Concat(g.OfType("command:remote:Command"), g.OfType("command:local:Command")) {
		assertNotPlain(t, r)
	}
}

func TestTheLookGoesEveryWayIn(t *testing.T) {
	t.Parallel()
	var looked []node.Target
	look := func(_ context.Context, targets []node.Target) func() map[string]node.Finding {
		looked = targets
		return func() map[string]node.Finding { return nil }
	}
	upAfter(t, look, func(c stack) { everyWayIn(t, c) })
	require.Len(t, looked, 3)
	assert.Equal(t, "jump", looked[0].Connection.Bastion.User)
	assert.Equal(t, "worker-words", looked[1].Connection.Password)
	assert.Nil(t, looked[2].Connection.Bastion)
}

// Another key, password or bastion is an update in place of what dials, and of nothing else.
func TestALoginChangesInPlace(t *testing.T) {
	t.Parallel()
	var nodes any
	archive := filepath.Join(t.TempDir(), "registry.tar")
	require.NoError(t, os.WriteFile(archive, []byte("an archive"), 0o600))
	before := up(t, func(c stack) {
		nodes = c["nodes"]
		c["registry"].(map[string]any)["imageArchive"] = archive
	})
	after := up(t, func(c stack) {
		c["nodes"] = nodes
		c["registry"].(map[string]any)["imageArchive"] = archive
		everyWayIn(t, c)
		delete(nodes.([]any)[1].(map[string]any), "user") // which stands in the command line
		delete(nodes.([]any)[1].(map[string]any), "port")
	})
	dialling := map[string]resource.PropertyKey{
		"command:remote:Command": "connection", "command:remote:CopyToRemote": "connection", "command:local:Command": "stdin",
	}
	changed := 0
	require.ElementsMatch(t, before.Names(), after.Names())
	for _, token := range []string{
		"command:remote:Command", "command:remote:CopyToRemote", "command:local:Command", "kubernetes:batch/v1:Job", "kubernetes:apps/v1:Deployment",
	} {
		for _, r := range before.OfType(token) {
			one, other := r.Inputs.Copy(), after.Get(r.Name).Inputs.Copy()
			if key := dialling[token]; key != "" && !one[key].DeepEquals(other[key]) {
				changed++
				delete(one, key)
				delete(other, key)
			}
			assert.True(t, one.DeepEquals(other), r.Name)
			assert.Equal(t, r.Request.GetReplaceOnChanges(), after.Get(r.Name).Request.GetReplaceOnChanges(), r.Name)
		}
	}
	assert.Equal(t, 3*3+2+2, changed, "three steps a node, upload and import of the registry's image, the publication and its pruning")
}

func TestThePreflightKnowsTheVersion(t *testing.T) {
	t.Parallel()
	stdin := func(g *graphtest.Graph, name string) string { return g.Get(name).Input("stdin").StringValue() }
	plain := up(t, nil)
	assert.Contains(t, stdin(plain, "node-worker1-anchor"), "VERSION='1.7.36+berth.1'\n")
	assert.Contains(t, stdin(plain, "node-worker1-anchor"), " 24-25621 24-40635 ")
	assert.NotContains(t, stdin(plain, "node-worker1-anchor"), "minor")
	allowed := up(t, func(c stack) {
		c["containerd"] = map[string]any{"version": "1.6.38", "allowMinorUpgrade": true, "acceptCVE": []string{"unknown", "CVE-2099-1234"}}
		c["nodes"].([]any)[1].(map[string]any)["reloadWithGPU"] = true
	})
	assert.Contains(t, stdin(allowed, "node-worker1-anchor"), " 99-1234 unknown minor gpu'\n")
	assert.Contains(t, stdin(allowed, "node-worker1-anchor"), " 24-25621 ", "upstream's 1.6 lacks it, and berth's has it as a patch")
	assert.Contains(t, stdin(allowed, "node-worker2-anchor"), " unknown minor'\n")
	assert.Contains(t, stdin(allowed, "node-worker1-containerd"), "ALLOW='gpu'\n")
	assert.Contains(t, stdin(allowed, "node-worker2-containerd"), "ALLOW=''\n")
}

func TestRetiredNodeIsNotDialled(t *testing.T) {
	t.Parallel()
	g := up(t, func(c stack) { c["nodes"].([]any)[1].(map[string]any)["retired"] = true })
	for _, r := range []string{"anchor", "base", "containerd"} {
		request := g.Get("node-worker1-" + r).Request
		assert.True(t, request.GetRetainOnDelete(), r)
		assert.Contains(t, request.GetIgnoreChanges(), "*", r)
	}
	assert.NotContains(t, g.Names(), "node-worker1-verify", "what stands in the cluster goes: no machine is needed for it")
	assert.False(t, g.Get("node-worker2-verify").Request.GetRetainOnDelete())
	assert.Equal(t, "background", g.Get("node-worker2-verify").Input("metadata", "annotations", "pulumi.com/deletionPropagationPolicy").StringValue(),
		"no deletion waits for a pod on a dead machine")
}

func TestDriftIsRepairedByItsStepAlone(t *testing.T) {
	t.Parallel()
	var looked []node.Target
	look := func(_ context.Context, targets []node.Target) func() map[string]node.Finding {
		looked = targets
		return func() map[string]node.Finding {
			return map[string]node.Finding{
				"master1": {Unseen: errors.New("connecting to 10.0.0.11:22 by SSH: connection refused")},
				"worker1": {Applies: "3", Reasons: map[string][]string{"containerd": {"drop-in zz-berth.conf is changed", "containerd.service is failed"}}},
				"worker2": {Applies: "3"},
			}
		}
	}
	plain, drifted := up(t, nil), upAfter(t, look, nil)
	for _, r := range drifted.OfType("command:remote:Command") {
		if r.Name == "node-worker1-containerd" {
			continue
		}
		assert.False(t, r.Inputs.HasValue("update"), r.Name)
		assert.Contains(t, r.Request.GetIgnoreChanges(), "update", r.Name)
		assert.Equal(t, plain.Get(r.Name).Input("create"), r.Input("create"), r.Name)
	}
	repaired := drifted.Get("node-worker1-containerd")
	assert.Equal(t, "$(test $(id -u) = 0 || echo sudo -n) /bin/sh -s -- apply containerd # repair after 3: "+
		"drop-in zz-berth.conf is changed, containerd.service is failed", repaired.Input("update").StringValue())
	assert.NotContains(t, repaired.Request.GetIgnoreChanges(), "update")
	assert.Equal(t, plain.Get("node-worker1-containerd").Input("create"), repaired.Input("create"))
	require.Len(t, looked, 3)
	assert.Equal(t, "test/worker1", looked[1].Owner)
	assert.Equal(t, "10.0.0.12", looked[1].Connection.Host)
}

func TestWhereNobodyLooks(t *testing.T) {
	t.Parallel()
	fail := func(context.Context, []node.Target) func() map[string]node.Finding {
		t.Error("a node is looked at")
		return func() map[string]node.Finding { return nil }
	}
	upAfter(t, fail, func(c stack) { c["drift"] = map[string]any{"check": false} })
	retired := func(_ context.Context, targets []node.Target) func() map[string]node.Finding {
		for _, target := range targets {
			assert.NotEqual(t, "worker1", target.Name, "a retired node is not dialled")
		}
		return func() map[string]node.Finding { return nil }
	}
	upAfter(t, retired, func(c stack) { c["nodes"].([]any)[1].(map[string]any)["retired"] = true })
}

func TestVerificationIsABoundedJobOnItsNode(t *testing.T) {
	t.Parallel()
	g := up(t, nil)
	job := g.Get("node-worker2-verify")
	assert.Equal(t, []string{"node-worker2-verify"}, job.Request.GetHooks().GetBeforeCreate(), "what did not pull is not in the state")
	assert.Equal(t, "true", job.Input("metadata", "annotations", "pulumi.com/skipAwait").StringValue())
	assert.Equal(t, "berth", job.Input("metadata", "annotations", "pulumi.com/patchFieldManager").StringValue())
	assert.Positive(t, job.Input("spec", "activeDeadlineSeconds").NumberValue())
	pod := []resource.PropertyKey{"spec", "template", "spec"}
	assert.Equal(t, "worker2", job.Input(append(pod, "nodeName")...).StringValue())
	container := job.Input(append(pod, "containers")...).ArrayValue()[0].ObjectValue()
	assert.Equal(t, "Always", container["imagePullPolicy"].StringValue())
	assert.Regexp(t, `^Yuan\.com/berth/verify:[0-9a-f]{16}$`, container["image"].StringValue())
}

func TestServiceIsNamedByItsPort(t *testing.T) {
	t.Parallel()
	g := up(t, func(c stack) { c["registry"].(map[string]any)["nodePort"] = 30444 })
	service := g.Get("registry-service")
	assert.Equal(t, "docker-registry-30444", service.Input("metadata", "name").StringValue())
	assert.InDelta(t, 30444, service.Input("spec", "ports").ArrayValue()[0].ObjectValue()["nodePort"].NumberValue(), 0)
}

func TestProviderSurvivesANewAddressOfTheAPIServer(t *testing.T) {
	t.Parallel()
	g := up(t, nil)
	provider := g.Get("cluster")
	assert.Equal(t, "berth/test", provider.Input("clusterIdentifier").StringValue())
	assert.True(t, provider.Inputs["kubeconfig"].IsSecret())
}

func assertNotPlain(t *testing.T, r graphtest.Resource) {
	t.Helper()
	var walk func(path string, v resource.PropertyValue)
	walk = func(path string, v resource.PropertyValue) {
		switch {
		case v.IsString():
			for _, secret := range []string{password, "PRIVATE KEY", "client-key-data", "bastion-words", "worker-words"} {
				assert.NotContains(t, v.StringValue(), secret, "%s %s", r.Name, path)
			}
		case v.IsArray():
			for i, e := range v.ArrayValue() {
				walk(fmt.Sprintf("%s[%d]", path, i), e)
			}
		case v.IsObject():
			for k, e := range v.ObjectValue() {
				walk(path+"."+string(k), e)
			}
		}
	}
	walk("", resource.NewObjectProperty(r.Inputs))
}

// stack is the berth: part of a stack's config.
type stack map[string]any

// up runs the program with three nodes, changed by edit, on none of which anything differs.
func up(t *testing.T, edit func(stack)) *graphtest.Graph {
	t.Helper()
	return upAfter(t, node.LookNowhere, edit)
}

// upAfter runs the program behind a look at the nodes.
func upAfter(t *testing.T, look node.Look, edit func(stack)) *graphtest.Graph {
	t.Helper()
	run := func(ctx *pulumi.Context) error { return run(ctx, look) }
	c := stack{
		"registry":   map[string]any{"host": "Yuan.com", "node": "master1", "username": "Yuan", "password": password},
		"containerd": map[string]any{"version": "1.7.36"},
		"kubernetes": map[string]any{"kubeconfig": kubeconfig},
		"ssh":        map[string]any{"privateKey": privateKey(t)},
		"nodes":      []any{nodeConfig(t, "master1", 11), nodeConfig(t, "worker1", 12), nodeConfig(t, "worker2", 13)},
	}
	if edit != nil {
		edit(c)
	}
	values := map[string]string{}
	for key, value := range c {
		text, err := json.Marshal(value)
		require.NoError(t, err)
		values["berth:"+key] = string(text)
	}
	cert := selfSigned()
	g, err := graphtest.Run(t, run, values, func(r graphtest.Resource) resource.PropertyMap {
		switch r.Type {
		case "tls:index/privateKey:PrivateKey":
			return resource.PropertyMap{"privateKeyPem": resource.MakeSecret(resource.NewStringProperty("-----BEGIN PRIVATE KEY-----"))}
		case "tls:index/certRequest:CertRequest":
			return resource.PropertyMap{"certRequestPem": resource.NewStringProperty("csr")}
		case "tls:index/selfSignedCert:SelfSignedCert", "tls:index/locallySignedCert:LocallySignedCert":
			return resource.PropertyMap{"certPem": resource.NewStringProperty(cert)}
		case "command:local:Command", "command:remote:Command":
			if r.Name == "certificate-sign" {
				return resource.PropertyMap{"stdout": resource.NewStringProperty(cert + cert)}
			}
			return resource.PropertyMap{"stdout": resource.NewStringProperty(digest)}
		}
		return nil
	})
	require.NoError(t, err)
	return g
}

const kubeconfig = `apiVersion: v1
kind: Config
current-context: lab
contexts: [{name: lab, context: {cluster: lab, user: admin}}]
clusters: [{name: lab, cluster: {server: "https://10.0.0.11:6443"}}]
users: [{name: admin, user: {client-key-data: c2VjcmV0}}]
`

func nodeConfig(t *testing.T, name string, last int) map[string]any {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	key, err := ssh.NewPublicKey(public)
	require.NoError(t, err)
	return map[string]any{
		"name": name, "address": fmt.Sprintf("10.0.0.%d", last), "hostKey": strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))),
	}
}

func privateKey(t *testing.T) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(t, err)
	return string(pem.EncodeToMemory(block))
}

// selfSigned is the same certificate for all tests, so that runs can be compared.
var selfSigned = sync.OnceValue(func() string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Yuan.com"}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
})

func TestComponentsWaitForWhatTheyNeed(t *testing.T) {
	t.Parallel()
	archive := filepath.Join(t.TempDir(), "registry.tar")
	require.NoError(t, os.WriteFile(archive, []byte("an archive"), 0o600))
	g := up(t, func(c stack) { c["registry"].(map[string]any)["imageArchive"] = archive })
	assert.True(t, g.Get("registry-image-upload").DependsOn("node-master1-anchor"), "what lies on the node is removed by its anchor")
	assert.True(t, g.Get("registry-image-import").DependsOn("node-master1-anchor"))
	assert.True(t, g.Get("registry-deployment").DependsOn("node-master1-anchor"), "the registry goes before its node is cleaned")
	assert.True(t, g.Get("publication-push").DependsOn("registry-service"), "published when the registry answers")
	signed := up(t, func(c stack) { c["certificate"] = map[string]any{"ca": "cluster"} })
	assert.True(t, signed.Get("certificate-sign").DependsOn("node-master1-anchor"))
}
