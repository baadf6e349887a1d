{{- /* Values with REPLACE_ME in them, as a list of their places. Takes {place, value}. */ -}}
{{- define "noetl.placeholders" -}}
{{- $place := .place -}}
{{- if kindIs "map" .value -}}
{{- range $key, $value := .value -}}
{{- include "noetl.placeholders" (dict "place" (printf "%s.%s" $place $key) "value" $value) -}}
{{- end -}}
{{- else if kindIs "slice" .value -}}
{{- range $index, $value := .value -}}
{{- include "noetl.placeholders" (dict "place" (printf "%s[%d]" $place $index) "value" $value) -}}
{{- end -}}
{{- else if contains "REPLACE_ME" (toString .value) -}}
{{- printf " %s" (trimPrefix "." $place) -}}
{{- end -}}
{{- end -}}

{{- /*
What a release consists of, as JSON: {v: values over the defaults, units: [...]}.
A unit is a Deployment: {name, fullname, service, part, shard?, pool?, user, role, stream, durable,
secret, scaler}. Its scaler is "keda", "cpu" or "none".
*/ -}}
{{- define "noetl.model" -}}
{{- if contains "REPLACE_ME" (toJson .Values) -}}
{{- fail (printf "REPLACE_ME is still in:%s" (include "noetl.placeholders" (dict "place" "" "value" .Values))) -}}
{{- end -}}
{{- $defaults := .Files.Get "files/defaults.yaml" | fromYaml -}}
{{- if not (hasKey $defaults "image") -}}
{{- fail "files/defaults.yaml is not values.yaml: the chart was packed without what its link leads to" -}}
{{- end -}}
{{- $v := mergeOverwrite $defaults (deepCopy .Values) -}}
{{- $fullname := include "noetl.fullname" . -}}
{{- $host := printf "%s.%s.svc" $fullname .Release.Namespace -}}
{{- $m := dict "v" $v "fullname" $fullname "namespace" .Release.Namespace "instance" .Release.Name "appVersion" .Chart.AppVersion -}}
{{- $_ := set $m "edge" (printf "http://%s:%d" $host (int $v.service.port)) -}}
{{- $door := $m.edge -}}
{{- if and $v.ingress.enabled $v.ingress.host -}}
{{- $door = printf "%s://%s" (ternary "https" "http" (ne $v.ingress.tlsSecret "")) $v.ingress.host -}}
{{- end -}}
{{- $_ := set $m "publicUrl" ($v.publicUrl | default $door) -}}
{{- $_ := set $m "workersUrl" ($v.workersUrl | default $m.edge) -}}
{{- $_ := set $m "shardCount" (max 1 (len $v.postgres.shards)) -}}
{{- $asked := list (dict "service" "api-gateway" "part" $v.server) (dict "service" "catalog" "part" $v.catalog) -}}
{{- range $shard := until (int $m.shardCount) -}}
{{- $asked = append $asked (dict "service" "orchestrator" "shard" $shard "part" $v.orchestrator) -}}
{{- $asked = append $asked (dict "service" "outbox" "shard" $shard "part" $v.outboxPublisher) -}}
{{- $asked = append $asked (dict "service" "projector" "shard" $shard "part" $v.projector) -}}
{{- end -}}
{{- $asked = append $asked (dict "service" "worker" "pool" "shared" "part" $v.worker) -}}
{{- if $v.workerPool.enabled -}}
{{- $part := mergeOverwrite (deepCopy $v.worker) (deepCopy $v.workerPool) -}}
{{- $asked = append $asked (dict "service" "worker" "pool" $v.workerPool.poolName "part" $part "isSystem" true) -}}
{{- end -}}
{{- range $pool, $given := $v.pools -}}
{{- if and $v.workerPool.enabled (eq $pool $v.workerPool.poolName) -}}
{{- fail (printf "pools.%s is the pool of workerPool" $pool) -}}
{{- end -}}
{{- $part := mergeOverwrite (deepCopy $v.worker) (deepCopy ($given | default dict)) -}}
{{- $asked = append $asked (dict "service" "worker" "pool" $pool "part" $part) -}}
{{- end -}}
{{- $units := list -}}
{{- $pools := dict -}}
{{- range $unit := $asked -}}
{{- $units = append $units (mergeOverwrite $unit (include "noetl.unit" (dict "m" $m "unit" $unit) | fromJson)) -}}
{{- if hasKey $unit "pool" -}}
{{- if hasKey $pools $unit.name -}}
{{- fail (printf "the pools %s and %s would both be the Deployment %s" (get $pools $unit.name) $unit.pool $unit.fullname) -}}
{{- end -}}
{{- $_ := set $pools $unit.name $unit.pool -}}
{{- end -}}
{{- end -}}
{{- $_ := set $m "units" $units -}}
{{- $m | toJson -}}
{{- end -}}

{{- /* What follows from a unit's service, shard and pool. */ -}}
{{- define "noetl.unit" -}}
{{- $unit := .unit -}}
{{- $v := .m.v -}}
{{- $name := $unit.service -}}
{{- if hasKey $unit "shard" -}}
{{- $name = printf "%s-s%d" $unit.service (int $unit.shard) -}}
{{- else if hasKey $unit "pool" -}}
{{- $name = printf "%s-%s" $unit.service ($unit.pool | replace "_" "-") -}}
{{- end -}}
{{- $secret := ternary $name $unit.service (hasKey $unit "pool") -}}
{{- $auto := $unit.part.autoscaling | default dict -}}
{{- $scaler := "none" -}}
{{- if and $v.autoscaling.enabled $auto.enabled -}}
{{- $scaler = ternary "keda" "cpu" (and $v.keda.enabled (has $unit.service (list "orchestrator" "outbox" "projector" "worker"))) -}}
{{- end -}}
{{- if and (ne $scaler "none") (gt (int $auto.minReplicas) (int $auto.maxReplicas)) -}}
{{- fail (printf "%s: minReplicas %d is above maxReplicas %d" $name (int $auto.minReplicas) (int $auto.maxReplicas)) -}}
{{- end -}}
{{- if and (eq $scaler "cpu") (lt (int $auto.minReplicas) 1) -}}
{{- fail (printf "%s: minReplicas 0 needs KEDA; by processor time there is one process at least" $name) -}}
{{- end -}}
{{- $names := include "noetl.names" (dict "service" $unit.service "shard" ($unit.shard | default 0) "pool" ($unit.pool | default "")) | fromJson -}}
{{- mergeOverwrite $names (dict "name" $name "fullname" (printf "%s-%s" .m.fullname $name) "secretName" $secret "scaler" $scaler) | toJson -}}
{{- end -}}
