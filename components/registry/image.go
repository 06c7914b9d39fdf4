package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"berth/components/remote"
	"berth/scripts"
)

// uploadPath is where the archive lands: under /tmp, since the login user may not be root. The removal of the node takes it
// away by this name, since what came of an upload that was cut is in no manifest.
const uploadPath = "/tmp/berth-registry-image.tar"

// importImage brings the registry's own image to its node where an archive is given, and returns what the Deployment waits for.
func (r *Registry) importImage(ctx *pulumi.Context, name string, args *Args) ([]pulumi.Resource, error) {
	if args.Archive == "" {
		return nil, nil
	}
	sum, err := fileSHA256(args.Archive)
	if err != nil {
		return nil, fmt.Errorf("reading registry.imageArchive: %w", err)
	}
	upload, err := remote.NewCopy(ctx, name+"-image-upload", &remote.CopyArgs{
		Connection: args.Connection, Source: args.Archive, Path: uploadPath,
	}, pulumi.Parent(r), pulumi.DependsOn(args.After))
	if err != nil {
		return nil, err
	}
	stdin, err := scripts.Stdin(scripts.ImportImage, []scripts.Var{
		{Name: "OWNER", Value: args.Owner},
		{Name: "ARCHIVE", Value: uploadPath},
		{Name: "IMAGE", Value: args.Image},
		{Name: "SHA256", Value: sum},
	})
	if err != nil {
		return nil, fmt.Errorf("rendering the import script: %w", err)
	}
	imported, err := remote.NewCommand(ctx, name+"-image-import", &remote.CommandArgs{
		Connection: args.Connection,
		Run:        "apply image " + args.Image,
		Stdin:      pulumi.String(stdin),
	}, pulumi.Parent(r), pulumi.DependsOn(append([]pulumi.Resource{upload}, args.After...)))
	if err != nil {
		return nil, err
	}
	return []pulumi.Resource{imported}, nil
}

func fileSHA256(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
