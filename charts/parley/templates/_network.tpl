{{/* Parts of NetworkPolicies. Every peer is a pod of this release, clients, or nodes. */}}

{{/* Pods of this release that have one of some labels. Takes {root, labels}. */}}
{{- define "parley.pods" -}}
{{- range .labels }}
- podSelector:
    matchLabels:
      app.kubernetes.io/name: {{ include "parley.name" $.root }}
      app.kubernetes.io/instance: {{ $.root.Release.Name }}
      {{ . }}: "true"
{{- end }}
{{- end }}

{{/* Whether some process has the network of its node, where policies know it by the node's address alone. */}}
{{- define "parley.anyHostNetwork" -}}
{{- range include "parley.processes" . | fromJsonArray }}{{ if .hostNetwork }}yes{{ end }}{{ end }}
{{- end }}

{{/* `from` of nodes: nothing, which is anybody, unless their networks are known. */}}
{{- define "parley.fromNodes" -}}
{{- with .Values.networkPolicy.nodeCidrs -}}
from:
  {{- range . }}
  - ipBlock: {cidr: {{ . | quote }}}
  {{- end }}
{{- end }}
{{- end }}

{{/* `from` of pods and of nodes, for callers with the network of their node. Takes {root, callers}. */}}
{{- define "parley.fromNodesAnd" -}}
{{- with include "parley.fromNodes" .root -}}
{{ . }}
  {{- include "parley.pods" (dict "root" $.root "labels" $.callers) | nindent 2 }}
{{- end }}
{{- end }}

{{/* The rule for gRPC of a process: from the services that call one of its own. Takes {root, process, where}. */}}
{{- define "parley.fromCallers" -}}
{{- $callers := list }}
{{- range .process.services }}
  {{- $callers = concat $callers (include "parley.callers" (dict "root" $.root "service" .) | fromJsonArray) }}
{{- end }}
{{- $labels := list }}
{{- $host := false }}
{{- range $callers | uniq }}
  {{- if or (eq . "selftest") (hasKey $.where .) }}
    {{- $labels = append $labels (printf "parley-service-%s" .) }}
    {{- if (get $.where . | default dict).hostNetwork }}{{ $host = true }}{{ end }}
  {{- end }}
{{- end }}
{{- if $labels }}
- ports: [{protocol: TCP, port: {{ int .process.ports.rpc }}}]
  {{- if $host }}
  {{- include "parley.fromNodesAnd" (dict "root" .root "callers" $labels) | nindent 2 }}
  {{- else }}
  from:
    {{- include "parley.pods" (dict "root" .root "labels" $labels) | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* A service as one to send to. Takes {root, service, where}. */}}
{{- define "parley.peer" -}}
{{- if (get .where .service).hostNetwork }}
{{- range .root.Values.networkPolicy.nodeCidrs | default (list "0.0.0.0/0" "::/0") }}
- ipBlock: {cidr: {{ . | quote }}}
{{- end }}
{{- else }}
{{- include "parley.pods" (dict "root" .root "labels" (list (printf "parley-service-%s" .service))) }}
{{- end }}
{{- end }}

{{/* Rules for gRPC to services, one for each port. Takes {root, called, where}. */}}
{{- define "parley.toServices" -}}
{{- $ports := dict }}
{{- range .called }}
  {{- if hasKey $.where . }}
    {{- $port := int (get $.where .).ports.rpc | toString }}
    {{- $_ := set $ports $port (append (get $ports $port | default list) .) }}
  {{- end }}
{{- end }}
{{- range $port, $services := $ports }}
- ports: [{protocol: TCP, port: {{ $port }}}]
  to:
    {{- range $services }}
    {{- include "parley.peer" (dict "root" $.root "service" . "where" $.where) | nindent 4 }}
    {{- end }}
{{- end }}
{{- end }}

{{/* Rules for what every process needs: names, the store, events, traces. Takes the root. */}}
{{- define "parley.toPlatform" -}}
- to: {{ toJson .Values.networkPolicy.dns }}
  ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
{{- $engines := include "parley.engines" . | fromJsonArray }}
{{- range $engines }}
- to: [{podSelector: {matchLabels: {{ include "parley.selector" (dict "root" $ "component" .name) | fromYaml | toJson }}}}]
  ports: [{protocol: TCP, port: {{ int .port }}}]
{{- end }}
{{- if eq .Values.redis.mode "external" }}
{{- $external := .Values.redis.external }}
{{ include "parley.toOutside" (dict "addresses" (append $external.sentinels $external.url | compact) "usual" 6379 "egress" $external.egress) }}
{{- end }}
{{- if eq .Values.events.driver "kafka" }}
{{- $kafka := .Values.events.kafka }}
{{- if eq $kafka.mode "external" }}
{{ include "parley.toOutside" (dict "addresses" $kafka.external.servers "usual" 9092 "egress" $kafka.external.egress) }}
{{- else if eq $kafka.mode "strimzi" }}
- to: [{podSelector: {matchLabels: {strimzi.io/cluster: {{ include "parley.fullname" . }}-kafka}}}]
  ports: [{protocol: TCP, port: 9093}]
{{- end }}
{{- end }}
{{- with .Values.tracing.endpoint }}
{{ include "parley.toOutside" (dict "addresses" (list .) "usual" 4317 "egress" dict) }}
{{- end }}
{{- end }}

