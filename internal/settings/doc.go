// Package settings reads strict configuration files in YAML: what is not known,
// stands there twice, or fails a check is an Error with file, line and column, so
// that a mistyped setting is found at the start and not by its missing effect.
//
// A configuration is a struct that Decode fills. Fields that need more than a
// type check decode themselves: UnmarshalYAML takes a Node, reads it with Text,
// Entries or Items, and says what is wrong with FailAt. The values that every
// daemon has, such as Duration, Level and Listen, are here.
package settings
