package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// mistakes gathers what is wrong with a stack, at most one thing a place.
type mistakes struct {
	list []mistake
	at   map[string]bool
}

type mistake struct {
	place *place
	text  string
}

// add notes a mistake, unless there is one already at the place or above it: what follows from a mistake is noise.
func (m *mistakes) add(p *place, format string, args ...any) {
	if m.has(p) {
		return
	}
	if m.at == nil {
		m.at = map[string]bool{}
	}
	m.at[p.text] = true
	m.list = append(m.list, mistake{place: p, text: fmt.Sprintf(format, args...)})
}

// has says whether a mistake is known at the place or above it.
func (m *mistakes) has(p *place) bool {
	for ; p != nil; p = p.parent {
		if m.at[p.text] {
			return true
		}
	}
	return false
}

// err returns one error with all mistakes in the order of the schema, or nil.
func (m *mistakes) err(file string) error {
	if len(m.list) == 0 {
		return nil
	}
	slices.SortStableFunc(m.list, func(a, b mistake) int {
		return cmp.Or(slices.Compare(a.place.rank, b.place.rank), strings.Compare(a.place.text, b.place.text))
	})
	lines := make([]string, 0, len(m.list)+1)
	noun := "mistakes"
	if len(m.list) == 1 {
		noun = "mistake"
	}
	lines = append(lines, fmt.Sprintf("%d %s in %s:", len(m.list), noun, file))
	for _, one := range m.list {
		lines = append(lines, "  "+one.place.text+": "+one.text)
	}
	return errors.New(strings.Join(lines, "\n"))
}

// nearest returns the known word that was probably meant, or "".
func nearest(word string, known []string) string {
	best, bestDistance := "", max(2, len(word)/3)+1 // two slips, or one in three letters
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance is the number of letters to insert, remove, change or swap with their neighbour (Damerau, restricted).
func distance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	before, last, row := rows[0], rows[1], rows[2]
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(last[j]+1, row[j-1]+1, change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
