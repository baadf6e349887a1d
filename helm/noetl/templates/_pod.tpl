{{- /* Resources without the figures that are empty. */ -}}
{{- define "noetl.resources" -}}
{{- $kept := dict -}}
{{- range $kind, $figures := . -}}
{{- $some := dict -}}
{{- range $what, $amount := $figures -}}
{{- if $amount -}}{{- $_ := set $some $what (toString $amount) -}}{{- end -}}
{{- end -}}
{{- if $some -}}{{- $_ := set $kept $kind $some -}}{{- end -}}
{{- end -}}
{{- toYaml $kept -}}
{{- end -}}

{{- define "noetl.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "noetl.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* Mounts of the certificates that a process is told of. Takes {m, database}. */ -}}
{{- define "noetl.certificateMounts" -}}
{{- if .m.v.nats.tls.existingSecret }}
- {name: nats-tls, mountPath: /etc/noetl/nats, readOnly: true}
{{- end }}
{{- if and .database .m.v.postgres.caSecret }}
- {name: postgres-tls, mountPath: /etc/noetl/postgres, readOnly: true}
{{- end }}
{{- end -}}

{{- define "noetl.certificateVolumes" -}}
{{- if .m.v.nats.tls.existingSecret }}
- name: nats-tls
  secret: {secretName: {{ .m.v.nats.tls.existingSecret | quote }}, defaultMode: 0440}
{{- end }}
{{- if and .database .m.v.postgres.caSecret }}
- name: postgres-tls
  secret: {secretName: {{ .m.v.postgres.caSecret | quote }}, defaultMode: 0440}
{{- end }}
{{- end -}}

{{- /* The volume with the secrets of a process, if they are files. Takes {m, places}. */ -}}
{{- define "noetl.secretVolume" -}}
{{- if .m.v.secrets.asFiles }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range $name, $place := .places }}
      {{- if not $place.optional }}
      - secret: {name: {{ $place.secret | quote }}, items: [{key: {{ $place.key | quote }}, path: {{ $name }}}]}
      {{- end }}
      {{- end }}
{{- end }}
{{- end -}}

{{- define "noetl.secretMount" -}}
{{- if .m.v.secrets.asFiles }}
- {name: secrets, mountPath: /etc/noetl/secrets, readOnly: true}
{{- end }}
{{- end -}}

{{- define "noetl.pullSecrets" -}}
{{- range .m.v.image.pullSecrets }}
- name: {{ . | quote }}
{{- end }}
{{- end -}}
