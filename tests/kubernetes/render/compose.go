// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"path/filepath"

	"github.com/compose-spec/compose-go/v2/cli"
)

// compose reads a file as docker compose does, by the library that it uses: its schema, variables of .env, env_file,
// merges, and what services name of each other. Services of all profiles are there.
func compose(file string) ([]any, error) {
	options, err := cli.NewProjectOptions([]string{file}, cli.WithWorkingDirectory(filepath.Dir(file)),
		cli.WithEnvFiles(), cli.WithDotEnv, cli.WithProfiles([]string{"*"}))
	if err != nil {
		return nil, err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return nil, err
	}
	text, err := project.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var one any
	if err := json.Unmarshal(text, &one); err != nil {
		return nil, err
	}
	return []any{one}, nil
}
