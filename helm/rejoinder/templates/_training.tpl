{{/* Not empty where several processes compute one run. */}}
{{- define "rejoinder.isTogether" -}}
{{- if gt (int .Values.training.processes) 1 }}yes{{ end }}
{{- end }}

{{/* When a job gives up. A pod that fails takes the others of its try with it, and all are counted. */}}
{{- define "rejoinder.trainingEnds" -}}
activeDeadlineSeconds: {{ .Values.training.activeDeadlineSeconds | int64 }}
backoffLimit: {{ mul .Values.training.backoffLimit .Values.training.processes }}
podFailurePolicy:
  rules:
    # 3: the gate refused the new version. Training it again would give the same one. 5: the loss stopped being a number.
    - action: FailJob
      onExitCodes:
        operator: In
        values: [3, 5]
{{- end }}

{{/* The pod of a run, from (dict "root" $ "container" NAME); Kubeflow's controller looks for its container by name. */}}
{{- define "rejoinder.trainingPod" -}}
metadata:
  labels:
    {{- include "rejoinder.selectorLabels" .root | nindent 4 }}
    app.kubernetes.io/component: training
spec:
  {{- include "rejoinder.jobPod" (dict "root" .root) | nindent 2 }}
  {{- if and (include "rejoinder.isTogether" .root) (not $.root.Values.training.trainJob.enabled) }}
  subdomain: {{ include "rejoinder.fullname" .root }}-train
  {{- end }}
  containers:
    - name: {{ .container }}
      image: {{ include "rejoinder.image" (dict "image" $.root.Values.training.image "root" .root) }}
      imagePullPolicy: {{ $.root.Values.training.image.pullPolicy }}
      {{- include "rejoinder.trainingCommand" .root | nindent 6 }}
      env:
        {{- include "rejoinder.dataEnv" .root | nindent 8 }}
        {{- with include "rejoinder.modelStoreEnv" .root }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- range $name, $label := dict "JOB_NAME" "job-name" "JOB_UID" "controller-uid" }}
        - name: {{ $name }}
          valueFrom:
            fieldRef:
              fieldPath: metadata.labels['batch.kubernetes.io/{{ $label }}']
        {{- end }}
        {{- if $.root.Values.training.signingKeySecret }}
        - name: MODEL_SIGNING_KEY
          value: /etc/model-signing/key.pem
        {{- end }}
      resources:
        {{- toYaml $.root.Values.training.resources | nindent 8 }}
      securityContext:
        {{- include "rejoinder.containerSecurityContext" .root | nindent 8 }}
      volumeMounts:
        - name: data
          mountPath: /data
        - name: tmp
          mountPath: /tmp
        {{- if $.root.Values.training.signingKeySecret }}
        - name: model-signing
          mountPath: /etc/model-signing
          readOnly: true
        {{- end }}
  volumes:
    {{- include "rejoinder.jobVolumes" .root | nindent 4 }}
    {{- with $.root.Values.training.signingKeySecret }}
    - name: model-signing
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
  {{- with $.root.Values.training.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $.root.Values.training.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* What a pod of a run does: the image's own program, or torchrun, which starts that. */}}
{{- define "rejoinder.trainingCommand" -}}
{{- $isRunByTorch := or (include "rejoinder.isTogether" .) $.Values.training.trainJob.enabled -}}
{{- if $isRunByTorch -}}
command:
  - python
  - -c
  - |
    {{- .Files.Get "files/torchrun.py" | trim | nindent 4 }}
{{ end -}}
args:
  {{- if and $isRunByTorch (not $.Values.training.trainJob.enabled) }}
  - --nnodes={{ $.Values.training.processes }}
  - --nproc-per-node=1
  - --rdzv-backend=c10d
  - --rdzv-id=$(JOB_UID)
  - --rdzv-endpoint=$(JOB_NAME)-0.{{ include "rejoinder.fullname" . }}-train:29500
  # Pods may have to wait for a node, or for the image.
  - --rdzv-conf=read_timeout=900,join_timeout=900
  {{- end }}
  {{- if $isRunByTorch }}
  - -m
  - training
  {{- end }}
  - run
  - --config
  - {{ $.Values.training.config | quote }}
  # The same for all pods of a job, so that a further try goes on where the one before it ended.
  - --workspace
  - /data/runs/$(JOB_NAME)-$(JOB_UID)
  {{- range $.Values.training.extraArgs }}
  - {{ . | quote }}
  {{- end }}
{{- end }}
