//go:build plugins

// Command pulumi-resource-kubernetes is Pulumi's kubernetes plugin, built from its Go module. The published binary embeds
// two JSON files that the module carries but cannot embed as it is; this one reads them from beside itself.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
)

// version is the one that the plugin is installed as; set at link time.
var version = "0.0.0"

func main() {
	schema, err := beside("schema.json")
	if err != nil {
		fail(err)
	}
	mapping, err := beside("terraform-mapping.json")
	if err != nil {
		fail(err)
	}
	provider.Serve("kubernetes", version, schema, mapping)
}

func beside(name string) ([]byte, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("looking for the plugin's folder: %w", err)
	}
	return os.ReadFile(filepath.Join(filepath.Dir(self), name))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "pulumi-resource-kubernetes:", err)
	os.Exit(1)
}
