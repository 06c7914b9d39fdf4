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
	for name, test := range map[string]struct {
		password string
		cost     int
	}{
		"chosen by a person":      {"Abcd123456", 10},
		"generated, 32 and more":  {strings.Repeat("x", 32), 5},
		"longest that bcrypt has": {strings.Repeat("x", 72), 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			require.NoError(t, run(strings.NewReader(`{"username":"Yuan","password":"`+test.password+`"}`), &out))
			user, hash, ok := strings.Cut(strings.TrimSpace(out.String()), ":")
			require.True(t, ok)
			assert.Equal(t, "Yuan", user)
			require.NoError(t, bcrypt.CompareHashAndPassword([]byte(hash), []byte(test.password)))
			cost, err := bcrypt.Cost([]byte(hash))
			require.NoError(t, err)
			assert.Equal(t, test.cost, cost)
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
