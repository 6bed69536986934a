{{- define "keepstream.labels" -}}
app.kubernetes.io/name: keepstream
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "keepstream.worker" -}}
app.kubernetes.io/component: worker
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* What the pods of workers and migration share. */}}
{{- define "keepstream.pod" -}}
serviceAccountName: {{ .Release.Name }}
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with .Values.volumes }}
volumes: {{ toJson . }}
{{- end }}
{{- end }}

{{/* What their containers share: `include "keepstream.container" (list $ urlKey env)`. */}}
{{- define "keepstream.container" -}}
{{- $root := index . 0 -}}
image: {{ printf "%s:%s" $root.Values.image.repository ($root.Values.image.tag | default $root.Chart.AppVersion) | quote }}
{{- if ne $root.Values.image.pullPolicy "IfNotPresent" }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
{{- end }}
envFrom:
  - configMapRef: {name: {{ $root.Release.Name }}}
env:
  - name: KEEPSTREAM_POSTGRES__URL
    valueFrom:
      secretKeyRef: {name: {{ $root.Values.postgres.secret }}, key: {{ index . 1 }}}
{{- range index . 2 }}
  - {{ toJson . }}
{{- end }}
{{- with $root.Values.volumeMounts }}
volumeMounts: {{ toJson . }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}
