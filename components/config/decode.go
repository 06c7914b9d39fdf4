package config

import (
	"encoding/json"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// longNumber is how much of a number a message shows.
const longNumber = 24

// decode fills cfg from raw settings (keys without their namespace, values as the engine hands them over: text, or
// JSON for maps and lists). It is strict about keys and types, fills in the fixed defaults and notes what is missing.
func decode(raw map[string]string, cfg *Config, m *mistakes) {
	values := make(map[string]any, len(raw))
	for key, text := range raw {
		values[key] = parseJSON(text)
	}
	decodeStruct(root(), values, reflect.ValueOf(cfg).Elem(), m)
}

// parseJSON returns the value that a text holds, and the text itself where it is not JSON.
func parseJSON(text string) any {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return text
	}
	if _, err := d.Token(); err != io.EOF {
		return text
	}
	return v
}

func decodeStruct(p *place, values map[string]any, target reflect.Value, m *mistakes) {
	known := keys(target.Type())
	for _, field := range fields(target.Type()) {
		key := field.Tag.Get("key")
		decodeField(p.child(key), values[key], field.Tag, target.FieldByIndex(field.Index), m)
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(known, key) {
			m.add(p.child(key), "unknown key; %s", meant(p, key, known))
		}
	}
}

// meant proposes what to write instead of an unknown key.
func meant(p *place, key string, known []string) string {
	if p.parent == nil && strings.ContainsAny(key, ".[") {
		return "a nested value needs --path: pulumi config rm " + show("berth:"+key) + ", then pulumi config set --path " + show("berth:"+key)
	}
	if k := nearest(key, known); k != "" {
		return "did you mean " + k + "?"
	}
	return "write one of " + strings.Join(known, ", ")
}

// decodeField sets one field. An empty text and a null are as good as nothing.
func decodeField(p *place, raw any, tag reflect.StructTag, target reflect.Value, m *mistakes) {
	if d, ok := tag.Lookup("default"); ok {
		setDefault(target, d)
	}
	if raw == "" {
		raw = nil
	}
	switch target.Kind() { //nolint:exhaustive // the kinds that the schema has
	case reflect.Pointer:
		decodeOptional(p, raw, target, m)
	case reflect.Struct:
		values, ok := raw.(map[string]any)
		if raw != nil && !ok {
			m.add(p, "is %s, not a map; write its keys below it: %s", kind(raw), strings.Join(keys(target.Type()), ", "))
			return
		}
		decodeStruct(p, values, target, m)
	case reflect.Slice:
		decodeList(p, raw, tag, target, m)
	default:
		decodeScalar(p, raw, tag, target, m)
	}
	if raw == nil && tag.Get("required") != "" {
		m.add(p, "is missing; %s", remedy(p, tag))
	}
}

// decodeOptional sets a pointer to a struct. An empty map is not nothing: it takes away what would else be inherited.
func decodeOptional(p *place, raw any, target reflect.Value, m *mistakes) {
	if raw == nil {
		return
	}
	target.Set(reflect.New(target.Type().Elem()))
	if values, ok := raw.(map[string]any); !ok || len(values) > 0 {
		decodeField(p, raw, "", target.Elem(), m)
	}
}

func decodeList(p *place, raw any, tag reflect.StructTag, target reflect.Value, m *mistakes) {
	items, ok := raw.([]any)
	if raw != nil && !ok {
		m.add(p, "is %s, not a list; %s", kind(raw), remedy(p, tag))
		return
	}
	for i, item := range items {
		value := reflect.New(target.Type().Elem()).Elem()
		at := p.item(i)
		if item == nil || item == "" {
			m.add(at, "is empty; take the item out or fill it in")
		}
		decodeField(at, item, "", value, m)
		target.Set(reflect.Append(target, value))
	}
}

func decodeScalar(p *place, raw any, tag reflect.StructTag, target reflect.Value, m *mistakes) {
	switch target.Kind() { //nolint:exhaustive // the kinds that the schema has
	case reflect.String:
		decodeString(p, raw, tag, target, m)
	case reflect.Int:
		decodeInt(p, raw, tag, target, m)
	case reflect.Bool:
		switch b := raw.(type) {
		case nil:
		case bool:
			target.SetBool(b)
		default:
			m.add(p, "is %s, not true or false; %s (true and false stand without quotes)", kind(raw), remedy(p, tag))
		}
	}
}

