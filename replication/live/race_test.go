//go:build race

package live

import "time"

// lease is long: the race detector makes all slow, and who is late is left out.
const lease = 3 * time.Second
