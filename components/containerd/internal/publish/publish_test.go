package publish

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/memory"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"berth/components/containerd/internal/build"
	"berth/components/containerd/internal/layer"
	"berth/components/containerd/release"
	"berth/components/remote/sshclient"
)

// bill stands for a bill of materials: publishing does not look into it.
const bill = `{"bomFormat":"CycloneDX"}`

// fixture is a registry behind an SSH server, and a publisher whose builds are a few bytes.
type fixture struct {
	registry  *registryServer
	ssh       *sshServer
	publisher *Publisher
	request   release.PublishRequest
	builds    atomic.Int32
	builtOn   string
	log       bytes.Buffer
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{registry: newRegistry(t), ssh: newSSH(t)}
	packed := filepath.Join(t.TempDir(), "artifact.tar.gz")
	file, err := os.Create(packed)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	result, err := layer.Write(file, []layer.File{{Name: "bin/containerd", Mode: 0o755, Content: []byte("containerd")}})
	if err != nil {
		t.Fatal(err)
	}
	f.publisher = &Publisher{
		// The programs of the verification image are built once for all tests.
		Cache: sharedCache(t), Log: &f.log, Patience: 300 * time.Millisecond, Pause: 10 * time.Millisecond,
		Build: func(_ context.Context, _ string, _ io.Writer, request release.BuildRequest) (build.Result, error) {
			if f.builds.Add(1); request.On != nil {
				f.builtOn = request.On.Name
			}
			return build.Result{Digest: result.Digest, Path: packed}, nil
		},
		Bill: func(release.BuildRequest, string) ([]byte, error) { return []byte(bill), nil },
	}
	f.request = release.PublishRequest{
		Registry: release.RegistryTarget{
			Host: registryHost, NodePort: f.registry.port(), Username: username, Password: password,
			CAPEM: f.registry.caPEM, Address: "127.0.0.1",
		},
		SSH:       *f.ssh.target(),
		Artifacts: []release.Artifact{{Version: "1.7.36", Arch: "amd64", Digest: result.Digest}},
		RolloutID: "0123abcd",
	}
	return f
}

var testCache string

func sharedCache(t *testing.T) string {
	t.Helper()
	return testCache
}

func TestMain(m *testing.M) {
	var err error
	testCache, err = os.MkdirTemp("", "publish")
	if err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(testCache)
	os.Exit(code)
}

func TestEnsure(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	bastion := newSSH(t)
	f.request.SSH.Bastion = bastion.target()
	f.request.Artifacts[0].On = &release.Host{Name: "worker1"}
	if err := f.publisher.Ensure(t.Context(), f.request); err != nil {
		t.Fatal(err)
	}
	if want := []string{f.ssh.listener.Addr().String()}; !slices.Equal(bastion.targets, want) {
		t.Errorf("the bastion forwarded to %q, want %q", bastion.targets, want)
	}
	f.request.SSH.Bastion = nil
	if f.builtOn != "worker1" {
		t.Errorf("what the cache lost was built on %q", f.builtOn)
	}
	writes := f.registry.take()
	if !slices.Contains(writes, "PUT /v2/berth/containerd/manifests/1.7.36-berth.1-linux-amd64") ||
		writes[len(writes)-1] != "PUT /v2/berth/verify/manifests/0123abcd" {
		t.Errorf("writes = %q", writes)
	}
	for _, target := range f.ssh.targets {
		if want := f.registry.Listener.Addr().String(); target != want {
			t.Errorf("the tunnel went to %s, want %s", target, want)
		}
	}

	// A second time, also from a machine with an empty cache, nothing is built or sent.
	f.publisher.Cache = "/does/not/exist"
	if err := f.publisher.Ensure(t.Context(), f.request); err != nil {
		t.Fatal(err)
	}
	if writes := f.registry.take(); len(writes) != 0 || f.builds.Load() != 1 {
		t.Errorf("the second time: writes = %q, builds = %d", writes, f.builds.Load())
	}

	// A new rollout sends its layer, config and manifests; the programs are there.
	f.publisher.Cache = sharedCache(t)
	f.request.RolloutID = "0123abce"
	if err := f.publisher.Ensure(t.Context(), f.request); err != nil {
		t.Fatal(err)
	}
	blobs := 0
	for _, write := range f.registry.take() {
		if strings.HasPrefix(write, "PUT /v2/berth/verify/blobs/") {
			blobs++
		} else if strings.HasPrefix(write, "PUT /v2/berth/containerd") {
			t.Errorf("the new rollout wrote %s", write)
		}
	}
	if blobs != 3 {
		t.Errorf("the new rollout sent %d blobs, want its layer and two configs", blobs)
	}
}

