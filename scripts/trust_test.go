package scripts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// pem returns a PEM block whose text differs per name. The store's tools do not look into it.
func pem(name string) string {
	return "-----BEGIN CERTIFICATE-----\n" + strings.Repeat(name, 40) + "\n-----END CERTIFICATE-----\n"
}

func osTrust(change ...Var) []Var {
	return baseVars(owner, append([]Var{{"TRUST", "os"}}, change...)...)
}

// TestTrustFamilies runs each family's tool as a stub that builds the bundle from the family's anchors, as the real
// one does.
func TestTrustFamilies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ tool, anchors, bundle, file string }{
		"RHEL":   {"update-ca-trust", "etc/pki/ca-trust/source/anchors", "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "berth.crt"},
		"Arch":   {"update-ca-trust", "etc/ca-certificates/trust-source/anchors", "etc/ca-certificates/extracted/tls-ca-bundle.pem", "berth.crt"},
		"SUSE":   {"update-ca-certificates", "etc/pki/trust/anchors", "var/lib/ca-certificates/ca-bundle.pem", "berth.pem"},
		"Alpine": {"update-ca-certificates", "usr/local/share/ca-certificates", "etc/ssl/certs/ca-certificates.crt", "berth.crt"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachShell(t, func(t *testing.T, n *node) {
				n.mkdir(c.anchors)
				n.write(c.anchors+"/others.crt", pem("abc"), 0o644)
				n.write("usr/share/ca-certificates/x.crt", pem("def"), 0o644)
				n.write(c.bundle, pem("def")+pem("abc"), 0o644)
				build := `cat "$FAKE/usr/share/ca-certificates/x.crt" "$FAKE/` + c.anchors + `"/*`
				n.stub(c.tool, build+` >"$FAKE/`+c.bundle+`"; echo "updated"; echo `+c.tool+` >>"$SIM/calls"`)
				n.stub("trust", `while [ $# -gt 1 ]; do shift; done; `+build+` >"$1"`)
				if name == "Alpine" {
					n.mkdir("etc/ssl/certs")
				}
				before := n.snapshot()
				for range 2 {
					if got := n.run(Base, "apply", osTrust()); got != "base trust=os hosts=10.99.0.12 port=30443 changed=ca,hosts,port" {
						t.Errorf("got %q", got)
					}
				}
				if n.read(c.anchors+"/"+c.file) != testCA || !strings.Contains(n.read(c.bundle), testCA) {
					t.Error("the CA is not in the store")
				}
				if got := strings.Count(n.getSim("calls"), c.tool+"\n"); got != 1 {
					t.Errorf("%s ran %d times", c.tool, got)
				}
				n.run(Anchor, "remove", anchorVars(owner))
				n.same(before)
				// Back and forth between the two kinds of trust.
				n.run(Anchor, "preflight", anchorVars(owner))
				n.run(Base, "apply", osTrust())
				n.run(Base, "apply", baseVars(owner))
				if n.exists(c.anchors+"/"+c.file) || strings.Contains(n.read(c.bundle), testCA) || !n.exists("var/lib/berth/trust/berth.crt") {
					t.Error("the CA is still in the store, or nowhere")
				}
				n.run(Base, "apply", osTrust())
				if n.exists("var/lib/berth/trust") {
					t.Error("the scoped trust is still there")
				}
				n.run(Anchor, "remove", anchorVars(owner))
				n.same(before)
				// A certificate that somebody appended to the bundle would be lost.
				n.run(Anchor, "preflight", anchorVars(owner))
				n.write(c.bundle, n.read(c.bundle)+pem("xyz"), 0o644)
				n.fail(Base, "apply", osTrust(), "what only /"+c.bundle+" has: certificate xyzxyz", "put it as a file into /"+c.anchors)
				if !strings.Contains(n.read(c.bundle), pem("xyz")) {
					t.Error("it is lost")
				}
			})
		})
	}
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		n := newNode(t, shells(t)["dash"])
		n.fail(Base, "apply", osTrust(), "no trust store", "berth:certificate.trust")
	})
}

