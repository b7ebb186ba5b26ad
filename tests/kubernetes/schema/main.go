// SPDX-License-Identifier: Apache-2.0

// schema builds kustomizations and plain YAML files and decodes every object strictly with the types that
// the Kubernetes API server itself is made of: an unknown kind, an unknown or doubled field, a wrong type
// or a broken kustomization is an error that names file and field.
//
//	schema PATH...   a folder with kustomization.yaml is built, another folder's *.yaml are read
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// podOf gives the pod template of the kinds that have one, with the volumes that claim templates add.
func podOf(object runtime.Object) (string, *corev1.PodTemplateSpec) {
	switch o := object.(type) {
	case *appsv1.Deployment:
		return o.Name, &o.Spec.Template
	case *appsv1.DaemonSet:
		return o.Name, &o.Spec.Template
	case *appsv1.StatefulSet:
		for _, claim := range o.Spec.VolumeClaimTemplates {
			volume := corev1.Volume{Name: claim.Name}
			o.Spec.Template.Spec.Volumes = append(o.Spec.Template.Spec.Volumes, volume)
		}
		return o.Name, &o.Spec.Template
	}
	return "", nil
}

// checkPod finds what the schema cannot: a mount of a volume that is not there.
func checkPod(name string, template *corev1.PodTemplateSpec) error {
	volumes := map[string]bool{}
	for _, v := range template.Spec.Volumes {
		volumes[v.Name] = true
	}
	for _, c := range append(template.Spec.InitContainers, template.Spec.Containers...) {
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] {
				return fmt.Errorf("%s: container %s mounts volume %q, which the pod does not have", name, c.Name, m.Name)
			}
		}
	}
	return nil
}

func check(source string, data []byte) (int, error) {
	codec := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	reader := yaml.NewYAMLReader(newLineReader(data))
	count := 0
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return count, nil
		}
		if err != nil {
			return count, fmt.Errorf("%s: %w", source, err)
		}
		if len(bytes.TrimSpace(stripComments(document))) == 0 {
			continue
		}
		object, _, err := codec.Decode(document, nil, nil)
		if err != nil {
			return count, fmt.Errorf("%s: %w", source, err)
		}
		if name, template := podOf(object); template != nil {
			if err := checkPod(name, template); err != nil {
				return count, fmt.Errorf("%s: %w", source, err)
			}
		}
		count++
	}
}

func checkPath(path string) (int, error) {
	if _, err := os.Stat(filepath.Join(path, "kustomization.yaml")); err == nil {
		built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), path)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		data, err := built.AsYaml()
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		return check(path, data)
	}
	files, err := filepath.Glob(filepath.Join(path, "*.yaml"))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("%s: no YAML files", path)
	}
	total := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return total, err
		}
		count, err := check(file, data)
		if err != nil {
			return total, err
		}
		total += count
	}
	return total, nil
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: schema PATH...")
		os.Exit(2)
	}
	failed := false
	for _, path := range os.Args[1:] {
		count, err := checkPath(path)
		if err == nil && count == 0 {
			err = fmt.Errorf("%s: nothing there", path)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			failed = true
			continue
		}
		fmt.Printf("%s: %d objects\n", path, count)
	}
	if failed {
		os.Exit(1)
	}
}
