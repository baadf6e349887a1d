{{- /* Name of a release's things. */ -}}
{{- define "noetl.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains "noetl" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-noetl" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /*
How the code names a service's login at the broker, its role at the database, and the stream and
durable that it reads. The only place of the chart that knows these names; a test compares them
with noetl_contract.streams, broker_users and the roles.
Takes {service, shard, pool}, gives JSON {user, role, stream, durable}.
*/ -}}
{{- define "noetl.names" -}}
{{- $role := printf "noetl_%s" .service -}}
{{- if eq .service "worker" -}}
{{- dict "user" (printf "worker-%s" .pool) "role" "" "stream" "NOETL_COMMANDS" "durable" (printf "noetl_worker_pool_%s" .pool) | toJson -}}
{{- else if eq .service "orchestrator" -}}
{{- dict "user" .service "role" $role "stream" "noetl_ingress" "durable" (printf "orchestrator_%d_kinds" (int .shard)) | toJson -}}
{{- else if eq .service "projector" -}}
{{- dict "user" .service "role" $role "stream" "noetl_commits" "durable" (printf "projector_%d" (int .shard)) | toJson -}}
{{- else if eq .service "api-gateway" -}}
{{- dict "user" .service "role" "" "stream" "" "durable" "" | toJson -}}
{{- else -}}
{{- dict "user" .service "role" $role "stream" "" "durable" "" | toJson -}}
{{- end -}}
{{- end -}}

{{- /* Labels by which a unit's pods are selected; they never change. */ -}}
{{- define "noetl.selector" -}}
app.kubernetes.io/name: noetl
app.kubernetes.io/instance: {{ .instance | quote }}
app.kubernetes.io/component: {{ .unit.service }}
{{- if hasKey .unit "shard" }}
noetl.io/shard: {{ .unit.shard | int | quote }}
{{- end }}
{{- if hasKey .unit "pool" }}
noetl.io/pool: {{ .unit.pool | quote }}
{{- end }}
{{- end -}}

{{- /* Labels of everything that is not a unit's. */ -}}
{{- define "noetl.labels" -}}
app.kubernetes.io/name: noetl
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* Name of a Secret: the chart's own, or the one that is to be used in its place. */ -}}
{{- define "noetl.secret" -}}
{{- $given := get .m.v.secrets.existing .name -}}
{{- $given | default (printf "%s-%s" .m.fullname .name) -}}
{{- end -}}

{{- define "noetl.image" -}}
{{- $image := .m.v.image -}}
{{- $digest := get $image.digests .service -}}
{{- if $digest -}}
{{- printf "%s-%s@%s" $image.repository .service $digest -}}
{{- else -}}
{{- printf "%s-%s:%s" $image.repository .service ($image.tag | default .m.appVersion) -}}
{{- end -}}
{{- end -}}
