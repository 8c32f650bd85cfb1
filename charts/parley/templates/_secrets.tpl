{{/*
Secrets: each is a value, a Secret that is there, or made once by the Job of `parley init secrets`. A process has all of its
own as files under /etc/parley/secrets/<purpose>/<key>, in one volume; nothing of them is in arguments, variables or ConfigMaps.
*/}}

{{/* The Secret of one value. Takes {root, secret, made}: a block of {value, existingSecret, key}, and the suffix of the Secret
that is made when neither is given ("" when none is). Nothing when there is none. */}}
{{- define "parley.secretName" -}}
{{- $full := include "parley.fullname" .root -}}
{{- if .secret.existingSecret -}}
{{ .secret.existingSecret }}
{{- else if .secret.value -}}
{{ $full }}-given-{{ .purpose }}
{{- else if .made -}}
{{ $full }}-{{ .made }}
{{- end -}}
{{- end }}

{{/* Every secret of one value that the values may give: {purpose: {secret, made, key}}. `key`: the name of the file. */}}
{{- define "parley.secretValues" -}}
{{- $values := .Values }}
{{- $all := dict
  "master-key" (dict "secret" $values.masterKey "made" "master-key" "key" "master-key")
  "previous-master-key" (dict "secret" $values.previousMasterKey "key" "master-key")
  "peer-ca" (dict "secret" $values.exposure.sip.peers.ca "key" "ca.crt")
  "turn" (dict "secret" $values.exposure.turn.sharedSecret "key" "secret")
  "scim" (dict "secret" $values.web.scim.token "key" "token") }}
{{- if $values.demo.enabled }}
  {{- $_ := set $all "demo" (dict "secret" $values.demo.password "key" "password") }}
{{- end }}
{{- if eq $values.redis.mode "embedded" }}
  {{- $_ := set $all "redis" (dict "secret" $values.redis.embedded.password "made" "valkey" "key" "password") }}
{{- else }}
  {{- $_ := set $all "redis" (dict "secret" $values.redis.external.password "key" "password") }}
  {{- $_ := set $all "sentinel" (dict "secret" $values.redis.external.sentinelPassword "key" "password") }}
  {{- if $values.redis.external.tls.enabled }}
    {{- $_ := set $all "redis-ca" (dict "secret" $values.redis.external.tls.ca "key" "ca.crt") }}
  {{- end }}
{{- end }}
{{- if and (eq $values.events.driver "kafka") (eq $values.events.kafka.mode "external") }}
  {{- $kafka := $values.events.kafka.external }}
  {{- if $kafka.sasl.enabled }}
    {{- $_ := set $all "kafka" (dict "secret" $kafka.sasl.password "key" "password") }}
  {{- end }}
  {{- if $kafka.tls.enabled }}
    {{- $_ := set $all "kafka-ca" (dict "secret" $kafka.tls.ca "key" "ca.crt") }}
  {{- end }}
{{- end }}
{{- toJson $all }}
{{- end }}

{{/* Every secret that is in use, as {purpose: {name, items: {file: key}, services}}; no services: for every process. */}}
{{- define "parley.secrets" -}}
{{- $full := include "parley.fullname" . }}
{{- $values := .Values }}
{{- $only := dict "previous-master-key" (list "addressbook") "demo" (list "addressbook") "peer-ca" (list "frontend") "turn" (list "avedge") "scim" (list "web") }}
{{- $all := dict }}
{{- range $purpose, $row := include "parley.secretValues" . | fromJson }}
  {{- $name := include "parley.secretName" (dict "root" $ "secret" $row.secret "purpose" $purpose "made" ($row.made | default "")) }}
  {{- if $name }}
    {{- $key := $row.key }}
    {{- if or $row.secret.existingSecret $row.secret.value }}{{ $key = $row.secret.key }}{{ end }}
    {{- $_ := set $all $purpose (dict "name" $name "items" (dict $row.key $key) "services" (get $only $purpose | default list)) }}
  {{- end }}
{{- end }}
{{- $pair := dict "tls.crt" "tls.crt" "tls.key" "tls.key" }}
{{- $trio := merge (dict "ca.crt" "ca.crt") $pair }}
{{- $internal := dict "development" (printf "%s-internal-tls" $full) "certManager" (printf "%s-internal-tls-issued" $full) "existingSecret" $values.internalTls.existingSecret }}
{{- $_ := set $all "internal-tls" (dict "name" (get $internal $values.internalTls.mode) "items" $trio) }}
{{- $_ := set $all "client-tls" (merge (include "parley.clientTls" . | fromJson) (dict "services" (list "frontend" "web" "avedge" "selftest"))) }}
{{- $_ := set $all "user-ca" (dict "name" ($values.userCa.existingSecret | default (printf "%s-user-ca" $full)) "items" $pair "services" (list "addressbook")) }}
{{- with $values.kerberos.existingSecret }}
  {{- $_ := set $all "kerberos" (dict "name" . "items" (dict "keytab" $values.kerberos.key) "services" (list "frontend")) }}
{{- end }}
{{- with $values.web.kerberos.existingSecret }}
  {{- $_ := set $all "web-kerberos" (dict "name" . "items" (dict "keytab" $values.web.kerberos.key) "services" (list "web")) }}
{{- end }}
{{- range $number, $provider := $values.web.oidc }}
  {{- with $provider.caSecret }}
  {{- $_ := set $all (printf "oidc-ca-%d" $number) (dict "name" .name "items" (dict "ca.crt" (.key | default "ca.crt")) "services" (list "web")) }}
  {{- end }}
{{- end }}
{{- range $name, $server := $values.directory.ldap }}
  {{- with $server.passwordSecret }}
  {{- $_ := set $all (printf "ldap-password-%s" $name) (dict "name" .name "items" (dict "password" (.key | default "password")) "services" (list "addressbook")) }}
  {{- end }}
  {{- with $server.caSecret }}
  {{- $_ := set $all (printf "ldap-ca-%s" $name) (dict "name" .name "items" (dict "ca.crt" (.key | default "ca.crt")) "services" (list "addressbook")) }}
  {{- end }}
{{- end }}
{{- if eq $values.redis.mode "external" }}
  {{- $tls := $values.redis.external.tls }}
  {{- if and $tls.enabled $tls.clientSecret }}{{ $_ := set $all "redis-tls" (dict "name" $tls.clientSecret "items" $pair) }}{{ end }}
{{- end }}
{{- if eq $values.events.driver "kafka" }}
  {{- $kafka := $values.events.kafka }}
  {{- if eq $kafka.mode "strimzi" }}
    {{- $_ := set $all "kafka-ca" (dict "name" (printf "%s-kafka-cluster-ca-cert" $full) "items" (dict "ca.crt" "ca.crt")) }}
    {{- $_ := set $all "kafka-tls" (dict "name" (printf "%s-kafka-client" $full) "items" (dict "tls.crt" "user.crt" "tls.key" "user.key")) }}
  {{- else if and (eq $kafka.mode "external") $kafka.external.tls.enabled $kafka.external.tls.clientSecret }}
    {{- $_ := set $all "kafka-tls" (dict "name" $kafka.external.tls.clientSecret "items" $pair) }}
  {{- end }}
{{- end }}
{{- toJson $all }}
{{- end }}

