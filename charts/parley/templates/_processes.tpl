{{/*
The processes: what runs in which pods. Everything that is made for a process (Deployment, ServiceAccount, ConfigMap,
NetworkPolicy, PodDisruptionBudget, HorizontalPodAutoscaler) is rendered from this list, in both layouts.
*/}}

{{/* All services there are, in the order in which they start. */}}
{{- define "parley.allServices" -}}
["addressbook", "registrar", "presence", "messaging", "conference", "immcu", "avedge", "frontend", "web"]
{{- end }}

{{/* The services that run, as a JSON list. */}}
{{- define "parley.services" -}}
{{- $running := list }}
{{- range include "parley.allServices" . | fromJsonArray }}
  {{- if (get $.Values.services .).enabled }}{{ $running = append $running . }}{{ end }}
{{- end }}
{{- toJson $running }}
{{- end }}

{{/* Which group of `exposure` the clients of a service come in by. */}}
{{- define "parley.groups" -}}
{"frontend": "sip", "web": "https", "avedge": "turn"}
{{- end }}

{{/*
The processes as a JSON list of {name, services, image, groups, hostNetwork, ports, settings}. `settings` has the keys of
`workload`; `ports` has rpc where somebody calls one of the services. Pods with HostNetwork share the ports of a node with each
other, so those of web and avedge are others there.
*/}}
{{- define "parley.processes" -}}
{{- $running := include "parley.services" . | fromJsonArray }}
{{- $groups := include "parley.groups" . | fromJson }}
{{- $together := eq .Values.layout "together" }}
{{- $plan := dict }}
{{- range $running }}
  {{- $process := $together | ternary (hasKey $groups . | ternary "edge" "core") . }}
  {{- $_ := set $plan $process (append (get $plan $process | default list) .) }}
{{- end }}
{{- $shift := dict "avedge" 100 "web" 200 }}
{{- $processes := list }}
{{- range $name, $services := $plan }}
  {{- $own := get ($together | ternary $.Values.together $.Values.services) $name }}
  {{- $settings := mergeOverwrite (deepCopy $.Values.workload) (deepCopy $own) }}
  {{- $here := list }}
  {{- $hostNetwork := false }}
  {{- range $services }}
    {{- with get $groups . }}
      {{- $here = append $here . }}
      {{- if eq (include "parley.exposureType" (dict "root" $ "group" .)) "HostNetwork" }}{{ $hostNetwork = true }}{{ end }}
    {{- end }}
  {{- end }}
  {{- $by := $hostNetwork | ternary (get $shift $name | default 0) 0 | int }}
  {{- $image := $settings.image | default (include "parley.image" (dict "root" $ "name" ($together | ternary "parley" $name))) }}
  {{- $ports := dict "metrics" (add 9464 $by) "health" (add 9465 $by) }}
  {{- range $services }}
    {{- if include "parley.callers" (dict "root" $ "service" .) | fromJsonArray }}{{ $_ := set $ports "rpc" (add 9090 $by) }}{{ end }}
  {{- end }}
  {{- $processes = append $processes (dict
    "name" $name "services" $services "image" $image "groups" $here "hostNetwork" $hostNetwork "ports" $ports
    "settings" $settings) }}
{{- end }}
{{- toJson $processes }}
{{- end }}

{{/* Where each service is, as {service: process}. */}}
{{- define "parley.whereabouts" -}}
{{- $where := dict }}
{{- range $process := include "parley.processes" . | fromJsonArray }}
  {{- range $process.services }}{{ $_ := set $where . $process }}{{ end }}
{{- end }}
{{- toJson $where }}
{{- end }}

{{/* Fewest pods of a process. Takes a process. */}}
{{- define "parley.fewest" -}}
{{ .settings.autoscaling.enabled | ternary .settings.autoscaling.minReplicas .settings.replicas | int }}
{{- end }}

{{/* Time from the end of a pod to SIGKILL: pause, drain, and what it takes to close. Takes settings. */}}
{{- define "parley.graceSeconds" -}}
{{ add .preStopSeconds .drainSeconds 15 }}
{{- end }}
