{{/*
parley.yaml of each process: its own sections, computed from the values, with `config` laid over them.
Each takes {root, process}; `process` has {name, services, settings, ports}.
*/}}

{{- define "parley.config.platform" -}}
{{- $values := .root.Values -}}
{{- $address := contains ":" $values.bind | ternary (printf "[%s]" $values.bind) $values.bind -}}
data: /var/lib/parley
bind: {{ $values.bind | quote }}
master_key_file: {{ include "parley.secretFile" (dict "purpose" "master-key" "file" "master-key") }}
trace_ratio: {{ $values.tracing.ratio }}
metrics_port: {{ int .process.ports.metrics }}
health_port: {{ int .process.ports.health }}
drain_seconds: {{ int .process.settings.drainSeconds }}
log: {level: {{ $values.log.level }}, format: {{ $values.log.format }}}
rpc:
  {{- if .process.ports.rpc }}
  listen: [{{ printf "%s:%d" $address (int .process.ports.rpc) | quote }}]
  {{- end }}
  targets: {{ include "parley.targets" (dict "root" .root "services" .process.services) }}
  tls:
    certificate: {{ include "parley.secretFile" (dict "purpose" "internal-tls" "file" "tls.crt") }}
    key: {{ include "parley.secretFile" (dict "purpose" "internal-tls" "file" "tls.key") }}
    ca: {{ include "parley.secretFile" (dict "purpose" "internal-tls" "file" "ca.crt") }}
    server_name: {{ $values.internalTls.serverName }}
redis:
  {{- include "parley.config.redis" . | nindent 2 }}
events:
  {{- include "parley.config.events" . | nindent 2 }}
{{- end }}

{{- define "parley.config.redis" -}}
{{- $redis := .root.Values.redis -}}
{{- $secrets := include "parley.secrets" .root | fromJson -}}
{{- if eq $redis.mode "embedded" -}}
url: redis://{{ include "parley.host" (dict "root" .root "name" (printf "%s-valkey" (include "parley.fullname" .root))) }}:6379/0
{{- else -}}
{{- $external := $redis.external -}}
replicas: {{ int $external.replicas }}
{{- with $external.url }}
url: {{ . | quote }}
{{- end }}
{{- with $external.sentinels }}
sentinels: {{ toJson . }}
master: {{ $external.master | quote }}
{{- end }}
{{- if $external.cluster }}
cluster: true
{{- end }}
{{- with $external.username }}
username: {{ . | quote }}
{{- end }}
{{- with $external.sentinelUsername }}
sentinel_username: {{ . | quote }}
{{- end }}
{{- if hasKey $secrets "sentinel" }}
sentinel_password_file: {{ include "parley.secretFile" (dict "purpose" "sentinel" "file" "password") }}
{{- end }}
{{- if $external.tls.enabled }}
tls: {{ include "parley.config.clientTls" (dict "secrets" $secrets "prefix" "redis" "tls" $external.tls) }}
{{- end }}
{{- end }}
{{- if hasKey $secrets "redis" }}
password_file: {{ include "parley.secretFile" (dict "purpose" "redis" "file" "password") }}
{{- end }}
{{- end }}

