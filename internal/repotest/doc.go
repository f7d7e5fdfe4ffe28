// Package repotest holds the tests of the repository itself: rules that a
// compiler does not know and that reviewers should not have to look for.
// Imports point one way, files and functions stay small, each package explains
// itself once, only the door makes a pass, tests do not skip, and what the
// documents name exists. It reads the tree as text and as syntax; it runs none
// of the code.
package repotest