func decodeString(p *place, raw any, tag reflect.StructTag, target reflect.Value, m *mistakes) {
	switch s := raw.(type) {
	case nil:
	case string:
		if values := tag.Get("values"); values != "" && !slices.Contains(strings.Split(values, ","), s) {
			m.add(p, "%s is not one of %s; %s", show(s), strings.ReplaceAll(values, ",", ", "), remedy(p, tag))
			return
		}
		target.SetString(s)
	case json.Number:
		if tag.Get("number") != "" {
			target.SetString(s.String())
			return
		}
		if tag.Get("secret") != "" {
			m.add(p, "is a number, not text; quote it, or %s", remedy(p, tag))
			return
		}
		m.add(p, "is the number %s, not text; quote it%s", cut(s.String(), longNumber), quoted(tag))
	case bool:
		m.add(p, "is %t, not text; quote it%s", s, quoted(tag))
	default:
		m.add(p, "is %s, not text; %s", kind(raw), remedy(p, tag))
	}
}

func decodeInt(p *place, raw any, tag reflect.StructTag, target reflect.Value, m *mistakes) {
	var text string
	switch n := raw.(type) {
	case nil:
		return
	case json.Number:
		text = n.String()
	case string:
		m.add(p, "is text, not a number; write it without quotes: %s", tag.Get("example"))
		return
	default:
		m.add(p, "is %s, not a number; %s", kind(raw), remedy(p, tag))
		return
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		m.add(p, "%s is not a whole number; %s", cut(text, longNumber), remedy(p, tag))
		return
	}
	if values := tag.Get("values"); values != "" && !slices.Contains(strings.Split(values, ","), text) {
		m.add(p, "%d is not one of %s; %s", n, strings.ReplaceAll(values, ",", ", "), remedy(p, tag))
		return
	}
	if from, to, ok := strings.Cut(tag.Get("range"), "-"); ok {
		low, _ := strconv.Atoi(from)
		high, _ := strconv.Atoi(to)
		if n < low || n > high {
			m.add(p, "%d is out of range; write a number from %d to %d", n, low, high)
			return
		}
	}
	target.SetInt(int64(n))
}

func setDefault(target reflect.Value, text string) {
	switch target.Kind() { //nolint:exhaustive // the kinds that have defaults; a test holds the tags to them
	case reflect.String:
		target.SetString(text)
	case reflect.Int:
		n, _ := strconv.Atoi(text)
		target.SetInt(int64(n))
	case reflect.Bool:
		target.SetBool(text == "true")
	}
}

// kind names the type of a raw value and never the value.
func kind(raw any) string {
	switch raw := raw.(type) {
	case string:
		return "text"
	case json.Number:
		return "a number"
	case bool:
		return strconv.FormatBool(raw)
	case []any:
		return "a list"
	default:
		return "a map"
	}
}

// fields are the keys that a map may have, those of an embedded struct among them.
func fields(t reflect.Type) []reflect.StructField {
	return slices.DeleteFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool { return f.Anonymous })
}

func keys(t reflect.Type) []string {
	all := make([]string, 0, t.NumField())
	for _, f := range fields(t) {
		all = append(all, f.Tag.Get("key"))
	}
	return all
}

// anyPlace stands in an example for the place of the value, where there are several.
const anyPlace = "berth:…"

// remedy tells what to write, or with which command to set a secret.
func remedy(p *place, tag reflect.StructTag) string {
	switch example := tag.Get("example"); {
	case example == "":
		return "write text"
	case strings.HasPrefix(example, "pulumi "):
		return "set it with: " + strings.Replace(example, anyPlace, p.argument(), 1)
	default:
		return "write " + example
	}
}

// quoted is an example of a quoted value.
func quoted(tag reflect.StructTag) string {
	key, value, ok := strings.Cut(tag.Get("example"), ": ")
	if !ok {
		return ""
	}
	return ": " + key + `: "` + strings.Trim(value, `"`) + `"`
}
