package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// JSONFlag gives c the flag --json, which sets App.JSON.
func (a *App) JSONFlag(c *cobra.Command) *cobra.Command {
	c.Flags().BoolVar(&a.JSON, "json", false, "print JSON")
	return c
}

// A Table is what a command prints for people.
type Table struct {
	Heading []string
	Rows    [][]string
}

// Add appends a row.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// Print writes data: v as one JSON document with --json, otherwise the table.
func (a *App) Print(v any, t Table) error {
	if a.JSON {
		return a.PrintJSON(v)
	}
	if a.OutTerminal() {
		return a.printColumns(t)
	}
	out := bufio.NewWriter(a.Out)
	for _, row := range t.Rows {
		fmt.Fprintln(out, strings.Join(row, "\t"))
	}
	return out.Flush()
}

// PrintLine writes v as JSON with --json, otherwise text on a line of its own.
func (a *App) PrintLine(v any, text string) error {
	if a.JSON {
		return a.PrintJSON(v)
	}
	_, err := fmt.Fprintln(a.Out, text)
	return err
}

// PrintJSON writes v as one line of JSON.
func (a *App) PrintJSON(v any) error {
	encoder := json.NewEncoder(a.Out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

func (a *App) printColumns(t Table) error {
	out := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	if len(t.Heading) > 0 {
		fmt.Fprintln(out, strings.ToUpper(strings.Join(t.Heading, "\t")))
	}
	for _, row := range t.Rows {
		fmt.Fprintln(out, strings.Join(row, "\t"))
	}
	return out.Flush()
}
