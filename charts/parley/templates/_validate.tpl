{{/*
Values that contradict each other, or lack something: each is one sentence that says what to change. What the schema can say
(types, names, ranges) is not repeated here. Collected, so that all of them are told at once.
*/}}

{{- define "parley.problems" -}}
{{- range list "services" "exposure" "nodePorts" "relay" "secrets" "tls" "redis" "events" "scaling" "config" }}
{{- include (printf "parley.problems.%s" .) $ }}
{{- end }}
{{- end }}

{{- define "parley.problems.services" -}}
{{- $services := .Values.services }}
{{- range list "frontend" "registrar" "addressbook" }}
{{- if not (get $services .).enabled }}
- services.{{ . }}.enabled is false, but nobody can sign in without it: set it to true.
{{- end }}
{{- end }}
{{- if ne $services.conference.enabled $services.immcu.enabled }}
- services.conference and services.immcu go together: enable both or neither.
{{- end }}
{{- end }}

{{- define "parley.problems.exposure" -}}
{{- $exposure := .Values.exposure }}
{{- $types := dict }}
{{- range list "sip" "https" "turn" }}{{ $_ := set $types . (include "parley.exposureType" (dict "root" $ "group" .)) }}{{ end }}
{{- if and (eq .Values.layout "together") (has "HostNetwork" (values $types)) (gt (len (values $types | uniq)) 1) }}
- with layout together, sip, https and turn are in one pod: give exposure.sip.type, exposure.https.type and exposure.turn.type all HostNetwork, or none, or take layout separate.
{{- end }}
{{- if has "Gateway" (values $types) }}
{{- if and $exposure.gateway.create (not $exposure.gateway.className) }}
- exposure.gateway.create needs exposure.gateway.className: the GatewayClass that is to make it.
{{- end }}
{{- if and $exposure.gateway.create $exposure.gateway.namespace (ne $exposure.gateway.namespace .Release.Namespace) }}
- exposure.gateway.create makes the Gateway in the namespace of the release, but routes would look for it in exposure.gateway.namespace: leave that empty, or set exposure.gateway.create to false and exposure.gateway.name to the Gateway that is there.
{{- end }}
{{- if and (not $exposure.gateway.create) (not $exposure.gateway.name) }}
- an exposure of type Gateway needs exposure.gateway.name, or exposure.gateway.create.
{{- end }}
{{- range $group, $type := $types }}
{{- if and (eq $type "Gateway") $exposure.gateway.tlsRoutes (not (include "parley.publicName" (dict "root" $ "group" $group))) }}
- exposure.gateway.tlsRoutes finds the way by the name that clients ask for: set publicName, or exposure.{{ $group }}.publicName.
{{- end }}
{{- end }}
{{- end }}
{{- if and $exposure.sip.ports.peers.enabled (not (or $exposure.sip.peers.ca.value $exposure.sip.peers.ca.existingSecret)) }}
- exposure.sip.ports.peers.enabled needs the CA of trusted servers: set exposure.sip.peers.ca.value or exposure.sip.peers.ca.existingSecret.
{{- end }}
{{- $sip := false }}
{{- range $exposure.sip.ports }}{{ if .enabled }}{{ $sip = true }}{{ end }}{{ end }}
{{- if not $sip }}
- every port of exposure.sip.ports is off, so no client can sign in: enable one.
{{- end }}
{{- if and .Values.services.web.enabled (not $exposure.https.ports.https.enabled) }}
- exposure.https.ports.https.enabled is false, and the service web has no other port: enable it, or set services.web.enabled to false.
{{- end }}
{{- $turn := false }}
{{- range $exposure.turn.ports }}{{ if .enabled }}{{ $turn = true }}{{ end }}{{ end }}
{{- if and .Values.services.avedge.enabled (not $turn) }}
- every port of exposure.turn.ports is off, and the service avedge has no other: enable one, or set services.avedge.enabled to false.
{{- end }}
{{- include "parley.problems.samePorts" . }}
{{- end }}

