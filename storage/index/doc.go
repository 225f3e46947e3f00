// Package index is the packed in-memory needle index of one volume.
package index
