package settings

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type sample struct {
	Name   string   `yaml:"name"`
	Listen Listen   `yaml:"listen"`
	Level  Level    `yaml:"log_level"`
	Count  Positive `yaml:"count"`
	Time   Duration `yaml:"time"`
	List   []struct {
		Count Positive `yaml:"count"`
	} `yaml:"list"`
}

func TestDecode(t *testing.T) {
	var got sample
	text := "name: a\nlisten: '[::1]:0'\nlog_level: warn\ncount: 7\ntime: 90s\nlist:\n  - count: 3\n"
	if err := Decode("x.yaml", []byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if got.Name != "a" || got.Listen != "[::1]:0" || slog.Level(got.Level) != slog.LevelWarn || got.Count != 7 ||
		time.Duration(got.Time) != 90*time.Second || len(got.List) != 1 || got.List[0].Count != 3 {
		t.Errorf("got %+v", got)
	}
}

func TestDecodeSaysWhere(t *testing.T) {
	tests := []struct {
		text         string
		line, column int
		message      string
	}{
		{"name: a\nnome: b\n", 2, 1, `unknown field "nome"`},
		{"name: a\nname: b\n", 2, 1, "name"},
		{"listen: 5690\n", 1, 9, "[HOST]:PORT"},
		{"log_level: loud\n", 1, 12, "loud"},
		{"count: 0\n", 1, 8, "whole number"},
		{"count: 99999999999\n", 1, 8, "whole number"},
		{"time: 90\n", 1, 7, "duration"},
		{"time: -1s\n", 1, 7, "duration"},
		{"list:\n  - count: 1\n  - count: x\n", 3, 12, "whole number"},
		{"list:\n  - cuont: 1\n", 2, 5, "cuont"},
		{"name: [a\n", 1, 7, ""},
	}
	for _, test := range tests {
		err := Decode("x.yaml", []byte(test.text), &sample{})
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%q: error %v (%T)", test.text, err, err)
			continue
		}
		if e.Line != test.line || e.Column != test.column || !strings.Contains(e.Message, test.message) || e.NextStep() != "correct x.yaml" {
			t.Errorf("%q: %d:%d %q, next %q", test.text, e.Line, e.Column, e.Message, e.NextStep())
		}
	}
}

func TestReadIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(path, []byte(strings.Repeat("#", MaxSize+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("error %v", err)
	}
}

// TestQuote: whatever is quoted comes back as it was.
func TestQuote(t *testing.T) {
	for _, text := range []string{"", "shop", "true", "7", "a: b", "'", "- x", "null", "1e3", "Büro \"1\"\n#", "a:", "2020-01-01", "~"} {
		var got sample
		if err := Decode("x.yaml", []byte("name: "+Quote(text)+"\n"), &got); err != nil || got.Name != text {
			t.Errorf("%q came back as %q (%v)", text, got.Name, err)
		}
	}
}
