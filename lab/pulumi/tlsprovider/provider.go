// Package berth hands out the constructor of HashiCorp's tls provider, which lies in an internal package: only a module
// whose path is below the provider's own may import it.
package berth

import (
	"github.com/hashicorp/terraform-plugin-framework/provider"
	internal "github.com/hashicorp/terraform-provider-tls/internal/provider"
)

// New makes the provider as its own main does.
func New() provider.Provider { return internal.New() }
