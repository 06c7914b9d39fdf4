// Command htpasswd reads {"username","password"} as JSON from stdin and prints the htpasswd line with a bcrypt hash.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/crypto/bcrypt"
)

// cost is that of Apache's own `htpasswd -B`. More would guard nothing, since the pull Secrets beside the hash hold the password itself, and
// the registry compares at every request: six of them make the smallest pull, and at bcrypt.DefaultCost each takes it 80 ms of CPU.
const cost = 5

var errNoLogin = errors.New("username and password are both needed")

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "htpasswd:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	var login struct{ Username, Password string }
	if err := json.NewDecoder(in).Decode(&login); err != nil {
		return errors.New("reading the login: stdin is not the JSON that was expected") //nolint:err113 // the cause could quote the password
	}
	if login.Username == "" || login.Password == "" {
		return errNoLogin
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(login.Password), cost)
	if err != nil {
		return fmt.Errorf("hashing the password: %w", err)
	}
	_, err = fmt.Fprintf(out, "%s:%s\n", login.Username, hash)
	return err
}