{{/* The Secret with the certificate that clients see. */}}
{{- define "parley.clientTls" -}}
{{- $full := include "parley.fullname" . }}
{{- $tls := .Values.tls }}
{{- $items := dict "tls.crt" "tls.crt" "tls.key" "tls.key" }}
{{- if eq $tls.mode "development" }}
{{- dict "name" (printf "%s-client-tls" $full) "items" (set $items "ca.crt" "ca.crt") | toJson }}
{{- else if eq $tls.mode "certManager" }}
{{- if $tls.certManager.hasCa }}{{ $_ := set $items "ca.crt" "ca.crt" }}{{ end }}
{{- dict "name" (printf "%s-client-tls-issued" $full) "items" $items | toJson }}
{{- else }}
{{- $items = dict "tls.crt" $tls.existingSecret.certificateKey "tls.key" $tls.existingSecret.keyKey }}
{{- with $tls.existingSecret.caKey }}{{ $_ := set $items "ca.crt" . }}{{ end }}
{{- dict "name" $tls.existingSecret.name "items" $items | toJson }}
{{- end }}
{{- end }}

{{/* The secrets of a process as {purpose: {name, items}}. Takes {root, services}. */}}
{{- define "parley.secretsOf" -}}
{{- $own := dict }}
{{- range $purpose, $secret := include "parley.secrets" .root | fromJson }}
  {{- $wanted := empty $secret.services }}
  {{- range $secret.services | default list }}{{ if has . $.services }}{{ $wanted = true }}{{ end }}{{ end }}
  {{- if $wanted }}{{ $_ := set $own $purpose $secret }}{{ end }}
{{- end }}
{{- toJson $own }}
{{- end }}

{{/* The path of a file of a secret. Takes {purpose, file}. */}}
{{- define "parley.secretFile" -}}
/etc/parley/secrets/{{ .purpose }}/{{ .file }}
{{- end }}

{{/* The volume with the secrets of a process. Takes {root, services}. */}}
{{- define "parley.secretsVolume" -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range $purpose, $secret := include "parley.secretsOf" . | fromJson }}
      - secret:
          name: {{ $secret.name }}
          items:
            {{- range $file, $key := $secret.items }}
            - {key: {{ $key }}, path: {{ $purpose }}/{{ $file }}}
            {{- end }}
      {{- end }}
{{- end }}

{{/* What `parley init secrets` has to make, as a JSON list. */}}
{{- define "parley.madeSecrets" -}}
{{- $make := list }}
{{- $values := .Values }}
{{- if not (or $values.masterKey.value $values.masterKey.existingSecret) }}{{ $make = append $make "master-key" }}{{ end }}
{{- if eq $values.redis.mode "embedded" }}
  {{- $password := $values.redis.embedded.password }}
  {{- if not (or $password.value $password.existingSecret) }}{{ $make = append $make "valkey" }}{{ end }}
{{- end }}
{{- if eq $values.internalTls.mode "development" }}{{ $make = append $make "internal-tls" }}{{ end }}
{{- if eq $values.tls.mode "development" }}{{ $make = append $make "client-tls" }}{{ end }}
{{- if not $values.userCa.existingSecret }}{{ $make = append $make "user-ca" }}{{ end }}
{{- toJson $make }}
{{- end }}

{{/* Changes when a value that is a secret does: pods are made anew. Takes {root, services}. */}}
{{- define "parley.secretsChecksum" -}}
{{- $given := dict }}
{{- $own := include "parley.secretsOf" . | fromJson }}
{{- range $purpose, $row := include "parley.secretValues" .root | fromJson }}
  {{- if and $row.secret.value (hasKey $own $purpose) }}{{ $_ := set $given $purpose $row.secret.value }}{{ end }}
{{- end }}
{{- toJson $given | sha256sum | trunc 16 }}
{{- end }}
