package blob

// Placement is a replication code xyz: x further copies in other data centers, y further copies in other
// racks of the same data center, z further copies on other servers of the same rack. Each is 0 to 9, and xyz
// as a decimal number fits a byte.
type Placement struct {
	DataCenters uint8 // x
	Racks       uint8 // y
	Servers     uint8 // z
}

// ParsePlacement reads one to three decimal digits ("0", "01", "100"), missing leading digits being zero.
// The empty text is 000. Codes above 255 do not fit the superblock's byte and are refused.
func ParsePlacement(s string) (Placement, error) {
	if s == "" {
		return Placement{}, nil
	}
	v, ok := parseDecimal(s)
	if !ok || len(s) > 3 || v > 255 {
		return Placement{}, malformed("replication (three digits xyz: copies in other data centers, racks, servers)", s)
	}
	return PlacementFromByte(byte(v)), nil
}

// PlacementFromByte decodes the superblock's form: the code xyz as one decimal number.
func PlacementFromByte(b byte) Placement {
	return Placement{DataCenters: b / 100, Racks: b / 10 % 10, Servers: b % 10}
}

// Byte returns the superblock's form.
func (p Placement) Byte() byte { return p.DataCenters*100 + p.Racks*10 + p.Servers }

// Copies returns the number of copies in all, x+y+z+1.
func (p Placement) Copies() int { return int(p.DataCenters) + int(p.Racks) + int(p.Servers) + 1 }

// String returns the three digits.
func (p Placement) String() string {
	return string([]byte{'0' + p.DataCenters, '0' + p.Racks, '0' + p.Servers})
}
