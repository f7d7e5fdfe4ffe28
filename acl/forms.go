package acl

import "unicode"

// otherForms are letters and digits that Unicode also writes with other letters
// or digits: the parts of Hangul syllables, accented Greek and ideographs that are
// there twice, ligatures, and letters in other type, width or height (UAX #15).
// Two names that differ only in these would be one name to people. Combining marks
// are no letters and need no mention here.
var otherForms = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x00AA, 0x00AA, 1},
		{0x00B5, 0x00B5, 1},
		{0x00BA, 0x00BA, 1},
		{0x0132, 0x0133, 1},
		{0x0149, 0x0149, 1},
		{0x017F, 0x017F, 1},
		{0x01C4, 0x01CC, 1},
		{0x01F1, 0x01F3, 1},
		{0x02B0, 0x02FF, 1}, // raised letters
		{0x0374, 0x0374, 1},
		{0x03D0, 0x03D6, 1}, // Greek in other type
		{0x03F0, 0x03F2, 1},
		{0x03F4, 0x03F5, 1},
		{0x03F9, 0x03F9, 1},
		{0x0587, 0x0587, 1},
		{0x0675, 0x0678, 1},
		{0x0EDC, 0x0EDD, 1},
		{0x10FC, 0x10FC, 1},
		{0x1100, 0x11FF, 1}, // parts of Hangul syllables
		{0x1D00, 0x1DBF, 1}, // phonetic and raised letters
		{0x1E9A, 0x1E9B, 1},
		{0x1F71, 0x1F7D, 2}, // Greek with a second kind of accent
		{0x1FBB, 0x1FBE, 3},
		{0x1FC9, 0x1FCB, 2},
		{0x1FD3, 0x1FDB, 8},
		{0x1FE3, 0x1FEB, 8},
		{0x1FF9, 0x1FFB, 2},
		{0x2070, 0x209C, 1}, // raised and lowered letters
		{0x2100, 0x214F, 1}, // letters as symbols
		{0x2C7C, 0x2C7D, 1},
		{0x2D6F, 0x2D6F, 1},
		{0x309F, 0x309F, 1},
		{0x30FF, 0x30FF, 1},
		{0x3131, 0x318E, 1}, // parts of Hangul syllables
		{0xA69C, 0xA69D, 1},
		{0xA770, 0xA770, 1},
		{0xA7F2, 0xA7F9, 1},
		{0xA960, 0xA97F, 1}, // parts of Hangul syllables
		{0xAB5C, 0xAB5F, 1},
		{0xAB69, 0xAB69, 1},
		{0xD7B0, 0xD7FF, 1}, // parts of Hangul syllables
		{0xF900, 0xFA0D, 1}, // ideographs that are there twice
		{0xFA10, 0xFA12, 2},
		{0xFA15, 0xFA1E, 1},
		{0xFA20, 0xFA22, 2},
		{0xFA25, 0xFA26, 1},
		{0xFA2A, 0xFAFF, 1},
		{0xFB00, 0xFDFF, 1}, // ligatures, Arabic by place in the word
		{0xFE70, 0xFEFF, 1},
		{0xFF00, 0xFFEF, 1}, // wide and narrow letters and digits
	},
	R32: []unicode.Range32{
		{0x10780, 0x107BF, 1}, // raised letters
		{0x1D400, 0x1D7FF, 1}, // mathematical letters and digits
		{0x1EE00, 0x1EEFF, 1},
		{0x1FBF0, 0x1FBF9, 1}, // digits of displays
		{0x2F800, 0x2FA1F, 1}, // ideographs that are there twice
	},
	LatinOffset: 3,
}
