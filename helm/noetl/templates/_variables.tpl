{{- /* Where the secrets of a unit's process are, by variable. Takes {m, unit}. */ -}}
{{- define "noetl.secrets" -}}
{{- $m := .m -}}
{{- $unit := .unit -}}
{{- $secret := include "noetl.secret" (dict "m" $m "name" $unit.secretName) -}}
{{- $secrets := dict "NATS_PASSWORD" (dict "secret" $secret "key" "nats-password") -}}
{{- if $unit.role -}}
{{- $_ := set $secrets "POSTGRES_PASSWORD" (dict "secret" $secret "key" "postgres-password") -}}
{{- end -}}
{{- if has $unit.service (list "api-gateway" "orchestrator") -}}
{{- $_ := set $secrets "NOETL_COMMAND_KEY" (dict "secret" (include "noetl.secret" (dict "m" $m "name" "command-key")) "key" "command-key") -}}
{{- end -}}
{{- if or (eq $unit.service "api-gateway") $unit.isSystem -}}
{{- $_ := set $secrets "NOETL_INTERNAL_API_TOKEN" (dict "secret" (include "noetl.secret" (dict "m" $m "name" "internal-api-token")) "key" "internal-api-token") -}}
{{- end -}}
{{- if eq $unit.service "catalog" -}}
{{- $_ := set $secrets "NOETL_ENCRYPTION_KEY" (dict "secret" $secret "key" "encryption-key") -}}
{{- $_ := set $secrets "NOETL_ACCESS_KEYS" (dict "secret" $secret "key" "access-keys" "optional" true) -}}
{{- end -}}
{{- $secrets | toJson -}}
{{- end -}}