{{/* The rule for servers of others, by the ports in their addresses. Takes {addresses, usual, egress: {cidrs, ports}}. */}}
{{- define "parley.toOutside" -}}
{{- $ports := .egress.ports | default list }}
{{- range .addresses }}
  {{- $found := regexFind ":[0-9]+(/|$)" . | trimAll ":/" }}
  {{- $ports = append $ports ($found | default $.usual | int) }}
{{- end }}
{{- $numbers := list }}
{{- range $ports }}{{ $numbers = append $numbers (int .) }}{{ end }}
- ports:
    {{- range $numbers | uniq }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .egress.cidrs }}
  to:
    {{- range . }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
  {{- end }}
{{- end }}

{{/* The rule for providers of OpenID Connect, where keys of tokens are fetched. */}}
{{- define "parley.toProviders" -}}
{{- $urls := list }}
{{- range .Values.web.oidc }}{{ $urls = concat $urls (list .issuer (.jwks_url | default "") | compact) }}{{ end }}
{{- with $urls }}
# providers of OpenID Connect
{{ include "parley.toOutside" (dict "addresses" . "usual" 443 "egress" $.Values.web.egress) }}
{{- end }}
{{- end }}

{{/* The rule for directory servers. */}}
{{- define "parley.toDirectoryServers" -}}
{{- $urls := list }}
{{- range .Values.directory.ldap }}
  {{- $usual := hasPrefix "ldaps:" .url | ternary 636 389 }}
  {{- $urls = append $urls (regexMatch ":[0-9]+(/|$)" .url | ternary .url (printf "%s:%d" (trimSuffix "/" .url) $usual)) }}
{{- end }}
{{- with $urls }}
# directory servers
{{ include "parley.toOutside" (dict "addresses" . "usual" 389 "egress" $.Values.directory.egress) }}
{{- end }}
{{- end }}

{{/* `from` of clients and of pods that come in by the same ports: nothing, which is anybody, when clients may be anywhere.
Networks of clients are not those of pods, so pods are named. Takes {root, labels}. */}}
{{- define "parley.fromClientsAnd" -}}
{{- if not (has "0.0.0.0/0" .root.Values.networkPolicy.clientCidrs) -}}
from:
  {{- range .root.Values.networkPolicy.clientCidrs }}
  - ipBlock: {cidr: {{ . | quote }}}
  {{- end }}
  {{- include "parley.pods" . | nindent 2 }}
{{- end }}
{{- end }}

{{/* `ports` with every relay port. */}}
{{- define "parley.relayPorts" -}}
ports:
  {{- range list "UDP" "TCP" }}
  - {protocol: {{ . }}, port: {{ int $.Values.exposure.turn.relay.first }}, endPort: {{ int $.Values.exposure.turn.relay.last }}}
  {{- end }}
{{- end }}

{{/* Clients to send to. Exceptions have to be within the network that they are excepted from. */}}
{{- define "parley.toClients" -}}
{{- range $cidr := .Values.networkPolicy.clientCidrs }}
{{- $except := list }}
{{- range $.Values.networkPolicy.clientCidrsExcept }}
  {{- if or (and (eq $cidr "0.0.0.0/0") (not (contains ":" .))) (and (eq $cidr "::/0") (contains ":" .)) }}{{ $except = append $except . }}{{ end }}
{{- end }}
- ipBlock:
    cidr: {{ $cidr | quote }}
    {{- with $except }}
    except: {{ toJson . }}
    {{- end }}
{{- end }}
{{- end }}

{{/* Whether users may call other domains. */}}
{{- define "parley.callsOutside" -}}
{{- dig "frontend" "outbound" "domains" list .Values.config | empty | ternary "" "yes" }}
{{- end }}

{{/* The engines that run here, as a JSON list of {name, port, nodes, jobs}: the port of processes, that of probes beside it, and
that of Jobs alone. */}}
{{- define "parley.engines" -}}
{{- $engines := list }}
{{- if eq .Values.redis.mode "embedded" }}
  {{- $engines = append $engines (dict "name" "valkey" "port" 6379) }}
{{- end }}
{{- if and (eq .Values.events.driver "kafka") (eq .Values.events.kafka.mode "embedded") }}
  {{- $engines = append $engines (dict "name" "kafka" "port" 9092) }}
{{- end }}
{{- if .Values.tracing.jaeger.enabled }}
  {{- $engines = append $engines (dict "name" "jaeger" "port" 4317 "nodes" 13133 "jobs" 16686) }}
{{- end }}
{{- toJson $engines }}
{{- end }}
