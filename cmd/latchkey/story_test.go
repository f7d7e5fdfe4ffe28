package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/latchkey-dev/latchkey/internal/e2e/story"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"latchkey": func() { os.Exit(run()) }})
}

func TestStories(t *testing.T) {
	story.Run(t, story.Build(t, "../latchkeyd", "../latchkey-basestation", "../../examples/thermostat"))
}