{{/*
Two ports with one number where it can be had once: in a pod, on a node (by pods that are sent to the same ones), in a Service,
in a Gateway. `taken` has who has a number at a place, as {what, process}.
*/}}
{{- define "parley.problems.samePorts" -}}
{{- $where := include "parley.whereabouts" . | fromJson }}
{{- $taken := dict }}
{{- range $process := include "parley.processes" . | fromJsonArray }}
{{- range $name, $port := $process.ports }}
{{- $who := dict "what" (printf "the port for %s" $name) "process" $process.name }}
{{- $_ := set $taken (printf "%s TCP %d" (include "parley.portPlace" $process) (int $port)) $who }}
{{- end }}
{{- end }}
{{- range $port := include "parley.clientPorts" . | fromJsonArray }}
{{- $process := get $where .service }}
{{- $who := dict "what" (printf "exposure.%s.ports.%s" .group .key) "process" $process.name }}
{{- $claims := list (dict "at" (include "parley.portPlace" $process) "number" .container "place" "") (dict "at" (printf "group %s" .group) "number" .port "place" "of the same Service") }}
{{- if and $.Values.exposure.gateway.create (eq (include "parley.exposureType" (dict "root" $ "group" .group)) "Gateway") }}
{{- $claims = append $claims (dict "at" "gateway" "number" .port "place" "of the same Gateway") }}
{{- end }}
{{- $told := "" }}
{{- range $claims }}
{{- $number := printf "%s %d" $port.protocol (int .number) }}
{{- $key := printf "%s %s" .at $number }}
{{- $other := get $taken $key }}
{{- if and $other (not $told) }}
{{- $told = "yes" }}
- {{ $who.what }} is {{ $number }}, and so is {{ $other.what }} {{ .place | default (eq $other.process $process.name | ternary "of the same pod" "of another pod on the same node") }}: give it another number.
{{- end }}
{{- $_ := set $taken $key $who }}
{{- end }}
{{- end }}
{{- end }}

{{/* Where a process has its ports: on the nodes that it is sent to, or in its pod. Takes a process. */}}
{{- define "parley.portPlace" -}}
{{- if .hostNetwork -}}
nodes {{ list .settings.nodeSelector .settings.affinity | toJson }}
{{- else -}}
pod {{ .name }}
{{- end -}}
{{- end }}

{{/* Node ports: Kubernetes gives each number to one Service alone, whatever the protocol. */}}
{{- define "parley.problems.nodePorts" -}}
{{- $taken := dict }}
{{- range include "parley.clientPorts" . | fromJsonArray }}
{{- if eq (include "parley.exposureType" (dict "root" $ "group" .group)) "NodePort" }}
{{- $path := printf "exposure.%s.ports.%s.nodePort" .group .key }}
{{- $number := int .nodePort | toString }}
{{- if not (int .nodePort) }}
- {{ $path }} is not set: clients have to be told the port, so it cannot be left to Kubernetes.
{{- else if or (lt (int .nodePort) 30000) (gt (int .nodePort) 32767) }}
- {{ $path }} is {{ $number }}, which is no node port: take one of 30000 to 32767.
{{- else }}
{{- with get $taken $number }}
- {{ $path }} is {{ $number }}, and so is {{ . }}: each node port can be had once.
{{- end }}
{{- end }}
{{- $_ := set $taken $number $path }}
{{- end }}
{{- end }}
{{- end }}

