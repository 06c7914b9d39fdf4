package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"berth/components/remote"
	"berth/internal/sshtest"
)

func TestParseFinding(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer                    string
		base, containerd, warning string
	}{
		"as installed": {"applies 4\n", "", "", ""},
		"differences": {
			"applies 4\nbase the block in /etc/hosts is missing\ncontainerd a\ncontainerd b\nnote look here\n",
			"repair after 4: the block in /etc/hosts is missing", "repair after 4: a, b",
			"base is to be repaired (the block in /etc/hosts is missing); containerd is to be repaired (a; b); look here",
		},
		"a note alone": {"applies 4\nnote look here\n", "", "", "look here"},
		"absent":       {"absent 99\n", "for a node without berth 99", "for a node without berth 99", ""},
		"a chatty login shell": {
			"base camp\nWelcome!\napplies 4\ncontainerd x\n", "", "repair after 4: x", "containerd is to be repaired (x)",
		},
		"what a shell would interpret": {
			"applies 4;reboot\nbase $(reboot) `x` 'y' \"z\" \\ # & | > < ; é\ncontainerd it (deleted) runs\n",
			"repair after 4 reboot: reboot x y z", "repair after 4 reboot: it deleted runs",
			"base is to be repaired (reboot x y z); containerd is to be repaired (it deleted runs)",
		},
		"too long": {
			"applies 4\nbase " + strings.Repeat("word ", 100) + "\n", ("repair after 4: " + strings.Repeat("word ", 100))[:longReason], "",
			"base is to be repaired (" + strings.TrimSpace(strings.Repeat("word ", 100)) + ")",
		},
		"empty":          {"", "", "", unseen + errUnreadable.Error()},
		"something else": {"base x\nThis account is not available.\n", "", "", unseen + errUnreadable.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := parseFinding(test.answer)
			assert.Equal(t, test.base, f.repair(stepBase))
			assert.Equal(t, test.containerd, f.repair(stepContainerd))
			assert.Equal(t, test.warning, f.Warning())
		})
	}
}

const unseen = "the node could not be compared with what was installed on it, and is taken to be as it was: "

func TestLookOverSSH(t *testing.T) {
	t.Parallel()
	server := sshtest.New(t, func(command string, session io.ReadWriter, stderr io.Writer) uint32 {
		script, err := io.ReadAll(session)
		if err != nil || !strings.Contains(string(script), "OWNER='dev/") {
			_, _ = fmt.Fprintf(stderr, "stdin is %q, %v\n", script, err)
			return 1
		}
		switch command {
		case "/bin/sh -s -- verify":
			_, _ = io.WriteString(session, "applies 7\nbase x\n")
			return 0
		case "sudo -n /bin/sh -s -- verify":
			_, _ = io.WriteString(stderr, "sudo: a password is required\n")
		}
		return 1
	})
	bastion := sshtest.New(t, nil)
	target := func(name string, change func(*remote.Connection)) Target {
		c := server.Target()
		change(&c)
		return Target{Name: name, Owner: "dev/" + name, Connection: c}
	}
	findings := LookOverSSH(t.Context(), []Target{
		target("good", func(*remote.Connection) {}),
		target("sudo", func(c *remote.Connection) { c.User = "ops" }),
		target("impostor", func(c *remote.Connection) { c.HostKey = sshtest.PublicLine(t, sshtest.NewKey(t)) }),
		target("closed", func(c *remote.Connection) { c.Port = 1 }),
		target("password", func(c *remote.Connection) { c.PrivateKey, c.Password = "", server.Password }),
		target("behind", func(c *remote.Connection) { c.Bastion = new(bastion.Target()) }),
		target("beside", func(c *remote.Connection) { c.Bastion = new(bastion.Target()) }),
		target("waylaid", func(c *remote.Connection) {
			c.Bastion = new(bastion.Target())
			c.Bastion.HostKey = sshtest.PublicLine(t, sshtest.NewKey(t))
		}),
	})()
	require.Len(t, findings, 8)
	for _, name := range []string{"good", "password", "behind", "beside"} {
		assert.Equal(t, Finding{Applies: "7", Reasons: map[string][]string{"base": {"x"}}}, findings[name], name)
	}
	assert.Equal(t, 1, bastion.Logins(), "all nodes behind a bastion share one connection to it")
	for name, want := range map[string]string{
		"sudo": "sudo: a password is required", "impostor": "host key mismatch", "closed": "connection refused",
		"waylaid": "its bastion 127.0.0.1:" + strconv.Itoa(bastion.Port) + ": ssh: handshake failed: ssh: host key mismatch",
	} {
		require.ErrorContains(t, findings[name].Unseen, want)
		assert.Contains(t, findings[name].Warning(), want)
		assert.Empty(t, findings[name].repair(stepBase), "the plan is made as if nothing differed")
	}
}

func TestLookEndsWithItsContext(t *testing.T) {
	t.Parallel()
	server := sshtest.New(t, func(string, io.ReadWriter, io.Writer) uint32 { <-t.Context().Done(); return 0 })
	ctx, cancel := context.WithCancelCause(t.Context())
	find := LookOverSSH(ctx, []Target{{Name: "n", Owner: "dev/n", Connection: server.Target()}})
	cancel(errEnough)
	require.ErrorIs(t, find()["n"].Unseen, errEnough)
}

var errEnough = errors.New("enough")
