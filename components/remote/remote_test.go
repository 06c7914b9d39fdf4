package remote

import (
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"berth/internal/graphtest"
)

var root = Connection{Host: "10.0.0.11", Port: 22, User: "root", HostKey: "ssh-ed25519 AAAA", PrivateKey: "key"}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	ops := root
	ops.User = "ops"
	assert.Equal(t, "/bin/sh -s -- apply containerd 1.7.36+berth.1", root.CommandLine("apply containerd 1.7.36+berth.1"))
	assert.Equal(t, "sudo -n /bin/sh -s -- preflight", ops.CommandLine("preflight"))
}

func TestNewCommandRefuses(t *testing.T) {
	t.Parallel()
	noKey, noKeyOnTheWay := root, root
	noKey.HostKey = ""
	noKeyOnTheWay.Bastion = &Connection{Host: "10.0.0.1"}
	for name, test := range map[string]struct {
		args CommandArgs
		want error
	}{
		"no host key":              {CommandArgs{Connection: noKey, Run: "apply"}, errNoHostKey},
		"no host key of a bastion": {CommandArgs{Connection: noKeyOnTheWay, Run: "apply"}, errNoHostKey},
		"no verb":                  {CommandArgs{Connection: root}, errNoVerb},
		"what a shell interprets":  {CommandArgs{Connection: root, Run: "apply $(id)"}, errNotPlain},
		"a reason that does too":   {CommandArgs{Connection: root, Run: "apply", Repair: "x\nid"}, errNotPlain},
		"a deletion that does too": {CommandArgs{Connection: root, Run: "apply", Delete: "remove; id"}, errNotPlain},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := graphtest.Run(t, func(ctx *pulumi.Context) error {
				_, err := NewCommand(ctx, "step", &test.args)
				return err
			}, nil, nil)
			require.ErrorIs(t, err, test.want)
		})
	}
}

func TestSecretStdinHidesTheOutput(t *testing.T) {
	t.Parallel()
	g, err := graphtest.Run(t, func(ctx *pulumi.Context) error {
		if _, err := NewCommand(ctx, "open", &CommandArgs{Connection: root, Run: "apply", Stdin: pulumi.String("x")}); err != nil {
			return err
		}
		_, err := NewCommand(ctx, "closed", &CommandArgs{
			Connection: root, Run: "apply", Secret: true, Stdin: pulumi.ToSecret(pulumi.String("x")).(pulumi.StringOutput),
		})
		return err
	}, nil, nil)
	require.NoError(t, err)
	assert.Equal(t, "stderr", g.Get("open").Input("logging").StringValue())
	assert.Equal(t, "none", g.Get("closed").Input("logging").StringValue())
	assert.Subset(t, g.Get("closed").Request.GetAdditionalSecretOutputs(), []string{"stdout", "stderr"})
}

func TestConnection(t *testing.T) {
	t.Parallel()
	password := Connection{Host: "10.0.0.12", Port: 22, User: "ops", HostKey: "ssh-ed25519 BBBB", Password: "words"}
	through := password
	through.Bastion = &root
	inputs := func(c Connection) resource.PropertyMap {
		g, err := graphtest.Run(t, func(ctx *pulumi.Context) error {
			_, err := NewCommand(ctx, "step", &CommandArgs{Connection: c, Run: "apply"})
			return err
		}, nil, nil)
		require.NoError(t, err)
		require.True(t, g.Get("step").Inputs["connection"].IsSecret())
		return g.Get("step").Input("connection").ObjectValue()
	}
	login := func(host, user, hostKey string, limit float64) resource.PropertyMap {
		return resource.PropertyMap{
			"host": resource.NewProperty(host), "port": resource.NewProperty(22.0), "user": resource.NewProperty(user),
			"hostKey": resource.NewProperty(hostKey), "dialErrorLimit": resource.NewProperty(limit), "perDialTimeout": resource.NewProperty(10.0),
		}
	}
	bastion := login("10.0.0.11", "root", "ssh-ed25519 AAAA", 5)
	bastion["privateKey"] = resource.NewProperty("key")
	assert.Equal(t, bastion, inputs(root), "a key, and no word of a password")
	direct := login("10.0.0.12", "ops", "ssh-ed25519 BBBB", 5)
	direct["password"] = resource.NewProperty("words")
	assert.Equal(t, direct, inputs(password), "a password, and no word of a key")
	direct["dialErrorLimit"], direct["proxy"] = resource.NewProperty(0.0), resource.NewProperty(bastion)
	assert.Equal(t, direct, inputs(through), "behind a bastion the first failure is the one that is reported")
}

func TestCopyFollowsTheHost(t *testing.T) {
	t.Parallel()
	g, err := graphtest.Run(t, func(ctx *pulumi.Context) error {
		_, err := NewCopy(ctx, "upload", &CopyArgs{Connection: root, Source: "remote_test.go", Path: "/tmp/x"})
		return err
	}, nil, nil)
	require.NoError(t, err)
	assert.Equal(t, "10.0.0.11", g.Get("upload").Input("triggers").ArrayValue()[0].StringValue())
}
