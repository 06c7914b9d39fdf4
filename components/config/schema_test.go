package config

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const (
	readme     = "../../README.md"
	tableStart = "<!-- config table -->\n"
	tableEnd   = "<!-- /config table -->"
)

// leaf is one key of the schema.
type leaf struct {
	path    string
	field   reflect.StructField
	meaning string
	// inherited is the default of an embedded struct's fields, which depends on where it is embedded.
	inherited string
}

// leaves lists the schema in its order, with what the fields' comments say.
func leaves(t *testing.T) []leaf {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	require.NoError(t, err)
	comments := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if s, isStruct := spec.Type.(*ast.StructType); isStruct {
			for _, f := range s.Fields.List {
				if len(f.Names) == 0 {
					continue // an embedded struct, whose fields have their own
				}
				comments[spec.Name.Name+"."+f.Names[0].Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
			}
		}
		return false
	})
	var all []leaf
	listed := map[reflect.Type]bool{} // the keys of an optional map are listed where it first comes
	var walk func(prefix string, typ reflect.Type)
	walk = func(prefix string, typ reflect.Type) {
		for _, f := range fields(typ) {
			path := prefix + f.Tag.Get("key")
			owner, inherited := typ, ""
			for _, i := range f.Index[:len(f.Index)-1] {
				inherited = owner.Field(i).Tag.Get("computed")
				owner = owner.Field(i).Type
			}
			this := leaf{path: path, field: f, meaning: comments[owner.Name()+"."+f.Name], inherited: inherited}
			switch {
			case f.Type.Kind() == reflect.Struct:
				walk(path+".", f.Type)
			case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
				walk(path+"[].", f.Type.Elem())
			case f.Type.Kind() == reflect.Pointer:
				all = append(all, this)
				if !listed[f.Type] {
					listed[f.Type] = true
					walk(path+".", f.Type.Elem())
				}
			default:
				all = append(all, this)
			}
		}
	}
	walk("berth:", reflect.TypeFor[Config]())
	return all
}

var goWords = regexp.MustCompile(` Secret, (?:held here as plain text[^:]*: wrap it with pulumi\.ToSecret|empty here: Load opens the key with it)\.`)

func table(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| key | type | default | meaning |\n|---|---|---|---|\n")
	for _, l := range leaves(t) {
		tag := l.field.Tag
		kind := map[reflect.Kind]string{
			reflect.String: "text", reflect.Int: "number", reflect.Bool: "true or false", reflect.Slice: "list of text", reflect.Pointer: "map",
		}[l.field.Type.Kind()]
		if tag.Get("secret") != "" {
			kind = "secret " + kind
		}
		standard := "none"
		switch {
		case tag.Get("required") != "":
			standard = "required"
		case l.inherited != "":
			standard = l.inherited
		case tag.Get("default") != "":
			standard = "`" + tag.Get("default") + "`"
		case tag.Get("computed") != "":
			standard = tag.Get("computed")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", l.path, kind, standard, goWords.ReplaceAllString(l.meaning, ""))
	}
	return b.String()
}

// TestReadmeTable holds the README's table to the types; with -update it writes the table.
func TestReadmeTable(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(readme)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(text), tableStart)
	require.True(t, ok, "README.md lacks the line %s", strings.TrimSpace(tableStart))
	got, after, ok := strings.Cut(rest, tableEnd)
	require.True(t, ok, "README.md lacks the line %s", tableEnd)
	if *update {
		require.NoError(t, os.WriteFile(readme, []byte(before+tableStart+table(t)+tableEnd+after), 0o600))
		return
	}
	assert.Equal(t, table(t), got, "run: go test ./components/config -run TestReadmeTable -update")
}

// TestProjectFile holds the schema of Pulumi.yaml to the types. No key has a type and each has an empty default, so
// that the engine never stops at the first mistake, before the program can tell them all.
func TestProjectFile(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../Pulumi.yaml")
	require.NoError(t, err)
	var project struct {
		Name           string                    `yaml:"name"`
		StackConfigDir string                    `yaml:"stackConfigDir"`
		Config         map[string]map[string]any `yaml:"config"`
	}
	require.NoError(t, yaml.Unmarshal(text, &project))
	assert.Equal(t, namespace, project.Name)
	assert.Equal(t, "stacks", project.StackConfigDir)
	schema := reflect.TypeFor[Config]()
	assert.Len(t, project.Config, schema.NumField())
	for i := range schema.NumField() {
		entry := project.Config[namespace+":"+schema.Field(i).Tag.Get("key")]
		require.NotNil(t, entry, schema.Field(i).Name)
		empty, kind := any(map[string]any{}), "(map)"
		if schema.Field(i).Type.Kind() == reflect.Slice {
			empty, kind = []any{}, "(list of maps)"
		}
		assert.Equal(t, empty, entry["default"])
		assert.Contains(t, entry["description"], kind)
		assert.Len(t, entry, 2)
	}
}

// TestTags holds the schema's tags to what the decoder can read.
func TestTags(t *testing.T) {
	t.Parallel()
	for _, l := range leaves(t) {
		tag := l.field.Tag
		assert.NotEmpty(t, l.meaning, l.path)
		assert.NotEmpty(t, tag.Get("key"), l.path)
		example := tag.Get("example")
		if tag.Get("secret") != "" {
			assert.True(t, strings.HasPrefix(strings.Replace(example, anyPlace, l.path, 1), "pulumi config set --secret --path "+l.path), l.path)
		} else if !strings.HasPrefix(example, "pulumi ") {
			var value map[string]any
			require.NoError(t, yaml.Unmarshal([]byte(example), &value), l.path)
			assert.Contains(t, value, tag.Get("key"))
		}
		standard := tag.Get("default")
		if values := tag.Get("values"); values != "" && standard != "" {
			assert.Contains(t, strings.Split(values, ","), standard, l.path)
		}
		switch l.field.Type.Kind() { //nolint:exhaustive // the others have no rules
		case reflect.Int:
			if standard != "" {
				_, err := strconv.Atoi(standard)
				require.NoError(t, err, l.path)
			}
			if tag.Get("values") == "" {
				assert.Regexp(t, `^[1-9]\d*-\d+$`, tag.Get("range"), l.path)
			}
		case reflect.Bool:
			assert.Contains(t, []string{"true", "false"}, standard, l.path)
		case reflect.Slice:
			assert.Empty(t, standard, l.path)
		}
	}
}
