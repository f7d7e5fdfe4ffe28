package settings

import (
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// A Node is a part of the file, with its place.
type Node = ast.Node

// FailAt makes an error that Decode turns into an *Error with the place of n.
func FailAt(n Node, format string, args ...any) error {
	return &yaml.SyntaxError{Message: fmt.Sprintf(format, args...), Token: place(n)}
}

// place returns where n begins. A mapping without braces begins with its first
// name, though its token is the colon.
func place(n Node) *token.Token {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		n = m.Values[0]
	}
	if v, ok := n.(*Entry); ok {
		return v.Key.GetToken()
	}
	return n.GetToken()
}

// DecodeNode decodes n into v and refuses fields that v does not have.
func DecodeNode(n Node, v any) error { return yaml.NodeToValue(n, v, yaml.Strict()) }

// Text returns the text of a plain or quoted value.
func Text(n Node) (string, error) {
	switch s := n.(type) {
	case *ast.StringNode:
		return s.Value, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, nil
	}
	return "", FailAt(n, "a text is needed here")
}

// An Entry is a pair of a mapping: Key and Value.
type Entry = ast.MappingValueNode

// Entries returns the pairs of a mapping; an empty value has none.
func Entries(n Node) ([]*Entry, error) {
	switch m := n.(type) {
	case *ast.MappingNode:
		return m.Values, nil
	case *ast.MappingValueNode:
		return []*Entry{m}, nil
	case *ast.NullNode:
		return nil, nil
	}
	return nil, FailAt(n, "a mapping of names to values is needed here")
}

// Items returns the values of a list; an empty value has none.
func Items(n Node) ([]Node, error) {
	switch s := n.(type) {
	case *ast.SequenceNode:
		return s.Values, nil
	case *ast.NullNode:
		return nil, nil
	}
	return nil, FailAt(n, "a list is needed here")
}
