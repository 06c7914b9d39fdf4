package rootfs

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/lab/build"
	"berth/lab/image"
	"berth/lab/run"
)

const (
	// PauseImage is the sandbox image of the nodes' containerd; files/etc/containerd/config.toml names it too.
	PauseImage = "registry.k8s.io/pause:3.10.1"
	// EtcdImage is the one that this version of kubeadm asks for.
	EtcdImage = "registry.k8s.io/etcd:3.6.5-0"
	// BusyboxImage is for test pods: sh, sleep, wget, nc, httpd.
	BusyboxImage = "docker.io/library/busybox:lab"
	// RegistryImage is on no node. Berth imports it itself.
	RegistryImage = "docker.io/library/registry:3.1.2"
	// NginxImage is on no node. Tests push it: a web server on port 80 that stays running.
	NginxImage = "docker.io/library/nginx:v1"
)

const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Images writes the image archives: those of the nodes to the folder that is returned, the registry's and nginx's beside it
// (RegistryArchive, NginxArchive).
func Images(ctx context.Context, b *build.Builder, base string) (string, error) {
	dir := filepath.Join(b.Cache, "images")
	busybox := filepath.Join(base, "bin/busybox")
	bin := b.BinDir()
	key, err := build.Key([]string{filepath.Join(bin, "kube"), filepath.Join(bin, "pause"), filepath.Join(bin, "registry"), busybox}, "1")
	if err != nil {
		return "", err
	}
	return dir, b.Part(ctx, "images", key, func(ctx context.Context) error {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		applets, err := run.Output(ctx, run.Command{Args: []string{busybox, "--list"}})
		if err != nil {
			return err
		}
		for file, img := range map[string]image.Image{
			filepath.Join(dir, "kubernetes.tar"): kubernetesImage(filepath.Join(bin, "kube")),
			filepath.Join(dir, "pause.tar"): {
				Names:  []string{PauseImage},
				Files:  []image.File{{Path: "/pause", Source: filepath.Join(bin, "pause")}},
				Config: v1.ImageConfig{Entrypoint: []string{"/pause"}, User: "65535:65535"},
			},
			filepath.Join(dir, "busybox.tar"): {
				Names:  []string{BusyboxImage},
				Files:  busyboxFiles(busybox, applets),
				Config: v1.ImageConfig{Env: []string{path}, Cmd: []string{"sh"}},
			},
			RegistryArchive(b): registryImage(filepath.Join(bin, "registry"), busybox, applets),
			NginxArchive(b): {
				Names: []string{NginxImage},
				Files: append(busyboxFiles(busybox, applets), image.File{Path: "/www/index.html", Content: "nginx of the lab\n", Mode: 0o644}),
				Config: v1.ImageConfig{
					Env: []string{path}, Cmd: []string{"httpd", "-f", "-p", "80", "-h", "/www"},
					ExposedPorts: map[string]struct{}{"80/tcp": {}},
				},
			},
		} {
			img.Architecture = runtime.GOARCH
			if err := image.Write(file, img); err != nil {
				return err
			}
		}
		return nil
	})
}

// RegistryArchive is the path of the archive of RegistryImage.
func RegistryArchive(b *build.Builder) string { return filepath.Join(b.Cache, "registry.tar") }

// NginxArchive is the path of the archive of NginxImage.
func NginxArchive(b *build.Builder) string { return filepath.Join(b.Cache, "nginx.tar") }

// kubernetesImage serves as the image of every static pod: kubeadm starts each by the name of its program.
func kubernetesImage(kube string) image.Image {
	img := image.Image{
		Names:  []string{EtcdImage},
		Files:  []image.File{{Path: "/usr/local/bin/kube", Source: kube}, {Path: "/usr/local/bin/etcd", Link: "kube"}},
		Config: v1.ImageConfig{Env: []string{path}},
	}
	for _, program := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		img.Names = append(img.Names, "registry.k8s.io/"+program+":"+build.KubernetesVersion)
		img.Files = append(img.Files, image.File{Path: "/usr/local/bin/" + program, Link: "kube"})
	}
	return img
}

func busyboxFiles(busybox, applets string) []image.File {
	files := []image.File{
		{Path: "/bin/busybox", Source: busybox},
		{Path: "/tmp/", Mode: 0o1777},
		{Path: "/etc/passwd", Content: "root:x:0:0:root:/root:/bin/sh\n", Mode: 0o644},
		{Path: "/etc/group", Content: "root:x:0:\n", Mode: 0o644},
	}
	for applet := range strings.FieldsSeq(applets) {
		if applet != "busybox" {
			files = append(files, image.File{Path: "/bin/" + applet, Link: "busybox"})
		}
	}
	return files
}

// registryImage is laid out as the published image: the program, a configuration for a first try, a small shell.
func registryImage(registry, busybox, applets string) image.Image {
	const config = `version: 0.1
storage:
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
`
	return image.Image{
		Names: []string{RegistryImage},
		Files: append(busyboxFiles(busybox, applets),
			image.File{Path: "/bin/registry", Source: registry},
			image.File{Path: "/etc/distribution/config.yml", Content: config, Mode: 0o644},
			image.File{Path: "/var/lib/registry/"},
		),
		Config: v1.ImageConfig{
			Env:          []string{path, "OTEL_TRACES_EXPORTER=none"},
			Entrypoint:   []string{"registry"},
			Cmd:          []string{"serve", "/etc/distribution/config.yml"},
			ExposedPorts: map[string]struct{}{"5000/tcp": {}},
			Volumes:      map[string]struct{}{"/var/lib/registry": {}},
		},
	}
}