{{- define "parley.problems.relay" -}}
{{- $turn := .Values.exposure.turn }}
{{- $relay := $turn.relay }}
{{- $type := include "parley.exposureType" (dict "root" . "group" "turn") }}
{{- $first := int $relay.first }}
{{- $last := int $relay.last }}
{{- if .Values.services.avedge.enabled }}
{{- if or (mod $first 2) (not (mod $last 2)) (gt $first $last) }}
- exposure.turn.relay.first and .last: the range begins with an even port and ends with a higher odd one, as 49152 and 65535.
{{- end }}
{{- if and (eq $relay.mode "node") (ne $type "HostNetwork") }}
- exposure.turn.relay.mode node needs exposure.turn.type HostNetwork: relay ports of a pod with a network of its own are not at the node.
{{- end }}
{{- if and (eq $type "HostNetwork") (has $relay.mode (list "pod" "service")) }}
- exposure.turn.relay.mode {{ $relay.mode }} contradicts exposure.turn.type HostNetwork, with which relay ports are at the node: take auto.
{{- end }}
{{- if eq $relay.mode "service" }}
{{- $process := get (include "parley.whereabouts" . | fromJson) "avedge" }}
{{- if not (has $type (list "LoadBalancer" "NodePort")) }}
- exposure.turn.relay.mode service needs exposure.turn.type LoadBalancer or NodePort.
{{- end }}
{{- if or $process.settings.autoscaling.enabled (gt (int $process.settings.replicas) 1) }}
- exposure.turn.relay.mode service needs one pod that has all relay ports: one replica of {{ $process.name }}, without autoscaling. HostNetwork is the way for more.
{{- end }}
{{- if gt (sub $last $first | int) 399 }}
- exposure.turn.relay.mode service makes a Service port of each relay port: give a range of at most 400 ports in exposure.turn.relay.first and .last.
{{- end }}
{{- if and (eq $type "NodePort") (or (lt $first 30000) (gt $last 32767)) }}
- with NodePort and exposure.turn.relay.mode service, relay ports are node ports: take exposure.turn.relay.first and .last from 30000 to 32767.
{{- end }}
{{- if and (eq $type "LoadBalancer") (not $turn.advertised) }}
- with LoadBalancer and exposure.turn.relay.mode service, the relay has to know the balancer's address: set exposure.turn.advertised (and exposure.turn.loadBalancerIP).
{{- end }}
{{- range include "parley.clientPorts" . | fromJsonArray }}
{{- if and (eq $type "NodePort") (ge (int .nodePort) $first) (le (int .nodePort) $last) }}
- exposure.{{ .group }}.ports.{{ .key }}.nodePort is {{ int .nodePort }}, which is among the relay ports: each node port can be had once.
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "parley.problems.secrets" -}}
{{- $values := .Values }}
{{- $paths := dict
  "masterKey" $values.masterKey "previousMasterKey" $values.previousMasterKey "demo.password" $values.demo.password
  "exposure.sip.peers.ca" $values.exposure.sip.peers.ca "exposure.turn.sharedSecret" $values.exposure.turn.sharedSecret
  "redis.embedded.password" $values.redis.embedded.password "redis.external.password" $values.redis.external.password
  "redis.external.sentinelPassword" $values.redis.external.sentinelPassword "redis.external.tls.ca" $values.redis.external.tls.ca
  "events.kafka.external.tls.ca" $values.events.kafka.external.tls.ca
  "events.kafka.external.sasl.password" $values.events.kafka.external.sasl.password "web.scim.token" $values.web.scim.token }}
{{- range $path, $secret := $paths }}
{{- if and $secret.value $secret.existingSecret }}
- {{ $path }} has a value and an existingSecret: which of them counts? Give one.
{{- end }}
{{- end }}
{{- range $path := list "masterKey" "previousMasterKey" }}
{{- $value := (get $values $path).value }}
{{- if and $value (not (regexMatch "^[0-9a-fA-F]{64}$" $value)) }}
- {{ $path }}.value is not 64 hexadecimal digits: make one with `openssl rand -hex 32`.
{{- end }}
{{- end }}
{{- if and $values.demo.enabled (not (or $values.demo.password.value $values.demo.password.existingSecret)) }}
- demo.enabled needs a password for the demo users: set demo.password.value or demo.password.existingSecret.
{{- end }}
{{- if and $values.web.scim.scope (not $values.web.oidc) }}
- web.scim.scope is of tokens of web.oidc, which names nobody who issues them: give a provider, or web.scim.token.
{{- end }}
{{- with $values.web.scim.token.value }}
{{- if lt (len .) 24 }}
- web.scim.token.value has less than 24 characters, so it could be guessed: make one with `openssl rand -hex 32`.
{{- end }}
{{- end }}
{{- $made := include "parley.madeSecrets" . | fromJsonArray }}
{{- if and (not $values.jobs.secrets.enabled) $made }}
- jobs.secrets.enabled is false, so nobody makes {{ join ", " $made }}: give them as value or existing Secret, or certificates by another mode.
{{- end }}
{{- end }}

{{- define "parley.problems.tls" -}}
{{- $tls := .Values.tls }}
{{- if and (eq $tls.mode "certManager") (not $tls.certManager.issuerRef.name) }}
- tls.mode certManager needs an issuer: set tls.certManager.issuerRef.name.
{{- end }}
{{- if and (eq $tls.mode "existingSecret") (not $tls.existingSecret.name) }}
- tls.mode existingSecret needs the Secret: set tls.existingSecret.name.
{{- end }}
{{- if and (eq .Values.internalTls.mode "existingSecret") (not .Values.internalTls.existingSecret) }}
- internalTls.mode existingSecret needs the Secret: set internalTls.existingSecret.
{{- end }}
{{- $given := dict
  "tls.certManager.issuerRef.name" (list "tls.mode" $tls.mode "certManager" $tls.certManager.issuerRef.name)
  "tls.existingSecret.name" (list "tls.mode" $tls.mode "existingSecret" $tls.existingSecret.name)
  "internalTls.certManager.issuerRef.name" (list "internalTls.mode" .Values.internalTls.mode "certManager" .Values.internalTls.certManager.issuerRef.name)
  "internalTls.existingSecret" (list "internalTls.mode" .Values.internalTls.mode "existingSecret" .Values.internalTls.existingSecret) }}
{{- range $path, $row := $given }}
{{- if and (index $row 3) (ne (index $row 1) (index $row 2)) }}
- {{ $path }} is set, but {{ index $row 0 }} is {{ index $row 1 }}, which does not look at it: set {{ index $row 0 }} to {{ index $row 2 }}, or take it out.
{{- end }}
{{- end }}
{{- end }}

