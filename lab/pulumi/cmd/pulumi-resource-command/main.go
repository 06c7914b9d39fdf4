// Command pulumi-resource-command serves the stand-in command plugin to the Pulumi engine that starts it.
package main

import (
	"context"
	"fmt"
	"os"

	p "github.com/pulumi/pulumi-go-provider"

	"berth/lab/pulumi/command"
)

// version is the published version that the plugin stands in for; set at link time.
var version = "1.2.1"

func main() {
	if err := p.RunProvider(context.Background(), "command", version, command.Provider()); err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-resource-command:", err)
		os.Exit(1)
	}
}
