// SPDX-License-Identifier: Apache-2.0

// schema knows the types that the Kubernetes API server itself is made of, and Helm's own template engine. It is
// what takes long to compile: the slice of tests/conformance/run_manifests goes by what it wrote down.
//
//	schema facts GROUP/VERSION/KIND...   the fields of these kinds, as JSON
//	schema check <OBJECTS                decodes a JSON array strictly: unknown or doubled fields, wrong types
//	schema helm CHART [VALUES]           renders a chart as `helm template skyvol -n skyvol-system` does
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"sort"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
)

// Types that are written otherwise than they are made.
var written = map[string]string{
	"k8s.io/apimachinery/pkg/apis/meta/v1.Time":                     "string",
	"k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime":                "string",
	"k8s.io/apimachinery/pkg/apis/meta/v1.Duration":                 "string",
	"k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1":                 "any",
	"k8s.io/apimachinery/pkg/util/intstr.IntOrString":               "string|integer",
	"k8s.io/apimachinery/pkg/api/resource.Quantity":                 "string|integer|number",
	"k8s.io/apimachinery/pkg/runtime.RawExtension":                  "any",
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSON": "any",
}

type facts struct {
	Kinds map[string]string            `json:"kinds"`
	Types map[string]map[string]string `json:"types"`
}

func (f *facts) word(t reflect.Type) string {
	name := t.PkgPath() + "." + t.Name()
	if word, ok := written[name]; ok {
		return word
	}
	switch t.Kind() {
	case reflect.Pointer:
		return f.word(t.Elem())
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Int32, reflect.Int64, reflect.Int, reflect.Uint8:
		return "integer"
	case reflect.Float64:
		return "number"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "string"
		}
		return "[]" + f.word(t.Elem())
	case reflect.Map:
		return "{}" + f.word(t.Elem())
	case reflect.Struct:
		parts := strings.Split(t.PkgPath(), "/")
		short := parts[len(parts)-2] + "." + t.Name()
		if _, known := f.Types[short]; !known {
			f.Types[short] = map[string]string{}
			f.fields(t, f.Types[short])
		}
		return short
	}
	return "any"
}

func (f *facts) fields(t reflect.Type, out map[string]string) {
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case strings.Contains(options, "inline") || field.Anonymous && name == "":
			f.fields(field.Type, out)
		case name != "" && name != "-":
			out[name] = f.word(field.Type)
		}
	}
}

func writeFacts(kinds []string) error {
	f := &facts{Kinds: map[string]string{}, Types: map[string]map[string]string{}}
	for _, kind := range kinds {
		at := strings.LastIndex(kind, "/")
		version, err := schema.ParseGroupVersion(kind[:at])
		if err != nil {
			return err
		}
		object, err := scheme.Scheme.New(version.WithKind(kind[at+1:]))
		if err != nil {
			return err
		}
		f.Kinds[kind] = f.word(reflect.TypeOf(object))
	}
	text, err := json.MarshalIndent(f, "", " ")
	if err == nil {
		fmt.Println(string(text))
	}
	return err
}

func check(in io.Reader) error {
	var objects []json.RawMessage
	var wrong []error
	if err := json.NewDecoder(in).Decode(&objects); err != nil {
		return err
	}
	codec := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	for _, object := range objects {
		if _, _, err := codec.Decode(object, nil, nil); err != nil && !runtime.IsNotRegisteredError(err) {
			wrong = append(wrong, fmt.Errorf("%w: %.200s", err, object))
		}
	}
	return errors.Join(wrong...)
}

func helm(arguments []string) error {
	chart, err := loader.Load(arguments[0])
	if err != nil {
		return err
	}
	own := map[string]any{}
	if len(arguments) > 1 {
		if own, err = chartutil.ReadValuesFile(arguments[1]); err != nil {
			return err
		}
	}
	release := chartutil.ReleaseOptions{Name: "skyvol", Namespace: "skyvol-system", IsInstall: true}
	values, err := chartutil.ToRenderValues(chart, own, release, nil) // by values.schema.json, too
	if err != nil {
		return err
	}
	files, err := engine.Render(chart, values)
	if err != nil {
		return err
	}
	names := []string{}
	for name := range files {
		if strings.HasSuffix(name, ".yaml") {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Printf("---\n%s\n", files[name])
	}
	return nil
}

func main() {
	err := errors.New("usage: schema facts KIND... | check | helm CHART [VALUES]")
	switch {
	case len(os.Args) > 2 && os.Args[1] == "facts":
		err = writeFacts(os.Args[2:])
	case len(os.Args) == 2 && os.Args[1] == "check":
		err = check(os.Stdin)
	case len(os.Args) > 2 && os.Args[1] == "helm":
		err = helm(os.Args[2:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
