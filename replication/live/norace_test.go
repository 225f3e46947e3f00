//go:build !race

package live

import "time"

// lease is how long the servers in tests promise each other to wait. Who is late is left out.
const lease = time.Second