{{- /* Tell a process the files of its secrets. Adds to `plain`. Takes {places, plain}. */ -}}
{{- define "noetl.inFiles" -}}
{{- $plain := .plain -}}
{{- range $name, $place := .places -}}
{{- if not $place.optional -}}
{{- $_ := set $plain (printf "%s_FILE" $name) (printf "/etc/noetl/secrets/%s" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /*
The variables of a unit's process, as a YAML list: secrets first, because others refer to them,
then the rest by name.
*/ -}}
{{- define "noetl.variables" -}}
{{- $m := .m -}}
{{- $unit := .unit -}}
{{- $v := $m.v -}}
{{- $secrets := include "noetl.secrets" (dict "m" $m "unit" $unit) | fromJson -}}
{{- $plain := dict -}}
{{- include "noetl.common" (dict "m" $m "unit" $unit "plain" $plain) -}}
{{- include "noetl.own" (dict "m" $m "unit" $unit "plain" $plain) -}}
{{- if $unit.role -}}
{{- include "noetl.database" (dict "m" $m "role" $unit.role "isAdmin" false "plain" $plain) -}}
{{- end -}}
{{- range $name, $_ := mergeOverwrite (deepCopy $unit.part.env) (deepCopy $unit.part.secretEnv) -}}
{{- if or (hasKey $plain $name) (hasKey $secrets $name) (eq $name "WORKER_ID") -}}
{{- fail (printf "%s: the chart sets %s itself" $unit.name $name) -}}
{{- end -}}
{{- if and (eq $unit.service "api-gateway") (has $name (list "NOETL_TLS_CERT" "NOETL_TLS_KEY")) -}}
{{- fail (printf "%s: with %s the probes, KEDA and the workers, who speak HTTP, would not be answered; TLS is the Ingress's" $unit.name $name) -}}
{{- end -}}
{{- if and (hasKey $unit.part.env $name) (hasKey $unit.part.secretEnv $name) -}}
{{- fail (printf "%s: %s is in env and in secretEnv" $unit.name $name) -}}
{{- end -}}
{{- end -}}
{{- if $v.secrets.asFiles -}}
{{- include "noetl.inFiles" (dict "places" $secrets "plain" $plain) -}}
{{- $kept := dict -}}
{{- range $name, $place := $secrets -}}
{{- if $place.optional -}}{{- $_ := set $kept $name $place -}}{{- end -}}
{{- end -}}
{{- $secrets = $kept -}}
{{- end -}}
{{- range $name, $place := mergeOverwrite (deepCopy $unit.part.secretEnv) $secrets }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef: {name: {{ $place.secret | quote }}, key: {{ $place.key | quote }}{{ if $place.optional }}, optional: true{{ end }}}
{{- end }}
{{- if eq $unit.service "worker" }}
- name: WORKER_ID
  valueFrom:
    fieldRef: {fieldPath: metadata.name}
{{- end }}
{{- range $name, $value := mergeOverwrite (deepCopy $unit.part.env) $plain }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{- /* What every process is told. Adds to `plain`. */ -}}
{{- define "noetl.common" -}}
{{- $v := .m.v -}}
{{- $plain := .plain -}}
{{- $_ := set $plain "NOETL_HTTP_HOST" "0.0.0.0" -}}
{{- $_ := set $plain "NOETL_HTTP_PORT" "8082" -}}
{{- $_ := set $plain "NOETL_LOG_FORMAT" "json" -}}
{{- $_ := set $plain "NOETL_LOG_LEVEL" $v.logLevel -}}
{{- $_ := set $plain "NOETL_PUBLIC_SERVER_URL" (ternary .m.publicUrl .m.workersUrl (eq .unit.service "api-gateway")) -}}
{{- $_ := set $plain "NOETL_SHUTDOWN_GRACE_SECONDS" (.unit.part.graceSeconds | int | toString) -}}
{{- $_ := set $plain "NOETL_NATS_URL" $v.nats.url -}}
{{- $_ := set $plain "NATS_USER" .unit.user -}}
{{- $_ := set $plain "NOETL_NATS_STREAM_REPLICAS" ($v.nats.streamReplicas | int | toString) -}}
{{- if $v.nats.tls.existingSecret -}}
{{- $_ := set $plain "NOETL_NATS_CA" "/etc/noetl/nats/ca.crt" -}}
{{- if $v.nats.tls.clientCertificate -}}
{{- $_ := set $plain "NOETL_NATS_CERT" "/etc/noetl/nats/tls.crt" -}}
{{- $_ := set $plain "NOETL_NATS_KEY" "/etc/noetl/nats/tls.key" -}}
{{- end -}}
{{- end -}}
{{- if ne .unit.service "worker" -}}
{{- $_ := set $plain "NOETL_CLUSTER_ID" $v.clusterId -}}
{{- $_ := set $plain "NOETL_SHARD_COUNT" (.m.shardCount | int | toString) -}}
{{- end -}}
{{- if has .unit.service (list "api-gateway" "catalog" "worker") -}}
{{- $_ := set $plain "NOETL_INGRESS" $v.writes -}}
{{- end -}}
{{- if hasKey .unit "shard" -}}
{{- $_ := set $plain "NOETL_SHARD_INDEX" (.unit.shard | int | toString) -}}
{{- end -}}
{{- end -}}

{{- /* What one service only is told. Adds to `plain`. */ -}}
{{- define "noetl.own" -}}
{{- $v := .m.v -}}
{{- $plain := .plain -}}
{{- if eq .unit.service "api-gateway" -}}
{{- $_ := set $plain "NOETL_DRAIN_DELAY_SECONDS" ($v.server.drainSeconds | int | toString) -}}
{{- $_ := set $plain "NOETL_AUTH_OPEN_METRICS" ($v.server.openMetrics | toString) -}}
{{- $hosts := $v.server.allowedHosts -}}
{{- if $v.ingress.host -}}
{{- $hosts = append $hosts $v.ingress.host -}}
{{- end -}}
{{- if $v.workersUrl -}}
{{- $hosts = append $hosts (urlParse $v.workersUrl).hostname -}}
{{- end -}}
{{- $_ := set $plain "NOETL_ALLOWED_HOSTS" (join "," (uniq $hosts)) -}}
{{- with $v.ingress.trustedProxies -}}
{{- $_ := set $plain "NOETL_TRUSTED_PROXIES" (join "," .) -}}
{{- end -}}
{{- else if has .unit.service (list "orchestrator" "outbox") -}}
{{- $_ := set $plain "NOETL_OUTBOX_RELAY_EVENTS" ($v.events.relay | toString) -}}
{{- $_ := set $plain "NOETL_OUTBOX_EVENT_TYPES" $v.events.types -}}
{{- $_ := set $plain "NOETL_OUTBOX_EVENT_MAX_BYTES" ($v.events.maxBytes | int | toString) -}}
{{- else if eq .unit.service "worker" -}}
{{- $_ := set $plain "WORKER_POOL_NAME" .unit.pool -}}
{{- $_ := set $plain "WORKER_MAX_CONCURRENT" (.unit.part.maxConcurrent | int | toString) -}}
{{- $_ := set $plain "NOETL_SERVER_URL" .m.workersUrl -}}
{{- $_ := set $plain "NOETL_WORKER_SCRIPT_DIRECTORY" "/var/lib/noetl/scripts" -}}
{{- with (.unit.part.containers | default dict).namespace -}}
{{- $_ := set $plain "NOETL_CONTAINER_BACKEND" "kubernetes" -}}
{{- $_ := set $plain "NOETL_CONTAINER_NAMESPACE" . -}}
{{- end -}}
{{- if .unit.isSystem -}}
{{- $_ := set $plain "NOETL_KEYCHAIN_ENV_VARS" "NOETL_INTERNAL_API_TOKEN" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The database, or the shards and the cluster's own one, with the login of a role. */ -}}
{{- define "noetl.database" -}}
{{- $pg := .m.v.postgres -}}
{{- $isAdmin := .isAdmin -}}
{{- $role := .role -}}
{{- $plain := .plain -}}
{{- $host := ternary ($pg.adminHost | default $pg.host) $pg.host $isAdmin -}}
{{- $port := ternary ($pg.adminPort | default $pg.port) $pg.port $isAdmin | int -}}
{{- $_ := set $plain "POSTGRES_HOST" $host -}}
{{- $_ := set $plain "POSTGRES_PORT" ($port | toString) -}}
{{- $_ := set $plain "POSTGRES_DB" $pg.database -}}
{{- $_ := set $plain "POSTGRES_USER" $role -}}
{{- $_ := set $plain "POSTGRES_SSLMODE" $pg.sslMode -}}
{{- if $pg.caSecret -}}
{{- $_ := set $plain "POSTGRES_SSLROOTCERT" "/etc/noetl/postgres/ca.crt" -}}
{{- end -}}
{{- if not $isAdmin -}}
{{- $_ := set $plain "NOETL_PG_STATEMENT_CACHE_CAPACITY" ($pg.statementCache | int | toString) -}}
{{- end -}}
{{- if $pg.shards -}}
{{- $login := printf "user=%s;password=$(POSTGRES_PASSWORD)" $role -}}
{{- if .m.v.secrets.asFiles -}}
{{- $login = printf "user=%s;password_file=/etc/noetl/secrets/POSTGRES_PASSWORD" $role -}}
{{- end -}}
{{- $entries := list -}}
{{- range $shard := $pg.shards -}}
{{- $place := ternary ($shard.adminHost | default $shard.host) $shard.host $isAdmin -}}
{{- $door := ternary ($shard.adminPort | default $shard.port | default 5432) ($shard.port | default 5432) $isAdmin | int -}}
{{- $entries = append $entries (printf "host=%s;port=%d;%s;database=%s" $place $door $login ($shard.database | default "noetl")) -}}
{{- end -}}
{{- $_ := set $plain "NOETL_SHARDS" (join "," $entries) -}}
{{- $_ := set $plain "NOETL_CLUSTER_DSN" (printf "host=%s;port=%d;%s;database=%s" $host $port $login $pg.database) -}}
{{- end -}}
{{- end -}}
