module github.com/hashicorp/terraform-provider-tls/berth

go 1.26.6

require (
	github.com/hashicorp/terraform-plugin-framework v1.15.1
	github.com/hashicorp/terraform-provider-tls v1.2.1-0.20260130152455-857b38cda3fc
)
