// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"go.yaml.in/yaml/v3"
)

const release, namespace = "skyvol", "skyvol-system"

// merge lays b over a, as Helm lays a user's values over the chart's: null takes a value away.
func merge(a, b map[string]any) map[string]any {
	out := map[string]any{}
	for key, value := range a {
		out[key] = value
	}
	for key, value := range b {
		inner, isMap := value.(map[string]any)
		below, wasMap := out[key].(map[string]any)
		switch {
		case value == nil:
			delete(out, key)
		case isMap && wasMap:
			out[key] = merge(below, inner)
		default:
			out[key] = value
		}
	}
	return out
}

func read(path string) (map[string]any, error) {
	out := map[string]any{}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := yaml.Unmarshal(text, &out); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return out, nil
}

func toYaml(value any) (string, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	err := encoder.Encode(value)
	return strings.TrimSuffix(out.String(), "\n"), err
}

// functions are those of Helm that the chart uses; a template that calls another does not parse.
func functions(whole *template.Template) template.FuncMap {
	return template.FuncMap{
		"include": func(name string, data any) (string, error) {
			var out strings.Builder
			err := whole.ExecuteTemplate(&out, name, data)
			return out.String(), err
		},
		"toYaml": toYaml,
		"list":   func(all ...any) []any { return all },
		"quote":  func(value any) string { return fmt.Sprintf("%q", fmt.Sprint(value)) },
		"nindent": func(count int, text string) string {
			pad := "\n" + strings.Repeat(" ", count)
			return pad + strings.ReplaceAll(text, "\n", pad)
		},
		"join": func(separator string, all []any) string {
			words := []string{}
			for _, one := range all {
				words = append(words, fmt.Sprint(one))
			}
			return strings.Join(words, separator)
		},
		"fail": func(text string) (string, error) { return "", errors.New(text) },
	}
}

func renderChart(chart, values string) ([]byte, error) {
	about, err := read(filepath.Join(chart, "Chart.yaml"))
	if err != nil {
		return nil, err
	}
	given, err := read(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return nil, err
	}
	if values != "" {
		own, err := read(values)
		if err != nil {
			return nil, err
		}
		given = merge(given, own)
	}
	files, err := filepath.Glob(filepath.Join(chart, "templates", "*"))
	if err != nil {
		return nil, err
	}
	whole := template.New("chart").Option("missingkey=zero")
	whole.Funcs(functions(whole))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if _, err := whole.New(filepath.Base(file)).Parse(string(text)); err != nil {
			return nil, err
		}
	}
	data := map[string]any{
		"Values":  given,
		"Release": map[string]any{"Name": release, "Namespace": namespace},
		"Chart":   map[string]any{"AppVersion": about["appVersion"], "Version": about["version"]},
	}
	var out bytes.Buffer
	for _, file := range files {
		if !strings.HasSuffix(file, ".yaml") {
			continue
		}
		out.WriteString("\n---\n")
		if err := whole.ExecuteTemplate(&out, filepath.Base(file), data); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}
