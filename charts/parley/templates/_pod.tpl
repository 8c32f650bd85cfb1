{{/* What pods have in common: processes, Jobs, and the engines that come along. */}}

{{/* Where a pod goes. Takes settings: of a process, or a `placement`. */}}
{{- define "parley.scheduling" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Pull secrets. Takes the root. */}}
{{- define "parley.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The embedded engines: what all of their pods are given. Takes {root, component, placement}. */}}
{{- define "parley.enginePod" -}}
{{- $account := printf "%s-%s" (include "parley.fullname" .root) .component }}
serviceAccountName: {{ $account }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with include "parley.pullSecrets" .root }}
{{- . | nindent 0 }}
{{- end }}
{{- with include "parley.scheduling" .placement }}
{{- . | nindent 0 }}
{{- end }}
{{- end }}

{{/* The volume of an engine that outlives its pod, or does not. Takes {root, persistence, name}: what a StatefulSet has. */}}
{{- define "parley.dataVolume" -}}
{{- if not .persistence.enabled }}
- {name: data, emptyDir: {}}
{{- else if .persistence.existingClaim }}
- {name: data, persistentVolumeClaim: {claimName: {{ .persistence.existingClaim }}}}
{{- end }}
{{- end }}

{{- define "parley.claimTemplates" -}}
{{- if and .persistence.enabled (not .persistence.existingClaim) }}
volumeClaimTemplates:
  - metadata:
      name: data
      labels:
        {{- include "parley.selector" . | nindent 8 }}
      {{- with .persistence.annotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with .persistence.storageClass }}
      storageClassName: {{ . }}
      {{- end }}
      resources: {requests: {storage: {{ .persistence.size }}}}
{{- end }}
{{- end }}

{{/* An account without token, for one component. Takes {root, component}. */}}
{{- define "parley.account" -}}
---
apiVersion: v1
kind: ServiceAccount
{{ include "parley.metadata" (merge (dict "name" (printf "%s-%s" (include "parley.fullname" .root) .component)) .) }}
automountServiceAccountToken: false
{{- end }}

{{/* Security context of pods that are no process. Takes the uid of the image. */}}
{{- define "parley.podSecurity" -}}
{runAsNonRoot: true, runAsUser: {{ . }}, runAsGroup: {{ . }}, fsGroup: {{ . }}, fsGroupChangePolicy: OnRootMismatch, seccompProfile: {type: RuntimeDefault}}
{{- end }}

{{- define "parley.containerSecurity" -}}
{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
{{- end }}

{{/* Labels of the pods of a component. Takes {root, component, services, labels}; `services`: which of them it runs or is.
Engines have none, and no version of Parley either: an upgrade of Parley starts no store anew. */}}
{{- define "parley.podLabels" -}}
{{ include "parley.selector" . }}
app.kubernetes.io/part-of: parley
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- if .services }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- end }}
{{- range .services }}
parley-service-{{ . }}: "true"
{{- end }}
{{- with merge (dict) (.labels | default dict) .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Where traces go, or nothing. */}}
{{- define "parley.otlpEndpoint" -}}
{{- if .Values.tracing.endpoint -}}
{{ .Values.tracing.endpoint }}
{{- else if .Values.tracing.jaeger.enabled -}}
http://{{ include "parley.host" (dict "root" . "name" (printf "%s-jaeger" (include "parley.fullname" .))) }}:4317
{{- end -}}
{{- end }}