// TestTrustDebian runs the real update-ca-certificates in a fake root, with a hook as Java's.
func TestTrustDebian(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("/usr/sbin/update-ca-certificates")
	if err != nil {
		t.Skip("no Debian here")
	}
	eachShell(t, func(t *testing.T, n *node) {
		key := filepath.Join(n.sim, "key")
		cert := func(name string) string {
			out, err := exec.CommandContext(t.Context(), "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
				"-keyout", key, "-subj", "/CN="+name, "-days", "100").Output()
			if err != nil {
				t.Fatal(err)
			}
			return string(out)
		}
		for i := range 3 {
			n.write(fmt.Sprintf("usr/share/ca-certificates/mozilla/c%d.crt", i), cert(fmt.Sprintf("c%d", i)), 0o644)
		}
		n.write("usr/local/share/ca-certificates/others.crt", cert("others"), 0o644)
		n.write("etc/ca-certificates.conf", "mozilla/c0.crt\nmozilla/c1.crt\n!mozilla/c2.crt\n", 0o644)
		n.mkdir("etc/ssl/certs")
		n.write("etc/ca-certificates/update.d/java", "#!/bin/sh\ncat >>\"$SIM/java\"\n", 0o755)
		n.setSim("java", "")
		n.stub("update-ca-certificates", `exec `+tool+` --certsconf "$FAKE/etc/ca-certificates.conf" --certsdir "$FAKE/usr/share/ca-certificates" `+
			`--localcertsdir "$FAKE/usr/local/share/ca-certificates" --etccertsdir "$FAKE/etc/ssl/certs" --hooksdir "$FAKE/etc/ca-certificates/update.d" "$@"`)
		update := func() string {
			cmd := n.command(Anchor, "x", anchorVars(owner))
			cmd.Args, cmd.Path = []string{"update-ca-certificates"}, n.path+"/update-ca-certificates"
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			return string(out)
		}
		update()
		// A certificate without a hash link gets one from the tool's next run: that link is ours to take away.
		n.write("etc/ssl/certs/handmade.pem", cert("handmade"), 0o644)
		before := n.snapshot()
		n.setSim("java", "")
		ca := cert("berth test CA")
		n.run(Base, "apply", osTrust(Var{"CA_PEM", ca}))
		n.run(Base, "apply", osTrust(Var{"CA_PEM", ca}))
		verify := func(certificate string) error {
			path := filepath.Join(n.sim, "leaf")
			n.must(os.WriteFile(path, []byte(certificate), 0o600))
			if err := exec.CommandContext(t.Context(), "openssl", "verify", "-no-CApath", "-no-CAstore", "-CAfile",
				n.root+"/etc/ssl/certs/ca-certificates.crt", path).Run(); err != nil {
				return err
			}
			return exec.CommandContext(t.Context(), "openssl", "verify", "-no-CAfile", "-no-CAstore", "-CApath", n.root+"/etc/ssl/certs", path).Run()
		}
		if err := verify(ca); err != nil {
			t.Errorf("the CA is not trusted: %v", err)
		}
		if got := strings.ReplaceAll(n.getSim("java"), n.root, ""); got != "+/etc/ssl/certs/berth.pem\n" {
			t.Errorf("hooks heard %q", got)
		}
		// The tool itself finds nothing left to do, nor to tell its hooks.
		store := n.snapshot()
		n.setSim("java", "")
		if out := update(); !strings.Contains(out, "0 added, 0 removed") || n.getSim("java") != "" {
			t.Errorf("update-ca-certificates says\n%s", out)
		}
		bundle := n.read("etc/ssl/certs/ca-certificates.crt")
		n.write("etc/ssl/certs/ca-certificates.crt", strings.Replace(bundle, ca, "", 1)+ca, 0o644) // its order is that of the names
		n.same(store)
		// Another CA under the same name.
		n.setSim("java", "")
		ca2 := cert("second berth test CA")
		n.run(Base, "apply", osTrust(Var{"CA_PEM", ca2}))
		if verify(ca) == nil || verify(ca2) != nil {
			t.Error("the new CA is not trusted, or the old one still is")
		}
		if got := strings.ReplaceAll(n.getSim("java"), n.root, ""); got != "-/etc/ssl/certs/berth.pem\n+/etc/ssl/certs/berth.pem\n" {
			t.Errorf("hooks heard %q", got)
		}
		n.setSim("java", "")
		n.run(Anchor, "remove", anchorVars(owner))
		if got := strings.ReplaceAll(n.getSim("java"), n.root, ""); got != "-/etc/ssl/certs/berth.pem\n" {
			t.Errorf("hooks heard %q", got)
		}
		n.same(before)
		if verify(ca2) == nil {
			t.Error("the CA is still trusted")
		}
		// Appended by hand, as people do.
		n.run(Anchor, "preflight", anchorVars(owner))
		lost := cert("handwritten")
		n.write("etc/ssl/certs/ca-certificates.crt", n.read("etc/ssl/certs/ca-certificates.crt")+lost, 0o644)
		n.fail(Base, "apply", osTrust(Var{"CA_PEM", ca}), "handwritten", "would lose what only")
		if !strings.Contains(n.read("etc/ssl/certs/ca-certificates.crt"), lost) {
			t.Error("it is lost")
		}
	})
}