// What was published is copied out of the registry, which checks every digest on the way.
func TestPublishedImages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if err := f.publisher.Ensure(t.Context(), f.request); err != nil {
		t.Fatal(err)
	}
	var manifest ocispec.Manifest
	artifact := f.fetch(t, release.ArtifactRepository, release.ArtifactTag("1.7.36", "amd64"))
	artifact.decodeRoot(t, &manifest)
	if manifest.Layers[0].Digest.String() != f.request.Artifacts[0].Digest {
		t.Errorf("layers = %+v", manifest.Layers)
	}
	papers := map[string]string{}
	for _, layer := range manifest.Layers[1:] {
		text, err := content.FetchAll(t.Context(), artifact, layer)
		if err != nil {
			t.Fatal(err)
		}
		papers[layer.Annotations[ocispec.AnnotationTitle]] = string(text)
	}
	if papers["containerd.cdx.json"] != bill || !strings.Contains(papers["0001-dial-the-mapped-port.patch"], "\n+++ b/") {
		t.Errorf("papers = %q", papers)
	}
	if got := manifest.Annotations; got["berth.containerd.upstream"] != "1.7.36" ||
		got["org.opencontainers.image.version"] != "1.7.36+berth.1" || len(got["berth.containerd.patches"]) != 71 {
		t.Errorf("annotations = %q", got)
	}

	images := f.fetch(t, release.VerifyRepository, f.request.RolloutID)
	var index ocispec.Index
	images.decodeRoot(t, &index)
	var architectures []string
	for _, entry := range index.Manifests {
		architectures = append(architectures, entry.Platform.Architecture)
		images.checkImage(t, entry)
	}
	if !slices.Equal(architectures, release.Architectures) {
		t.Errorf("architectures = %q", architectures)
	}
}

// copied is what a tag of the registry stands for.
type copied struct {
	*memory.Store
	root ocispec.Descriptor
}

func (f *fixture) fetch(t *testing.T, repository, tag string) copied {
	t.Helper()
	store := memory.New()
	root, err := oras.Copy(t.Context(), f.repository(t, repository), tag, store, "", oras.DefaultCopyOptions)
	if err != nil {
		t.Fatal(err)
	}
	return copied{store, root}
}

// repository is one of the registry, as the publisher reaches it.
func (f *fixture) repository(t *testing.T, name string) *remote.Repository {
	t.Helper()
	var dialer sshclient.Dialer
	tunnel, err := dialer.Dial(t.Context(), f.request.SSH, dialTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tunnel.Close() })
	client, err := httpClient(tunnel, f.request.Registry)
	if err != nil {
		t.Fatal(err)
	}
	server := net.JoinHostPort(registryHost, strconv.Itoa(f.registry.port()))
	repo, err := remote.NewRepository(server + "/" + name)
	if err != nil {
		t.Fatal(err)
	}
	repo.Client = &auth.Client{
		Client:     client,
		Credential: auth.StaticCredential(server, auth.Credential{Username: username, Password: password}),
	}
	return repo
}

func (c copied) decode(t *testing.T, descriptor ocispec.Descriptor, value any) {
	t.Helper()
	text, err := content.FetchAll(t.Context(), c, descriptor)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, value); err != nil {
		t.Fatal(err)
	}
}

func (c copied) decodeRoot(t *testing.T, value any) {
	t.Helper()
	c.decode(t, c.root, value)
}

