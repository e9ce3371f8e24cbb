{{/* The chart's name, or what replaces it. */}}
{{- define "rejoinder.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* The name of all resources. 40 characters leave room for what Kubernetes appends to the names of CronJobs and pods. */}}
{{- define "rejoinder.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "rejoinder.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "rejoinder.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What a selector may hold: never changes over a release's life. */}}
{{- define "rejoinder.selectorLabels" -}}
app.kubernetes.io/name: {{ include "rejoinder.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of every resource. */}}
{{- define "rejoinder.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "rejoinder.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: rejoinder
{{- end }}

{{/* An image's reference, from (dict "image" … "root" $). */}}
{{- define "rejoinder.image" -}}
{{- if .image.digest }}
{{- printf "%s@%s" .image.repository .image.digest }}
{{- else }}
{{- printf "%s:%s" .image.repository (default .root.Chart.AppVersion .image.tag) }}
{{- end }}
{{- end }}

{{- define "rejoinder.serviceAccountName" -}}
{{- default (ternary (include "rejoinder.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- define "rejoinder.authSecretName" -}}
{{- default (include "rejoinder.fullname" .) .Values.auth.existingSecret }}
{{- end }}

{{- define "rejoinder.claimName" -}}
{{- default (include "rejoinder.fullname" .) .Values.persistence.existingClaim }}
{{- end }}

{{/* The database's address, for the service and for training. Nothing: SQLite in DATA_DIR. */}}
{{- define "rejoinder.databaseEnv" -}}
{{- with .Values.database.existingSecret -}}
- name: SERVICE_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: url
{{- end }}
{{- end }}

{{/* What the restricted Pod Security Standard asks of a pod. The ids are those of the images. */}}
{{- define "rejoinder.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* What the restricted Pod Security Standard asks of a container, and a file system that cannot be changed. */}}
{{- define "rejoinder.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
