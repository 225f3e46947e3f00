package shell

import (
	"testing"

	"weed/client"
)

// TestStateOf: every reason is said once, whoever says it.
func TestStateOf(t *testing.T) {
	at := func(readOnly bool, reason string) client.VolumeCopy {
		return client.VolumeCopy{ReadOnly: readOnly, ReadOnlyReason: reason}
	}
	stray := at(true, "damaged")
	stray.Stray = true
	for want, v := range map[string]client.Volume{
		"writable":        {Writable: true, Copies: []client.VolumeCopy{at(false, "")}},
		"read-only":       {Copies: []client.VolumeCopy{at(false, ""), stray}},
		"read-only: full": {Replication: "001", Copies: []client.VolumeCopy{at(true, "full"), at(true, "full")}},
		"read-only: marked by the operator, full, damaged": {Replication: "001", Copies: []client.VolumeCopy{
			at(true, "marked by the operator, full"), at(true, "full, damaged")}},
		"read-only: full, copies missing":              {Replication: "001", Copies: []client.VolumeCopy{at(true, "full, copies missing")}},
		"read-only: copies missing":                    {Replication: "001", Copies: []client.VolumeCopy{at(false, ""), stray}},
		"read-only: no space left on the disk":         {Copies: []client.VolumeCopy{at(true, "no space left on the disk")}},
		"read-only: copies missing, no space anywhere": {Replication: "002", Copies: []client.VolumeCopy{at(true, "copies missing, no space anywhere")}},
	} {
		if got := stateOf(&v); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
