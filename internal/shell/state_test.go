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

// TestFigures: a copy that its server has not told of, as after a change of leaders, counts nothing as 0.
func TestFigures(t *testing.T) {
	untold := client.VolumeCopy{}
	told := client.VolumeCopy{SizeBytes: 2048, FileCount: 3, DeletedByteCount: 100}
	stray := client.VolumeCopy{SizeBytes: 99, FileCount: 9, Stray: true}
	for _, row := range []struct {
		copies               []client.VolumeCopy
		files, used, garbage string
	}{
		{[]client.VolumeCopy{told}, "3", "2.0 KiB", "100 B"},
		{[]client.VolumeCopy{untold, stray, told}, "3", "2.0 KiB", "100 B"},
		{[]client.VolumeCopy{untold, stray}, "", "", ""},
		{[]client.VolumeCopy{{SizeBytes: 8}}, "0", "8 B", "0 B"},
	} {
		files, used, garbage := figures(&client.Volume{Copies: row.copies})
		if files != row.files || used != row.used || garbage != row.garbage {
			t.Errorf("%+v: %q, %q, %q", row, files, used, garbage)
		}
	}
}
