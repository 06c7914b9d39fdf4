package config

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"oras.land/oras-go/v2/registry"
)

// checker holds a decoded stack while it is judged.
type checker struct {
	cfg      *Config
	env      environment
	rules    Rules
	root     *place
	mistakes mistakes
}

func (c *checker) check(ctx context.Context) {
	c.checkRegistry(c.root.child("registry"))
	c.checkCertificate(c.root.child("certificate"))
	c.checkAccess(c.root.child("access"))
	c.checkContainerd(c.root.child("containerd"))
	c.checkKubernetes(c.root.child("kubernetes"))
	c.checkSSH(ctx, c.root.child("ssh"))
	c.checkRollout(c.root.child("rollout"))
	c.checkDrain(c.root.child("drain"))
	c.checkNodes(c.root.child("nodes"))
}

// bad notes a mistake.
func (c *checker) bad(p *place, format string, args ...any) { c.mistakes.add(p, format, args...) }

// publicRegistries are names that every node pulls from elsewhere: a hosts entry for one would cut the nodes off.
var publicRegistries = []string{
	"docker.io", "index.docker.io", "registry-1.docker.io", "registry.k8s.io", "quay.io", "ghcr.io", "gcr.io", "mcr.microsoft.com", "public.ecr.aws",
}

func (c *checker) checkRegistry(p *place) {
	r := &c.cfg.Registry
	c.checkHost(p.child("host"), r.Host, "host: Yuan.com")
	c.checkAliases(p.child("aliases"))
	c.checkNodeName(p.child("node"), r.Node)
	if !isLabel(r.Namespace) {
		c.bad(p.child("namespace"), "%s is not a namespace; %s", show(r.Namespace), labelRule)
	}
	c.checkImage(p.child("image"), r.Image)
	c.checkArchive(p.child("imageArchive"), r.ImageArchive)
	c.checkImagesPath(p.child("imagesPath"), r.ImagesPath)
	if strings.ContainsFunc(r.Username, func(x rune) bool { return x == ':' || unicode.IsSpace(x) || unicode.IsControl(x) }) {
		c.bad(p.child("username"), "%s holds a colon or a blank, which htpasswd cannot keep; write a name without them", show(r.Username))
	}
	c.checkPassword(p.child("password"), r.Password)
	if _, ok := nodeIP(r.Address); r.Address != "" && !ok {
		c.bad(p.child("address"), "%s is not an IP address that nodes could reach; write the virtual IP, or leave it out", show(r.Address))
	}
	c.checkUnique(p.child("pullSecrets"), r.PullSecrets, func(at *place, name string) {
		if !isLabel(name) {
			c.bad(at, "%s is not a namespace; %s", show(name), labelRule)
		}
	})
}

// maxNames is how many bytes all names of the registry may have together: each node's base step holds them, and is kept short.
const maxNames = 160

func (c *checker) checkAliases(p *place) {
	r := &c.cfg.Registry
	length := len(r.Host)
	c.checkUnique(p, r.Aliases, func(at *place, alias string) {
		length += len(" ") + len(alias)
		if strings.EqualFold(alias, r.Host) {
			c.bad(at, "%s is registry.host, which needs no alias; take it out", show(alias))
		}
		c.checkHost(at, alias, "aliases: [images.example.com]")
	})
	if len(r.Aliases) > 0 && length > maxNames {
		c.bad(p, "are too many: with host and the blanks between them they have %d bytes, and %d are room; take some out", length, maxNames)
	}
}

// checkHost judges a name of the registry; example is what to write in its place.
func (c *checker) checkHost(p *place, host, example string) {
	if host == "" {
		return // said when it was decoded
	}
	switch bare := strings.ToLower(host); {
	case strings.Contains(host, "/"):
		c.bad(p, "%s is more than a name; write the name alone: %s", show(host), example)
	case isIP(strings.Trim(host, "[]")):
		c.bad(p, "%s is an IP address; write a DNS name, for instance %s", show(host), example)
	case strings.Contains(host, ":"):
		c.bad(p, "%s has a port; write the name alone, and the port as nodePort: 30443", show(host))
	case bare == "localhost" || strings.HasSuffix(bare, ".localhost") || bare == "localhost.localdomain":
		c.bad(p, "%s is each machine's own name; write another, for instance %s", show(host), example)
	case !isDNSName(host):
		c.bad(p, "%s is not a DNS name; write labels of letters, digits and hyphens, for instance %s", show(host), example)
	case !strings.Contains(host, "."):
		c.bad(p, "%s is one label, which image names take for a folder; write a name with a dot, for instance %s.internal", show(host), bare)
	case slices.Contains(publicRegistries, bare):
		c.bad(p, "%s is a public registry, which nodes must go on reaching; write a name of your own", show(host))
	}
	for i, n := range c.cfg.Nodes {
		if strings.EqualFold(n.Address, host) {
			c.bad(p, "%s is also the SSH address of nodes[%d]; write a name that is the registry's alone", show(host), i)
		}
	}
}

// checkNodeName checks a reference to a node, or one of the words that may stand in its place.
func (c *checker) checkNodeName(p *place, name string, words ...string) {
	if name == "" || len(c.cfg.Nodes) == 0 || slices.Contains(words, name) {
		return
	}
	active := words
	for _, n := range c.cfg.ActiveNodes() {
		if n.Name != "" && !slices.Contains(active, n.Name) {
			active = append(active, n.Name)
		}
	}
	choice := "write one of " + cut(strings.Join(active, ", "), 200) // a line's worth
	if len(active) == 0 {
		choice = "write the name of a node that is in service"
	}
	if n, ok := c.cfg.Node(name); !ok {
		c.bad(p, "%s is no node of berth:nodes; %s", show(name), choice)
	} else if n.Retired {
		c.bad(p, "%s is retired; %s", show(name), choice)
	}
}

