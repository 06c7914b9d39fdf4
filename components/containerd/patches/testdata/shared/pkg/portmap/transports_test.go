package portmap_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// root is the top of containerd's tree, as seen from this package.
const root = "../.."

// elsewhere are folders and files whose code talks to no registry from containerd or ctr.
var elsewhere = map[string]string{
	"vendor":                         "other modules",
	"contrib":                        "no part of containerd or ctr",
	"integration":                    "tests",
	"test":                           "tests",
	"cmd/ctr/commands/pprof":         "the debug socket",
	"cmd/ctr/commands/shim/pprof.go": "the debug socket",
	"pkg/portmap":                    "this package",
}

// TestTransports finds code that could reach a registry past the mapping: a transport that dials by itself, or one of
// the standard clients. It is syntax alone, so that new code of a new release is found wherever it stands.
func TestTransports(t *testing.T) {
	wrapped := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		skip := elsewhere[filepath.ToSlash(relative)] != ""
		if entry.IsDir() {
			if skip || entry.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		if skip || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "portmaptest") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		found, mistakes, err := inspect(path, string(text))
		wrapped += found
		for _, mistake := range mistakes {
			t.Error(mistake)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if wrapped == 0 {
		t.Error("no wrapped transport was found: the search looks in the wrong place")
	}
}

// TestInspect shows that the search finds what it is for.
func TestInspect(t *testing.T) {
	for _, test := range []struct {
		code            string
		wrapped, wanted int
	}{
		{`var x = &http.Transport{DialContext: portmap.DialContext(d), Proxy: portmap.Proxy(p)}`, 1, 0},
		{`var x = http.Transport{DialContext: portmap.DialContext(d)}`, 1, 0},
		{`var x = &http.Transport{}`, 0, 1},
		{`var x = &http.Transport{DialContext: d}`, 0, 1},
		{`var x = &http.Transport{DialContext: portmap.DialContext(d), Proxy: p}`, 1, 1},
		{`var x = &http.Transport{DialContext: portmap.DialContext(d), DialTLSContext: d}`, 1, 1},
		{`func f() { tr.DialContext = d }`, 0, 1},
		{`func f() { tr.DialContext = portmap.DialContext(d) }`, 1, 0},
		{`func f() { tr.Proxy = http.ProxyFromEnvironment }`, 0, 1},
		{`func f() { tr.DialTLS = d }`, 0, 1},
		{`var x = http.DefaultClient`, 0, 1},
		{`var x = http.DefaultTransport`, 0, 1},
		{`var x = portmap.DefaultClient`, 0, 0},
		{`var x = &http.Client{}`, 0, 1},
		{`var x = new(http.Client)`, 0, 1},
		{`var x = new(http.Transport)`, 0, 1},
		{`var x http.Transport`, 0, 1},
		{`var x = &http.Client{Transport: y}`, 0, 0},
		{`var x, y = http.Get("https://x")`, 0, 1},
		{`func f() { http.Post("https://x", "", nil) }`, 0, 1},
	} {
		code := "package x\nimport \"net/http\"\n" + test.code
		wrapped, mistakes, err := inspect("x.go", code)
		if err != nil || wrapped != test.wrapped || len(mistakes) != test.wanted {
			t.Errorf("%s: %d wrapped, mistakes %q, %v; want %d and %d mistakes",
				test.code, wrapped, mistakes, err, test.wrapped, test.wanted)
		}
	}
	// Under another name, and where the package is not net/http.
	if _, mistakes, _ := inspect("x.go", "package x\nimport web \"net/http\"\nvar x = web.DefaultClient"); len(mistakes) != 1 {
		t.Errorf("renamed import: %q", mistakes)
	}
	if _, mistakes, _ := inspect("x.go", "package x\nimport \"other/http\"\nvar x = http.DefaultClient"); len(mistakes) != 0 {
		t.Errorf("another package: %q", mistakes)
	}
}

// inspect returns how many dial functions are wrapped in a file, and what is not as it should be.
func inspect(path, text string) (int, []string, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, text, parser.SkipObjectResolution)
	if err != nil {
		return 0, nil, err
	}
	name := httpName(file)
	if name == "" {
		return 0, nil, nil
	}
	wrapped := 0
	var mistakes []string
	complain := func(node ast.Node, what string) {
		mistakes = append(mistakes, files.Position(node.Pos()).String()+": "+what)
	}
	// A field is set, in a literal or by an assignment.
	field := func(node ast.Node, name string, value ast.Expr) {
		switch name {
		case "DialContext":
			if calls(value, "DialContext") {
				wrapped++
			} else {
				complain(node, "a dial function that is not wrapped in portmap.DialContext")
			}
		case "Proxy":
			if !calls(value, "Proxy") {
				complain(node, "a proxy function that is not wrapped in portmap.Proxy")
			}
		case "Dial", "DialTLS", "DialTLSContext":
			complain(node, name+" passes by the mapping")
		}
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.CompositeLit:
			fields := map[string]ast.Expr{}
			for _, element := range node.Elts {
				if pair, ok := element.(*ast.KeyValueExpr); ok {
					if key, ok := pair.Key.(*ast.Ident); ok {
						fields[key.Name] = pair.Value
					}
				}
			}
			switch {
			case is(node.Type, name, "Transport"):
				if fields["DialContext"] == nil {
					complain(node, "a transport without portmap.DialContext")
				}
				for key, value := range fields {
					field(value, key, value)
				}
			case is(node.Type, name, "Client") && fields["Transport"] == nil:
				complain(node, "a client with the standard transport")
			}
		case *ast.AssignStmt:
			for i, left := range node.Lhs {
				if selector, ok := left.(*ast.SelectorExpr); ok && i < len(node.Rhs) {
					field(node, selector.Sel.Name, node.Rhs[i])
				}
			}
		case *ast.ValueSpec:
			if is(node.Type, name, "Transport") || is(node.Type, name, "Client") {
				complain(node, "a zero client or transport")
			}
		case *ast.CallExpr:
			if function, ok := node.Fun.(*ast.Ident); ok && function.Name == "new" &&
				(is(node.Args[0], name, "Transport") || is(node.Args[0], name, "Client")) {
				complain(node, "a zero client or transport")
			}
			for _, short := range []string{"Get", "Head", "Post", "PostForm"} {
				if is(node.Fun, name, short) {
					complain(node, "a request by the standard client")
				}
			}
		case *ast.SelectorExpr:
			if is(node, name, "DefaultClient") || is(node, name, "DefaultTransport") {
				complain(node, "a standard client or transport")
			}
		}
		return true
	})
	return wrapped, mistakes, nil
}

// httpName returns under which name the file knows net/http.
func httpName(file *ast.File) string {
	for _, spec := range file.Imports {
		if spec.Path.Value == `"net/http"` {
			if spec.Name != nil {
				return spec.Name.Name
			}
			return "http"
		}
	}
	return ""
}

func is(expr ast.Expr, pkg, name string) bool {
	selector, ok := expr.(*ast.SelectorExpr)
	if !ok || selector.Sel.Name != name {
		return false
	}
	x, ok := selector.X.(*ast.Ident)
	return ok && x.Name == pkg
}

func calls(expr ast.Expr, name string) bool {
	call, ok := expr.(*ast.CallExpr)
	return ok && is(call.Fun, "portmap", name)
}
