package config

import (
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// place is a spot in the stack's settings. It knows its rank in the schema, so that messages come in that order.
type place struct {
	text   string
	rank   []int
	typ    reflect.Type
	parent *place
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func root() *place { return &place{typ: reflect.TypeFor[Config]()} }

// child returns the place of a key in a map. A key that the schema lacks comes after those it has.
func (p *place) child(key string) *place {
	name := key
	if !plainKey.MatchString(name) {
		name = show(name)
	}
	c := &place{text: p.text + "." + name, parent: p}
	if p.parent == nil {
		c.text = "berth:" + name
	}
	var known []reflect.StructField
	if p.typ != nil && p.typ.Kind() == reflect.Struct {
		known = fields(p.typ)
	}
	rank := slices.IndexFunc(known, func(f reflect.StructField) bool { return f.Tag.Get("key") == key })
	if rank < 0 {
		rank = len(known)
	} else if c.typ = known[rank].Type; c.typ.Kind() == reflect.Pointer {
		c.typ = c.typ.Elem()
	}
	c.rank = p.below(rank)
	return c
}

// item returns the place of an element of a list.
func (p *place) item(i int) *place {
	c := &place{text: p.text + "[" + strconv.Itoa(i) + "]", rank: p.below(i), parent: p}
	if p.typ != nil && p.typ.Kind() == reflect.Slice {
		c.typ = p.typ.Elem()
	}
	return c
}

// group is the top-level key that the place stands below: the engine knows which of those hold secrets.
func (p *place) group() string {
	for p.parent != nil && p.parent.parent != nil {
		p = p.parent
	}
	return p.text
}

// argument is the place as an argument of pulumi config on a shell's command line.
func (p *place) argument() string {
	if strings.Contains(p.text, "[") {
		return "'" + p.text + "'"
	}
	return p.text
}

func (p *place) below(rank int) []int {
	return append(append(make([]int, 0, len(p.rank)+1), p.rank...), rank)
}

// show quotes a value for a message: on one line, cut where it is long, and never key material that landed in the wrong place.
func show(value string) string {
	const limit = 80
	if containsKey(value) {
		return "a private key"
	}
	return strconv.Quote(cut(value, limit))
}

// cut shortens a text.
func cut(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}
