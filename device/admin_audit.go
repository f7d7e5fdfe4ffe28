package device

import (
	"fmt"
	"strconv"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/audit"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/roster"
)

// maxRecords is how many records of the audit log are shown at once.
const maxRecords = 100

// readAudit shows the newest records, or the first behind the one of a number.
func readAudit(p *peer, _ *roster.Roster, c *call) (*coap.Response, error) {
	if p.srv.dev.Dir == "" {
		return nil, fmt.Errorf("%w: the device has no audit log of its own", latchkey.ErrNotFound)
	}
	filter := audit.Filter{Last: maxRecords}
	if c.after != "" {
		n, err := strconv.ParseUint(c.after, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: the number of a record", latchkey.ErrProtocol)
		}
		filter = audit.Filter{After: n}
	}
	list := []audit.Record{}
	for record, err := range audit.Read(p.srv.dev.Dir, filter) {
		if err != nil {
			p.log.Error("read the audit log", "op", c.judged.Action, "err", err)
			continue // what is damaged is for audit verify to name
		}
		if list = append(list, record); len(list) == maxRecords {
			break
		}
	}
	return page(list)
}
