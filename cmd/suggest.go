package cmd

import "strings"

// nearest returns the candidate that name was most likely meant to be, "" if none is near. Near is an edit
// distance of about a third of the name at most, letter case aside; failing that, a candidate that contains name,
// or that name contains.
func nearest(name string, candidates []string) string {
	name = strings.ToLower(name)
	best, bestDistance := "", (len(name)+1)/3+1
	for _, candidate := range candidates {
		if d := editDistance(name, strings.ToLower(candidate)); d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	if best != "" || len(name) < 3 {
		return best
	}
	for _, candidate := range candidates {
		lower := strings.ToLower(candidate)
		if len(lower) >= 3 && (strings.Contains(lower, name) || strings.Contains(name, lower)) &&
			(best == "" || len(candidate) < len(best)) {
			best = candidate
		}
	}
	return best
}

// editDistance counts the insertions, deletions, replacements and swaps of neighbours that turn a into b
// (the optimal string alignment distance), bytewise.
func editDistance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
