// Command tiny stands for a plugin in tests of the build.
package main

import "os"

var version = "none"

func main() { _, _ = os.Stdout.WriteString(version) }
