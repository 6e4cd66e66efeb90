{{/* The beginning of all names: short enough for the longest suffix. */}}
{{- define "qwen3.name" -}}
{{- $name := .Values.fullnameOverride | default (contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name)) -}}
{{- $name | trunc 36 | trimSuffix "-" -}}
{{- end -}}

{{/* The labels that select the pods of a component. Takes (list $ "triton"). */}}
{{- define "qwen3.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* All labels of an object. Takes (list $ "triton"). */}}
{{- define "qwen3.labels" -}}
{{ include "qwen3.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ (index . 0).Chart.Name }}-{{ (index . 0).Chart.Version }}
{{- end -}}

{{/* The CPU image exports, serves on CPUs and runs the gateway; the GPU image is Triton alone. */}}
{{- define "qwen3.cpuImage" -}}
{{ .Values.images.registry }}qwen3-triton-cpu:{{ .Values.images.tag | default .Chart.AppVersion }}
{{- end -}}
{{- define "qwen3.gpuImage" -}}
{{ .Values.images.registry }}qwen3-triton:{{ .Values.images.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* The names of the enabled models, as a JSON list: "embedding", "reranker". */}}
{{- define "qwen3.kinds" -}}
{{- $kinds := list -}}
{{- range $kind := list "embedding" "reranker" -}}
{{- if (index $.Values.models $kind).enabled -}}{{- $kinds = append $kinds $kind -}}{{- end -}}
{{- end -}}
{{- $kinds | toJson -}}
{{- end -}}

{{/* The options of `qwen3-triton export` for one model, as a JSON list. Takes (list $ "embedding"). */}}
{{- define "qwen3.exportOptions" -}}
{{- $values := (index . 0).Values -}}
{{- $model := index $values.models (index . 1) -}}
{{- concat (list $model.source "--repository=/models" (printf "--name=%s" $model.name) (printf "--kind=%s" (index . 1)) (printf "--device=%s" $values.device)) $model.options | toJson -}}
{{- end -}}

{{/* The file that says that a model was exported with its present options. Takes (list $ "embedding"). */}}
{{- define "qwen3.marker" -}}
{{- $model := index (index . 0).Values.models (index . 1) -}}
/exports/{{ $model.name }}-{{ include "qwen3.exportOptions" . | sha256sum | trunc 12 }}
{{- end -}}

{{/* What all pods have in common. */}}
{{- define "qwen3.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  fsGroup: 1000
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* What all containers have in common. */}}
{{- define "qwen3.container" -}}
imagePullPolicy: {{ .Values.images.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* The volume of the models: the folder "models" is the model repository, where Triton takes every folder for a model; in
"exports" there is a file for each export that is complete. */}}
{{- define "qwen3.modelsVolume" -}}
- name: models
  {{- if .Values.models.volume.source }}
  {{- toYaml .Values.models.volume.source | nindent 2 }}
  {{- else }}
  persistentVolumeClaim: {claimName: {{ include "qwen3.name" . }}-models}
  {{- end }}
{{- end -}}

{{/* The enabled models that a Job exports, as a JSON list. */}}
{{- define "qwen3.exports" -}}
{{- $kinds := list -}}
{{- range $kind := include "qwen3.kinds" . | fromJsonArray -}}
{{- if (index $.Values.models $kind).source -}}{{- $kinds = append $kinds $kind -}}{{- end -}}
{{- end -}}
{{- $kinds | toJson -}}
{{- end -}}

{{/* The init container that waits for the exports; nothing if none is made. */}}
{{- define "qwen3.waitForModels" -}}
{{- with include "qwen3.exports" . | fromJsonArray }}
initContainers:
  - name: wait-for-models
    image: {{ include "qwen3.cpuImage" $ }}
    {{- include "qwen3.container" $ | nindent 4 }}
    command: [sh, -c]
    args:
      - |
        for marker in "$@"; do
          until [ -e "$marker" ]; do
            echo "waiting for the export that writes $marker"
            sleep 10
          done
        done
      - wait-for-models
      {{- range . }}
      - {{ include "qwen3.marker" (list $ .) }}
      {{- end }}
    volumeMounts:
      - {name: models, mountPath: /exports, subPath: exports, readOnly: true}
    resources:
      requests: {cpu: 10m, memory: 16Mi}
      limits: {memory: 64Mi}
{{- end }}
{{- end -}}

{{/* The pods of a component on different nodes, if there are enough. Takes (list $ "triton"). */}}
{{- define "qwen3.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "qwen3.selector" . | nindent 8 }}
{{- end -}}