func (c copied) checkImage(t *testing.T, entry ocispec.Descriptor) {
	t.Helper()
	var manifest ocispec.Manifest
	c.decode(t, entry, &manifest)
	var config ocispec.Image
	c.decode(t, manifest.Config, &config)
	if config.Architecture != entry.Platform.Architecture || config.OS != "linux" || config.Config.User != "65532:65532" {
		t.Errorf("config = %+v", config)
	}
	if len(manifest.Layers) != len(config.RootFS.DiffIDs) {
		t.Fatalf("%d layers, %d diff ids", len(manifest.Layers), len(config.RootFS.DiffIDs))
	}
	for i, descriptor := range manifest.Layers {
		packed, err := content.FetchAll(t.Context(), c, descriptor)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		got, err := digest.FromReader(plain)
		if err != nil || got != config.RootFS.DiffIDs[i] {
			t.Errorf("layer %d: diff id %s, %v; the config says %s", i, got, err, config.RootFS.DiffIDs[i])
		}
	}
}

func TestEnsureRepairs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if err := f.publisher.Ensure(t.Context(), f.request); err != nil {
		t.Fatal(err)
	}
	f.registry.take()
	// The tag is gone, or names something else; the blob is there.
	f.registry.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut && strings.Contains(r.URL.Path, "/containerd/manifests/") {
			http.NotFound(w, r)
			return true
		}
		return false
	})
	if err := f.publisher.Ensure(t.Context(), f.request); err != nil {
		t.Fatal(err)
	}
	if writes := f.registry.take(); len(writes) != 1 || !strings.HasPrefix(writes[0], "PUT /v2/berth/containerd/manifests/") {
		t.Errorf("writes = %q, want the manifest alone", writes)
	}
}

func TestEnsureWaits(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.publisher.Patience = time.Minute
	var asked atomic.Int32
	f.registry.intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		if asked.Add(1) > 3 {
			return false
		}
		http.Error(w, "starting", http.StatusServiceUnavailable)
		return true
	})
	if err := f.publisher.Ensure(t.Context(), f.request); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(f.log.String(), "does not answer yet"); got != 1 {
		t.Errorf("said %d times that the registry does not answer: %s", got, f.log.String())
	}
	// A push that breaks once is tried again.
	f.request.RolloutID = "ffff"
	var broken atomic.Bool
	f.registry.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && broken.CompareAndSwap(false, true) {
			http.Error(w, "no", http.StatusInternalServerError)
			return true
		}
		return false
	})
	if err := f.publisher.Ensure(t.Context(), f.request); err != nil || !broken.Load() {
		t.Errorf("after a broken push: %v", err)
	}
}

