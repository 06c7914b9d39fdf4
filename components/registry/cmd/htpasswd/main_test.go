package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
)

func TestRun(t *testing.T) {
	t.Parallel()
	for name, password := range map[string]string{
		"chosen by a person":      "Abcd123456",
		"longest that bcrypt has": strings.Repeat("x", 72),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			require.NoError(t, run(strings.NewReader(`{"username":"Yuan","password":"`+password+`"}`), &out))
			user, hash, ok := strings.Cut(strings.TrimSpace(out.String()), ":")
			require.True(t, ok)
			assert.Equal(t, "Yuan", user)
			require.NoError(t, bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)))
			got, err := bcrypt.Cost([]byte(hash))
			require.NoError(t, err)
			assert.Equal(t, cost, got)
		})
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	for name, input := range map[string]string{
		"no JSON":        "Yuan:hunter2hunter2",
		"no password":    `{"username":"Yuan"}`,
		"too long a one": `{"username":"Yuan","password":"` + strings.Repeat("hunter2", 11) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			err := run(strings.NewReader(input), &out)
			require.Error(t, err)
			assert.Empty(t, out.String())
			assert.NotContains(t, err.Error(), "hunter2", "an error never quotes the password")
		})
	}
}