{{- define "parley.config.events" -}}
{{- $events := .root.Values.events -}}
{{- $secrets := include "parley.secrets" .root | fromJson -}}
driver: {{ $events.driver }}
partitions: {{ int $events.partitions }}
replication: {{ int $events.replication }}
{{- if eq $events.driver "kafka" }}
{{- $external := $events.kafka.external }}
kafka_servers: {{ include "parley.kafkaServers" .root }}
{{- if eq $events.kafka.mode "strimzi" }}
kafka_tls: {{ include "parley.config.clientTls" (dict "secrets" $secrets "prefix" "kafka" "tls" (dict "serverName" "")) }}
{{- else if eq $events.kafka.mode "external" }}
{{- if $external.tls.enabled }}
kafka_tls: {{ include "parley.config.clientTls" (dict "secrets" $secrets "prefix" "kafka" "tls" $external.tls) }}
{{- end }}
{{- if $external.sasl.enabled }}
kafka_mechanism: {{ $external.sasl.mechanism }}
kafka_username: {{ $external.sasl.username | quote }}
kafka_password_file: {{ include "parley.secretFile" (dict "purpose" "kafka" "file" "password") }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* TLS to a server that is not Parley's, as JSON. Takes {secrets, prefix, tls}. */}}
{{- define "parley.config.clientTls" -}}
{{- $tls := dict }}
{{- if hasKey .secrets (printf "%s-ca" .prefix) }}
  {{- $_ := set $tls "ca" (include "parley.secretFile" (dict "purpose" (printf "%s-ca" .prefix) "file" "ca.crt")) }}
{{- end }}
{{- if hasKey .secrets (printf "%s-tls" .prefix) }}
  {{- $_ := set $tls "certificate" (include "parley.secretFile" (dict "purpose" (printf "%s-tls" .prefix) "file" "tls.crt")) }}
  {{- $_ := set $tls "key" (include "parley.secretFile" (dict "purpose" (printf "%s-tls" .prefix) "file" "tls.key")) }}
{{- end }}
{{- with .tls.serverName }}{{ $_ := set $tls "server_name" . }}{{ end }}
{{- toJson $tls }}
{{- end }}

{{/* Certificate and key that clients see. */}}
{{- define "parley.config.tls" -}}
certificate: {{ include "parley.secretFile" (dict "purpose" "client-tls" "file" "tls.crt") }}
key: {{ include "parley.secretFile" (dict "purpose" "client-tls" "file" "tls.key") }}
{{- end }}

{{- define "parley.config.frontend" -}}
{{- $values := .root.Values -}}
{{- $secrets := include "parley.secrets" .root | fromJson -}}
{{- $where := dict "root" .root "group" "sip" -}}
{{- $name := include "parley.publicName" $where -}}
{{- $web := include "parley.publicName" (dict "root" .root "group" "https") -}}
{{- $ports := dict "udp" -1 "tcp" -1 "tls" -1 "ws" -1 "wss" -1 "peers" -1 -}}
{{- $public := dict -}}
{{- range include "parley.clientPorts" .root | fromJsonArray -}}
{{- if eq .group "sip" -}}
{{- $_ := set $ports .key (int .container) -}}
{{- if ne (int .public) (int .container) }}{{ $_ := set $public .key (int .public) }}{{ end -}}
{{- end -}}
{{- end -}}
domains: {{ toJson $values.domains }}
ports: {{ toJson $ports }}
{{- with $public }}
advertise_ports: {{ toJson . }}
{{- end }}
{{- if $name }}
advertise: {{ $name | quote }}
{{- else if not (include "parley.atNode" $where) }}
advertise: {{ include "parley.sipHost" .root | quote }}
{{- end }}
drain_seconds: {{ int .process.settings.drainSeconds }}
tls:
  {{- include "parley.config.tls" . | nindent 2 }}
  {{- if hasKey $secrets "peer-ca" }}
  peer_ca: {{ include "parley.secretFile" (dict "purpose" "peer-ca" "file" "ca.crt") }}
  {{- end }}
communicator:
  server_name: {{ $name | default (first $values.domains) | quote }}
  {{- if and $web (has "web" (include "parley.services" .root | fromJsonArray)) }}
  certificate_url: {{ include "parley.webUrl" .root }}/CertProv/CertProvisioningService.svc
  {{- end }}
  {{- if hasKey $secrets "kerberos" }}
  kerberos: {keytab: {{ include "parley.secretFile" (dict "purpose" "kerberos" "file" "keytab") }}}
  {{- end }}
{{- end }}

{{/* What clients reach HTTPS by, or nothing when no name is known. */}}
{{- define "parley.webUrl" -}}
{{- $name := include "parley.publicName" (dict "root" . "group" "https") }}
{{- range include "parley.clientPorts" . | fromJsonArray }}
{{- if and $name (eq .name "https") }}https://{{ $name }}:{{ int .public }}{{ end }}
{{- end }}
{{- end }}

{{- define "parley.config.web" -}}
domains: {{ toJson .root.Values.domains }}
{{- range include "parley.clientPorts" .root | fromJsonArray }}
{{- if eq .name "https" }}
port: {{ int .container }}
{{- end }}
{{- end }}
{{- with include "parley.webUrl" .root }}
url: {{ . }}
{{- end }}
tls:
  {{- include "parley.config.tls" . | nindent 2 }}
{{- $web := .root.Values.web }}
{{- with $web.administrators }}
administrators: {{ toJson . }}
{{- end }}
{{- if $web.kerberos.existingSecret }}
kerberos: {keytab: {{ include "parley.secretFile" (dict "purpose" "web-kerberos" "file" "keytab") }}}
{{- end }}
{{- with $web.oidc }}
oidc: {{ include "parley.config.oidc" $web.oidc }}
{{- end }}
{{- if or $web.scim.scope (hasKey (include "parley.secrets" .root | fromJson) "scim") }}
scim:
  scope: {{ $web.scim.scope | quote }}
  {{- if hasKey (include "parley.secrets" .root | fromJson) "scim" }}
  token_file: {{ include "parley.secretFile" (dict "purpose" "scim" "file" "token") }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Providers of OpenID Connect as JSON, with the files of their CAs. Takes the list. */}}
{{- define "parley.config.oidc" -}}
{{- $providers := list }}
{{- range $number, $given := . }}
  {{- $provider := omit $given "caSecret" }}
  {{- if $given.caSecret }}
    {{- $_ := set $provider "ca" (include "parley.secretFile" (dict "purpose" (printf "oidc-ca-%d" $number) "file" "ca.crt")) }}
  {{- end }}
  {{- $providers = append $providers $provider }}
{{- end }}
{{- toJson $providers }}
{{- end }}