{{/* What is given for TLS that is not switched on, so that all would go unencrypted. Takes {path, tls}. */}}
{{- define "parley.problems.unusedTls" -}}
{{- $given := list }}
{{- if or .tls.ca.value .tls.ca.existingSecret }}{{ $given = append $given "ca" }}{{ end }}
{{- range list "clientSecret" "serverName" }}{{ if get $.tls . }}{{ $given = append $given . }}{{ end }}{{ end }}
{{- if and $given (not .tls.enabled) }}
- {{ .path }}.{{ first $given }} is set, but {{ .path }}.enabled is false, so there would be no TLS: set it to true, or take {{ .path }}.{{ join " and " $given }} out.
{{- end }}
{{- end }}

{{- define "parley.problems.redis" -}}
{{- $external := .Values.redis.external }}
{{- include "parley.problems.unusedTls" (dict "path" "redis.external.tls" "tls" $external.tls) }}
{{- $here := eq .Values.redis.mode "embedded" }}
{{- if $here }}
{{- if or $external.url $external.sentinels }}
- redis.external has an address, but redis.mode is embedded: set redis.mode to external, or take the address out.
{{- end }}
{{- if $external.tls.enabled }}
- redis.external.tls.enabled is true, but redis.mode is embedded: set redis.mode to external, or redis.external.tls.enabled to false.
{{- end }}
{{- else }}
{{- if and $external.url $external.sentinels }}
- redis.external.url and redis.external.sentinels exclude each other: Sentinels say where the server is.
{{- end }}
{{- if not (or $external.url $external.sentinels) }}
- redis.mode external needs an address: set redis.external.url or redis.external.sentinels.
{{- end }}
{{- if and $external.cluster $external.sentinels }}
- redis.external.cluster has no Sentinels: give redis.external.url with one node of the cluster.
{{- end }}
{{- if and $external.url (not (regexMatch "^rediss?://[^/@]+(/[0-9]*)?$" $external.url)) }}
- redis.external.url is not of the form redis://host:port/0 or rediss://host:port/0; user and password have keys of their own.
{{- end }}
{{- if and $external.username (not (or $external.password.value $external.password.existingSecret)) }}
- redis.external.username needs redis.external.password.
{{- end }}
{{- end }}
{{- end }}

{{- define "parley.problems.events" -}}
{{- $events := .Values.events }}
{{- $external := $events.kafka.external }}
{{- if and (eq $events.driver "redis") (or $external.servers (ne $events.kafka.mode "embedded")) }}
- events.kafka is set up, but events.driver is redis: set events.driver to kafka.
{{- end }}
{{- include "parley.problems.unusedTls" (dict "path" "events.kafka.external.tls" "tls" $external.tls) }}
{{- if and (not $external.sasl.enabled) (or $external.sasl.username $external.sasl.password.value $external.sasl.password.existingSecret) }}
- events.kafka.external.sasl has a username or a password, but events.kafka.external.sasl.enabled is false, so nobody would sign in: set it to true, or take them out.
{{- end }}
{{- if ne $events.kafka.mode "external" }}
{{- range $name := list "tls" "sasl" }}
{{- if (get $external $name).enabled }}
- events.kafka.external.{{ $name }}.enabled is true, but events.kafka.mode is {{ $events.kafka.mode }}: set it to external, or events.kafka.external.{{ $name }}.enabled to false.
{{- end }}
{{- end }}
{{- end }}
{{- if eq $events.driver "kafka" }}
{{- if and (eq $events.kafka.mode "external") (not $external.servers) }}
- events.kafka.mode external needs brokers: set events.kafka.external.servers.
{{- end }}
{{- range $external.servers }}
{{- if not (regexMatch "^[^/@]+:[0-9]+$" .) }}
- events.kafka.external.servers: {{ . }} is not of the form host:port.
{{- end }}
{{- end }}
{{- if and (ne $events.kafka.mode "external") $external.servers }}
- events.kafka.external.servers is set, but events.kafka.mode is {{ $events.kafka.mode }}: set it to external.
{{- end }}
{{- if $external.sasl.enabled }}
{{- if not (and $external.sasl.username (or $external.sasl.password.value $external.sasl.password.existingSecret)) }}
- events.kafka.external.sasl needs username and password.
{{- end }}
{{- end }}
{{- if and (eq $events.kafka.mode "embedded") (gt (int $events.replication) 1) }}
- events.replication is {{ int $events.replication }}, but the embedded Kafka is one broker: set it to 1.
{{- end }}
{{- if and (eq $events.kafka.mode "strimzi") (gt (int $events.replication) (int $events.kafka.strimzi.brokers)) }}
- events.replication is {{ int $events.replication }}, but there are {{ int $events.kafka.strimzi.brokers }} brokers (events.kafka.strimzi.brokers).
{{- end }}
{{- end }}
{{- end }}

