package main

import (
	"slices"
	"testing"
)

func TestRatiosAreOfMediansAgainstTheBetterPeer(t *testing.T) {
	t.Parallel()
	r := result{nodes: 4, figures: map[string]map[string][]float64{}}
	for figure, values := range map[string]map[string][]float64{
		firstApply: {berthTool: {9, 3, 4}, ansibleTool: {20, 10, 30}, mitogenTool: {40, 10, 10}},
		noChange:   {berthTool: {1, 3}, ansibleTool: {4, 4}, mitogenTool: {8, 8}},
		oneOfN:     {berthTool: {3.5}, ansibleTool: {10}, mitogenTool: {20}},
		outage:     {berthTool: {0.3}, ansibleTool: {0.1}, mitogenTool: {0.1}, plainTool: {0.2}},
	} {
		for tool, list := range values {
			for _, v := range list {
				r.add(tool, figure, v)
			}
		}
	}
	want := []string{
		"ratio first-apply 4 0.40 0.35 over",
		"ratio no-change 4 0.50 0.40 over",
		"ratio one-of-n 4 0.35 0.35 ok",
		"ratio outage 4 1.50 1.50 ok",
	}
	if got := r.ratios(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]int{"4": {4}, "1, 12": {1, 12}, "": nil, "0": nil, "4,x": nil, "99": nil} {
		if got, err := parseSizes(text); !slices.Equal(got, want) || (err == nil) == (want == nil) {
			t.Errorf("%q gives %v, error %v", text, got, err)
		}
	}
}
