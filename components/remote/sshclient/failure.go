package sshclient

// CommandError is a command that did not end well on a node. Its text has the last line that the command said.
type CommandError struct {
	// Stderr is what the command said, at most 64 KB of it.
	Stderr   string
	lastLine string
	cause    error
}

func (e *CommandError) Error() string {
	text := "running a command by SSH: " + e.cause.Error()
	if e.lastLine != "" {
		text += ": " + e.lastLine
	}
	return text
}

func (e *CommandError) Unwrap() error { return e.cause }
