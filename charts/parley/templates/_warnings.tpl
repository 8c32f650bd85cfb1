{{/* What works, but is not for everybody: lines for NOTES.txt. */}}
{{- define "parley.warnings" -}}
{{- $full := include "parley.fullname" . }}
{{- $services := include "parley.services" . | fromJsonArray }}
{{- if has "example.test" .Values.domains }}
- The SIP domain is example.test, which nobody has: set domains.
{{- end }}
{{- range $group := list "sip" "https" "turn" }}
{{- $at := dict "root" $ "group" $group }}
{{- $type := include "parley.exposureType" $at }}
{{- if and (ne $type "ClusterIP") (not (include "parley.publicName" $at)) }}
- exposure.{{ $group }} has no public name: {{ if include "parley.atNode" $at }}clients are told the address of the node that a pod is on, which changes{{ else }}clients outside are told names that they cannot resolve{{ end }}. Set publicName.
{{- end }}
{{- end }}
{{- range $group := list "sip" "turn" }}
{{- $values := get $.Values.exposure $group }}
{{- $exposed := dict }}
{{- range include "parley.clientPorts" $ | fromJsonArray }}{{ if eq .group $group }}{{ $_ := set $exposed .expose true }}{{ end }}{{ end }}
{{- $shared := or $values.loadBalancerIP (has "metallb.io/allow-shared-ip" (keys $values.annotations)) }}
{{- if and (eq (include "parley.exposureType" (dict "root" $ "group" $group)) "LoadBalancer") (gt (len $exposed) 1) (not $shared) }}
- exposure.{{ $group }} has {{ len $exposed }} balancers with an address each, but clients are told one name for all: give them one address (exposure.{{ $group }}.loadBalancerIP, or an annotation), or take exposure.{{ $group }}.oneService.
{{- end }}
{{- end }}
{{- if eq .Values.tls.mode "development" }}
- Clients see a certificate of a development CA, and have to be given it: kubectl -n {{ .Release.Namespace }} get secret {{ $full }}-client-tls -o jsonpath='{.data.ca\.crt}' | base64 -d. For more than a try: tls.mode certManager or existingSecret.
{{- end }}
{{- if and (has "avedge" $services) (eq (include "parley.relayMode" .) "pod") }}
- Relay addresses are those of pods, which are private: two clients of this relay reach each other, others do not reach them. Set exposure.turn.type HostNetwork, or exposure.turn.relay.mode service.
{{- end }}
{{- $single := list }}
{{- range include "parley.processes" . | fromJsonArray }}
{{- if lt (int (include "parley.fewest" .)) 2 }}{{ $single = append $single .name }}{{ end }}
{{- end }}
{{- with $single }}
- One pod alone of {{ join ", " . }}: what it does stops for some seconds when its node fails, and calls on it end. values-ha.yaml has more.
{{- end }}
{{- if eq .Values.redis.mode "embedded" }}
{{- if not .Values.redis.embedded.persistence.enabled }}
- The store has no volume: all users and conferences are lost with its pod (redis.embedded.persistence).
{{- else }}
- The store is one Valkey: back up its volume (claim {{ .Values.redis.embedded.persistence.existingClaim | default (printf "data-%s-valkey-0" $full) }}), or use redis.mode external with replicas.
{{- end }}
{{- end }}
{{- if and (eq .Values.events.driver "kafka") (eq .Values.events.kafka.mode "embedded") }}
- Kafka is one broker{{ if not .Values.events.kafka.embedded.persistence.enabled }} without a volume{{ end }}: events wait in the services while it is away. events.kafka.mode strimzi or external for more.
{{- end }}
{{- if .Values.demo.enabled }}
- Demo users alice, bob and carol can sign in (demo.enabled).
{{- end }}
{{- if not .Values.networkPolicy.enabled }}
- There are no NetworkPolicies: every pod of the cluster reaches the store{{ if eq .Values.events.driver "kafka" }} and Kafka{{ end }} (networkPolicy.enabled).
{{- end }}
{{- if include "parley.anyHostNetwork" . }}
- Pods with the network of their node are not allowed in a namespace that enforces the restricted pod security standard: label it pod-security.kubernetes.io/enforce=privileged.
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.nodeCidrs) }}
- Pods with the network of their node are known by its address: until networkPolicy.nodeCidrs names those, ports of services that they use are open to every pod, guarded by mutual TLS and passwords alone.
{{- end }}
{{- end }}
{{- range include "parley.clientPorts" . | fromJsonArray }}
{{- if and (lt (int .container) 1024) (eq (include "parley.exposureType" (dict "root" $ "group" .group)) "HostNetwork") }}
- {{ .name }} is port {{ int .container }} of the node, which a process without privileges may open only where the node's net.ipv4.ip_unprivileged_port_start is {{ int .container }} or less.
{{- end }}
{{- end }}
{{- if and .Values.tracing.jaeger.enabled .Values.tracing.endpoint }}
- Traces go to {{ .Values.tracing.endpoint }}; the bundled Jaeger gets none.
{{- end }}
{{- end }}
