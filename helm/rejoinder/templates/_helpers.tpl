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

{{/* Not empty where records are kept in PostgreSQL, the operator's own or the chart's; else in SQLite. */}}
{{- define "rejoinder.isPostgresql" -}}
{{- if or .Values.database.existingSecret .Values.postgresql.cluster.enabled }}yes{{ end }}
{{- end }}

{{/* The name of the cluster of PostgreSQL. CloudNativePG takes up to 50 characters. */}}
{{- define "rejoinder.postgresName" -}}
{{- include "rejoinder.fullname" . }}-postgres
{{- end }}

{{/* The database's address, for the service and for training. Nothing: SQLite in DATA_DIR. */}}
{{- define "rejoinder.databaseEnv" -}}
{{- if .Values.postgresql.cluster.enabled -}}
- name: SERVICE_DATABASE_URL
  valueFrom:
    secretKeyRef:
      # Made by CloudNativePG; a pod waits until it is there.
      name: {{ include "rejoinder.postgresName" . }}-app
      key: uri
# libpq would go on in the clear where TLS fails.
- name: PGSSLMODE
  value: require
{{- else if .Values.database.existingSecret -}}
- name: SERVICE_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.existingSecret }}
      key: {{ .Values.database.urlKey }}
{{- end }}
{{- end }}

{{/* Not empty where there can be more than one pod of the service. */}}
{{- define "rejoinder.isSeveral" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1) }}yes{{ end }}
{{- end }}

{{/* What every pod of a job has in common, from (dict "root" $). */}}
{{- define "rejoinder.jobPod" -}}
restartPolicy: Never
serviceAccountName: {{ include "rejoinder.serviceAccountName" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "rejoinder.podSecurityContext" .root | nindent 2 }}
{{- if eq .root.Values.persistence.accessMode "ReadWriteOnce" }}
affinity:
  # The volume, and SQLite's shared memory on it, are on the node where the service runs.
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "rejoinder.selectorLabels" .root | nindent 12 }}
            app.kubernetes.io/component: service
{{- end }}
{{- end }}

{{/* The volumes that every pod of a job has: the service's data, and a place for temporary files. */}}
{{- define "rejoinder.jobVolumes" -}}
- name: data
  persistentVolumeClaim:
    claimName: {{ include "rejoinder.claimName" . }}
- name: tmp
  emptyDir: {}
{{- end }}

{{/* With what a store of model versions on S3 is reached; nothing where they lie on the data volume. */}}
{{- define "rejoinder.modelStoreEnv" -}}
{{- $secret := .Values.modelStore.existingSecret -}}
{{- if .Values.modelStore.url -}}
- name: AWS_REGION
  value: {{ .Values.modelStore.region | quote }}
{{- with .Values.modelStore.endpoint }}
- name: AWS_ENDPOINT_URL_S3
  value: {{ . | quote }}
{{- end }}
{{- if $secret }}
{{- range $name, $key := dict "AWS_ACCESS_KEY_ID" "access-key-id" "AWS_SECRET_ACCESS_KEY" "secret-access-key" }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ $key }}
{{- end }}
{{- end }}
# Lives as long as the pod: a container that starts anew serves from it while S3 is away.
- name: MODEL_CACHE_DIR
  value: /tmp/model_cache
- name: MODEL_CACHE_MIB
  value: {{ .Values.modelStore.cacheMib | toJson | quote }}
{{- end }}
{{- end }}

{{/* The door to the store of model versions. */}}
{{- define "rejoinder.modelStoreEgress" -}}
- ports:
    - port: {{ .Values.networkPolicy.modelStorePort }}
      protocol: TCP
  {{- with .Values.networkPolicy.modelStoreAt }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* Where jobs find what the service keeps. */}}
{{- define "rejoinder.dataEnv" -}}
- name: DATA_DIR
  value: /data
- name: MODEL_STORE
  value: {{ default "/data/models" .Values.modelStore.url }}
{{- with include "rejoinder.databaseEnv" . }}
{{ . }}
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

{{/* The value of the label `job` of the service's series. */}}
{{- define "rejoinder.job" -}}
{{- default (include "rejoinder.fullname" .) .Values.monitoring.prometheusRule.job }}
{{- end }}

{{/* The most pods. Fails where it is below the fewest, which neither the schema nor Kubernetes' own types can tell. */}}
{{- define "rejoinder.maxReplicas" -}}
{{- if lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas) }}
{{- fail "autoscaling.maxReplicas is below autoscaling.minReplicas" }}
{{- end }}
{{- .Values.autoscaling.maxReplicas }}
{{- end }}

{{/* Up at once, since a full pod refuses; down slowly, since every pod that goes has streams to end. */}}
{{- define "rejoinder.scalingBehavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - type: Percent
      value: 100
      periodSeconds: 30
    - type: Pods
      value: 2
      periodSeconds: 30
  selectPolicy: Max
scaleDown:
  stabilizationWindowSeconds: {{ .Values.autoscaling.scaleDownStabilizationSeconds }}
  policies:
    - type: Pods
      value: 1
      periodSeconds: 60
{{- end }}

{{/* The door to the name server. */}}
{{- define "rejoinder.dnsEgress" -}}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- end }}

{{/* The doors to the name server and to PostgreSQL. */}}
{{- define "rejoinder.egress" -}}
{{- include "rejoinder.dnsEgress" . }}
{{- if .Values.postgresql.cluster.enabled }}
- ports:
    - port: 5432
      protocol: TCP
  to:
    - podSelector:
        matchLabels:
          cnpg.io/cluster: {{ include "rejoinder.postgresName" . }}
{{- else if .Values.database.existingSecret }}
- ports:
    - port: {{ .Values.networkPolicy.databasePort }}
      protocol: TCP
  {{- include "rejoinder.backends" . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "rejoinder.backends" -}}
{{- with .Values.networkPolicy.backendsAt -}}
to:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The annotation with an alert's page, from (list $ "alert"). */}}
{{- define "rejoinder.runbook" -}}
runbook_url: {{ printf "%s/%s.md" (trimSuffix "/" (first .).Values.monitoring.prometheusRule.runbookBaseUrl) (last .) | quote }}
{{- end }}
