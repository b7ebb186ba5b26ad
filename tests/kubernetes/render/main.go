// SPDX-License-Identifier: Apache-2.0

// render prints what manifests come to, as JSON: {"ARGUMENT": [OBJECT, ...], ...}.
//
//	render PATH...            a folder with kustomization.yaml is built, another folder's *.yaml are read
//	render CHART=VALUES...    a Helm chart with a file of values; CHART= with its own
//	render DIR/compose.yaml   what docker compose makes of it
//
// Kustomizations are built by kustomize's own library. A chart's templates are executed by Go's, with the few
// functions of Helm that ours use and no others; tests/kubernetes/schema does it by Helm itself and compares.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

func objects(source string, text []byte) ([]any, error) {
	all := []any{}
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	for {
		var one any
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil { // a doubled key, too
			return nil, fmt.Errorf("%s: %w", source, err)
		}
		if one != nil {
			all = append(all, one)
		}
	}
}

func folder(path string) ([]any, error) {
	files, err := filepath.Glob(filepath.Join(path, "*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("%s: no YAML files", path)
	}
	all := []any{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		found, err := objects(file, text)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func render(argument string) ([]any, error) {
	if chart, values, ok := strings.Cut(argument, "="); ok {
		text, err := renderChart(chart, values)
		if err != nil {
			return nil, err
		}
		return objects(argument, text)
	}
	if filepath.Base(argument) == "compose.yaml" {
		return compose(argument)
	}
	if _, err := os.Stat(filepath.Join(argument, "kustomization.yaml")); err != nil {
		return folder(argument)
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), argument)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", argument, err)
	}
	text, err := built.AsYaml()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", argument, err)
	}
	return objects(argument, text)
}

func main() {
	all := map[string]any{}
	failed := len(os.Args) < 2
	for _, argument := range os.Args[1:] {
		found, err := render(argument)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			failed = true
			continue
		}
		all[argument] = found
	}
	if failed {
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(all); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
