{{/* How clients get in: types, names and ports of the groups sip, https and turn. */}}

{{/* Takes {root, group}. */}}
{{- define "parley.exposureType" -}}
{{ (get .root.Values.exposure .group).type | default .root.Values.exposure.type }}
{{- end }}

{{/* The name that clients use, or nothing. Takes {root, group}. */}}
{{- define "parley.publicName" -}}
{{ (get .root.Values.exposure .group).publicName | default .root.Values.publicName }}
{{- end }}

{{/* Whether clients come to an address of the node itself. Takes {root, group}. */}}
{{- define "parley.atNode" -}}
{{ has (include "parley.exposureType" .) (list "HostNetwork" "NodePort") | ternary "yes" "" }}
{{- end }}

{{/*
The ports of clients that are enabled, as a JSON list of
{name, service, group, key, protocol, named, expose, port, nodePort, container, public}.
`named`: clients ask for a name in TLS (SNI), as browsers do and phones do not. `expose`: the Service that has it.
`container`: what the pod listens on. `public`: what clients connect to.
The A/V edge tells clients the ports that it is bound to, so it is bound to the public ones.
*/}}
{{- define "parley.clientPorts" -}}
{{- $table := list
  (dict "name" "sip-udp"    "service" "frontend" "group" "sip"   "key" "udp"   "protocol" "UDP" "expose" "sip-udp"   "bound" 5060)
  (dict "name" "sip-tcp"    "service" "frontend" "group" "sip"   "key" "tcp"   "protocol" "TCP" "expose" "sip-tcp"   "bound" 5060)
  (dict "name" "sip-tls"    "service" "frontend" "group" "sip"   "key" "tls"   "protocol" "TCP" "expose" "sip-tls"   "bound" 5061)
  (dict "name" "sip-ws"     "service" "frontend" "group" "sip"   "key" "ws"    "protocol" "TCP" "expose" "sip-ws"    "bound" 5066)
  (dict "name" "sip-wss"    "service" "frontend" "group" "sip"   "key" "wss"   "protocol" "TCP" "expose" "sip-wss"   "bound" 7443 "named" true)
  (dict "name" "sip-peers"  "service" "frontend" "group" "sip"   "key" "peers" "protocol" "TCP" "expose" "sip-peers" "bound" 5063)
  (dict "name" "https"      "service" "web"      "group" "https" "key" "https" "protocol" "TCP" "expose" "https"     "bound" 8443 "named" true)
  (dict "name" "turn-udp"   "service" "avedge"   "group" "turn"  "key" "udp"   "protocol" "UDP" "expose" "turn-udp")
  (dict "name" "turn-dtls"  "service" "avedge"   "group" "turn"  "key" "dtls"  "protocol" "UDP" "expose" "turn-udp")
  (dict "name" "turn-tcp"   "service" "avedge"   "group" "turn"  "key" "tcp"   "protocol" "TCP" "expose" "turn-tcp")
  (dict "name" "turn-tls"   "service" "avedge"   "group" "turn"  "key" "tls"   "protocol" "TCP" "expose" "turn-tcp" "named" true)
  (dict "name" "turn-https" "service" "avedge"   "group" "turn"  "key" "https" "protocol" "TCP" "expose" "turn-tcp") }}
{{- $running := include "parley.services" . | fromJsonArray }}
{{- $ports := list }}
{{- range $row := $table }}
  {{- $exposed := get $.Values.exposure $row.group }}
  {{- $values := get $exposed.ports $row.key }}
  {{- if $exposed.oneService }}{{ $_ := set $row "expose" (printf "%s-all" $row.group) }}{{ end }}
  {{- if and $values.enabled (has $row.service $running) }}
    {{- $type := include "parley.exposureType" (dict "root" $ "group" $row.group) }}
    {{- $public := int (eq $type "NodePort" | ternary $values.nodePort $values.port) }}
    {{- $container := int (or (eq $row.group "turn") (eq $type "HostNetwork") | ternary $public $row.bound) }}
    {{- $ports = append $ports (merge (dict
      "port" (int $values.port) "nodePort" (int $values.nodePort) "public" $public "container" $container
      "named" (get $row "named" | default false)) $row) }}
  {{- end }}
{{- end }}
{{- toJson $ports }}
{{- end }}

{{/* Whether there is a pod of `helm test`, which signs in as a phone does: not over WebSocket. */}}
{{- define "parley.selftest" -}}
{{- $phones := false }}
{{- range include "parley.clientPorts" . | fromJsonArray }}{{ if has .name (list "sip-udp" "sip-tcp" "sip-tls") }}{{ $phones = true }}{{ end }}{{ end }}
{{- and .Values.jobs.test.enabled $phones | ternary "yes" "" }}
{{- end }}

{{/* How peers reach relay ports: node, service or pod. */}}
{{- define "parley.relayMode" -}}
{{- $mode := .Values.exposure.turn.relay.mode -}}
{{- $atNode := eq (include "parley.exposureType" (dict "root" . "group" "turn")) "HostNetwork" -}}
{{ eq $mode "auto" | ternary ($atNode | ternary "node" "pod") $mode }}
{{- end }}

{{/* The name inside the cluster by which pods reach the front ends, on every SIP port. */}}
{{- define "parley.sipHost" -}}
{{ include "parley.host" (dict "root" . "name" (printf "%s-sip" (include "parley.fullname" .))) }}
{{- end }}

{{/* Names in the certificate that clients see, as a JSON list. */}}
{{- define "parley.certificateNames" -}}
{{- $full := include "parley.fullname" . }}
{{- $names := list }}
{{- range list "sip" "https" "turn" }}
  {{- $names = append $names (include "parley.publicName" (dict "root" $ "group" .)) }}
{{- end }}
{{- $names = concat $names .Values.domains .Values.tls.extraNames }}
{{- if eq .Values.tls.mode "development" }}
  {{- range list "sip" "https" "turn-udp" "turn-tcp" }}
    {{- $names = append $names (include "parley.host" (dict "root" $ "name" (printf "%s-%s" $full .))) }}
  {{- end }}
{{- end }}
{{- toJson ($names | compact | uniq) }}
{{- end }}

{{/* Which pods a Service is for: those that run a service. Takes {root, service}. */}}
{{- define "parley.serviceSelector" -}}
selector:
  app.kubernetes.io/name: {{ include "parley.name" .root }}
  app.kubernetes.io/instance: {{ .root.Release.Name }}
  parley-service-{{ .service }}: "true"
{{- end }}

{{/* A Service for clients, but for its ports. Takes {root, type, values, service, udp}. */}}
{{- define "parley.outerService" -}}
{{- $exposure := .root.Values.exposure -}}
type: {{ has .type (list "LoadBalancer" "NodePort") | ternary .type "ClusterIP" }}
{{- if has .type (list "LoadBalancer" "NodePort") }}
externalTrafficPolicy: {{ $exposure.externalTrafficPolicy }}
{{- end }}
{{- if eq .type "LoadBalancer" }}
{{- with $exposure.loadBalancerClass }}
loadBalancerClass: {{ . }}
{{- end }}
{{- with .values.loadBalancerIP }}
loadBalancerIP: {{ . }}
{{- end }}
{{- with $exposure.loadBalancerSourceRanges }}
loadBalancerSourceRanges: {{ toJson . }}
{{- end }}
{{- end }}
{{- with $exposure.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{ include "parley.serviceSelector" (dict "root" .root "service" .service) }}
{{- if .udp }}
sessionAffinity: ClientIP
sessionAffinityConfig: {clientIP: {timeoutSeconds: {{ int $exposure.affinitySeconds }}}}
{{- end }}
{{- end }}
