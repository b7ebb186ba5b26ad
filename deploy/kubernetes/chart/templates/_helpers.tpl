{{- define "skyvol.image" -}}
{{- $all := index . 0 -}}
{{- with $all.Values.image.registry }}{{ . }}/{{ end }}skyvol-{{ index . 1 }}:{{ or $all.Values.image.tag $all.Chart.AppVersion }}
{{- end }}
