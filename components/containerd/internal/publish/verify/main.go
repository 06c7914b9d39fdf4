// Command verify is what the verification image runs: that its one line appears shows that the image was pulled.
package main

import (
	"fmt"
	"os"
)

func main() {
	id, err := os.ReadFile("/rollout")
	if err != nil {
		fmt.Fprintf(os.Stderr, "reading the rollout id: %v\n", err)
		os.Exit(1)
	}
	_, _ = fmt.Fprintf(os.Stdout, "pulled the image of rollout %s", id)
}
