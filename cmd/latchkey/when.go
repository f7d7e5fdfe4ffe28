package main

import "github.com/latchkey-dev/latchkey/internal/cli"

// What commands take as times.
const whenText = cli.WhenText

var (
	parseWhen = cli.ParseWhen
	parseLife = cli.ParseLife
)