func (c *checker) checkImage(p *place, image string) {
	const remedy = "write its full name with a tag or digest: image: docker.io/library/registry:3.1.2"
	ref, err := registry.ParseReference(image)
	switch {
	case err != nil || !strings.ContainsAny(ref.Registry, ".:") && ref.Registry != "localhost":
		c.bad(p, "%s is not the full name of an image; %s", show(image), remedy)
	case ref.Reference == "":
		c.bad(p, "%s has neither a tag nor a digest; %s", show(image), remedy)
	}
}

func (c *checker) checkArchive(p *place, archive string) {
	if archive == "" {
		return
	}
	file := archive
	if !filepath.IsAbs(file) {
		file = filepath.Join(c.env.root, file)
	}
	switch info, err := os.Stat(file); {
	case err != nil:
		c.bad(p, "%s cannot be read from the project's folder; write the path of an OCI or docker archive, or leave it out", show(archive))
	case !info.Mode().IsRegular():
		c.bad(p, "%s is not a file; write the path of an OCI or docker archive, or leave it out", show(archive))
	}
}

// systemPaths are folders that pushed images may not take over.
var systemPaths = []string{
	"/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt", "/proc", "/root", "/run", "/sbin",
	"/srv", "/sys", "/tmp", "/usr", "/var", "/var/lib",
}

func (c *checker) checkImagesPath(p *place, dir string) {
	const remedy = "write a folder of its own, for instance imagesPath: /var/lib/berth-registry"
	below := func(parent string) bool { return dir == parent || strings.HasPrefix(dir, parent+"/") }
	switch {
	case !path.IsAbs(dir):
		c.bad(p, "%s is not an absolute path; %s", show(dir), remedy)
	case path.Clean(dir) != dir || strings.ContainsFunc(dir, unicode.IsControl):
		c.bad(p, "%s is not a plain path; write it without dots, doubled or trailing slashes: imagesPath: %s", show(dir), show(path.Clean(dir)))
	case dir == "/" || slices.Contains(systemPaths, dir):
		c.bad(p, "%s belongs to the system; %s", show(dir), remedy)
	case below("/dev") || below("/proc") || below("/run") || below("/sys") || below("/tmp"):
		c.bad(p, "%s does not outlive a reboot; %s", show(dir), remedy)
	case below("/var/lib/berth"):
		c.bad(p, "%s is berth's own folder on nodes, which a destroy deletes; %s", show(dir), remedy)
	}
}

func (c *checker) checkPassword(p *place, password string) {
	const least, most = 8, 72 // bcrypt takes no more
	const remedy = "set another with: pulumi config set --secret --path berth:registry.password"
	switch n := len(password); {
	case n == 0: // said when it was decoded
	case strings.ContainsFunc(password, unicode.IsControl):
		c.bad(p, "holds a line break or another control character; %s", remedy)
	case n < least:
		c.bad(p, "is shorter than %d bytes; %s", least, remedy)
	case n > most:
		c.bad(p, "is longer than the %d bytes that bcrypt takes; %s", most, remedy)
	}
}

// checkUnique judges each item of a list of texts, and that none stands in it twice.
func (c *checker) checkUnique(p *place, items []string, judge func(at *place, item string)) {
	for i, item := range items {
		if item == "" {
			continue // said when it was decoded
		}
		at := p.item(i)
		judge(at, item)
		if first := slices.IndexFunc(items, func(other string) bool { return strings.EqualFold(other, item) }); first < i {
			c.bad(at, "%s stands in the list already; take it out", show(item))
		}
	}
}

var threeNumbers = regexp.MustCompile(`^(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})$`)

// cveID is an id as lists of vulnerabilities have it. What no list says is unknown.
var cveID = regexp.MustCompile(`^(CVE-\d{4}-\d{4,7}|unknown)$`)

func (c *checker) checkContainerd(p *place) {
	c.checkUnique(p.child("acceptCVE"), c.cfg.Containerd.AcceptCVE, func(at *place, id string) {
		if !cveID.MatchString(id) {
			c.bad(at, "%s is not the id of a CVE; write it as CVE-2024-25621, or unknown", show(id))
		}
	})
	c.checkNodeName(p.child("buildOn"), c.cfg.Containerd.BuildOn, BuildOnOperator, BuildOnEach)
	at := p.child("version")
	if c.cfg.Containerd.Version == "" && c.cfg.Access.Mode == ModePatch && !c.mistakes.has(c.root.child("access").child("mode")) {
		c.bad(at, "is missing, and access.mode: patch needs it; write version: \"1.7.36\"")
	}
	c.checkVersion(at, c.cfg.Containerd.Version)
}

// checkVersion checks a version of containerd.
func (c *checker) checkVersion(at *place, version string) {
	if version == "" {
		return // said when it was decoded
	}
	if !threeNumbers.MatchString(version) {
		hint := `write three numbers in quotes, for instance "1.7.36"`
		if bare := strings.TrimPrefix(version, "v"); threeNumbers.MatchString(bare) {
			hint = `write it without the v: "` + bare + `"`
		}
		c.bad(at, "%s is not a version of containerd; %s", show(version), hint)
		return
	}
	if c.rules.SupportedVersion != nil {
		if err := c.rules.SupportedVersion(version); err != nil {
			c.bad(at, "%s", oneLine(err.Error()))
		}
	}
}
