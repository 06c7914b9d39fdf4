//go:build plugins

// Command pulumi-resource-tls is HashiCorp's tls provider behind Pulumi's Terraform bridge, with the tokens of Pulumi's
// published tls plugin. Called as "pulumi-resource-tls schema --out DIR" it writes its schema to DIR/schema.json, which
// it reads from beside itself when it serves.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	tlsprovider "github.com/hashicorp/terraform-provider-tls/berth"
	pf "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfgen"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge/tokens"
)

// version is the one that the plugin is installed as; set at link time.
var version = "0.0.0"

func main() {
	info := tfbridge.ProviderInfo{
		Name: "tls", Version: version, P: pf.ShimProvider(tlsprovider.New()),
		MetadataInfo: tfbridge.NewProviderMetadata([]byte("{}")),
	}
	info.MustComputeTokens(tokens.SingleModule("tls_", "index", tokens.MakeStandard("tls")))
	if len(os.Args) > 1 && os.Args[1] == "schema" {
		tfgen.Main("tls", info)
		return
	}

	self, err := os.Executable()
	if err != nil {
		fail(err)
	}
	schema, err := os.ReadFile(filepath.Join(filepath.Dir(self), "schema.json"))
	if err != nil {
		fail(err)
	}
	pf.Main(context.Background(), "tls", info, pf.ProviderMetadata{PackageSchema: schema})
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "pulumi-resource-tls:", err)
	os.Exit(1)
}
