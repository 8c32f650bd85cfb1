{{/*
Who calls whom by gRPC. The targets of processes and the NetworkPolicies come from this table, and the tests hold it
against the code. `selftest` is the pod of `helm test`.
*/}}
{{- define "parley.calls" -}}
frontend: [frontend, registrar, addressbook, presence, messaging, conference, immcu, avedge]
web: [frontend, registrar, addressbook, presence, avedge]
presence: [frontend, registrar, addressbook]
messaging: [frontend, registrar, addressbook, presence]
conference: [frontend, registrar]
immcu: [frontend, registrar, conference]
selftest: [addressbook, registrar, avedge]
{{- end }}

{{/* Callers of a service, as a JSON list. Takes {root, service}. */}}
{{- define "parley.callers" -}}
{{- $callers := list }}
{{- range $caller, $called := include "parley.calls" .root | fromYaml }}
  {{- if has $.service $called }}{{ $callers = append $callers $caller }}{{ end }}
{{- end }}
{{- toJson $callers }}
{{- end }}

{{/*
Addresses of services for `platform.rpc.targets`, but those of the process itself. Every service is named, called or not:
that it is named tells others that it exists. Takes {root, services}.
*/}}
{{- define "parley.targets" -}}
{{- $where := include "parley.whereabouts" .root | fromJson }}
{{- $targets := dict }}
{{- range $service := include "parley.services" .root | fromJsonArray }}
  {{- if and (not (has $service $.services)) (not (has $service (list "frontend" "web"))) }}
    {{- $host := include "parley.host" (dict "root" $.root "name" (printf "%s-%s-rpc" (include "parley.fullname" $.root) $service)) }}
    {{- $target := printf "dns:///%s:%d" $host (int (get $where $service).ports.rpc) }}
    {{- $_ := set $targets $service $target }}
    {{- if eq $service "addressbook" }}{{ $_ := set $targets "search" $target }}{{ end }}
  {{- end }}
{{- end }}
{{- toJson $targets }}
{{- end }}