func TestEnsureFails(t *testing.T) {
	t.Parallel()
	otherKey := func(t *testing.T) string {
		t.Helper()
		public, _, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return publicLine(t, public)
	}
	for _, test := range []struct {
		name   string
		change func(*testing.T, *fixture)
		want   []string
	}{
		{"wrong host key", func(t *testing.T, f *fixture) {
			t.Helper()
			f.request.SSH.HostKey = otherKey(t)
		}, []string{"by SSH", "host key mismatch"}},
		{"host key of another kind", func(t *testing.T, f *fixture) {
			t.Helper()
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			f.request.SSH.HostKey = publicLine(t, key.Public())
		}, []string{"by SSH"}},
		{"RSA host key", func(t *testing.T, f *fixture) {
			t.Helper()
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				t.Fatal(err)
			}
			f.request.SSH.HostKey = publicLine(t, key.Public())
		}, []string{"ed25519 or ecdsa"}},
		{"no host key", func(_ *testing.T, f *fixture) { f.request.SSH.HostKey = "" }, []string{"host key"}},
		{"no private key", func(_ *testing.T, f *fixture) { f.request.SSH.PrivateKey = "secret words" }, []string{"private key is neither"}},
		{"nobody listens", func(_ *testing.T, f *fixture) { _ = f.ssh.listener.Close() }, []string{"by SSH", "connection refused"}},
		{"wrong host key of the bastion", func(t *testing.T, f *fixture) {
			t.Helper()
			f.request.SSH.Bastion = newSSH(t).target()
			f.request.SSH.Bastion.HostKey = otherKey(t)
		}, []string{"its bastion 127.0.0.1:", "host key mismatch"}},
		{"forwarding forbidden", func(_ *testing.T, f *fixture) { f.ssh.prohibit = true }, []string{"AllowTcpForwarding"}},
		{"registry is down", func(_ *testing.T, f *fixture) { f.registry.Close() }, []string{"no success within 300ms", "refused"}},
		{"wrong password", func(_ *testing.T, f *fixture) { f.request.Registry.Password = "another-password" }, []string{"no success within", "401"}},
		{"another CA", func(t *testing.T, f *fixture) {
			t.Helper()
			_, f.request.Registry.CAPEM = newCertificate(t)
		}, []string{"x509"}},
		{"no CA", func(_ *testing.T, f *fixture) { f.request.Registry.CAPEM = "" }, []string{"not a certificate in PEM form"}},
		{"another name", func(_ *testing.T, f *fixture) { f.request.Registry.Host = "other.example" }, []string{"x509", "other.example"}},
		{"bad request", func(_ *testing.T, f *fixture) {
			f.request.RolloutID = "Z"
			f.request.Registry.Address = "node"
			f.request.Artifacts[0] = release.Artifact{Version: "1.0", Arch: "386", Digest: "sha256:0"}
		}, []string{"rollout id", `"node" is not an IP`, `"1.0"`, `"386"`, `"sha256:0"`}},
		{"another digest", func(_ *testing.T, f *fixture) {
			f.request.Artifacts[0].Digest = "sha256:" + strings.Repeat("0", 64)
		}, []string{"instead of sha256:0000", "linux-amd64"}},
		{"build fails", func(_ *testing.T, f *fixture) {
			f.publisher.Build = func(context.Context, string, io.Writer, release.BuildRequest) (build.Result, error) {
				f.builds.Add(1)
				return build.Result{}, errors.New("compiler says no")
			}
		}, []string{"compiler says no"}},
		{"redirect elsewhere", func(_ *testing.T, f *fixture) {
			f.registry.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				read := r.Method != http.MethodPut && strings.Contains(r.URL.Path, "/berth/")
				if read {
					http.Redirect(w, r, "https://storage.example/x", http.StatusTemporaryRedirect)
				}
				return read
			})
		}, []string{"another address, storage.example:443"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			test.change(t, f)
			err := f.publisher.Ensure(t.Context(), f.request)
			if err == nil {
				t.Fatal("no error")
			}
			text := err.Error() + f.log.String()
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("err = %v\nwant %q in it", err, want)
				}
			}
			for _, secret := range []string{password, "another-password", "secret words", "PRIVATE KEY"} {
				if strings.Contains(text, secret) {
					t.Errorf("the error or the log has a secret: %s", text)
				}
			}
			if f.builds.Load() > 1 {
				t.Errorf("built %d times", f.builds.Load())
			}
		})
	}
}

func TestEnsureStops(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.publisher.Patience = time.Hour
	f.registry.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := f.publisher.Ensure(ctx, f.request); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v", err)
	}
}

func TestRequestIsJSON(t *testing.T) {
	t.Parallel()
	text := `{"registry":{"host":"h","nodePort":30443,"username":"u","password":"p","caPEM":"c","address":"192.0.2.1"},
"ssh":{"host":"s","port":22,"user":"root","privateKey":"k","hostKey":"ssh-ed25519 A"},
"artifacts":[{"version":"1.7.36","arch":"amd64","digest":"sha256:x"}],"rolloutId":"ab"}`
	var got release.PublishRequest
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Registry.NodePort != 30443 || got.SSH.HostKey == "" || got.Artifacts[0].Arch != "amd64" || got.RolloutID != "ab" {
		t.Errorf("request = %+v", got)
	}
}
