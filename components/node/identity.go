package node

import (
	"fmt"

	"github.com/pulumi/pulumi-tls/sdk/v5/go/tls"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// NewIdentity returns what tells this state of the stack from every other one, also of a stack of the same name in another backend. Nodes
// remember it: a state that did not set them up neither changes them nor takes berth off them when it is destroyed. It is the
// fingerprint of a key that is used for nothing else, made with the first up and kept in the state.
func NewIdentity(ctx *pulumi.Context, name string, opts ...pulumi.ResourceOption) (pulumi.StringOutput, error) {
	key, err := tls.NewPrivateKey(ctx, name, &tls.PrivateKeyArgs{Algorithm: pulumi.String("ED25519")}, opts...)
	if err != nil {
		return pulumi.StringOutput{}, fmt.Errorf("describing %s: %w", name, err)
	}
	return key.PublicKeyFingerprintSha256, nil
}
