// Broken stands in for a containerd that cannot start: it tells its version, and ends. Under the name ctr it is the packaged ctr.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Both are set by the linker.
var version, lastWords string

func main() {
	switch {
	case strings.HasPrefix(filepath.Base(os.Args[0]), "ctr"):
		err := syscall.Exec("/usr/bin/ctr", append([]string{"ctr"}, os.Args[1:]...), os.Environ())
		fmt.Fprintln(os.Stderr, err)
	case slices.Contains(os.Args, "--version"):
		fmt.Println("containerd github.com/containerd/containerd", version, "0")
		return
	default:
		fmt.Fprintln(os.Stderr, lastWords)
	}
	os.Exit(1)
}