{{/* Variables of every container of Parley: its configuration, and who it is in traces. Takes the root. */}}
{{- define "parley.env" -}}
- {name: PARLEY_CONFIG, value: /etc/parley/parley.yaml}
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: POD_UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
- {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
- {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
{{- with include "parley.otlpEndpoint" . }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- $own := dict "service.namespace" (include "parley.fullname" .) "service.version" (.Values.image.tag | default .Chart.AppVersion) }}
{{- $attributes := list }}
{{- range $name, $value := merge (dict) .Values.tracing.resourceAttributes $own }}
  {{- $attributes = append $attributes (printf "%s=%s" $name $value) }}
{{- end }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: "{{ join "," $attributes }},k8s.namespace.name={{ .Release.Namespace }},k8s.pod.name=$(POD_NAME),k8s.pod.uid=$(POD_UID),k8s.node.name=$(NODE_NAME)"
{{- end }}

{{/* Variables of a process, besides those. Takes {root, process}. */}}
{{- define "parley.processEnv" -}}
{{- if .process.ports.rpc }}
{{- $port := int .process.ports.rpc }}
- {name: PARLEY_PLATFORM_RPC__ADVERTISE, value: {{ printf "$(POD_IP):%d" $port | quote }}}
{{- end }}
{{- if has "frontend" .process.services }}
- {name: PARLEY_EDGE_UID, value: $(POD_UID)}
{{- $sip := dict "root" .root "group" "sip" }}
{{- if and (include "parley.atNode" $sip) (not (include "parley.publicName" $sip)) }}
- {name: HOST_IP, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
- {name: PARLEY_FRONTEND_ADVERTISE, value: $(HOST_IP)}
{{- end }}
{{- end }}
{{- if has "avedge" .process.services }}
{{- $turn := dict "root" .root "group" "turn" }}
{{- $relay := include "parley.relayMode" .root }}
{{- if and (include "parley.atNode" $turn) (or (eq $relay "node") (eq $relay "service")) }}
- {name: PARLEY_AVEDGE_ADVERTISED__NODE_ADDRESSES, valueFrom: {fieldRef: {fieldPath: status.hostIPs}}}
{{- end }}
{{- if and (include "parley.atNode" $turn) (not (include "parley.publicName" $turn)) }}
- {name: TURN_HOST, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
- {name: PARLEY_AVEDGE_HOST_NAME, value: $(TURN_HOST)}
{{- end }}
{{- end }}
{{- end }}

{{/* Volumes of every container of Parley: the root file system is read-only. Takes {root, component, services}. */}}
{{- define "parley.volumes" -}}
- name: config
  configMap: {name: {{ include "parley.fullname" .root }}-{{ .component }}}
- {name: data, emptyDir: {sizeLimit: 256Mi}}
- {name: tmp, emptyDir: {sizeLimit: 64Mi}}
{{ include "parley.secretsVolume" . }}
{{- end }}

{{- define "parley.volumeMounts" -}}
- {name: config, mountPath: /etc/parley/parley.yaml, subPath: parley.yaml, readOnly: true}
- {name: secrets, mountPath: /etc/parley/secrets, readOnly: true}
- {name: data, mountPath: /var/lib/parley}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{/* A probe of the gRPC health service. Takes {name, port, times}. */}}
{{- define "parley.probe" -}}
{{ .name }}Probe:
  grpc: {port: {{ int .port }}, service: {{ .name }}}
  periodSeconds: {{ int .times.periodSeconds }}
  failureThreshold: {{ int .times.failureThreshold }}
  timeoutSeconds: 3
{{- end }}

{{/* The pod of a process. Takes {root, process}. */}}
{{- define "parley.processPod" -}}
{{- $root := .root }}
{{- $process := .process }}
{{- $settings := $process.settings }}
{{- $common := dict "root" $root "component" $process.name "services" $process.services }}
metadata:
  labels:
    {{- include "parley.podLabels" (merge (dict "labels" $settings.podLabels) $common) | nindent 4 }}
    parley-process: "true"
  annotations:
    checksum/config: "{{ include "parley.config" . | sha256sum | trunc 16 }}"
    checksum/secrets: "{{ include "parley.secretsChecksum" $common }}"
    {{- with merge (dict) $settings.podAnnotations $root.Values.commonAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "parley.fullname" $root }}-{{ $process.name }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- if $process.hostNetwork }}
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  {{- end }}
  terminationGracePeriodSeconds: {{ include "parley.graceSeconds" $settings }}
  {{- with include "parley.pullSecrets" $root }}
  {{- . | nindent 2 }}
  {{- end }}
  securityContext:
    {{- toYaml $settings.podSecurityContext | nindent 4 }}
    {{- include "parley.lowPorts" . | nindent 4 }}
  {{- with include "parley.scheduling" $settings }}
  {{- . | nindent 2 }}
  {{- end }}
  topologySpreadConstraints:
    {{- if $settings.topologySpreadConstraints }}
    {{- toYaml $settings.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      matchLabelKeys: [pod-template-hash]
      labelSelector:
        matchLabels:
          {{- include "parley.selector" $common | nindent 10 }}
    {{- end }}
  {{- if not (or $settings.affinity $settings.topologySpreadConstraints) }}
  {{- /* Zones are no constraint: the scheduler spreads over nothing at all where a node lacks the label of one of them. */}}
  affinity:
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm:
            topologyKey: topology.kubernetes.io/zone
            labelSelector:
              matchLabels:
                {{- include "parley.selector" $common | nindent 16 }}
  {{- end }}
  {{- with $settings.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: parley
      image: {{ $process.image }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: [run, --services, {{ join "," $process.services | quote }}]
      env:
        {{- include "parley.env" $root | nindent 8 }}
        {{- with include "parley.processEnv" . }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $settings.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        {{- range $name, $port := $process.ports }}
        - {name: {{ $name }}, containerPort: {{ int $port }}, protocol: TCP}
        {{- end }}
        {{- range include "parley.clientPorts" $root | fromJsonArray }}
        {{- if has .service $process.services }}
        - {name: {{ .name }}, containerPort: {{ int .container }}, protocol: {{ .protocol }}}
        {{- end }}
        {{- end }}
      {{- range $name := list "startup" "readiness" "liveness" }}
      {{- include "parley.probe" (dict "name" $name "port" $process.ports.health "times" (get $settings.probes $name)) | nindent 6 }}
      {{- end }}
      lifecycle:
        preStop:
          sleep: {seconds: {{ int $settings.preStopSeconds }}}
      resources:
        {{- toYaml $settings.resources | nindent 8 }}
      securityContext:
        {{- toYaml $settings.containerSecurityContext | nindent 8 }}
      volumeMounts:
        {{- include "parley.volumeMounts" $root | nindent 8 }}
        {{- with $settings.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $settings.sidecars }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "parley.volumes" $common | nindent 4 }}
    {{- with $settings.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* Lets a process without privileges listen on ports below 1024, where it has a network of its own. Takes {root, process}. */}}
{{- define "parley.lowPorts" -}}
{{- $low := false }}
{{- range include "parley.clientPorts" .root | fromJsonArray }}
  {{- if and (has .service $.process.services) (lt (int .container) 1024) }}{{ $low = true }}{{ end }}
{{- end }}
{{- if and $low (not .process.hostNetwork) }}
sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: "0"}]
{{- end }}
{{- end }}