{{- define "parley.problems.scaling" -}}
{{- range $process := include "parley.processes" . | fromJsonArray }}
{{- $path := printf "%s.%s" (eq $.Values.layout "together" | ternary "together" "services") $process.name }}
{{- with $process.settings.autoscaling }}
{{- if .enabled }}
{{- if gt (int .minReplicas) (int .maxReplicas) }}
- {{ $path }}.autoscaling: minReplicas {{ int .minReplicas }} is more than maxReplicas {{ int .maxReplicas }}.
{{- end }}
{{- if not (or .cpu .podMetric.enabled) }}
- {{ $path }}.autoscaling looks at nothing: set cpu, or enable podMetric.
{{- end }}
{{- if and .podMetric.enabled (not .podMetric.name) }}
- {{ $path }}.autoscaling.podMetric needs the name of a metric.
{{- end }}
{{- if and .cpu (not (dig "requests" "cpu" "" $process.settings.resources)) }}
- {{ $path }}.autoscaling.cpu is a share of what pods request: set {{ $path }}.resources.requests.cpu.
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if eq .Values.layout "together" }}
{{- range $name, $service := .Values.services }}
{{- if or (gt (int ($service.replicas | default 1)) 1) (dig "autoscaling" "enabled" false $service) }}
- services.{{ $name }} asks for more than one pod, but with layout together its process counts: see together.edge and together.core.
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Secrets would be in a ConfigMap, and ports and addresses would differ from those of Services. */}}
{{- define "parley.problems.config" -}}
{{- $secrets := dict
  "platform.master_key" "masterKey" "platform.redis.password" "redis.external.password"
  "platform.redis.sentinel_password" "redis.external.sentinelPassword" "platform.events.kafka_password" "events.kafka.external.sasl.password"
  "addressbook.demo_password" "demo.password" "addressbook.previous_master_key" "previousMasterKey"
  "avedge.credentials.shared_secret" "exposure.turn.sharedSecret" "web.scim.token" "web.scim.token"
  "avedge.credentials.users" "PARLEY_AVEDGE_CREDENTIALS__USERS from a Secret, in services.avedge.extraEnv" }}
{{- range $path, $instead := $secrets }}
{{- if include "parley.configHas" (dict "config" $.Values.config "path" $path) }}
- config.{{ $path }} would put a secret into a ConfigMap: use {{ $instead }}.
{{- end }}
{{- end }}
{{- $computed := dict
  "frontend.ports" "exposure.sip.ports" "avedge.ports" "exposure.turn.ports" "avedge.relay" "exposure.turn.relay" "web.port" "exposure.https.ports"
  "platform.rpc" "nothing: it is computed" "platform.metrics_port" "nothing: it is computed" "platform.health_port" "nothing: it is computed"
  "web.oidc" "web.oidc" "addressbook.directory.ldap" "directory.ldap"
  "platform.redis" "redis" "platform.events.driver" "events.driver" "platform.events.kafka_servers" "events.kafka" "platform.bind" "bind" "platform.drain_seconds" "drainSeconds of services and processes"
  "frontend.drain_seconds" "services.frontend.drainSeconds" "avedge.drain_seconds" "services.avedge.drainSeconds" }}
{{- range $path, $instead := $computed }}
{{- if include "parley.configHas" (dict "config" $.Values.config "path" $path) }}
- config.{{ $path }} would contradict what the chart makes around it: use {{ $instead }}.
{{- end }}
{{- end }}
{{- end }}

{{/* Whether a key is set somewhere below `config`. Takes {config, path}. */}}
{{- define "parley.configHas" -}}
{{- $here := .config }}
{{- $found := "yes" }}
{{- range splitList "." .path }}
  {{- if and (kindIs "map" $here) (hasKey $here .) }}{{ $here = get $here . }}{{ else }}{{ $found = "" }}{{ $here = "" }}{{ end }}
{{- end }}
{{- $found }}
{{- end }}
