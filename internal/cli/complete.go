package cli

import "github.com/spf13/cobra"

// A Choice returns what a shell offers for one argument or flag. It asks no
// network.
type Choice func(*cobra.Command) []string

// Choices offers what is known beforehand.
func Choices[T ~string](list ...T) Choice {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = string(v)
	}
	return func(*cobra.Command) []string { return texts }
}

// CompleteArgs gives c a Choice for each of its first arguments.
func CompleteArgs(c *cobra.Command, choices ...Choice) *cobra.Command {
	c.ValidArgsFunction = func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) < len(choices) {
			return choices[len(args)](c), cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c
}

// CompleteFiles offers the files of the shell for the arguments of c.
func CompleteFiles(c *cobra.Command) *cobra.Command {
	c.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return c
}

// CompleteFlag gives a flag of c a Choice.
func CompleteFlag(c *cobra.Command, name string, choice Choice) {
	_ = c.RegisterFlagCompletionFunc(name, func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return choice(c), cobra.ShellCompDirectiveNoFileComp
	}) // the flag exists
}