{{/* Directory servers as JSON, with the files of their passwords and CAs. Takes the mapping. */}}
{{- define "parley.config.ldap" -}}
{{- $servers := dict }}
{{- range $name, $given := . }}
  {{- $server := omit $given "passwordSecret" "caSecret" }}
  {{- if $given.passwordSecret }}
    {{- $_ := set $server "password_file" (include "parley.secretFile" (dict "purpose" (printf "ldap-password-%s" $name) "file" "password")) }}
  {{- end }}
  {{- if $given.caSecret }}
    {{- $_ := set $server "ca_file" (include "parley.secretFile" (dict "purpose" (printf "ldap-ca-%s" $name) "file" "ca.crt")) }}
  {{- end }}
  {{- $_ := set $servers $name $server }}
{{- end }}
{{- toJson $servers }}
{{- end }}

{{- define "parley.config.avedge" -}}
{{- $turn := .root.Values.exposure.turn -}}
{{- $ports := dict "udp" -1 "tcp" -1 "dtls" -1 "tls" -1 "https" -1 -}}
{{- range include "parley.clientPorts" .root | fromJsonArray -}}
{{- if eq .group "turn" }}{{ $_ := set $ports .key (int .container) }}{{ end -}}
{{- end -}}
ports: {{ toJson $ports }}
{{- with include "parley.publicName" (dict "root" .root "group" "turn") }}
host_name: {{ . | quote }}
{{- end }}
relay: {first: {{ int $turn.relay.first }}, last: {{ int $turn.relay.last }}}
advertised:
  hosts: {{ toJson $turn.advertised }}
drain_seconds: {{ int .process.settings.drainSeconds }}
credentials:
  realm: {{ first .root.Values.domains }}
  {{- if hasKey (include "parley.secrets" .root | fromJson) "turn" }}
  shared_secret_file: {{ include "parley.secretFile" (dict "purpose" "turn" "file" "secret") }}
  {{- end }}
tls:
  {{- include "parley.config.tls" . | nindent 2 }}
{{- end }}

{{- define "parley.config.addressbook" -}}
{{- $secrets := include "parley.secrets" .root | fromJson -}}
domains: {{ toJson .root.Values.domains }}
certificates:
  ca_certificate: {{ include "parley.secretFile" (dict "purpose" "user-ca" "file" "tls.crt") }}
  ca_key: {{ include "parley.secretFile" (dict "purpose" "user-ca" "file" "tls.key") }}
{{- if .root.Values.demo.enabled }}
demo: true
demo_password_file: {{ include "parley.secretFile" (dict "purpose" "demo" "file" "password") }}
{{- end }}
{{- if hasKey $secrets "previous-master-key" }}
previous_master_key_file: {{ include "parley.secretFile" (dict "purpose" "previous-master-key" "file" "master-key") }}
{{- end }}
{{- with .root.Values.directory.ldap }}
directory: {ldap: {{ include "parley.config.ldap" . }}}
{{- end }}
{{- end }}

{{/* Clients that are not told otherwise look for conferences. */}}
{{- define "parley.config.presence" -}}
{{- if not .root.Values.services.conference.enabled -}}
settings: {"*": {ServerConfiguration: {focusFactoryUri: ""}}}
{{- else -}}
{}
{{- end -}}
{{- end }}

{{- define "parley.config.registrar" -}}{}{{- end }}
{{- define "parley.config.messaging" -}}{}{{- end }}
{{- define "parley.config.conference" -}}{}{{- end }}
{{- define "parley.config.immcu" -}}{}{{- end }}

{{/* The whole file. Takes {root, process}; a process without services (a Job) has the platform's section alone. */}}
{{- define "parley.config" -}}
{{- $config := dict }}
{{- range $section := prepend .process.services "platform" }}
  {{- if or (eq $section "platform") (has $section (include "parley.allServices" $.root | fromJsonArray)) }}
    {{- $computed := include (printf "parley.config.%s" $section) $ | fromYaml }}
    {{- with $computed.Error }}{{ fail (printf "section %s of parley.yaml: %s" $section .) }}{{ end }}
    {{- $merged := mergeOverwrite $computed (deepCopy (get $.root.Values.config $section | default dict)) }}
    {{- if $merged }}{{ $_ := set $config $section $merged }}{{ end }}
  {{- end }}
{{- end }}
{{- toYaml $config }}
{{- end }}
