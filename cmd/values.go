package cmd

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// The checks below take the name of the flag and return an error that begins with it, spelled as typed.

// checkPort refuses what is no port that others can be told.
func checkPort(name string, port int) error {
	if port < 1 || port > math.MaxUint16 {
		return fmt.Errorf("-%s: %d is not a port: give 1 to 65535", name, port)
	}
	return nil
}

// checkHost refuses what is neither an IP address nor looks like a host name. With wildcard false, an
// address that means "all interfaces" is refused too, because nobody can connect to it.
func checkHost(name, host string, wildcard bool) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.IsUnspecified() && !wildcard {
			return fmt.Errorf("-%s: %s is an address to listen on, not one to connect to: give it to -ip.bind", name, host)
		}
		return nil
	}
	if host == "" || len(host) > 253 || strings.ContainsAny(host, ":/ ,[]@?#%") {
		return fmt.Errorf("-%s: %q is neither an IP address nor a host name", name, host)
	}
	return nil
}

// checkHostPort refuses what is not host:port.
func checkHostPort(name, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		var number int
		if number, err = strconv.Atoi(port); err == nil {
			err = checkPort(name, number)
		}
	}
	if err != nil {
		return fmt.Errorf("-%s: %q is not a host:port", name, address)
	}
	return checkHost(name, host, false)
}

// splitList cuts a comma list, drops spaces around its items, and drops empty items.
func splitList(text string) []string {
	var items []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// parseAddresses reads a comma list of host:port.
func parseAddresses(name, text string) ([]string, error) {
	addresses := splitList(text)
	for _, address := range addresses {
		if err := checkHostPort(name, address); err != nil {
			return nil, err
		}
	}
	return addresses, nil
}

// parseMasters reads a comma list of at least one host:port.
func parseMasters(name, text string) ([]string, error) {
	masters, err := parseAddresses(name, text)
	if err == nil && len(masters) == 0 {
		err = fmt.Errorf("-%s: at least one master is needed", name)
	}
	return masters, err
}

// seconds turns a number of seconds into a duration, and refuses less than one second or more than a day.
func seconds(name string, n int) (time.Duration, error) {
	if n < 1 || n > 86400 {
		return 0, fmt.Errorf("-%s: %d is not a number of seconds from 1 to 86400", name, n)
	}
	return time.Duration(n) * time.Second, nil
}

// megabytes turns a number of MiB into bytes, and refuses numbers outside of 1 to most.
func megabytes(name string, n, most int) (int64, error) {
	if n < 1 || n > most {
		return 0, fmt.Errorf("-%s: %d is not a size in MB from 1 to %d", name, n, most)
	}
	return int64(n) << 20, nil
}

// percent refuses what is not a share from 0 to below 100.
func percent(name string, share float64) (float64, error) {
	if !(share >= 0 && share < 100) { // NaN too
		return 0, fmt.Errorf("-%s: %v is not a percentage from 0 to below 100", name, share)
	}
	return share, nil
}

// checkLabel refuses a name of a data center or rack that would be ambiguous in lists and logs.
func checkLabel(name, label string) error {
	if label == "" || len(label) > 128 || strings.ContainsAny(label, ",\"\\/ \t\r\n") {
		return fmt.Errorf("-%s: %q is not a name of 1 to 128 letters, digits, dots and dashes", name, label)
	}
	return nil
}
